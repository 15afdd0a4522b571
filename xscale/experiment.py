"""The experiment file: what is varied (the size), and everything that is held still."""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from harness_tasks.languages import XCOPA_LANGUAGES, XNLI_LANGUAGES
from xscale.errors import UserError
from xscale.manifest import check_id
from xscale.parsing import read_model

TARGET_LANGUAGES = {"xnli": XNLI_LANGUAGES, "xcopa": XCOPA_LANGUAGES}
TARGET_HEADS = {"xnli": "pair_classification", "xcopa": "multiple_choice"}

_strict = ConfigDict(extra="forbid", strict=True)
PositiveInt = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Phase(BaseModel):
    """How one phase is trained: AdamW, linear warm-up then linear decay to zero."""

    model_config = _strict

    learning_rate: Annotated[float, Field(gt=0)]
    epochs: Annotated[float, Field(gt=0)]
    batch_size: PositiveInt = 32
    warmup: Fraction = 0.1
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    adam_epsilon: Annotated[float, Field(gt=0)] = 1e-8
    max_gradient_norm: Annotated[float, Field(gt=0)] = 1.0
    max_length: PositiveInt = 128
    freeze: Literal["nothing", "embeddings"] = "nothing"
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None  # None: as the base's configuration says
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # auto: bf16 where the device has matrix units for it


# A recipe names the phases. `laptop` is for the embedded base on two cores: the embeddings, four fifths of its
# parameters, stay as they are.
RECIPES: dict[str, dict[str, Phase]] = {
    "laptop": {
        "intermediate": Phase(learning_rate=1e-4, epochs=3, freeze="embeddings"),
        "xnli": Phase(learning_rate=1e-4, epochs=3, freeze="embeddings"),
        "xcopa": Phase(learning_rate=5e-5, epochs=5, freeze="embeddings"),
    },
}


class Target(BaseModel):
    """Fine-tuning of one target in English, after the intermediate phase, held fixed over all sizes."""

    model_config = _strict

    train: list[str] = Field(min_length=1, description="its fine-tuning sets, one after the other")
    size: PositiveInt | None = Field(None, description="rows of each set; all of them when left out")


class Evaluation(BaseModel):
    """Which rows and languages of a target are evaluated."""

    model_config = _strict

    languages: list[str] | None = None
    limit: PositiveInt | None = Field(
        None, description="documents a language, of the tasks' fixed shuffled order"
    )


class Experiment(BaseModel):
    """One ladder: base, intermediate task, sizes, seeds, targets."""

    model_config = _strict

    name: str
    data: str | None = Field(None, description="hub, bundled or a mirror folder; --data overrides it")
    base: str
    intermediate: str
    sizes: list[Annotated[int, Field(ge=0)]] = Field(min_length=1)
    seeds: list[Annotated[int, Field(ge=0)]] = Field(default=[1], min_length=1)
    targets: dict[Literal["xnli", "xcopa"], Target] = Field(min_length=1)
    recipe: str = "laptop"
    training: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="phase (intermediate, xnli, xcopa) -> fields of the recipe to change",
    )
    evaluation: dict[Literal["xnli", "xcopa"], Evaluation] = Field(default_factory=dict)

    @field_validator("name")
    @classmethod
    def _usable_name(cls, value: str) -> str:
        return check_id(value)

    @field_validator("sizes")
    @classmethod
    def _ascending(cls, value: list[int]) -> list[int]:
        if any(a >= b for a, b in pairwise(value)):
            raise ValueError(f"sizes must ascend without repetition, not {value}; write {sorted(set(value))}")
        if value[0] != 0:
            raise ValueError(
                f"sizes must begin with 0, the baseline that the others are compared with; write {[0, *value]}"
            )
        return value

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, value: list[int]) -> list[int]:
        if len(set(value)) != len(value):
            raise ValueError(f"seeds must differ, not {value}")
        return value

    @field_validator("recipe")
    @classmethod
    def _known_recipe(cls, value: str) -> str:
        if value not in RECIPES:
            raise ValueError(f"unknown recipe {value!r}; known are: {', '.join(RECIPES)}")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Experiment:
        for name in self.training:
            if name not in ("intermediate", *self.targets):
                raise ValueError(
                    f"training: unknown phase {name!r}; known here: intermediate, {', '.join(self.targets)}"
                )
        phases(self)
        for target, evaluation in self.evaluation.items():
            if target not in self.targets:
                raise ValueError(
                    f"evaluation: {target!r} is not among the targets ({', '.join(self.targets)})"
                )
            for language in evaluation.languages or []:
                if language not in TARGET_LANGUAGES[target]:
                    raise ValueError(
                        f"evaluation: {target}: unknown language {language!r}; known are: "
                        f"{', '.join(TARGET_LANGUAGES[target])}"
                    )
        return self


def phases(experiment: Experiment) -> dict[str, Phase]:
    """The recipe's phases with the experiment's changes. Raises ValueError for an unknown field or wrong value."""
    from pydantic import ValidationError

    result = {}
    for name in ("intermediate", *experiment.targets):
        fields = RECIPES[experiment.recipe][name].model_dump() | experiment.training.get(name, {})
        try:
            result[name] = Phase.model_validate(fields)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            known = (
                f"; known are: {', '.join(Phase.model_fields)}" if first["type"] == "extra_forbidden" else ""
            )
            raise ValueError(
                f"training.{name}.{'.'.join(map(str, first['loc']))}: {first['msg']}{known}"
            ) from None
    return result


class Recipe(BaseModel):
    """All that determines one trained checkpoint, but for library versions and the data's fingerprints."""

    model_config = _strict

    id: str
    base: str
    data: str
    intermediate: str
    size: int
    seed: int
    targets: dict[str, Target]
    phases: dict[str, Phase]
    baseline: str | None

    def digest(self) -> str:
        """SHA-256 in hex over all fields; two checkpoints with the same digest were trained alike."""
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()


def read_experiment(path: Path) -> Experiment:
    """Read an experiment file. Raises `UserError` (file, line, field, expectation) for anything but a valid one."""
    return read_model(Experiment, path)


def plan(experiment: Experiment, source: str) -> list[Recipe]:
    """The recipes of an experiment, baselines first for each seed.

    `source` is the resolved data source. Raises `UserError` when a resulting id is too long to be a folder's name.
    """
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
                    intermediate=experiment.intermediate,
                    size=size,
                    seed=seed,
                    targets={str(name): target for name, target in experiment.targets.items()},
                    phases=phases(experiment),
                    baseline=baseline if size else None,
                )
            )
    return recipes


def find_experiment(name: str) -> Path:
    """The experiment file of that path, or of that name among those that come with xscale.

    Raises `UserError` that lists the shipped ones.
    """
    path = Path(name)
    if path.suffix in {".yaml", ".yml"} or path.exists():
        return path
    here = Path(__file__).parent
    folder = next((f for f in (here / "experiments", here.parent / "experiments") if f.is_dir()), here)
    shipped = {file.stem: file for file in sorted(folder.glob("*.yaml"))}
    if name not in shipped:
        raise UserError(
            f"experiment {name!r}: no such file, and none of that name comes with xscale "
            f"({', '.join(shipped)}); give a path that ends in .yaml"
        )
    return shipped[name]
