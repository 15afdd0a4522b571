"""What is running, done, failed and left of the experiments of a workspace, from any terminal."""

from __future__ import annotations

import contextlib
import datetime
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness_tasks.parsing import read_json
from xscale.errors import UserError
from xscale.evaluation.plausible import of_one_answer
from xscale.evaluation.predictions import PREDICTIONS, read_predictions
from xscale.evaluation.stored import descriptions, lacking
from xscale.journal import journal_of, read_events
from xscale.locks import is_taken
from xscale.manifest import Entry, read_manifest_or_empty
from xscale.workspace import Workspace

STATES = ("done", "running", "failed", "interrupted", "left")
_STOPPED = ("KeyboardInterrupt", "SystemExit")  # how logs of xscale 0.1 have it


@dataclass(frozen=True)
class Job:
    """One step of an experiment. `progress`: the share that is done, of a running one; `problem`: of a failed one."""

    experiment: str
    kind: str
    id: str
    size: int
    state: str
    progress: float | None = None
    problem: str | None = None


def jobs(workspace: Workspace) -> list[Job]:
    """The jobs of every experiment that was run here, as they stand.

    Done is what lies on the disk, running what some process holds the lock of, failed what ended so and is neither.
    """
    events = read_events(journal_of(workspace.manifest))
    planned: dict[str, Mapping[str, Any]] = {}
    failed: dict[tuple[str, str], str] = {}
    stopped: set[tuple[str, str]] = set()
    progress: dict[tuple[str, str], float] = {}
    units: dict[tuple[str, str], str] = {}  # that was begun last
    for event in events:
        key = (str(event.get("kind")), str(event.get("id")))
        if event["event"] == "planned":
            planned[str(event.get("experiment"))] = event
        elif event["event"] == "stopped" or str(event.get("problem")).startswith(_STOPPED):
            stopped.add(key)
        elif event["event"] == "failed":
            failed[key] = str(event.get("problem"))
        elif event["event"] in ("started", "done", "put off"):
            failed.pop(key, None)
            progress.pop(key, None)
            stopped.discard(key)
            if event.get("unit"):
                units[key] = str(event["unit"])
        elif event["event"] == "progress" and event.get("total"):
            kind, _, rest = str(event.get("what")).partition(" ")
            progress[kind, rest.partition(":")[0]] = event["done"] / event["total"]
    found = []
    entries = _entries(workspace)
    for experiment, known in planned.items():
        for identifier, size in known.get("recipes", []):
            trained = (workspace.checkpoints / identifier / "recipe.json").is_file()
            evaluated = trained and _is_evaluated(identifier, known, entries.get(identifier), workspace)
            unit = units.get(("train", identifier), "-")
            for kind, done, lock in (
                ("train", trained, workspace.checkpoints / ".units" / f".{unit}.lock"),
                ("evaluate", evaluated, workspace.results / f".{identifier}.lock"),
            ):
                key = (kind, identifier)
                running = not done and is_taken(lock)
                ended = "failed" if key in failed else "interrupted" if key in stopped else "left"
                state = "done" if done else "running" if running else ended
                found.append(
                    Job(
                        experiment,
                        kind,
                        identifier,
                        size,
                        state,
                        progress.get(key) if running else None,
                        failed.get(key) if state == "failed" else None,
                    )
                )
    return found


def _entries(workspace: Workspace) -> dict[str, Entry]:
    try:
        return {entry.id: entry for entry in read_manifest_or_empty(workspace.manifest).entries}
    except UserError:
        return {}  # other commands say what is wrong with it


def _is_evaluated(
    identifier: str, plan: Mapping[str, Any], entry: Entry | None, workspace: Workspace
) -> bool:
    """Whether there are results of the entry's weights, with all that the plan asks for where the log has it."""
    infos = descriptions(workspace.results / identifier, entry)
    asked = {}
    with contextlib.suppress(TypeError, ValueError, AttributeError):
        asked = {
            str(target): ([str(code) for code in languages], limit)
            for target, (languages, limit) in (plan.get("asks") or {}).items()
            if limit is None or isinstance(limit, int)
        }
    return bool(infos) and not lacking(infos, asked, plan.get("data") if asked else None)


def seconds_left(found: Sequence[Job], workspace: Workspace) -> float | None:
    """An estimate of the remaining seconds of work, one job at a time; None before the first job is done.

    A job takes what done jobs of its kind took, linear in the size where two sizes are done.
    """
    sizes = {(job.kind, job.id): job.size for job in found}
    seen: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for event in read_events(journal_of(workspace.manifest)):
        key = (str(event.get("kind")), str(event.get("id")))
        if event["event"] == "done" and key in sizes and isinstance(event.get("seconds"), int | float):
            seen[key[0]].append((sizes[key], float(event["seconds"])))
    total = 0.0
    for job in found:
        if job.state == "done":
            continue
        measured = seen.get(job.kind)
        if not measured:
            return None
        xs, ys = (np.array(column, dtype=float) for column in zip(*measured, strict=True))
        estimate = float(ys.mean())
        if len(set(xs)) > 1:
            slope, start = np.polyfit(xs, ys, 1)
            estimate = max(float(ys.min()), float(start + slope * job.size))
        total += estimate * (1 - (job.progress or 0.0))
    return total


