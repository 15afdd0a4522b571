"""Trackers: asked for by an environment variable; what is not there is said in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from accelerate import Accelerator
from tiny import make_base, make_recipe

from xscale.errors import UserError
from xscale.training.phases import train_recipe
from xscale.training.tracking import ENVIRONMENT, trackers


def test_unknown_and_missing_trackers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    assert trackers() == []
    monkeypatch.setenv(ENVIRONMENT, "tensorbord")
    with pytest.raises(
        UserError, match="unknown tracker 'tensorbord'; known are: tensorboard, wandb, trackio"
    ):
        trackers()
    monkeypatch.setenv(ENVIRONMENT, "wandb, trackio")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "trackio" else object())
    with pytest.raises(UserError, match="trackio is not installed; pip install trackio"):
        trackers()


def test_losses_and_rates_are_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[tuple[int, dict[str, Any]]] = []
    monkeypatch.setattr(Accelerator, "log", lambda self, values, step: logged.append((step, values)))
    monkeypatch.setattr(Accelerator, "trackers", ["any"], raising=False)
    monkeypatch.setattr(
        Accelerator,
        "__setattr__",
        lambda self, name, value: None if name == "trackers" else object.__setattr__(self, name, value),
    )
    monkeypatch.setattr(Accelerator, "end_training", lambda self: None)
    train_recipe(make_recipe(make_base(tmp_path / "base"), size=160), tmp_path / "checkpoints" / "tiny")
    assert [step for step, _ in logged] == [10, 20]
    assert set(logged[0][1]) == {"bundled_nli/loss", "learning_rate"}
    assert 0 < logged[1][1]["learning_rate"] < logged[0][1]["learning_rate"] < 1e-3


def test_the_figures_of_an_evaluation_are_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every subset over all languages and every language, by the checkpoint's id; nothing where no tracker is asked for."""
    from tiny_model import make_base as make_tiny_base
    from tiny_model import make_head

    from xscale import pipeline
    from xscale.evaluation.predictions import read_predictions
    from xscale.manifest import Entry, add_entries, read_manifest
    from xscale.workspace import Workspace

    logged: list[dict[str, float]] = []
    monkeypatch.setattr(Accelerator, "init_trackers", lambda self, name, config, init_kwargs: None)
    monkeypatch.setattr(Accelerator, "log", lambda self, values, step: logged.append(values))
    monkeypatch.setattr(Accelerator, "end_training", lambda self: None)
    monkeypatch.setattr("xscale.training.tracking.trackers", lambda: ["tensorboard"])
    workspace = Workspace(tmp_path / "checkpoints_manifest.json")
    make_head(tmp_path / "mine", make_tiny_base(tmp_path / "base"))
    args = {"pretrained": "mine", "device": "cpu"}
    add_entries(workspace.manifest, [Entry(id="mine", model="xscale", model_args=args, targets={"xnli": []})])
    entries = read_manifest(workspace.manifest).entries
    chosen = {"xnli": (("de", "sw"), 20)}
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    pipeline.evaluate(entries, {"xnli": (("de",), 5)}, "bundled", workspace)
    assert logged == []
    monkeypatch.setenv(ENVIRONMENT, "tensorboard")
    pipeline.evaluate(entries, chosen, "bundled", workspace)
    (figures,) = logged
    table = read_predictions(workspace.results / "mine" / "predictions.parquet").table.to_pylist()
    right = {
        code: [r["label"] == r["prediction"] for r in table if r["language"] == code] for code in ("de", "sw")
    }
    assert len(right["de"]) == 20
    for code, answers in right.items():
        assert figures[f"mine/xnli/{code}"] == pytest.approx(sum(answers) / 20)
    both = sum(map(sum, right.values())) / 40
    assert figures["mine/xnli/all"] == pytest.approx(both) and "mine/xnli/ood" in figures
