"""Plan -> train -> register -> evaluate, each step skipped where its outcome is there already."""

from __future__ import annotations

import contextlib
import math
import os
import shlex
import sys
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from filelock import Timeout

from harness_tasks.sources import has_split, resolve_source, source_name
from harness_tasks.targets import Target, get_target, targets
from xscale.errors import JobsFailed, UserError
from xscale.evaluation.answers import Selection
from xscale.evaluation.processes import is_first_process, several_processes, wait_for_all_processes
from xscale.experiment import Experiment, Recipe, plan
from xscale.journal import journal_of, read_events, write_event
from xscale.locks import entry_lock, runs_at_work
from xscale.manifest import (
    Entry,
    read_manifest_or_empty,
    refuse_remote_code,
)
from xscale.progress import counted_jobs, job_done, listeners, say
from xscale.workspace import (
    Workspace,
    drop_weights,
    is_dropped,
    is_evaluated,
    refuse_foreign,
    refuse_mixing,
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


def default_selection(source: str, wanted: Sequence[str] = (), named: Collection[str] = ()) -> Selection:
    """All targets with choices that the source has, all rows: every official language, or those of the `wanted` ones that it
    has; of the others those that are `named` (of entries that say their targets).

    Raises `UserError` for a wanted language that no target has there.
    """
    chosen: dict[str, tuple[tuple[str, ...], int | None]] = {}
    for name, target in targets().items():
        if not target.has_choices and name not in named:
            continue
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
    recipes: Sequence[Recipe],
    workspace: Workspace,
    *,
    keep: Keep = "all",
    on_checked: Callable[[], None] | None = None,
    again: Collection[str] = (),
) -> None:
    """Train and register what is missing, and the ids of `again`. All recipes are checked before the first is trained, then
    `on_checked` is called.

    Runs that work in one folder at the same time share the units: one that another run is making is left to it, and everything
    else is done first. A recipe that fails does not stop the others; `JobsFailed` is raised at the end. Of several processes
    that train together, one that fails ends them all.
    """
    missing = {recipe.id for recipe in untrained(recipes, workspace)} | set(again)
    todo = [recipe for recipe in recipes if recipe.id in missing]
    failures: dict[str, str] = {}
    check_recipes(todo)
    refuse_mixing(recipes, todo, workspace)
    if on_checked is not None and is_first_process():
        on_checked()
    pending, wait = list(todo), False
    with counted_jobs(len(todo)):
        while pending:
            left = []
            for number, recipe in enumerate(pending):
                try:
                    if train_only(recipe, workspace, keep=keep, wait=wait):
                        job_done()
                    else:
                        left.append(recipe)
                except Exception as error:
                    failures[recipe.id] = last_line(error)
                    job_done()
                    say(f"train {recipe.id}: failed: {failures[recipe.id]}")
                    if several_processes() or ("--debug" in sys.argv and not isinstance(error, UserError)):
                        raise
                if wait:
                    left += pending[number + 1 :]
                    break
            wait = len(left) == len(pending)  # others are at work on everything that is left
            pending = left
    if is_first_process():
        trained = [recipe for recipe in recipes if not {recipe.id, recipe.baseline} & failures.keys()]
        register(trained, workspace, {recipe.id for recipe in todo})
    wait_for_all_processes()
    raise_failures(failures, len(todo))


def check_recipes(recipes: Sequence[Recipe]) -> None:
    """Raise `UserError` for what can be known before training, before anything is written."""
    if recipes:
        from xscale.training.phases import check_base
        from xscale.training.samples import check_recipe

        for recipe in recipes:
            check_base(recipe)
            check_recipe(recipe)


def train_only(recipe: Recipe, workspace: Workspace, *, keep: Keep = "all", wait: bool = True) -> bool:
    """Make a recipe's checkpoint, and register nothing. False where a part of it is being made by another run, and we do not
    `wait` for that."""
    from xscale.training.phases import train_recipe

    with _logged_training(workspace, recipe.id) as begins:
        folder = workspace.checkpoints / recipe.id
        return train_recipe(recipe, folder, keep=keep, wait=wait, begins=begins) is not None


