"""Names and versions of the tasks, and where their YAML files lie."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from harness_tasks.errors import UserError

# Goes up when a number could change; CHANGELOG in the task cards. Results record it.
TASK_VERSIONS = {"xnli": "1.0", "xcopa": "1.0"}


def yaml_folder() -> Path:
    """The folder with the generated YAML files: ``yaml_tasks`` of a checkout, or ``lm_eval/tasks/xscale``.

    Raises :class:`UserError` when there is neither.
    """
    checkout = Path(__file__).resolve().parent.parent / "yaml_tasks"
    if checkout.is_dir():
        return checkout
    spec = importlib.util.find_spec("lm_eval")
    for place in (spec.submodule_search_locations or []) if spec else []:
        installed = Path(place) / "tasks" / "xscale"
        if installed.is_dir():
            return installed
    raise UserError("the task files (lm_eval/tasks/xscale) are not installed; install xscale again")


# `xcopa_ood_id` is the Indonesian task: the group of XCOPA's ID subset is called after COPA-easy instead.
GROUP_SUFFIXES = {("xcopa", "id"): "easy"}


def group_name(target: str, subset: str | None = None) -> str:
    """``xnli_ood``, or ``xnli_ood_negation`` for one subset's documents."""
    return f"{target}_ood" + (f"_{GROUP_SUFFIXES.get((target, subset), subset)}" if subset else "")


def task_name(target: str, language: str, subset: str | None = None) -> str:
    """``xnli_ood_de``, or ``xnli_ood_negation_de`` for one subset's documents."""
    return f"{group_name(target, subset)}_{language}"
