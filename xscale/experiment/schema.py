"""The experiment file: what is varied (the size), and everything that is held still."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, ValidationError, field_validator, model_validator

from harness_tasks.parsing import explain_defect, read_model
from harness_tasks.targets import get_target, targets, use_targets_file
from xscale.errors import UserError
from xscale.executors import Resources
from xscale.experiment.recipes import (
    RECIPES,
    XTREME_LARGE_LEARNING_RATE,
    Phase,
    PositiveInt,
    strict,
)
from xscale.manifest import check_id


def _known_target(name: str) -> str:
    if name not in targets():
        raise ValueError(f"{' or '.join(map(repr, targets()))} is expected, not {name!r}")
    return name


TargetName = Annotated[str, AfterValidator(_known_target)]


class Development(BaseModel):
    """Scores on development sets while a target is trained, and which step is kept.

    Only the English development set (XNLI's and COPA's validation) ever chooses a step. Validation in the other
    languages is scored at the same steps and stored beside it.
    """

    model_config = strict

    choose: Literal["best", "average", "last", "none"] = Field(
        default="none",
        description="best: the step with the highest English development accuracy; average: the mean of the weights at all "
        "scored steps (Schmidt et al. 2023); last: the last step, scored; none: the last step, nothing is scored",
    )
    times: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=5, description="how often a target's training is scored, evenly spread"
    )
    rows: PositiveInt | None = Field(
        default=None, description="rows of the English development set; all when left out"
    )
    validation_rows: Annotated[int, Field(ge=0)] = Field(
        default=100, description="rows of each other language's validation set; 0 for none"
    )


class Mixing(BaseModel):
    """How a ladder over several intermediate tasks is split: p(task) from its number of rows n.

    capped: p ~ min(n, cap), the paper's; uniform: p equal; proportional: p ~ n; temperature: p ~ n^(1 / temperature).
    """

    model_config = strict

    rule: Literal["capped", "uniform", "proportional", "temperature"] = "capped"
    cap: PositiveInt = 2**17
    temperature: Annotated[float, Field(ge=0.01, le=1000)] = 2.0


class MaskedLM(BaseModel):
    """Masked language modelling in many languages while the intermediate task trains."""

    model_config = strict

    texts: str | None = Field(
        default=None, description="a folder of .txt files, one text a line; usually one file a language"
    )
    dataset: str | None = Field(
        default=None, description="instead of `texts`: a set of the data source (hub or mirror)"
    )
    configs: list[str] = Field(
        default=["default"], min_length=1, description="its configs, usually languages"
    )
    split: str = "train"
    field: str = "text"
    ratio: Annotated[float, Field(gt=0, le=0.95)] = Field(
        default=0.5, description="share of all updates that are masked LM"
    )
    rows: PositiveInt | None = Field(
        default=None, description="texts of each file or config; all when left out"
    )

    @model_validator(mode="after")
    def _one_place(self) -> MaskedLM:
        if (self.texts is None) == (self.dataset is None):
            raise ValueError("give either `texts` (a folder) or `dataset` (of the hub or mirror)")
        return self


class OwnTask(BaseModel):
    """A user's training set: one JSON object a line, fields by head (docs/training.md, "Your own task")."""

    model_config = strict

    file: str = Field(description=".jsonl, .jsonl.gz or .parquet")
    head: Literal["pair_classification", "multiple_choice", "span", "token_classification", "masked_lm"]
    labels: list[str] | None = Field(
        default=None, description="in order; the file's own, sorted, when left out"
    )
    licence: str | None = None
    citation: str | None = None


class LoRA(BaseModel):
    """Low-rank adapters (peft) instead of the base's own weights; a checkpoint is then its adapter."""

    model_config = strict

    rank: Annotated[int, Field(ge=1, le=4096)] = 8
    alpha: Annotated[int, Field(ge=1, le=2**16)] = 16
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    modules: list[str] | None = Field(
        default=None, description="names of linear layers; query and value when left out"
    )


class Target(BaseModel):
    """Fine-tuning of one target in English, after the intermediate phase, held fixed over all sizes."""

    model_config = strict

    train: list[str] = Field(
        description="its fine-tuning sets, one after the other; [] with objective: causal_lm, and of retrieval"
    )
    size: PositiveInt | None = Field(None, description="rows of each set; all of them when left out")


class Evaluation(BaseModel):
    """Which rows and languages of a target are evaluated."""

    model_config = strict

    languages: list[str] | None = Field(None, min_length=1)
    limit: PositiveInt | None = Field(
        None, description="documents a language, of the tasks' fixed shuffled order"
    )


def _some_task(value: str | list[str]) -> str | list[str]:
    if isinstance(value, list) and (not value or len(set(value)) != len(value)):
        raise ValueError(f"one task or a list of different tasks is expected, not {value}")
    return value


Tasks = Annotated[str | list[str], AfterValidator(_some_task)]


