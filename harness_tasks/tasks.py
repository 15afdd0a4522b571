"""Names of the tasks, and where their YAML files lie."""

from __future__ import annotations

from pathlib import Path

from harness_tasks.errors import UserError
from harness_tasks.targets import get_target

USER_METRICS = 8  # how many of a user's subsets a group row can show


def yaml_folder() -> Path:
    """The folder with the generated YAML files: ``yaml_tasks`` of a checkout, or of the installed package.

    Raises `UserError` when there is neither.
    """
    package = Path(__file__).resolve().parent
    for folder in (package.parent / "yaml_tasks", package / "yaml_tasks"):
        if folder.is_dir():
            return folder
    raise UserError("the task files (harness_tasks/yaml_tasks) are not installed; install xscale again")


def group_name(target: str, subset: str | None = None) -> str:
    """``xnli_ood``, or ``xnli_ood_negation`` for one subset's documents; ``xtreme_xquad`` of a target without choices."""
    name = f"{target}_ood" if get_target(target).has_choices else f"xtreme_{target}"
    return name + (f"_{get_target(target).subset_alias(subset)}" if subset else "")


def task_name(target: str, language: str, subset: str | None = None) -> str:
    """``xnli_ood_de``, or ``xnli_ood_negation_de`` for one subset's documents."""
    return f"{group_name(target, subset)}_{language}"
