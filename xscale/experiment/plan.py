"""What follows from an experiment file: a recipe for each checkpoint."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from xscale.errors import UserError
from xscale.experiment.recipes import Phase, strict
from xscale.experiment.schema import (
    Arm,
    Development,
    Experiment,
    LoRA,
    MaskedLM,
    Mixing,
    OwnTask,
    Target,
    arms_of,
    phases,
)
from xscale.files import sha256_of_file
from xscale.manifest import check_id


class Recipe(BaseModel):
    """All that one checkpoint is asked to be. What determines its weights, by content, are its units (training/units.py)."""

    model_config = strict

    id: str
    base: str
    data: str
    arm: str | None = None  # None: the baseline of all arms
    intermediate: list[str] = Field(default_factory=list)  # [] where several arms share the baseline
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


def plan(
    experiment: Experiment, source: str, arms: Sequence[str] = (), sizes: Sequence[int] = ()
) -> list[Recipe]:
    """The recipes of an experiment: for each seed the baseline of all arms, then the arms, their sizes ascending.

    `source` is the resolved data source. `arms` and `sizes` ask for a part; the baselines always belong to it. Raises
    `UserError` when a resulting id is too long to be a folder's name, and for an arm or size that is not in the experiment.
    """
    known = arms_of(experiment)
    for name in arms:
        if name not in known:
            raise UserError(f"--arm: {experiment.name} has no arm {name!r}; it has: {', '.join(known)}")
    ladders = {
        name: [size for size in arm.sizes or experiment.sizes if size]
        for name, arm in known.items()
        if not arms or name in arms
    }
    there = sorted({size for ladder in ladders.values() for size in ladder} | {0})
    for size in sizes:
        if size not in there:
            raise UserError(
                f"--size: {experiment.name} has no size {size}; it has: {', '.join(map(str, there))}"
            )
    own_files = _own_files(experiment)
    recipes = []
    for seed in experiment.seeds:
        baseline = _recipe(experiment, source, own_files, seed, 0, None, next(iter(known.values())), None)
        recipes.append(baseline)
        for name, ladder in ladders.items():
            recipes += [
                _recipe(experiment, source, own_files, seed, size, name, known[name], baseline.id)
                for size in ladder
                if not sizes or size in sizes
            ]
    return recipes


def _recipe(
    experiment: Experiment,
    source: str,
    own_files: dict[str, str],
    seed: int,
    size: int,
    name: str | None,
    arm: Arm,
    baseline: str | None,
) -> Recipe:
    within = f"-{name}" if size and experiment.arms is not None else ""
    identifier = f"{experiment.name}{within}-{size}-seed{seed}"
    try:
        check_id(identifier)
    except ValueError as error:
        raise UserError(f"experiment name {experiment.name!r}: {error}") from None
    tasks = [arm.intermediate] if isinstance(arm.intermediate, str) else arm.intermediate
    choose: Literal["best", "none"] = "none" if experiment.recipe == "laptop" else "best"
    shared = not size and experiment.arms is not None
    chosen = phases(experiment, arm)
    return Recipe(
        id=identifier,
        base=experiment.base,
        data=source,
        arm=name,
        intermediate=[] if shared else tasks,
        size=size,
        seed=seed,
        targets={str(target): how for target, how in experiment.targets.items()},
        phases={phase: how for phase, how in chosen.items() if size or phase != "intermediate"},
        baseline=baseline,
        objective=experiment.objective,
        mixing=(arm.mixing or experiment.mixing) if len(tasks) > 1 and size else None,
        masked_lm=arm.masked_lm if size else None,
        development=experiment.development or Development(choose=choose),
        lora=experiment.lora,
        tasks=experiment.tasks,
        own_files=own_files,
    )


def encoder_key(recipe: Recipe) -> str | None:
    """Equal for recipes of one experiment that share an encoder, as far as the file says; None at size 0."""
    if not recipe.size:
        return None
    fields = {"base", "data", "intermediate", "size", "seed", "objective", "mixing", "masked_lm", "lora"}
    own = recipe.model_dump(mode="json", include=fields)
    return json.dumps([own, recipe.phases["intermediate"].model_dump()], sort_keys=True)


def head_key(recipe: Recipe, target: str) -> str:
    """Equal for recipes of one experiment that share the head of a target, as far as the file says."""
    fields = {"base", "data", "seed", "objective", "development", "lora"}
    own = recipe.model_dump(mode="json", include=fields)
    how = [recipe.targets[target].model_dump(), recipe.phases[target].model_dump()]
    return json.dumps([encoder_key(recipe), target, own, how], sort_keys=True)


def _own_files(experiment: Experiment) -> dict[str, str]:
    """The content of the user's files: another text under the same name is another recipe. Training says what is missing."""
    paths = [Path(task.file).expanduser() for task in experiment.tasks.values()]
    for arm in arms_of(experiment).values():
        if arm.masked_lm is not None and arm.masked_lm.texts is not None:
            paths += sorted(Path(arm.masked_lm.texts).expanduser().glob("*.txt"))
    return {str(path): sha256_of_file(path) for path in paths if path.is_file()}