def other_evaluations(workspace: Workspace) -> list[Job]:
    """Evaluations of entries that no experiment here planned: those that are under way, failed or were stopped."""
    ours = {job.id for job in jobs(workspace)}
    known = _entries(workspace)
    last: dict[str, Mapping[str, Any]] = {}
    progress: dict[str, float] = {}
    for event in read_events(journal_of(workspace.manifest)):
        name = str(event.get("id"))
        if event.get("kind") == "evaluate":
            last[name] = event
            progress.pop(name, None)
        elif event["event"] == "progress" and event.get("total"):
            kind, _, rest = str(event.get("what")).partition(" ")
            if kind == "evaluate":
                progress[rest.partition(":")[0]] = event["done"] / event["total"]
    found = []
    for name, seen in last.items():
        if name in ours or name not in known or seen["event"] in ("done", "put off"):
            continue
        running = is_taken(workspace.results / f".{name}.lock")
        state = "running" if running else "failed" if seen["event"] == "failed" else "interrupted"
        problem = str(seen.get("problem")) if state == "failed" else None
        found.append(Job("", "evaluate", name, 0, state, progress.get(name) if running else None, problem))
    return found


def _time_left(found: Sequence[Job], workspace: Workspace) -> str:
    """The time left in words: of all kinds of work, or of those of which a job is done."""
    left = seconds_left(found, workspace)
    if left is not None:
        return _duration(left)
    parts = []
    for kind in sorted({job.kind for job in found if job.state != "done"}, reverse=True):  # train, evaluate
        seconds = seconds_left([job for job in found if job.kind == kind], workspace)
        parts.append(
            f"{kind} " + ("unknown before a first one is done" if seconds is None else _duration(seconds))
        )
    return ", ".join(parts)


def status_lines(workspace: Workspace, manifest_option: str) -> list[str]:
    """The report of `xscale status`; `manifest_option` is repeated in the command that goes on."""
    found, others = jobs(workspace), other_evaluations(workspace)
    if not found and not others:
        return [f"no run is known here (no {journal_of(workspace.manifest)}); `xscale run` starts one"]
    lines = []
    for experiment in dict.fromkeys(job.experiment for job in found):
        mine = [job for job in found if job.experiment == experiment]
        counts = Counter(job.state for job in mine)
        lines.append(f"{experiment}: " + ", ".join(f"{counts[s]} {s}" for s in STATES if counts[s]))
        for job in mine:
            if job.state == "running":
                share = "" if job.progress is None else f" {job.progress:.0%}"
                lines.append(f"  running: {job.kind} {job.id}{share}")
        for job in mine:
            if job.state == "interrupted":
                lines.append(f"  interrupted: {job.kind} {job.id}")
            if job.state == "failed":
                lines.append(f"  failed: {job.kind} {job.id}: {job.problem}")
        for identifier in dict.fromkeys(job.id for job in mine if job.kind == "train"):
            for target, why in _collapsed(workspace, identifier).items():
                lines.append(f"  collapsed: {identifier}: {target} {why}; see its README.md")
        if counts["done"] < len(mine):
            lines.append(f"  time left, one job at a time: {_time_left(mine, workspace)}")
            if not counts["running"]:
                command = _command_of(experiment, workspace) or f"xscale run {experiment}{manifest_option}"
                lines.append(f"  nothing is running; this does just what is not done: {command}")
    for job in others:
        share = "" if job.progress is None else f" {job.progress:.0%}"
        more = f": {job.problem}" if job.problem else ""
        more += f"; this goes on: xscale eval {job.id}{manifest_option}" if job.state != "running" else ""
        lines.append(f"{job.state}: evaluate {job.id}{share}{more}")
    return lines


def _collapsed(workspace: Workspace, identifier: str) -> dict[str, str]:
    """Targets whose training collapsed, as the checkpoint's record says or its answers show, and how it is known."""
    found = {}
    with contextlib.suppress(UserError, LookupError, TypeError, AttributeError, ValueError):
        stored = read_predictions(workspace.results / identifier / PREDICTIONS)
        found = dict.fromkeys(of_one_answer(stored), "gives nearly always the same answer")
    with contextlib.suppress(UserError, LookupError, TypeError, AttributeError):
        record = read_json(workspace.checkpoints / identifier / "recipe.json")
        for target, looks in record["development"].items():
            if looks["collapsed"]:
                found[target] = "is no better than the commonest label in English"
    return found


def _command_of(experiment: str, workspace: Workspace) -> str | None:
    for event in reversed(read_events(journal_of(workspace.manifest))):
        if event["event"] == "planned" and event.get("experiment") == experiment and event.get("command"):
            return str(event["command"])
    return None


def _duration(seconds: float) -> str:
    return str(datetime.timedelta(seconds=round(seconds))) if seconds >= 60 else f"{seconds:.0f} s"