@contextlib.contextmanager
def _logged_training(workspace: Workspace, name: str) -> Iterator[Callable[[str, str], None]]:
    """Write to the log when a unit is begun, how far it is, and when the work on `name` ends. Of several processes that work
    together the first one writes."""
    journal, start, begun = journal_of(workspace.manifest), time.monotonic(), []

    def begins(part: str, digest: str) -> None:
        begun.append(part)
        write_event(journal, "started", kind="train", id=name, part=part, unit=digest)

    with _one_message(journal, "train", name), _progress_in(journal):
        yield begins
    if begun and is_first_process():
        write_event(journal, "done", kind="train", id=name, seconds=round(time.monotonic() - start, 2))


def raise_failures(failures: Mapping[str, str], jobs: int) -> None:
    """Raise `JobsFailed` when there are any: each job with its reason, and what repeats just them."""
    if failures and len(failures) == jobs and len(set(failures.values())) == 1:
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
def _progress_in(journal: Path) -> Iterator[None]:
    """Write every ten seconds to the log how far the work is."""

    def tell(progress: dict[str, Any]) -> None:
        write_event(journal, "progress", **progress)

    if not is_first_process():
        yield
        return
    listeners.append(tell)
    try:
        yield
    finally:
        listeners.remove(tell)


@contextlib.contextmanager
def _one_message(journal: Path, kind: str, name: str) -> Iterator[None]:
    """Write to the log why the block failed. Of several processes that work together, those that fail only because another one
    is gone raise what that one said."""
    before = len(read_events(journal)) if several_processes() else 0
    try:
        yield
    except BaseException as error:
        if several_processes() and isinstance(error, Exception) and not isinstance(error, UserError):
            for event in read_events(journal)[before:]:
                if event["event"] == "failed" and event.get("group") == _group():
                    raise UserError(str(event.get("problem"))) from None
        _write_failure(journal, kind, name, error)
        raise


def _group() -> str | None:
    """What names the processes that work together, in each of them; None for a process of its own."""
    names = ("MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID")
    return ":".join(os.environ.get(name, "") for name in names) if several_processes() else None


def _write_failure(journal: Path, kind: str, name: str, error: BaseException) -> None:
    trace = None
    if not isinstance(error, UserError):
        trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    if isinstance(
        error, KeyboardInterrupt | SystemExit
    ):  # Ctrl-C, or a scheduler: nothing is wrong with the work
        write_event(journal, "stopped", kind=kind, id=name)
        return
    fields = {"kind": kind, "id": name, "problem": last_line(error), "traceback": trace, "group": _group()}
    write_event(journal, "failed", **fields)


def evaluate(
    entries: Sequence[Entry],
    chosen: Selection,
    source: str,
    workspace: Workspace,
    *,
    trust_remote_code: bool = False,
    shared_trunk: bool = True,
) -> list[str]:
    """Evaluate the entries whose stored result does not count (any more); returns the ids that were evaluated here.

    Entries with the same frozen lower layers are computed together unless `shared_trunk` is off. Runs that work in one folder at
    the same time share the entries. An entry that fails does not stop the others; `JobsFailed` is raised at the end.
    Raises `UserError` for an entry that would run the checkpoint's own code, unless `trust_remote_code`.
    """
    if not trust_remote_code:
        refuse_remote_code(entries, workspace.manifest)
    failures: dict[str, str] = {}
    pending = unevaluated(entries, chosen, source, workspace, failures)
    asked = len(pending) + len(failures)
    for folder in (workspace.results / entry.id for entry in pending):
        if folder.is_symlink():
            raise UserError(
                f"{folder}: a symbolic link; results are only written below {workspace.results}; remove it"
            )
    for entry in pending:
        if is_dropped(workspace.checkpoints / entry.id):
            failures[entry.id] = (
                f"{entry.id}: its weights were dropped after its evaluation (keep: predictions); `xscale run` with its "
                "experiment, asking for these rows and languages, trains it again"
            )
    pending = [entry for entry in pending if entry.id not in failures]
    for name, problem in failures.items():
        say(f"evaluate {name}: failed: {problem}")
    done: list[str] = []
    with (
        counted_jobs(len(pending)),
        runs_at_work(workspace.results) if pending else contextlib.nullcontext(lambda: 1) as runs,
    ):
        while pending:
            together = contextlib.nullcontext(pending)
            with together if several_processes() else _share(pending, workspace, runs()) as share:
                done += _evaluate(share, chosen, source, workspace, shared_trunk, failures)
            others = [entry for entry in pending if entry not in share and entry.id not in failures]
            pending = unevaluated(others, chosen, source, workspace, failures)
            job_done(len(others) - len(pending))
    raise_failures(failures, asked)
    return done


