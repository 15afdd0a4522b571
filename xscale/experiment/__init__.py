"""Experiments: what people write (`schema`), named recipes (`recipes`), and what follows from them (`plan`)."""

from xscale.experiment.plan import Recipe, encoder_key, head_key, plan
from xscale.experiment.recipes import RECIPES, Phase
from xscale.experiment.schema import (
    Arm,
    Development,
    Evaluation,
    Experiment,
    LoRA,
    MaskedLM,
    Mixing,
    OwnTask,
    Question,
    Target,
    arms_of,
    find_experiment,
    phases,
    read_experiment,
)

__all__ = [
    "RECIPES",
    "Arm",
    "Development",
    "Evaluation",
    "Experiment",
    "LoRA",
    "MaskedLM",
    "Mixing",
    "OwnTask",
    "Phase",
    "Question",
    "Recipe",
    "Target",
    "arms_of",
    "encoder_key",
    "find_experiment",
    "head_key",
    "phases",
    "plan",
    "read_experiment",
]
