"""Evaluate many entries: what they have in common is done once, the next one's weights load while one runs."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock

from xscale.evaluation.processes import several_processes, wait_for_all_processes
from xscale.evaluation.runner import (
    PARTIAL,
    Selection,
    build_model,
    evaluate_entry,
    is_current,
    keep_batches,
    load_tasks,
    result_key,
)
from xscale.manifest import LOCAL_MODEL, Entry

Todo = Sequence[tuple[Entry, Selection]]


def evaluate_entries(
    todo: Todo, source: str, manifest: Path, results: Path, *, shared_trunk: bool = True
) -> list[str]:
    """Evaluate entries, each on its selection, into `results/<id>/`; returns the ids that this process evaluated.

    Entries with the same frozen lower layers are computed together unless `shared_trunk` is off. Raises as
    `evaluate_entry`; what was finished before is kept.
    """
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
        for number, (entry, chosen) in enumerate(todo):
            model = ready.pop(entry.id, None) if ahead is None else ahead.result()
            ahead = _load_ahead(loader, todo, number + 1, manifest, ready)
            with nullcontext() if several else FileLock(results / f".{entry.id}.lock"):
                if several or not is_current(results / entry.id, result_key(entry, chosen, source)):
                    evaluate_entry(entry, chosen, source, manifest, results, model)
                    done.append(entry.id)
            del model
    wait_for_all_processes()
    return done


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
    local = [(entry, chosen) for entry, chosen in todo if entry.model == LOCAL_MODEL]
    if len(local) < 2:
        return {}
    from xscale.evaluation.trunk import evaluate_together, groups, members_at_once

    models = {entry.id: build_model(entry, manifest) for entry, _ in local}
    together: dict[str, Any] = {}
    for target in dict.fromkeys(target for _, chosen in local for target in chosen):
        selections = {entry.id: (entry, chosen) for entry, chosen in local if target in chosen}
        by_choice: dict[Any, list[str]] = {}
        for name, (_, chosen) in selections.items():
            languages, limit = chosen[target]
            by_choice.setdefault((tuple(languages), limit), []).append(name)
        for (languages, limit), names in by_choice.items():
            for members, shared in groups([models[name] for name in names], target):
                count = members_at_once(members[0], target, shared)
                documents = _documents(target, languages, limit, source)
                for first in range(0, len(members), count):
                    part = members[first : first + count]
                    if len(part) < 2:
                        continue
                    with ExitStack() as locks:
                        for model in part:
                            entry, chosen = selections[model.description]
                            locks.enter_context(FileLock(results / f".{entry.id}.lock"))
                            keep_batches(
                                model, results / entry.id / PARTIAL, result_key(entry, chosen, source)
                            )
                            together[entry.id] = model
                        evaluate_together(part, target, documents, shared)
    return together


def _documents(target: str, languages: tuple[str, ...], limit: int | None, source: str) -> list[Any]:
    """The documents in the order in which lm_eval asks for them."""
    tasks = load_tasks(target, languages, source)["tasks"]
    return [document for task in tasks.values() for document in task.eval_docs[: limit or None]]