@contextlib.contextmanager
def _share(pending: Sequence[Entry], workspace: Workspace, runs: int) -> Iterator[list[Entry]]:
    """The part of the entries that this one of several runs takes next: of those that nobody is at, as many as each run has to
    do, theirs for the length of the block; where somebody is at all of them, the first, which is then waited for."""
    share: list[Entry] = []
    with contextlib.ExitStack() as held:
        for entry in pending:
            if len(share) == math.ceil(len(pending) / runs):
                break
            lock = entry_lock(workspace.results, entry.id)
            with contextlib.suppress(Timeout):
                lock.acquire(timeout=0)
                held.callback(lock.release)
                share.append(entry)
        yield share or list(pending[:1])


def _evaluate(
    share: Sequence[Entry],
    chosen: Selection,
    source: str,
    workspace: Workspace,
    shared_trunk: bool,
    failures: dict[str, str],
) -> list[str]:
    """Evaluate entries together; returns the ids that were evaluated here. Each that has no result now, and why, is put into
    `failures`."""
    from xscale.evaluation.sweep import evaluate_entries

    journal, start = journal_of(workspace.manifest), time.monotonic()
    selections = [(entry, selection_of(entry, chosen)) for entry in share]
    for entry in share if is_first_process() else ():
        write_event(journal, "started", kind="evaluate", id=entry.id)
    problems: dict[str, Exception] = {}
    together = _one_message(journal, "evaluate", share[0].id) if several_processes() else None
    with together or contextlib.nullcontext(), _progress_in(journal):
        mine = evaluate_entries(
            selections,
            source,
            workspace.manifest,
            workspace.results,
            shared_trunk=shared_trunk,
            failures=None if several_processes() or "--debug" in sys.argv else problems,
        )
    stored = [
        entry.id
        for entry in share
        if entry.id not in problems and is_evaluated(entry, chosen, source, workspace)
    ]
    for name in (entry.id for entry in share if entry.id not in stored):
        problems.setdefault(name, RuntimeError("no result was stored"))
    done = [name for name in stored if name in mine]
    seconds = round((time.monotonic() - start) / max(1, len(done)), 2)
    for name in stored if is_first_process() else ():
        if name in done:
            write_event(journal, "done", kind="evaluate", id=name, seconds=seconds)
        else:  # another run did it meanwhile, and says so
            write_event(journal, "put off", kind="evaluate", id=name)
    if is_first_process():
        _track(done, workspace)
    for name, problem in problems.items():
        failures[name] = last_line(problem)
        say(f"evaluate {name}: failed: {failures[name]}")
        _write_failure(journal, "evaluate", name, problem)
    return done


def _track(names: Sequence[str], workspace: Workspace) -> None:
    """Log what was evaluated to the experiment trackers that are asked for (XSCALE_TRACKERS)."""
    if not names or not os.environ.get("XSCALE_TRACKERS"):
        return
    from xscale.leaderboard.figures import figures
    from xscale.leaderboard.panels import build_panels, load_results
    from xscale.training.tracking import log_figures

    stored = load_results(read_manifest_or_empty(workspace.manifest), workspace.results)
    panels = build_panels([result for result in stored if result.entry.id in names and result.status == "ok"])
    found: dict[str, dict[str, float]] = {name: {} for name in names}
    for figure in figures(panels, names, draws=200):  # the intervals are not logged
        part = figure.languages[0] if figure.languages != figure.panel.languages else figure.subset
        found[figure.id].setdefault(f"{figure.target}/{part}", figure.value)
    for name, values in found.items():
        log_figures(name, values, workspace.manifest.parent / "logs")


