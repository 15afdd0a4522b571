"""Plan -> train -> register -> evaluate, each step skipped where its outcome is there already."""

from __future__ import annotations

import contextlib
import shlex
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from filelock import FileLock

from harness_tasks.sources import has_split, resolve_source
from harness_tasks.targets import Target, get_target, targets
from xscale.base_models import resolve_base
from xscale.errors import JobsFailed, UserError
from xscale.evaluation.processes import is_first_process
from xscale.evaluation.runner import Selection
from xscale.experiment import Experiment, Recipe, plan
from xscale.journal import journal_of, read_events, write_event
from xscale.manifest import (
    Entry,
    read_manifest_or_empty,
    refuse_remote_code,
)
from xscale.progress import listeners, say
from xscale.workspace import (
    Workspace,
    is_evaluated,
    is_trained,
    refuse_foreign,
    register,
    registered,
    selection_of,
    unevaluated,
    untrained,
)


def experiment_source(experiment: Experiment, override: str | None) -> str:
    """The data source: `--data`, else the experiment's `data`, else XSCALE_DATA, else the hub."""
    return resolve_source(override or experiment.data)


def selection(experiment: Experiment) -> Selection:
    """Target -> (languages, documents a language) that the experiment evaluates."""
    chosen = {}
    for target in experiment.targets:
        evaluation = experiment.evaluation.get(target)
        languages = (
            tuple(evaluation.languages)
            if evaluation and evaluation.languages
            else get_target(target).languages
        )
        chosen[str(target)] = (languages, evaluation.limit if evaluation else None)
    return chosen


def default_selection(source: str, wanted: Sequence[str] = ()) -> Selection:
    """All targets that the source has, all rows: every official language, or those of the `wanted` ones that it has.

    Raises `UserError` for a wanted language that no target has there.
    """
    chosen: dict[str, tuple[tuple[str, ...], int | None]] = {}
    for name, target in targets().items():
        languages = tuple(code for code in wanted if code in target.places) if wanted else target.languages
        there = tuple(code for code in languages if has_split(*_test_set(target, code), source))
        if wanted and there:
            chosen[name] = (there, None)
        elif there and target.pivot_language in there:
            chosen[name] = (languages, None)  # one that is missing is an error, not a smaller result
    for code in wanted:
        if not any(code in languages for languages, _ in chosen.values()):
            having = [name for name, target in targets().items() if code in target.places]
            raise UserError(
                f"--languages: {source} has no test set in {code!r} of {', '.join(having)}"
                if having
                else f"--languages: no target has {code!r}; `xscale ls languages` lists what there is"
            )
    return chosen


def _test_set(target: Target, language: str) -> tuple[str, str, str]:
    place = target.places[language]
    return place.dataset, place.config, place.test


def train(
    recipes: Sequence[Recipe], workspace: Workspace, on_checked: Callable[[], None] | None = None
) -> None:
    """Train and register what is missing. All recipes are checked before the first is trained, then `on_checked` is called.

    A recipe that fails does not stop the others; `JobsFailed` is raised at the end.
    """
    todo = untrained(recipes, workspace)
    failures: dict[str, str] = {}
    check_recipes(todo)
    if on_checked is not None and is_first_process():
        on_checked()
    for recipe in todo:
        try:
            train_only(recipe, workspace)
        except Exception as error:
            failures[recipe.id] = last_line(error)
            say(f"train {recipe.id}: failed: {failures[recipe.id]}")
            if "--debug" in sys.argv and not isinstance(error, UserError):
                raise
    if is_first_process():
        trained = [recipe for recipe in recipes if not {recipe.id, recipe.baseline} & failures.keys()]
        register(trained, workspace, {recipe.id for recipe in todo})
    raise_failures(failures, len(todo))


def check_recipes(recipes: Sequence[Recipe]) -> None:
    """Raise `UserError` for what can be known before training."""
    if recipes:
        from xscale.training.samples import check_recipe

        for recipe in recipes:
            resolve_base(recipe.base)
            check_recipe(recipe)


def train_only(recipe: Recipe, workspace: Workspace) -> None:
    """Train a recipe unless it is trained, under its lock, and register nothing."""
    from xscale.training.phases import train_recipe

    folder = workspace.checkpoints / recipe.id
    workspace.checkpoints.mkdir(parents=True, exist_ok=True)
    lock = FileLock(workspace.checkpoints / f".{recipe.id}.lock")
    with lock if is_first_process() else contextlib.nullcontext():
        if not is_trained(recipe, folder):
            with _logged(workspace, "train", [recipe.id]):
                train_recipe(recipe, folder)


def raise_failures(failures: Mapping[str, str], jobs: int) -> None:
    """Raise `JobsFailed` when there are any: each job with its reason, and what repeats just them."""
    if failures and jobs == 1:
        raise JobsFailed(next(iter(failures.values())))
    if failures:
        listed = "; ".join(f"{name}: {reason}" for name, reason in failures.items())
        raise JobsFailed(
            f"{len(failures)} of {jobs} jobs failed: {listed}; the same command repeats just them (`xscale status` lists them)"
        )


def last_line(error: BaseException) -> str:
    """An exception in one line: a UserError's own, of others the type and the last line."""
    lines = str(error).strip().splitlines()
    text = " ".join(str(error).split()) if isinstance(error, UserError) else (lines or [""])[-1]
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"


