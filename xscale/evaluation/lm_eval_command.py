"""lm_eval's own command line, with our model type and tasks known to it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from harness_tasks.targets import targets
from harness_tasks.tasks import group_name, yaml_folder


def register_model() -> None:
    """Make `--model xscale` known to this process' lm_eval (lm_eval 0.4.13 reads no entry points)."""
    import lm_eval.models

    from harness_tasks import lm_eval_discovery

    lm_eval_discovery.add_our_model(lm_eval.models)


def run_lm_eval(arguments: Sequence[str]) -> None:
    """Run `lm_eval <arguments>` in this process, with our tasks indexed."""
    from lm_eval.__main__ import cli_evaluate

    from harness_tasks import lm_eval_discovery  # noqa: F401  (our tasks, also where xscale is not installed)

    register_model()
    arguments = list(arguments)
    is_run = not arguments or arguments[0] not in ("ls", "validate")
    if _asks_only_for_ours(arguments):
        _index_only_included_tasks()
        arguments += ["--include_path", str(yaml_folder())]
    arguments += _device(arguments)
    sys.argv = [
        "lm_eval",
        *(
            ["run"]
            if is_run
            and arguments
            and arguments[0].startswith("-")
            and "--help" not in arguments
            and "-h" not in arguments
            else []
        ),
        *arguments,
    ]
    cli_evaluate()


def _device(arguments: Sequence[str]) -> list[str]:
    """The CPU where it is what an encoder checkpoint runs on and nobody named a device: lm_eval's own default is cuda:0."""
    named = any(
        word.partition("=")[0] in ("--device", "--config", "-C", "--help", "-h") for word in arguments
    )
    ours = "--model=xscale" in arguments or ("--model", "xscale") in pairwise(arguments)
    if named or not ours:
        return []
    import torch

    return [] if torch.cuda.is_available() else ["--device", "cpu"]


def _asks_only_for_ours(arguments: Sequence[str]) -> bool:
    """Whether every task named after `--tasks` is one of xscale's."""
    for flag in ("--tasks", "-t"):
        if flag in arguments and "--include_path" not in arguments:
            following = arguments[arguments.index(flag) + 1 :]
            end = next((i for i, word in enumerate(following) if word.startswith("-")), len(following))
            names = [name for word in following[:end] for name in word.split(",") if name]
            return bool(names) and all(
                name.startswith((*(group_name(t) for t in targets()), "xtreme")) for name in names
            )
    return False


def _index_only_included_tasks() -> None:
    """Spare lm_eval the index of its own tasks, which takes longer than a small evaluation."""
    import lm_eval.tasks

    class IncludedTasks(lm_eval.tasks.TaskManager):  # type: ignore[name-defined]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "include_defaults": False})

    lm_eval.tasks.TaskManager = IncludedTasks