Keep = Literal["predictions", "heads", "all"]
Executor = Callable[[Sequence[Recipe], Selection, str, Workspace], None]


def run(
    experiment: Experiment,
    data: str | None,
    workspace: Workspace,
    executor: Executor | None = None,
    *,
    arms: Sequence[str] = (),
    sizes: Sequence[int] = (),
    command: str | None = None,
) -> list[Entry]:
    """All of it: train the arms, register them, evaluate them. Returns the experiment's entries of the manifest.

    `executor` does the training and evaluation elsewhere (`xscale.executors.jobs`); without one they are done here, in order.
    `arms` and `sizes` ask for a part, with its baselines. `command` is noted as what goes on with the run, in place of this
    process's own.
    """
    source = experiment_source(experiment, data)
    recipes = plan(experiment, source, arms, sizes)
    present = {entry.id for entry in read_manifest_or_empty(workspace.manifest).entries}
    refuse_foreign(recipes, present, workspace)
    if executor is not None:
        _note_plan(experiment, recipes, source, workspace, command)
        executor(recipes, selection(experiment), source, workspace)
        return registered(recipes, workspace)
    chosen = selection(experiment)
    failed: list[JobsFailed] = []
    again = _dropped_too_early(recipes, chosen, source, workspace)
    check_recipes(untrained(recipes, workspace))
    batches = [[recipe] for recipe in recipes] if experiment.keep == "predictions" else [recipes]
    noted = False
    with counted_jobs(_jobs_left(recipes, again, chosen, source, workspace)):
        for batch in batches:
            try:
                note = None if noted else lambda: _note_plan(experiment, recipes, source, workspace, command)
                train(batch, workspace, keep=experiment.keep, on_checked=note, again=again)
            except JobsFailed as error:
                failed.append(error)  # what could be trained is evaluated first
            noted = True
            try:
                evaluate(_registered(batch, workspace), chosen, source, workspace)
            except JobsFailed as error:
                failed.append(error)
            if experiment.keep == "predictions" and is_first_process():
                for recipe in batch:
                    drop_if_evaluated(recipe, chosen, source, workspace)
            wait_for_all_processes()
    entries = _registered(recipes, workspace)
    if failed:
        raise JobsFailed("; ".join(dict.fromkeys(map(str, failed))))
    return entries


def _jobs_left(
    recipes: Sequence[Recipe],
    again: Collection[str],
    chosen: Selection,
    source: str,
    workspace: Workspace,
) -> int:
    """How many trainings and evaluations a run has to do."""
    missing = {recipe.id for recipe in untrained(recipes, workspace)} | set(again)
    there = [entry for entry in registered(recipes, workspace) if entry.id not in missing]
    done = len(there) - len(unevaluated(there, chosen, source, workspace, {}))
    return len(missing) + len(recipes) - done


def _registered(recipes: Sequence[Recipe], workspace: Workspace) -> list[Entry]:
    """The manifest's entries of the recipes. Where it has lost some since they were trained (it was deleted, or put back as it
    had been before), they are written again, and it is said."""
    present = {entry.id for entry in registered(recipes, workspace)}
    trained = {
        recipe.id for recipe in recipes if (workspace.checkpoints / recipe.id / "recipe.json").is_file()
    }
    lost = [
        recipe
        for recipe in recipes
        if recipe.id in trained - present and recipe.baseline in (None, *trained, *present)
    ]
    if lost and is_first_process():
        say(
            f"{workspace.manifest}: has lost {', '.join(recipe.id for recipe in lost)} since the training; written again "
            "(entries of others, if there were any, are not: put a copy back)"
        )
        register(lost, workspace, set())
    wait_for_all_processes()
    return registered(recipes, workspace)


