"""Stored tiny checkpoints, evaluated on the bundled suite, give the scores and log-probabilities that they gave before."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from xscale.evaluation.answers import evaluate_entry
from xscale.evaluation.predictions import read_predictions
from xscale.manifest import Entry

FOLDER = Path(__file__).parent / "checkpoints"
REFERENCE = Path(__file__).parent / "scores.json"
SELECTION = {"xnli": (("en", "fr"), None), "xcopa": (("en", "it"), None)}


def scores() -> dict[str, Any]:
    """Each metric of each task, and the log-probabilities of the first documents, by checkpoint."""
    found: dict[str, Any] = {}
    for name in ("first", "second"):
        entry = Entry(id=name, model="xscale", model_args={"pretrained": str(FOLDER / name)})
        with tempfile.TemporaryDirectory() as temporary:
            results = Path(temporary)
            metrics = evaluate_entry(entry, SELECTION, "bundled", results / "m.json", results)["results"]
            rows = read_predictions(results / name / "predictions.parquet").table.to_pylist()
        found[name] = {
            f"{task} {metric.removesuffix(',none')}": value
            for task, values in metrics.items()
            for metric, value in values.items()
            if metric.startswith("acc") and "stderr" not in metric
        } | {
            f"{row['task']} row {row['row']}": [round(value, 4) for value in row["logprobs"]]
            for row in rows
            if row["row"] < 10
        }
    return found


def changed_scores(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """One line for each score that is not as it was: log-probabilities to 0.001, accuracies exactly."""
    changed = []
    for name in sorted({*old, *new}):
        before, after = old.get(name, {}), new.get(name, {})
        for key in sorted({*before, *after}):
            if before.get(key) != pytest.approx(after.get(key), abs=1e-3 if " row " in key else 1e-12):
                changed.append(f"{name}: {key}: {before.get(key)} -> {after.get(key)}")
    return changed


def test_scores_are_what_they_were():
    changed = changed_scores(json.loads(REFERENCE.read_text()), scores())
    assert not changed, "\n".join(["old -> new:", *changed])


def test_a_changed_score_is_named():
    old = {"first": {"xnli_ood_en acc": 0.5, "xnli_ood_en row 3": [-1.0, -1.1, -1.2]}}
    new = {"first": {"xnli_ood_en acc": 0.25, "xnli_ood_en row 3": [-1.0, -1.1, -1.2004]}}
    assert changed_scores(old, new) == ["first: xnli_ood_en acc: 0.5 -> 0.25"]
