"""Names of the tasks, and where their YAML files lie."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from harness_tasks.errors import UserError
from harness_tasks.targets import get_target

USER_METRICS = 8  # how many of a user's subsets a group row can show


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


def group_name(target: str, subset: str | None = None) -> str:
    """``xnli_ood``, or ``xnli_ood_negation`` for one subset's documents."""
    return f"{target}_ood" + (f"_{get_target(target).subset_alias(subset)}" if subset else "")


def task_name(target: str, language: str, subset: str | None = None) -> str:
    """``xnli_ood_de``, or ``xnli_ood_negation_de`` for one subset's documents."""
    return f"{group_name(target, subset)}_{language}"
