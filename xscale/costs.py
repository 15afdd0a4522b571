"""What an experiment will cost: jobs, hours, disk, from throughput that was measured here or is given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from harness_tasks.parsing import read_json
from harness_tasks.sources import DataError, read_rows
from harness_tasks.subsets.membership import shipped
from harness_tasks.targets import get_target
from xscale.errors import UserError
from xscale.evaluation.answers import Selection
from xscale.evaluation.batches import FIRST_BLOCK, blocks
from xscale.evaluation.predictions import PREDICTIONS
from xscale.experiment import Recipe, encoder_key, head_key
from xscale.journal import journal_of, read_events
from xscale.progress import say
from xscale.workspace import Workspace


@dataclass(frozen=True)
class Throughput:
    """Of one job on one device: training examples a second, evaluated documents a second, bytes of one checkpoint.

    `origin` says where the figures are from; None is unknown.
    """

    examples: float | None = None
    documents: float | None = None
    checkpoint_bytes: float | None = None
    origin: str = "given"


def measured(workspace: Workspace, base: str) -> Throughput:
    """From the checkpoints of that base that were trained and evaluated in this workspace."""
    took = {
        event.get("id"): float(event["seconds"])
        for event in read_events(journal_of(workspace.manifest))
        if event["event"] == "done"
        and event.get("kind") == "evaluate"
        and isinstance(event.get("seconds"), int | float)
    }
    examples = seconds = documents = evaluation_seconds = 0.0
    sizes = []
    seen: set[int] = set()
    for record_file in sorted(workspace.checkpoints.glob("[!.]*/recipe.json")):
        try:
            record = read_json(record_file)
            if record["recipe"]["base"] != base:
                continue
            phases = record["recipe"]["phases"]
            examples += sum(p["steps"] * phases[p["phase"]]["batch_size"] for p in record["phases"])
            seconds += sum(p["seconds"] for p in record["phases"])
            folder = record_file.parent
            sizes.append(_new_bytes(folder, seen))
            predictions = workspace.results / folder.name / PREDICTIONS
            if predictions.is_file() and folder.name in took:
                evaluation_seconds += took[folder.name]
                documents += pq.read_metadata(predictions).num_rows
        except (UserError, OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError):
            continue  # damaged: `xscale check` names it
    return Throughput(
        examples / seconds if seconds else None,
        documents / evaluation_seconds if evaluation_seconds else None,
        sum(sizes) / len(sizes) if sizes else None,
        f"measured on {len(sizes)} checkpoints here",
    )


def _new_bytes(folder: Path, seen: set[int]) -> int:
    """Bytes of files that are not in `seen` under another name (by inode), which they are added to."""
    files = {file.stat().st_ino: file.stat().st_size for file in folder.rglob("*") if file.is_file()}
    new = {inode: size for inode, size in files.items() if inode not in seen}
    seen |= new.keys()
    return sum(new.values())


def training_examples(recipes: Sequence[Recipe]) -> Counter[str]:
    """Examples that the optimiser sees, by phase: rows times epochs, or the fixed number of updates. What recipes share counts
    once.

    Raises `UserError` for a fine-tuning set of unknown size that `size` does not limit.
    """
    total: Counter[str] = Counter()
    seen: set[str] = set()
    for recipe in recipes:
        for name, phase in recipe.phases.items():
            key = encoder_key(recipe) if name == "intermediate" else head_key(recipe, name)
            if key is None or key in seen:
                continue
            seen.add(key)
            for count in [recipe.size] if name == "intermediate" else _target_rows(recipe, name):
                fixed = phase.budget * phase.batch_size if phase.budget else None
                total[name] += round(fixed if fixed else count * phase.epochs)
    return total


def _target_rows(recipe: Recipe, target: str) -> list[int]:
    from xscale.training.tasks import training_task

    plan = recipe.targets[target]
    rows = [plan.size or training_task(set_, recipe.tasks).examples or 0 for set_ in plan.train]
    if 0 in rows:
        raise UserError(
            f"targets.{target}.size: how many rows {plan.train[rows.index(0)]} has is not known; give a size"
        )
    return rows


def documents_of(chosen: Selection, source: str) -> int:
    """Test documents that one checkpoint is evaluated on: those that the source has, where it can be read here, else those of
    the official sets."""
    total = 0
    for target, (languages, limit) in chosen.items():
        for language in languages:
            rows = _rows_here(target, language, source)
            total += rows if limit is None else min(limit, rows)
    return total


def whole_blocks(chosen: Selection, source: str) -> dict[tuple[str, int], int]:
    """(target, limit) -> the documents of a language that an encoder computes for so many on a CPU, where they are more: it
    computes blocks of documents, whole."""
    found = {}
    for target, (languages, limit) in chosen.items():
        rows = _rows_here(target, languages[0], source) if limit is not None and languages else 0
        for block in blocks(rows, FIRST_BLOCK):
            if limit is not None and block.start < limit < block.stop:
                found[target, limit] = block.stop
    return found


def _rows_here(target: str, language: str, source: str) -> int:
    place = get_target(target).places[language]
    try:
        if source != "hub":  # the hub would have to be asked for all of it
            rows = read_rows(place.dataset, place.config, place.test, source)
            field, beginning = place.only or ("", "")
            return sum(str(row.get(field) or "").startswith(beginning) for row in rows)
    except DataError:
        pass
    known = int(dict(place.size).get("test") or shipped(target)["test"]["rows"])
    if not known:
        say(
            f"{target} in {language}: how many rows there are is not known without the data; they are not counted"
        )
    return known


def cost_lines(
    recipes: Sequence[Recipe],
    chosen: Selection,
    throughput: Throughput,
    source: str,
    at_once: int = 1,
    measure: str = "xscale run EXPERIMENT --size 0",
) -> list[str]:
    """The estimate, one line a step of the work; raises `UserError` when a throughput is unknown, and names the command that
    would `measure` it."""
    for value, option in (
        (throughput.examples, "--examples-per-second"),
        (throughput.documents, "--documents-per-second"),
    ):
        if not value:
            raise UserError(
                f"no throughput was measured here for base {recipes[0].base!r}; give {option}, or measure it with a part of the "
                f"work, which is kept: {measure}"
            )
    assert throughput.examples and throughput.documents
    jobs, examples = len(recipes), training_examples(recipes)
    documents = documents_of(chosen, source)
    hours = {f"train: {name}": count / throughput.examples / 3600 for name, count in examples.items()}
    hours["evaluate"] = jobs * documents / throughput.documents / 3600
    total = sum(hours.values())
    lines = [
        f"{jobs} checkpoints of base {recipes[0].base}; what they share is trained once",
        f"throughput ({throughput.origin}): {throughput.examples:,.1f} training examples a second, "
        f"{throughput.documents:,.1f} documents a second",
    ]
    for name, count in examples.items():
        lines.append(_line(f"train: {name}", hours, total, f"{count:,} examples"))
    lines.append(_line("evaluate", hours, total, f"{jobs} x {documents:,} documents"))
    lines.append(f"{'all':<22}{_time(total)}       one job at a time")
    if at_once > 1:
        lines.append(f"{'':<22}{_time(total / at_once)}       {at_once} at once")
    if throughput.checkpoint_bytes:
        disk = jobs * throughput.checkpoint_bytes / 2**30
        lines.append(
            f"disk: {disk:,.1f} GiB of checkpoints ({throughput.checkpoint_bytes / 2**30:.2f} GiB each)"
        )
    if recipes[0].objective != "causal_lm":
        lines += [
            f"{target}: limit {limit:,} takes as long as {end:,}: an encoder computes whole blocks"
            for (target, limit), end in whole_blocks(chosen, source).items()
        ]
    lines.append("not counted: loading of models and data, scoring of development sets, what a cluster adds")
    return lines


def _line(name: str, hours: dict[str, float], total: float, what: str) -> str:
    share = hours[name] / total if total else 0.0
    return f"{name:<22}{_time(hours[name])} {share:>5.0%}  {what}"


def _time(hours: float) -> str:
    """Hours, or minutes where hours would be 0.0."""
    return f"{hours:>12,.1f} h  " if hours >= 0.95 else f"{hours * 60:>12,.1f} min"
