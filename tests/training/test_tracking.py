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
