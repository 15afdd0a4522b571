"""Whether manifest, checkpoints and results still belong together, and the repairs that lose nothing."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from filelock import FileLock, Timeout

from harness_tasks.parsing import read_json
from harness_tasks.rows import Options, build_documents
from harness_tasks.sources import DataError, source_here
from harness_tasks.subsets import load_membership
from harness_tasks.targets import get_target
from harness_tasks.tasks import task_name
from xscale.capabilities import verified
from xscale.errors import UserError
from xscale.evaluation.answers import PARTIAL, SETTINGS, Selection, completed, result_key, results_of
from xscale.evaluation.models import build_model, load_tasks
from xscale.evaluation.plausible import implausible
from xscale.evaluation.predictions import (
    PREDICTIONS,
    Predictions,
    prediction_files,
    read_predictions,
    second_of,
)
from xscale.files import HALF_WRITTEN, REPLACED, SET_ASIDE, move_aside, restore, sha256_of_folder
from xscale.manifest import Entry, checkpoint_folder, read_manifest
from xscale.progress import say
from xscale.workspace import Workspace, is_dropped

# of a log-probability of one text that is computed again in batches of other widths, by the recorded precision
TOLERANCES = {"fp32": 2e-3, "fp16": 2e-2, "bf16": 1e-1}
_SHARE_OF_ROWS = 0.01
_SHARED_NAME = re.compile(r"[0-9a-f]{64}\.safetensors")


def check_workspace(workspace: Workspace, *, fix: bool = False, deep: bool = False) -> list[str]:
    """One line for each defect of manifest, checkpoints and results; empty when all is well.

    Looked at: folders and their hashes; whether predictions can be read, are whole, agree with their own
    log-probabilities, with the data's rows and labels, and with lm_eval's metrics computed anew; whether the data, task
    and library versions they were made with are today's; checkpoints and results that no entry names; what killed
    processes left. `fix` removes leftovers and moves damaged or stale results to `results/.set-aside/`, so that `xscale
    eval` makes them anew; only what it could not mend is returned. `deep` also evaluates a random 1% of each result's
    rows again. Raises `UserError` when the manifest itself cannot be read.
    """
    entries = read_manifest(workspace.manifest).entries
    findings = []
    for listed in entries:
        entry, defects = _checkpoint_defects(listed, workspace)
        findings += defects
        results = workspace.results / entry.id
        if not defects and not results.exists():
            findings += _never_evaluable(entry, workspace)
        if not results.exists() or _is_under_way(results):
            continue
        in_result = result_defects(entry, results, workspace.manifest)
        for path in list(in_result) if deep and not defects else ():
            if not in_result[path] and not _other_settings(entry, path, workspace.manifest):
                in_result[path] = _evaluated_again(entry, path, workspace)
        for path, in_file in in_result.items():
            if in_file and fix:
                _set_aside_result(results, path, in_file[0])
            else:
                findings += in_file
    known = {entry.id for entry in entries}
    for place in (workspace.checkpoints, workspace.results):
        findings += [
            f"{path}: no entry of the manifest names it; add it or delete it"
            for path in _orphans(place, known)
        ]
    for path in unused_weights(workspace) if fix else ():
        say(f"removed {path}, which no checkpoint uses")
        path.unlink(missing_ok=True)
    findings += _interrupted_writes(workspace, fix)
    return findings


def _interrupted_writes(workspace: Workspace, fix: bool) -> list[str]:
    """What stopped processes left. With `fix`, a folder that was about to be replaced is put back or, where the new one is
    there, set aside; half-written files and folders, which hold nothing whole, are removed. Each under its lock."""
    findings = []
    for path in leftovers(workspace):
        if not fix:
            findings.append(f"{path}: left by a process that was stopped; `xscale check --fix` clears it up")
            continue
        with _locked(path) as free:
            if not free or not os.path.lexists(path):
                continue
            name = path.name[1:].removesuffix(path.suffix)
            if path.suffix == REPLACED and restore(path.with_name(name)):
                say(f"put {path.with_name(name)} back: a process was stopped while it replaced it")
            elif path.suffix == REPLACED:
                _set_aside(path, f"{path}: replaced by {name}")
            else:
                say(f"removed {path}, which a stopped process left half-written")
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    return findings


def _is_under_way(results: Path) -> bool:
    """Whether an evaluation is running, or was stopped before it had a result: `xscale eval` goes on from what it kept."""
    lock = results.with_name(f".{results.name}.lock")
    if lock.is_file():
        try:
            with FileLock(lock, timeout=0):
                pass
        except Timeout:
            say(f"{results.name}: is being evaluated; not looked at")
            return True
    stopped = (results / PARTIAL).is_dir() and not (results / PREDICTIONS).exists()
    if stopped:
        say(f"{results.name}: its evaluation was stopped; `xscale eval {results.name}` goes on")
    return stopped


def _never_evaluable(entry: Entry, workspace: Workspace) -> list[str]:
    """Why an entry without results could never have any, as far as its files tell."""
    if is_dropped(workspace.checkpoints / entry.id):
        return []
    try:
        verified(entry, workspace.manifest)
    except UserError as error:
        return [f"{entry.id}: cannot be evaluated: {error}"]
    return []


def _checkpoint_defects(entry: Entry, workspace: Workspace) -> tuple[Entry, list[str]]:
    """The entry, with the hash of a local folder where it has none, and what is wrong with its files."""
    if is_dropped(workspace.checkpoints / entry.id):
        say(f"{entry.id}: its weights were dropped after its evaluation (keep: predictions)")
        return entry, []
    try:
        folder = checkpoint_folder(entry, workspace.manifest)
    except UserError as error:
        return entry, [str(error)]
    if folder is None:
        return entry, []
    say(f"hashing {entry.id}")
    digest = sha256_of_folder(folder)
    if entry.sha256 not in (None, digest):
        return entry, [f"{entry.id}: files in {folder} differ from their sha256; restore or train them again"]
    return entry.model_copy(update={"sha256": digest}), []


def result_defects(entry: Entry, folder: Path, manifest: Path) -> dict[Path, list[str]]:
    """What is wrong with each prediction file of an entry, the gravest first; one line each.

    Answers that were computed with other settings are no defect where others are of today's: they stay for whoever goes back.
    """
    files = prediction_files(folder)
    if not files:
        again = f"`xscale check --fix` sets it aside, `xscale eval {entry.id}` makes it anew"
        return {folder / PREDICTIONS: [f"{folder}: no {PREDICTIONS}; {again}"]}
    current = [path for path in files if not _other_settings(entry, path, manifest)]
    return {
        path: _file_defects(entry, path, manifest) if path in current or not current else [] for path in files
    }


def _other_settings(entry: Entry, path: Path, manifest: Path) -> bool:
    try:
        stored = read_predictions(path)
        weights = bool(entry.sha256) and stored.info.get("weights") != entry.sha256
        return weights or bool(_stale(entry, stored, results_of(path), manifest))
    except (UserError, KeyError, TypeError, ValueError, AttributeError):
        return False  # damaged: a defect of its own


def _file_defects(entry: Entry, path: Path, manifest: Path) -> list[str]:
    again = f"`xscale check --fix` sets it aside, `xscale eval {entry.id}` makes it anew"
    try:
        stored = read_predictions(path)
        if entry.sha256 and stored.info.get("weights") != entry.sha256:
            return [f"{path}: predictions of other weights than the entry's; {again}"]
        defects = implausible(stored)
        if not defects:
            stale = _stale(entry, stored, results_of(path), manifest)
            defects = [f"stale, other {', '.join(stale)} now"] if stale else _differ_from_data(stored)
        if not defects:
            defects = _differ_from_metrics(stored, results_of(path))
    except UserError as error:
        return [str(error)]
    except DataError as error:
        return [f"{path}: cannot be compared with its data: {error}"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        defects = [f"not as xscale writes it ({type(error).__name__}: {error})"]
    return [f"{path}: {defect}; {again}" for defect in defects]


def stored_selection(info: Mapping[str, Any]) -> Selection:
    """Targets, languages and limit that a stored result was computed for."""
    return {
        target: (tuple(languages), info["limit"][target])
        for target, languages in info["fingerprints"].items()
    }


def _stale(entry: Entry, stored: Predictions, results: Path, manifest: Path) -> list[str]:
    """Names of the parts of the key that are not today's; which documents were asked for, the entry's id, and
    the precision of the machine that computed them are no such."""
    chosen = stored_selection(stored.info)
    now = result_key(entry, chosen, _source(stored.info), manifest)
    then = completed(stored.info, results)
    parts = [
        name
        for name in (*SETTINGS, "task_versions", "fingerprints", "asked_as", "anchors")
        if name != "precision" and (name in then or name != "asked_as")  # files of before do not say it
    ]
    return [name for name in parts if now[name] is not None and now[name] != then.get(name)]


def _source(info: Mapping[str, Any]) -> str:
    return source_here(str(info["source"]))


def _of_task(stored: Predictions) -> Iterator[tuple[str, str, str, pa.Table]]:
    """(target, language, task, its predictions)."""
    names = stored.table.column("task").to_pylist()
    for target, (languages, _) in stored_selection(stored.info).items():
        for language in languages:
            name = task_name(target, language)
            yield target, language, name, stored.table.filter(pa.array([task == name for task in names]))


def _differ_from_data(stored: Predictions) -> list[str]:
    defects = []
    limits = stored_selection(stored.info)
    for target, language, name, table in _of_task(stored):
        limit = limits[target][1]
        documents = build_documents(target, language, "test", Options(data=_source(stored.info)))[:limit]
        labels = {document["row"]: document["label"] for document in documents}
        answered = dict(zip(*(table.column(c).to_pylist() for c in ("row", "label")), strict=True))
        if answered.keys() != labels.keys():
            difference = len(labels.keys() ^ answered.keys())
            defects.append(f"{name}: {difference} rows more or fewer than were asked for")
        elif answered != labels:
            wrong = next(row for row in labels if labels[row] != answered[row])
            defects.append(f"{name}: row {wrong} has label {answered[wrong]}, the data has {labels[wrong]}")
    return defects


def _differ_from_metrics(stored: Predictions, path: Path) -> list[str]:
    """lm_eval's accuracies against those of the predictions."""
    try:
        scores = read_json(path)["results"]
    except (UserError, ValueError, KeyError, TypeError) as error:
        if not path.exists():
            return [f"{path.name} is not beside it"]
        return [f"{path.name} beside it is damaged ({type(error).__name__})"]
    defects = []
    for target, language, name, table in _of_task(stored):
        rows, labels, answers = (table.column(c).to_numpy() for c in ("row", "label", "prediction"))
        spec, right = get_target(target), labels == answers
        parts = [table.column(c).to_numpy() for c in ("numerator", "denominator")]
        second = np.array(second_of(table)).T  # (2, rows) of a target with a second ratio
        members = load_membership(target, stored.info["anchors"][target], source=_source(stored.info))
        for metric, value in scores.get(name, {}).items():
            subset, _, _ = metric.partition(",")
            of = next((m for m in spec.metrics if subset == m or subset.startswith(f"{m}_")), None)
            subset = "" if of is None else subset.removeprefix(of).removeprefix("_")
            if of is None or (subset and subset not in members):
                continue
            chosen = np.isin(rows, members[subset]) if subset else np.ones(len(rows), dtype=bool)
            computed = float(right[chosen].mean()) if chosen.any() else None
            if of in (spec.metrics[0], spec.second) and computed is not None:
                above, below = parts if of == spec.metrics[0] else second
                computed = float(above[chosen].sum() / below[chosen].sum())
            if computed is not None and not (isinstance(value, float | int) and abs(computed - value) < 1e-6):
                defects.append(
                    f"{path.name} beside it says {metric} = {value} for {name}, the predictions give {computed:.6f}"
                )
        if name not in scores:
            defects.append(f"{path.name} beside it has no {name} ({language})")
    return defects[:3]


