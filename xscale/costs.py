"""What an experiment will cost: jobs, hours, disk, from throughput that was measured here or is given."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow.parquet as pq

from harness_tasks.subsets.membership import shipped
from xscale.errors import UserError
from xscale.evaluation.answers import Selection
from xscale.evaluation.predictions import PREDICTIONS
from xscale.experiment import Recipe
from xscale.journal import journal_of, read_events
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
    for record_file in sorted(workspace.checkpoints.glob("[!.]*/recipe.json")):
        try:
            record = json.loads(record_file.read_text(encoding="utf-8"))
            if record["recipe"]["base"] != base:
                continue
            phases = record["recipe"]["phases"]
            examples += sum(p["steps"] * phases[p["phase"]]["batch_size"] for p in record["phases"])
            seconds += sum(p["seconds"] for p in record["phases"])
            folder = record_file.parent
            sizes.append(sum(file.stat().st_size for file in folder.rglob("*") if file.stat().st_nlink == 1))
            predictions = workspace.results / folder.name / PREDICTIONS
            if predictions.is_file() and folder.name in took:
                evaluation_seconds += took[folder.name]
                documents += pq.read_metadata(predictions).num_rows
        except (OSError, ValueError, KeyError, TypeError):
            continue  # damaged: `xscale check` names it
    return Throughput(
        examples / seconds if seconds else None,
        documents / evaluation_seconds if evaluation_seconds else None,
        sum(sizes) / len(sizes) if sizes else None,
        f"measured on {len(sizes)} checkpoints here",
    )


def training_examples(recipes: Sequence[Recipe]) -> Counter[str]:
    """Examples that the optimiser sees, by phase, over all recipes: rows times epochs, or the fixed number of updates.

    Raises `UserError` for a fine-tuning set of unknown size that `size` does not limit.
    """
    from xscale.training.tasks import training_task

    total: Counter[str] = Counter()
    for recipe in recipes:
        for name, phase in recipe.phases.items():
            if name == "intermediate":
                rows = [recipe.size] if recipe.size else []
            elif name in recipe.targets:
                plan = recipe.targets[name]
                rows = [plan.size or training_task(set_, recipe.tasks).examples or 0 for set_ in plan.train]
                if 0 in rows:
                    raise UserError(
                        f"targets.{name}.size: how many rows {plan.train[rows.index(0)]} has is not known; give a size"
                    )
            else:
                continue
            for count in rows:
                fixed = phase.budget * phase.batch_size if phase.budget else None
                total[name] += round(fixed if fixed else count * phase.epochs)
    return total


def documents_of(chosen: Selection) -> int:
    """Test documents that one checkpoint is evaluated on."""
    total = 0
    for target, (languages, limit) in chosen.items():
        rows = int(shipped(target)["test"]["rows"])
        total += len(languages) * (rows if limit is None else min(limit, rows))
    return total


def cost_lines(
    recipes: Sequence[Recipe], chosen: Selection, throughput: Throughput, at_once: int = 1
) -> list[str]:
    """The estimate, one line a step of the work; raises `UserError` when a throughput is unknown."""
    for value, option in (
        (throughput.examples, "--examples-per-second"),
        (throughput.documents, "--documents-per-second"),
    ):
        if not value:
            raise UserError(
                f"no throughput was measured here for base {recipes[0].base!r}; give {option}, or run a small "
                "experiment with that base on that device first"
            )
    assert throughput.examples and throughput.documents
    jobs, examples = len(recipes), training_examples(recipes)
    documents = documents_of(chosen)
    hours = {f"train: {name}": count / throughput.examples / 3600 for name, count in examples.items()}
    hours["evaluate"] = jobs * documents / throughput.documents / 3600
    total = sum(hours.values())
    lines = [
        f"{jobs} recipes of base {recipes[0].base}: {jobs} training jobs, {jobs} evaluation jobs",
        f"throughput ({throughput.origin}): {throughput.examples:,.1f} training examples a second, "
        f"{throughput.documents:,.1f} documents a second",
    ]
    for name, count in examples.items():
        lines.append(_line(f"train: {name}", hours, total, f"{count:,} examples"))
    lines.append(_line("evaluate", hours, total, f"{jobs} x {documents:,} documents"))
    lines.append(f"{'all':<22}{total:>12,.1f} h    one job at a time")
    if at_once > 1:
        lines.append(f"{'':<22}{total / at_once:>12,.1f} h    {at_once} at once")
    if throughput.checkpoint_bytes:
        disk = jobs * throughput.checkpoint_bytes / 2**30
        lines.append(
            f"disk: {disk:,.1f} GiB of checkpoints ({throughput.checkpoint_bytes / 2**30:.2f} GiB each)"
        )
    lines.append("not counted: loading of models and data, scoring of development sets, what a cluster adds")
    return lines


def _line(name: str, hours: dict[str, float], total: float, what: str) -> str:
    share = hours[name] / total if total else 0.0
    return f"{name:<22}{hours[name]:>12,.1f} h {share:>4.0%}  {what}"
