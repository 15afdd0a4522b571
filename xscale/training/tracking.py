"""Experiment trackers, by accelerate: XSCALE_TRACKERS=tensorboard,wandb,trackio (what is logged changes no result)."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path

from accelerate import Accelerator

from xscale.errors import UserError
from xscale.experiment import Recipe

ENVIRONMENT = "XSCALE_TRACKERS"
_MODULES = {"tensorboard": "tensorboard", "wandb": "wandb", "trackio": "trackio"}


def trackers() -> list[str]:
    """The trackers asked for. Raises `UserError` for an unknown one, or one that is not installed."""
    wanted = [name.strip() for name in os.environ.get(ENVIRONMENT, "").split(",") if name.strip()]
    for name in wanted:
        if name not in _MODULES:
            raise UserError(f"{ENVIRONMENT}: unknown tracker {name!r}; known are: {', '.join(_MODULES)}")
        if importlib.util.find_spec(_MODULES[name]) is None:
            raise UserError(f"{ENVIRONMENT}: {name} is not installed; pip install {name}")
    return wanted


def log_figures(name: str, figures: Mapping[str, float], folder: Path) -> None:
    """Log figures of a checkpoint that was evaluated, by `<target>/<subset>`, if any tracker was asked for. `folder`: where
    trackers that write files write them."""
    if not trackers() or not figures:
        return
    accelerator = Accelerator(log_with=trackers(), project_dir=str(folder))
    init = {"wandb": {"name": name}} if "wandb" in trackers() else {}
    accelerator.init_trackers("xscale", config={"id": name}, init_kwargs=init)
    accelerator.log({f"{name}/{key}": value for key, value in figures.items()}, step=0)
    accelerator.end_training()


def start_trackers(accelerator: Accelerator, recipe: Recipe) -> None:
    """Begin a run named after the recipe, if any tracker was asked for."""
    if trackers():
        config = {"id": recipe.id, "base": recipe.base, "size": recipe.size, "seed": recipe.seed}
        init = {"wandb": {"name": recipe.id}} if "wandb" in trackers() else {}
        accelerator.init_trackers("xscale", config=config, init_kwargs=init)
