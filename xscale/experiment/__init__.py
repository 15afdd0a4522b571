"""Experiments: what people write (`schema`), named recipes (`recipes`), and what follows from them (`plan`)."""

from xscale.experiment.plan import Recipe, plan
from xscale.experiment.recipes import RECIPES, Phase
from xscale.experiment.schema import (
    Development,
    Evaluation,
    Experiment,
    LoRA,
    MaskedLM,
    Mixing,
    OwnTask,
    Target,
    find_experiment,
    phases,
    read_experiment,
)

__all__ = [
    "RECIPES",
    "Development",
    "Evaluation",
    "Experiment",
    "LoRA",
    "MaskedLM",
    "Mixing",
    "OwnTask",
    "Phase",
    "Recipe",
    "Target",
    "find_experiment",
    "phases",
    "plan",
    "read_experiment",
]
