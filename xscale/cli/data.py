"""Commands about data: `doctor`, `fetch` and `lm-eval-path`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xscale.terminal import tell

if TYPE_CHECKING:
    from xscale.splits import Split

TargetsOption = Annotated[
    list[str] | None, typer.Option("--target", help="a target's rows; may be given again", metavar="NAME")
]
TasksOption = Annotated[
    list[str] | None, typer.Option("--task", help="a training task; may be given again", metavar="NAME")
]
LanguagesOption = Annotated[
    str | None, typer.Option("--languages", help="of the targets: official, all, or codes such as de,sw")
]
ExperimentOption = Annotated[
    str | None, typer.Option("--experiment", help="what this experiment needs", metavar="EXPERIMENT")
]


def doctor(
    data: Annotated[
        str | None, typer.Option("--data", help="hub, bundled or a mirror folder", metavar="SOURCE")
    ] = None,
    target: TargetsOption = None,
    task: TasksOption = None,
    languages: LanguagesOption = None,
    experiment: ExperimentOption = None,
    timeout: Annotated[
        float, typer.Option("--timeout", help="seconds that a set has to answer", min=0.1)
    ] = 60.0,
    revisions: Annotated[
        bool, typer.Option("--revisions", help="print the commit that each set is at on the hub now")
    ] = False,
) -> None:
    """Read the first rows of every set (or of those named) from the data source, and say what fails. Exit code 2 when
    something does; that a mirror does not have all there is counts only for what is named.
    """
    from harness_tasks.sources import source_name
    from xscale.doctor import ABSENT, examine, hub_revisions

    splits = _splits(experiment, target, task, languages)
    if revisions:
        for dataset, revision in hub_revisions(splits):
            tell(f"{dataset}\t{revision}")
        return
    named = bool(experiment or target or task)
    fit, failed = 0, 0
    for split, problem in examine(splits, source_name(data), timeout):
        fit += problem is None
        failed += problem is not None and (named or problem != ABSENT)
        tell(f"ok     {split}" if problem is None else f"FAILS  {split}: {problem}")
    tell(f"{source_name(data)}: {fit} of {len(splits)} splits are there and fit")
    if failed:
        raise typer.Exit(2)


def fetch(
    to: Annotated[Path, typer.Option("--to", help="the mirror folder", metavar="DIR")],
    target: TargetsOption = None,
    task: TasksOption = None,
    languages: LanguagesOption = None,
    experiment: ExperimentOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be fetched")] = False,
) -> None:
    """Copy what targets, training tasks or an experiment (its base model too) need from the hub into a mirror folder, for
    machines without network. A stopped fetch goes on where it was.
    """
    from xscale.errors import UserError
    from xscale.fetch import fetch as fetch_into

    if not (experiment or target or task):
        raise UserError("fetch: say what: --target NAME, --task NAME or --experiment FILE")
    splits, base = _splits(experiment, target, task, languages), _hub_base(experiment)
    if dry_run:
        for split in splits:
            tell(split)
        if base is not None:
            tell(f"base: {base}")
        tell(f"{len(splits)} splits; nothing was fetched")
        return
    for line in fetch_into(splits, to, base):
        tell(line)
    tell(f"now: --data {to}, or XSCALE_DATA={to.resolve()}")


def lm_eval_path() -> None:
    """Print the folder with the task files, for `lm_eval --include_path`: an lm_eval of another environment, or Python started
    with -S or -I. Elsewhere plain `lm_eval` finds the tasks by itself.
    """
    from harness_tasks.tasks import yaml_folder

    tell(yaml_folder())


def _hub_base(experiment: str | None) -> str | None:
    """The base model of an experiment, where it is one of the hub's."""
    from xscale.experiment import find_experiment, read_experiment
    from xscale.hub import is_repository

    base = read_experiment(find_experiment(experiment)).base if experiment is not None else ""
    return base if is_repository(base.partition("@")[0]) else None


def _splits(
    experiment: str | None, targets: list[str] | None, tasks: list[str] | None, languages: str | None
) -> list[Split]:
    from xscale.experiment import find_experiment, read_experiment
    from xscale.splits import chosen_splits

    loaded = read_experiment(find_experiment(experiment)) if experiment is not None else None
    return chosen_splits(loaded, targets or (), tasks or (), languages)