def _dropped_too_early(
    recipes: Sequence[Recipe], chosen: Selection, source: str, workspace: Workspace
) -> set[str]:
    """Ids of checkpoints without weights (`keep: predictions`) whose stored results are not all that is asked for now."""
    entries = {entry.id: entry for entry in registered(recipes, workspace)}
    return {
        recipe.id
        for recipe in recipes
        if is_dropped(workspace.checkpoints / recipe.id)
        and not (recipe.id in entries and is_evaluated(entries[recipe.id], chosen, source, workspace))
    }


def drop_if_evaluated(recipe: Recipe, chosen: Selection, source: str, workspace: Workspace) -> None:
    """Drop the weights of a checkpoint whose stored result is all that is asked for (`keep: predictions`)."""
    for entry in registered([recipe], workspace):
        if is_evaluated(entry, chosen, source, workspace):
            drop_weights(workspace.checkpoints / recipe.id)


def _note_plan(
    experiment: Experiment, recipes: Sequence[Recipe], source: str, workspace: Workspace, command: str | None
) -> None:
    journal = journal_of(workspace.manifest)
    plan_of: dict[str, Any] = {
        "experiment": experiment.name,
        "recipes": [[recipe.id, recipe.size] for recipe in recipes],
        "data": source_name(source),
        "asks": {target: [list(codes), limit] for target, (codes, limit) in selection(experiment).items()},
    }
    known = [
        e for e in read_events(journal) if e["event"] == "planned" and e.get("experiment") == experiment.name
    ]
    question = {
        "subset": experiment.question.subset,
        "targets": list(experiment.question.targets or experiment.targets),
    }
    plan_of["question"] = question
    if not known or any(known[-1].get(name) != plan_of[name] for name in plan_of):
        write_event(journal, "planned", **plan_of, command=command or shlex.join(["xscale", *sys.argv[1:]]))


def work_left(
    experiment: Experiment,
    data: str | None,
    workspace: Workspace,
    *,
    arms: Sequence[str] = (),
    sizes: Sequence[int] = (),
) -> list[str]:
    """What `run` would do, one line a step; trains and evaluates nothing. A unit that several checkpoints share is named once."""
    source = experiment_source(experiment, data)
    recipes = plan(experiment, source, arms, sizes)
    missing = untrained(recipes, workspace)
    check_recipes(missing)
    known = {entry.id: entry for entry in read_manifest_or_empty(workspace.manifest).entries}
    chosen = selection(experiment)
    documents = ", ".join(
        f"{target} ({len(languages)} languages, {'all' if limit is None else limit} rows)"
        for target, (languages, limit) in chosen.items()
    )
    lines: list[str] = []
    named: set[str] = set()
    for recipe in recipes:
        if recipe in missing:
            lines.append(_training_left(recipe, workspace, named))
        if (
            recipe in missing
            or recipe.id not in known
            or not is_evaluated(known[recipe.id], chosen, source, workspace)
        ):
            lines.append(f"evaluate {recipe.id}: {documents}")
    return lines


def _training_left(recipe: Recipe, workspace: Workspace, named: set[str]) -> str:
    """What is to be trained for a recipe, but for the units in `named`, to which it is added."""
    from xscale.training.phases import precision_here
    from xscale.training.units import CAUSAL, ENCODER, UNITS, digests_of, unit_record

    steps = []
    for part, digest in digests_of(recipe, precision_here()).items():
        if digest in named or unit_record(workspace.checkpoints / UNITS, digest):
            continue
        named.add(digest)
        if part in (ENCODER, CAUSAL):
            steps.append(f"{recipe.size} of {'+'.join(recipe.intermediate)}" if recipe.size else "the base")
        else:
            steps.append(f"{part} from {'+'.join(recipe.targets[part].train)}")
    if not steps:
        return f"link {recipe.id}: all its units are there, or are made for another checkpoint"
    return f"train {recipe.id}: {', then '.join(steps)}"