def _evaluated_again(entry: Entry, path: Path, workspace: Workspace) -> list[str]:
    """A random 1% of each task's rows (one at least), through the model once more."""
    from lm_eval.evaluator import evaluate

    stored = read_predictions(path)
    source = _source(stored.info)
    precision = str(completed(stored.info, results_of(path)).get("precision"))
    generator = np.random.default_rng()
    model = build_model(entry, workspace.manifest)
    asked = differing = 0
    for target, (languages, _) in stored_selection(stored.info).items():
        picked: dict[str, list[int]] = {}
        expected: dict[tuple[str, int], Sequence[float]] = {}
        for here, _, name, table in _of_task(stored):
            if here == target:
                size = table.num_rows
                some = generator.choice(size, max(1, round(size * _SHARE_OF_ROWS)), replace=False)
                picked[name] = sorted(map(int, some))
                pairs = zip(*(table.column(c).to_pylist() for c in ("row", "logprobs")), strict=True)
                expected |= {(name, row): scores for row, scores in pairs}
        tasks = load_tasks(target, tuple(languages), source)
        output = evaluate(model, tasks, samples=picked, log_samples=True, bootstrap_iters=0)
        for name, samples in (output or {}).get("samples", {}).items():
            for sample in samples:
                scores = [float(response[0]) for response in sample["filtered_resps"]]
                before = expected.get((name, sample["doc"]["row"]))
                asked += 1
                differing += before is None or _differs(scores, before, precision)
    say(f"{entry.id}: {asked} rows evaluated again, {differing} differ")
    if not differing:
        return []
    return [
        f"{path}: {differing} of {asked} rows evaluated again have other log-probabilities; "
        f"`xscale check --fix --deep` sets it aside, `xscale eval {entry.id}` makes it anew"
    ]


