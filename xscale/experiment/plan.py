"""What follows from an experiment file: a recipe for each checkpoint."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from xscale.errors import UserError
from xscale.experiment.recipes import Phase, strict
from xscale.experiment.schema import (
    Development,
    Experiment,
    LoRA,
    MaskedLM,
    Mixing,
    OwnTask,
    Target,
    phases,
)
from xscale.files import sha256_of_file
from xscale.manifest import check_id


class Recipe(BaseModel):
    """All that determines one trained checkpoint, but for library versions and the data's fingerprints."""

    model_config = strict

    id: str
    base: str
    data: str
    intermediate: list[str] = Field(min_length=1)
    size: int
    seed: int
    targets: dict[str, Target]
    phases: dict[str, Phase]
    baseline: str | None
    objective: Literal["heads", "causal_lm"] = "heads"
    mixing: Mixing | None = None  # of several intermediate tasks
    masked_lm: MaskedLM | None = None
    development: Development = Field(default_factory=Development)
    lora: LoRA | None = None
    tasks: dict[str, OwnTask] = Field(default_factory=dict)
    own_files: dict[str, str] = Field(
        default_factory=dict, description="SHA-256 of each file of the user's that it is trained on"
    )

    def digest(self) -> str:
        """SHA-256 in hex over all fields; two checkpoints with the same digest were trained alike."""
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()


def plan(experiment: Experiment, source: str) -> list[Recipe]:
    """The recipes of an experiment, baselines first for each seed.

    `source` is the resolved data source. Raises `UserError` when a resulting id is too long to be a folder's name.
    """
    chosen = experiment.intermediate
    intermediate = [chosen] if isinstance(chosen, str) else chosen
    choose: Literal["best", "none"] = "none" if experiment.recipe == "laptop" else "best"
    own_files = _own_files(experiment)
    recipes = []
    for seed in experiment.seeds:
        baseline = f"{experiment.name}-0-seed{seed}"
        for size in experiment.sizes:
            identifier = f"{experiment.name}-{size}-seed{seed}"
            try:
                check_id(identifier)
            except ValueError as error:
                raise UserError(f"experiment name {experiment.name!r}: {error}") from None
            recipes.append(
                Recipe(
                    id=identifier,
                    base=experiment.base,
                    data=source,
                    intermediate=intermediate,
                    size=size,
                    seed=seed,
                    targets={str(name): target for name, target in experiment.targets.items()},
                    phases=phases(experiment),
                    baseline=baseline if size else None,
                    objective=experiment.objective,
                    mixing=experiment.mixing if len(intermediate) > 1 else None,
                    masked_lm=experiment.masked_lm,
                    development=experiment.development or Development(choose=choose),
                    lora=experiment.lora,
                    tasks=experiment.tasks,
                    own_files=own_files,
                )
            )
    return recipes


def _own_files(experiment: Experiment) -> dict[str, str]:
    """The content of the user's files: another text under the same name is another recipe. Training says what is missing."""
    paths = [Path(task.file).expanduser() for task in experiment.tasks.values()]
    if experiment.masked_lm is not None and experiment.masked_lm.texts is not None:
        paths += sorted(Path(experiment.masked_lm.texts).expanduser().glob("*.txt"))
    return {str(path): sha256_of_file(path) for path in paths if path.is_file()}