@contextlib.contextmanager
def _logged(workspace: Workspace, kind: str, ids: Sequence[str]) -> Iterator[None]:
    """Write to the workspace's log when the work on `ids` starts, is done or fails, and every ten seconds how far it is."""
    journal = journal_of(workspace.manifest)
    start = time.monotonic()

    def tell(progress: dict[str, Any]) -> None:
        write_event(journal, "progress", **progress)

    for name in ids:
        write_event(journal, "started", kind=kind, id=name)
    listeners.append(tell)
    try:
        yield
    except BaseException as error:
        trace = None if isinstance(error, UserError) else traceback.format_exc()
        for name in ids:
            write_event(journal, "failed", kind=kind, id=name, problem=last_line(error), traceback=trace)
        raise
    finally:
        listeners.remove(tell)
    seconds = round((time.monotonic() - start) / max(1, len(ids)), 2)
    for name in ids:
        write_event(journal, "done", kind=kind, id=name, seconds=seconds)


def evaluate(
    entries: Sequence[Entry],
    chosen: Selection,
    source: str,
    workspace: Workspace,
    *,
    trust_remote_code: bool = False,
    shared_trunk: bool = True,
) -> list[str]:
    """Evaluate the entries whose stored result does not count (any more); returns the ids that were evaluated.

    Entries with the same frozen lower layers are computed together unless `shared_trunk` is off.
    Raises `UserError` for an entry that would run the checkpoint's own code, unless `trust_remote_code`.
    """
    if not trust_remote_code:
        refuse_remote_code(entries, workspace.manifest)
    todo = unevaluated(entries, chosen, source, workspace)
    for folder in (workspace.results / entry.id for entry in todo):
        if folder.is_symlink():
            raise UserError(
                f"{folder}: a symbolic link; results are only written below {workspace.results}; remove it"
            )
    if not todo:
        return []
    from xscale.evaluation.sweep import evaluate_entries

    selections = [(entry, selection_of(entry, chosen)) for entry in todo]
    with _logged(workspace, "evaluate", [entry.id for entry in todo]):
        return evaluate_entries(
            selections, source, workspace.manifest, workspace.results, shared_trunk=shared_trunk
        )


Executor = Callable[[Sequence[Recipe], Selection, str, Workspace], None]


def run(
    experiment: Experiment, data: str | None, workspace: Workspace, executor: Executor | None = None
) -> list[Entry]:
    """All of it: train the ladder, register it, evaluate it. Returns the experiment's entries of the manifest.

    `executor` does the training and evaluation elsewhere (`xscale.executors.jobs`); without one they are done here, in order.
    """
    source = experiment_source(experiment, data)
    recipes = plan(experiment, source)
    present = {entry.id for entry in read_manifest_or_empty(workspace.manifest).entries}
    refuse_foreign(recipes, present, workspace)
    if executor is not None:
        _note_plan(experiment, recipes, workspace)
        executor(recipes, selection(experiment), source, workspace)
        return registered(recipes, workspace)
    failed = None
    try:
        train(recipes, workspace, on_checked=lambda: _note_plan(experiment, recipes, workspace))
    except JobsFailed as error:
        failed = error  # what could be trained is evaluated first
    entries = registered(recipes, workspace)
    evaluate(entries, selection(experiment), source, workspace)
    if failed is not None:
        raise failed
    return entries


def _note_plan(experiment: Experiment, recipes: Sequence[Recipe], workspace: Workspace) -> None:
    journal = journal_of(workspace.manifest)
    plan_of = {"experiment": experiment.name, "recipes": [[recipe.id, recipe.size] for recipe in recipes]}
    known = [
        e for e in read_events(journal) if e["event"] == "planned" and e.get("experiment") == experiment.name
    ]
    if not known or known[-1].get("recipes") != plan_of["recipes"]:
        write_event(journal, "planned", **plan_of, command=shlex.join(["xscale", *sys.argv[1:]]))


def work_left(experiment: Experiment, data: str | None, workspace: Workspace) -> list[str]:
    """What `run` would do, one line a step; trains and evaluates nothing."""
    source = experiment_source(experiment, data)
    recipes = plan(experiment, source)
    todo = {recipe.id for recipe in untrained(recipes, workspace)}
    if todo:
        from xscale.training.samples import check_recipe

        for recipe in recipes:
            check_recipe(recipe)
    known = {entry.id: entry for entry in read_manifest_or_empty(workspace.manifest).entries}
    chosen = selection(experiment)
    documents = ", ".join(
        f"{target} ({len(languages)} languages, {'all' if limit is None else limit} rows)"
        for target, (languages, limit) in chosen.items()
    )
    lines = []
    for recipe in recipes:
        if recipe.id in todo:
            lines.append(
                f"train {recipe.id}: {recipe.size} of {'+'.join(recipe.intermediate)}"
                + "".join(
                    f", then {target} from {'+'.join(plan.train)}"
                    for target, plan in recipe.targets.items()
                    if plan.train
                )
            )
        if (
            recipe.id in todo
            or recipe.id not in known
            or not is_evaluated(known[recipe.id], chosen, source, workspace)
        ):
            lines.append(f"evaluate {recipe.id}: {documents}")
    return lines