def _differs(scores: Sequence[float], before: Sequence[float], precision: str) -> bool:
    """Whether scores are not those of before but for what batches of other shapes do in that precision. A sum over the tokens
    of a text is uncertain in proportion to its size."""
    allowed = TOLERANCES.get(precision, TOLERANCES["bf16"]) * np.maximum(1.0, np.abs(before) / 10)
    return bool((np.abs(np.subtract(scores, before)) > allowed).any())


def _set_aside_result(results: Path, path: Path, why: str) -> None:
    """Move a result away: its folder, or of several prediction files this one with what belongs to it."""
    if len(prediction_files(results)) < 2:
        _set_aside(results, why)
        return
    for part in (results_of(path), path):
        if part.exists():
            move_aside(part, results.parent / SET_ASIDE / results.name / part.name)
    say(f"{why}; moved to {results.parent / SET_ASIDE / results.name}")


def _set_aside(results: Path, why: str) -> None:
    say(f"{why}; moved to {move_aside(results, results.parent / SET_ASIDE / results.name)}")


def _orphans(folder: Path, known: set[str]) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        path for path in folder.iterdir() if not path.name.startswith(".") and path.name not in known
    )


def leftovers(workspace: Workspace) -> list[Path]:
    """What stopped processes left of their own: files and folders of ours that nobody holds a lock on."""
    found = []
    for place in (workspace.manifest.parent, workspace.checkpoints, workspace.results):
        for path in sorted(place.glob(".*")) if place.is_dir() else ():
            if path.suffix in (HALF_WRITTEN, REPLACED) and not path.is_symlink():
                found.append(path)
    if workspace.results.is_dir():
        found += [path for path in sorted(workspace.results.glob(f"*/.*{HALF_WRITTEN}")) if path.is_file()]
    return [path for path in found if not _in_use(path)]


