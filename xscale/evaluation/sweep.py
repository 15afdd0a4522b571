"""Evaluate many entries: what they have in common is done once, the next one's weights load while one runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import Any

from harness_tasks.targets import get_target
from xscale.errors import UserError
from xscale.evaluation.answers import (
    Selection,
    evaluate_entry,
    is_current,
    kept,
    missing,
    result_key,
)
from xscale.evaluation.batches import Section
from xscale.evaluation.models import build_model, load_tasks
from xscale.evaluation.processes import several_processes, wait_for_all_processes
from xscale.locks import entry_lock
from xscale.manifest import LOCAL_MODEL, Entry
from xscale.progress import job_done, say

Todo = Sequence[tuple[Entry, Selection]]


def evaluate_entries(
    todo: Todo,
    source: str,
    manifest: Path,
    results: Path,
    *,
    shared_trunk: bool = True,
    failures: dict[str, Exception] | None = None,
) -> list[str]:
    """Evaluate entries, each on its selection, into `results/<id>/`; returns the ids that this process evaluated.

    Entries with the same frozen lower layers are computed together unless `shared_trunk` is off. An entry that fails stops
    no other: its exception is put into `failures`, by id; without them the first one is raised when all others are
    finished. Of several processes, which must all do the same, each raises at once.
    """
    problems: dict[str, Exception] = {} if failures is None else failures
    results.mkdir(parents=True, exist_ok=True)
    several = several_processes()
    wait_for_all_processes()  # nobody writes before everyone knows what is to be done
    ready: dict[str, Any] = {}
    if shared_trunk and not several:
        ready = _compute_together(todo, source, manifest, results)
    done = []
    with ThreadPoolExecutor(max_workers=1) as loader:
        ahead = _load_ahead(loader, todo, 0, manifest, ready)
        for target, (languages, _) in (todo[0][1] if todo else {}).items():
            load_tasks(target, tuple(languages), source)  # while the first one's weights load
        if not several:
            _say_what_idles()
        for number, (entry, chosen) in enumerate(todo):
            waiting, ahead = ahead, None
            try:
                model = ready.pop(entry.id, None) if waiting is None else waiting.result()
                ahead = _load_ahead(loader, todo, number + 1, manifest, ready)
                with nullcontext() if several else entry_lock(results, entry.id):
                    if several or not is_current(
                        results / entry.id, result_key(entry, chosen, source, manifest)
                    ):
                        evaluate_entry(entry, chosen, source, manifest, results, model)
                        done.append(entry.id)
            except Exception as error:
                if several:
                    raise
                problems[entry.id] = error
                if ahead is None:
                    ahead = _load_ahead(loader, todo, number + 1, manifest, ready)
            model = None
            job_done()
    wait_for_all_processes()
    if failures is None and problems:
        raise next(iter(problems.values()))
    return done


@cache
def _say_what_idles() -> None:
    """Once: that one process uses one of several GPUs."""
    if "torch" in sys.modules and (others := sys.modules["torch"].cuda.device_count() - 1) > 0:
        say(
            f"{others} more GPUs are there: `accelerate launch --num_processes {others + 1} --no_python xscale eval` uses all"
        )


def _load_ahead(
    loader: ThreadPoolExecutor, todo: Todo, number: int, manifest: Path, ready: dict[str, Any]
) -> Future[Any] | None:
    """Begin to load an encoder checkpoint's weights; other model types take the device when they are made."""
    if number >= len(todo):
        return None
    entry, chosen = todo[number]
    if entry.model != LOCAL_MODEL or entry.id in ready:
        return None
    targets = list(chosen)
    return loader.submit(lambda: build_model(entry, manifest).preload(targets))


def _compute_together(todo: Todo, source: str, manifest: Path, results: Path) -> dict[str, Any]:
    """Fill the journals of entries with shared lower layers; returns those entries' models, by id."""
    together: dict[str, Any] = {}
    for (target, languages, limit), alike in _by_documents(todo).items():
        for ids, shared in _groups(alike, target, manifest):
            members = [(entry, chosen) for entry, chosen in alike if entry.id in ids]
            with ExitStack() as locks:
                for entry, _ in members:
                    locks.enter_context(entry_lock(results, entry.id))
                models, asked = [], []
                for entry, _ in members:
                    key = result_key(entry, {target: (languages, limit)}, source, manifest)
                    sections = missing(key, target, source, results / entry.id)
                    if any(section.needed for section in sections.values()):
                        if entry.id not in together:
                            try:
                                together[entry.id] = build_model(entry, manifest)
                            except UserError:
                                continue  # reported when it is its turn
                        together[entry.id].kept = kept(results / entry.id, key)
                        models.append(together[entry.id])
                        asked.append(list(sections.values()))
                if len(models) > 1:
                    from xscale.evaluation.trunk import evaluate_together

                    evaluate_together(models, target, _union(asked), shared)
    return together


def _by_documents(todo: Todo) -> dict[tuple[str, tuple[str, ...], int | None], list[tuple[Entry, Selection]]]:
    """Encoder checkpoints by what they are evaluated on: target (with choices), languages and limit."""
    result: dict[tuple[str, tuple[str, ...], int | None], list[tuple[Entry, Selection]]] = {}
    for entry, chosen in todo:
        if entry.model == LOCAL_MODEL:
            for target, (languages, limit) in chosen.items():
                if not get_target(target).has_choices:
                    continue
                result.setdefault((target, tuple(languages), limit), []).append((entry, chosen))
    return result


def _groups(alike: Todo, target: str, manifest: Path) -> list[tuple[list[str], int]]:
    """Ids of entries to compute together and how many lower layers they share; as many as memory allows in a group.

    Entries that cannot be loaded are in none; they are reported when it is their turn.
    """
    if len(alike) < 2:
        return []
    from xscale.evaluation.encoder_lm import head_of
    from xscale.evaluation.trunk import groups, members_at_once

    models = []
    for entry, _ in alike:
        with suppress(UserError):
            model = build_model(entry, manifest, verify=False)
            head_of(model.folder, target, model.label)
            models.append(model)
    result = []
    for members, shared in groups(models, target):
        count = members_at_once(members[0], target, shared)
        for first in range(0, len(members), count):
            ids = [model.description for model in members[first : first + count]]
            if len(ids) > 1:
                result.append((ids, shared))
    return result


def _union(asked: Sequence[Sequence[Section]]) -> list[Section]:
    """The same sections with the documents that any of the members needs."""
    return [
        Section(of[0].documents, sorted({place for section in of for place in section.needed}), of[0].task)
        for of in zip(*asked, strict=True)
    ]