Sizes = list[Annotated[int, Field(ge=0, le=10**9)]]


def _ascending(value: list[int]) -> list[int]:
    if any(a >= b for a, b in pairwise(value)):
        raise ValueError(f"sizes must ascend without repetition, not {value}; write {sorted(set(value))}")
    return value


class Arm(BaseModel):
    """What the intermediate phase is; nothing else differs between the arms of an experiment."""

    model_config = strict

    intermediate: Tasks = Field(
        description="intermediate task, or several; <task>@<language> is its translation"
    )
    sizes: Annotated[Sizes, AfterValidator(_ascending)] | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="the experiment's when left out; all arms share the baseline, size 0",
    )
    mixing: Mixing | None = Field(default=None, description="the experiment's when left out")
    masked_lm: MaskedLM | None = None
    training: dict[str, Any] = Field(
        default_factory=dict,
        description="fields of the recipe's intermediate phase to change, in this arm only",
    )


class Question(BaseModel):
    """What is tested, fixed before anyone looks: deltas of all arms, sizes and these targets on this subset are one family;
    everything else the leaderboard shows is exploratory."""

    model_config = strict

    subset: str = "ood"
    targets: list[TargetName] | None = Field(
        default=None, min_length=1, description="all of the experiment's when left out"
    )


class Experiment(BaseModel):
    """Arms, each a ladder of sizes over one baseline; base, seeds and targets are the same for all."""

    model_config = strict

    name: str
    data: str | None = Field(
        None, min_length=1, description="hub, bundled or a mirror folder; --data overrides it"
    )
    targets_file: str | None = Field(
        None, description="a file with languages or targets of your own (docs/languages.md)"
    )
    base: str = Field(min_length=1)
    intermediate: Tasks | None = Field(
        default=None,
        description="intermediate task, or several, where there is one arm; <task>@<language> is its translation",
    )
    arms: dict[str, Arm] | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="instead of `intermediate`: arms by name, a ladder each",
    )
    question: Question = Field(default_factory=Question)
    objective: Literal["heads", "causal_lm"] = Field(
        default="heads",
        description="heads: encoders, a head for each task; causal_lm: the base is a causal language model, trained on the "
        "prompts of the intermediate task and scored by lm_eval's hf, without fine-tuning on the targets",
    )
    sizes: Sizes = Field(min_length=1, max_length=100)
    seeds: list[Annotated[int, Field(ge=0, lt=2**32)]] = Field(default=[1], min_length=1, max_length=100)
    targets: dict[TargetName, Target] = Field(min_length=1)
    recipe: str = "laptop"
    training: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="phase (intermediate, or a target) -> fields of the recipe to change",
    )
    mixing: Mixing = Field(default_factory=Mixing)
    masked_lm: MaskedLM | None = None
    development: Development | None = Field(
        None, description="the recipe's when left out: best for paper and xtreme, none for laptop"
    )
    lora: LoRA | None = None
    tasks: dict[str, OwnTask] = Field(
        default_factory=dict, description="your own training sets, by the name they have here"
    )
    evaluation: dict[TargetName, Evaluation] = Field(default_factory=dict)
    keep: Literal["predictions", "heads", "all"] = Field(
        default="all",
        description="what stays of a checkpoint on the disk: all; heads: without the encoder; predictions: only its results "
        "and its record, once it is evaluated",
    )
    resources: dict[Literal["train", "evaluate"], Resources] = Field(
        default_factory=dict, description="what one job takes on a cluster (--executor ray)"
    )

    @model_validator(mode="before")
    @classmethod
    def _own_targets(cls, value: Any) -> Any:
        """The user's targets are known before anything that names one is looked at."""
        if isinstance(value, dict) and isinstance(value.get("targets_file"), str):
            use_targets_file(value["targets_file"])
        return value

    @field_validator("name")
    @classmethod
    def _usable_name(cls, value: str) -> str:
        return check_id(value)

    @field_validator("sizes")
    @classmethod
    def _from_zero(cls, value: list[int]) -> list[int]:
        _ascending(value)
        if value[0] != 0:
            raise ValueError(
                f"sizes must begin with 0, the baseline that the others are compared with; write {[0, *value]}"
            )
        return value

    @field_validator("arms")
    @classmethod
    def _usable_arms(cls, value: dict[str, Arm] | None) -> dict[str, Arm] | None:
        for name in value or {}:
            check_id(name)
        lowered = [name.lower() for name in value or {}]
        for name in value or {}:
            if lowered.count(name.lower()) > 1:
                raise ValueError(f"{name!r}: two arms differ in case only; rename one")
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
        self._check_arms()
        for arm in arms_of(self).values():
            phases(self, arm)
        self._check_objective()
        for target, evaluation in self.evaluation.items():
            if target not in self.targets:
                raise ValueError(
                    f"evaluation.{target}: {target!r} is not among the targets ({', '.join(self.targets)})"
                )
            for number, language in enumerate(evaluation.languages or []):
                if evaluation.languages and language in evaluation.languages[:number]:
                    raise ValueError(f"evaluation.{target}.languages: {language!r} is there twice; keep one")
                if language not in get_target(target).places:
                    raise ValueError(
                        f"evaluation.{target}.languages: unknown language {language!r}; known are: "
                        f"{', '.join(get_target(target).languages)}; `xscale ls languages` has further ones"
                    )
        return self

    def _check_arms(self) -> None:
        if (self.intermediate is None) == (self.arms is None):
            raise ValueError("give either `intermediate` (one arm) or `arms`")
        if self.arms is not None and self.masked_lm is not None:
            raise ValueError("masked_lm: with `arms` each says its own; write it below the arms that have it")
        for target in self.question.targets or ():
            if target not in self.targets:
                raise ValueError(
                    f"question.targets: {target!r} is not among the targets ({', '.join(self.targets)})"
                )

    def _check_objective(self) -> None:
        for target, plan in self.targets.items():
            trained = get_target(target).is_trained
            if self.objective == "heads" and not trained and (plan.train or plan.size):
                raise ValueError(
                    f"targets.{target}: nothing is fine-tuned for it; write train: [] and no size"
                )
            if self.objective == "heads" and trained and not plan.train:
                raise ValueError(f"targets.{target}.train: name at least one fine-tuning set")
            if self.objective == "causal_lm" and plan.train:
                raise ValueError(
                    f"targets.{target}.train: with objective: causal_lm nothing is fine-tuned on; write []"
                )
        for arm in arms_of(self).values() if self.objective == "causal_lm" else ():
            if arm.masked_lm is not None:
                raise ValueError("objective: causal_lm: masked_lm is for encoders; leave it out")
            phase = phases(self, arm)["intermediate"]
            if phase.freeze != "nothing" or phase.freeze_layers:
                raise ValueError(
                    "objective: causal_lm: freezing is for encoders; write training: {intermediate: {freeze: nothing}}"
                )