def unused_weights(workspace: Workspace) -> list[Path]:
    """Shared frozen weights that no checkpoint, and no training under way, links to: a cache that only takes room.

    Where a copy has lost the hard links, that is all of them. Only files that are named as ours are.
    """
    shared = workspace.checkpoints / ".shared"
    if not shared.is_dir() or shared.is_symlink():
        return []
    ours = (path for path in sorted(shared.iterdir()) if _SHARED_NAME.fullmatch(path.name))
    return [path for path in ours if path.is_file() and not path.is_symlink() and path.stat().st_nlink == 1]


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Hold the lock of what a leftover belongs to, or yield False where a process has it."""
    with contextlib.ExitStack() as stack:
        try:
            for lock in _locks(path):
                stack.enter_context(FileLock(lock, timeout=0))
        except Timeout:
            yield False
            return
        yield True


def _locks(path: Path) -> list[Path]:
    """The locks that are there of what `.<name>.xscale-part` (or `-old`, or with random letters) belongs to."""
    name = path.name[1:].removesuffix(path.suffix)
    stem = name.rpartition(".")[0]
    within = path.parent.parent / f".{path.parent.name}.lock"  # of results/<id>/.<file>
    names = [path.parent / f".{name}.lock", path.parent / f"{stem}.lock", within]
    return [lock for lock in names if lock.is_file()]


def _in_use(path: Path) -> bool:
    with _locked(path) as free:
        return not free
