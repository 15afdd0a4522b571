"""What a training says of itself in recipe.json: which rows, how much work, losses by task, development scores."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import binom

from harness_tasks.hub import loaded_commits
from harness_tasks.sources import resolve_source, source_name
from xscale.experiment import Phase
from xscale.training.development import DevelopmentSet
from xscale.training.heads import Encoded, input_length
from xscale.training.loop import Outcome
from xscale.training.samples import Sample

CHANCE_LEVEL = 0.01
Plan = Sequence[tuple[int, list[int]]]  # (set, rows) for each update


def work_of(plan: Plan, number: int, encoded: Sequence[Encoded]) -> dict[str, int]:
    """How much training a set had: its updates, and the sequences and tokens that were read in them, repeated ones counted as
    often as they were read (a multiple-choice row is a sequence for each choice, a long context several windows)."""
    rows = [row for which, chosen in plan if which == number for row in chosen]
    return {
        "updates": sum(which == number for which, _ in plan),
        "sequences": sum(len(encoded[row].ids) for row in rows),
        "tokens": sum(encoded[row].length for row in rows),
    }


def _hub_commits(sample: Sample, data: str) -> dict[str, Any]:
    """At which commit of the hub the sets were read; nothing where they come from elsewhere."""
    sets = {part.dataset for part in sample.task.parts}
    commits = {name: commit for name, commit in loaded_commits().items() if name in sets}
    return {"commits": commits} if commits and resolve_source(data) == "hub" else {}


def phase_record(
    phase: str,
    number: int,
    sample: Sample,
    encoded: Sequence[Encoded],
    plan: Plan,
    outcome: Outcome,
    settings: Phase,
    data: str,
) -> dict[str, Any]:
    """What one set (the `number`-th of `plan`) was in a phase. Losses are means over its own first and last ten updates; None
    where it had none."""
    chosen = [sample.examples[row] for row in sample.order]
    content = json.dumps([[e.pairs, e.label, e.span, e.tags] for e in chosen], ensure_ascii=False)
    longest = input_length(settings, sample.task.head)
    losses = [loss for loss, (which, _) in zip(outcome.losses, plan, strict=True) if which == number]
    return {
        "phase": phase,
        "task": sample.task.name,
        "source": sample.task.file or source_name(data),
        **_hub_commits(sample, data),
        "rows": len(chosen),
        "rows_here": sample.rows_here,
        "rows_full": sample.task.examples,
        "rows_sha256": hashlib.sha256(sample.order.astype("<i8").tobytes()).hexdigest(),
        "data_sha256": hashlib.sha256(content.encode()).hexdigest(),
        "leaked_rows_dropped": sample.leaks.rows,
        "leaked_premises_dropped": sample.leaks.premises,
        "leakage_checked": list(sample.leaks.checked),
        "leakage_not_checked": list(sample.leaks.absent),
        "at_max_length": sum(len(ids) >= longest for item in encoded for ids in item.ids),
        "inputs": len(encoded),
        "steps": len(plan),
        **work_of(plan, number, encoded),
        "parts": outcome.parts,
        "loss_first": _mean(losses[:10]),
        "loss_last": _mean(losses[-10:]),
    }


def development_record(
    choose: str, outcome: Outcome, total: int, english: DevelopmentSet, validation_rows: int
) -> dict[str, Any]:
    """Scores at every look, those of the weights that were kept, and whether they are no better than always giving the
    commonest label (`collapsed`)."""
    step = outcome.best_step or total
    kept = outcome.kept_scores or dict(outcome.scores).get(step, {})
    commonest = english.commonest_share()
    return {
        "choose": choose,
        "step": step,
        "steps": total,
        "english": kept.get("en"),
        "english_rows": english.rows,
        "english_scores": [[done, scores["en"]] for done, scores in outcome.scores],
        "commonest_label": round(commonest, 4),
        "collapsed": "en" in kept and is_collapsed(kept["en"], commonest, english.rows),
        "validation_rows": validation_rows,
        "validation": _others(kept),
        "validation_scores": [[done, _others(scores)] for done, scores in outcome.scores],
        "note": "validation in other languages plays no part in choosing",
    }


def is_collapsed(accuracy: float, commonest: float, rows: int) -> bool:
    """Whether so many right answers (or more) come with a chance above 1% from a model that is right as often as the commonest
    label: an exact one-sided binomial test."""
    right = round(accuracy * rows)
    return bool(binom.sf(right - 1, rows, commonest) > CHANCE_LEVEL)


def _others(scores: dict[str, float]) -> dict[str, float]:
    return {language: score for language, score in scores.items() if language != "en"}


def _mean(losses: Sequence[float]) -> float | None:
    return round(float(np.mean(losses)), 4) if losses else None