def arms_of(experiment: Experiment) -> dict[str, Arm]:
    """The arms by name; `intermediate` at the top is one arm, named after its tasks."""
    if experiment.arms is not None:
        return experiment.arms
    assert experiment.intermediate is not None
    tasks = experiment.intermediate
    name = tasks if isinstance(tasks, str) else "+".join(tasks)
    return {name: Arm(intermediate=tasks, masked_lm=experiment.masked_lm)}


def phases(experiment: Experiment, arm: Arm | None = None) -> dict[str, Phase]:
    """The recipe's phases with the changes of experiment and arm. Raises ValueError for an unknown field or wrong value."""
    result = {}
    for name in ("intermediate", *experiment.targets):
        phase = name if name == "intermediate" else get_target(name).head
        fields = RECIPES[experiment.recipe][phase].model_dump()
        is_large = "large" in experiment.base.lower()
        if experiment.recipe == "xtreme" and is_large and phase != "token_classification":
            fields["learning_rate"] = XTREME_LARGE_LEARNING_RATE
        fields |= experiment.training.get(name, {})
        if name == "intermediate" and arm is not None:
            fields |= arm.training
        try:
            result[name] = Phase.model_validate(fields)
        except ValidationError as error:
            defects = error.errors(include_url=False)
            first = defects[0]
            known = (
                f"; known are: {', '.join(Phase.model_fields)}" if first["type"] == "extra_forbidden" else ""
            )
            place: tuple[str, ...] = ("training", name)
            if (
                arm is not None
                and name == "intermediate"
                and first["loc"][:1]
                and first["loc"][0] in arm.training
            ):
                own = [title for title, other in (experiment.arms or {}).items() if other is arm]
                place = ("arms", own[0], "training") if own else place
            where = ".".join(map(str, (*place, *first["loc"])))
            what = f"unknown field{known}" if known else explain_defect(defects)
            raise ValueError(f"{where}: {what}") from None
    return result


def read_experiment(path: Path) -> Experiment:
    """Read an experiment file. Raises `UserError` (file, line, field, expectation) for anything but a valid one."""
    return read_model(Experiment, path)


def find_experiment(name: str) -> Path:
    """The experiment file of that path, or of that name among those that come with xscale.

    Raises `UserError` that lists the shipped ones.
    """
    path = Path(name)
    if path.suffix in {".yaml", ".yml"} or path.exists():
        return path
    here = Path(__file__).parent.parent
    folder = next((f for f in (here / "experiments", here.parent / "experiments") if f.is_dir()), here)
    shipped = {file.stem: file for file in sorted(folder.glob("*.yaml"))}
    if name not in shipped:
        raise UserError(
            f"experiment {name!r}: no such file, and none of that name comes with xscale "
            f"({', '.join(shipped)}); give a path that ends in .yaml"
        )
    return shipped[name]
