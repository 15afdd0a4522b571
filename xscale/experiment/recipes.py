"""How a phase is trained, and the named recipes: laptop, paper, xtreme."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

strict = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
PositiveInt = Annotated[int, Field(ge=1, le=10**9)]
# beyond what anyone trains with; a slip of the keyboard is then found here, not by a machine that is busy for years
MAX_UPDATES, MAX_EPOCHS, MAX_BATCH, MAX_TOKENS = 2_000_000, 10_000, 2**16, 2**15
Fraction = Annotated[float, Field(ge=0, le=1)]


class Phase(BaseModel):
    """How one phase is trained: AdamW, linear warm-up then linear decay to zero."""

    model_config = strict

    learning_rate: Annotated[float, Field(gt=0, le=1)]
    epochs: Annotated[float, Field(gt=0, le=MAX_EPOCHS)]
    updates: Literal["epochs", "fixed"] = "epochs"  # fixed: `budget` updates, whatever the number of rows
    budget: Annotated[int, Field(ge=1, le=MAX_UPDATES)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=MAX_BATCH)] = 32  # of one update, over all processes
    accumulate: Annotated[int, Field(ge=1, le=MAX_BATCH)] = (
        1  # parts that a process cuts its share of a batch into, to save memory
    )
    gradient_checkpointing: bool = False
    warmup: Fraction = 0.1
    weight_decay: Annotated[float, Field(ge=0, le=10)] = 0.01
    adam_epsilon: Annotated[float, Field(gt=0, le=1)] = 1e-8
    max_gradient_norm: Annotated[float, Field(gt=0)] = 1.0
    max_length: Annotated[int, Field(ge=8, le=MAX_TOKENS)] = 128
    window: Annotated[int, Field(ge=8, le=MAX_TOKENS)] | None = (
        None  # tokens of a span task's windows; None: max_length
    )
    freeze: Literal["nothing", "embeddings"] = "nothing"
    freeze_layers: Annotated[int, Field(ge=0, le=10_000)] = 0  # so many layers, from the lowest
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None  # None: as the base's configuration says
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"  # auto: see xscale/precision.py
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = (
        "auto"  # auto: eager on CPUs, else the model's
    )

    @model_validator(mode="after")
    def _budget_where_fixed(self) -> Phase:
        if (self.updates == "fixed") != (self.budget is not None):
            raise ValueError("`updates: fixed` and `budget: <number of updates>` go together")
        return self

    @model_validator(mode="after")
    def _parts_with_rows(self) -> Phase:
        if self.accumulate > self.batch_size:
            raise ValueError(
                f"accumulate: {self.accumulate} parts of a batch of {self.batch_size}; give fewer"
            )
        return self


_NOT_TRAINED = Phase(learning_rate=1e-5, epochs=1)  # its encoder answers as it is

# A recipe names the intermediate phase and, for each head, that of a target.
#   laptop  for the embedded base on two cores: the embeddings, four fifths of its parameters, stay as they are
#           its windows of 192 tokens take a third of the time of 384, and tags get as many epochs as choices
#   paper   Phang et al. 2020 (arXiv 2005.13013). From public code (jiant) are the targets' lr 1e-5, 10% warm-up, weight decay
#           0.01, batch 32, length 256, XNLI's 2 epochs, and windows of 384 for spans; ours are the intermediate phase's epochs
#           and XCOPA's
#   xtreme  Hu et al. 2020 (arXiv 2003.11080): 5 epochs, lr 2e-5 (3e-5 for a base with "large" in its name), length 128, without
#           warm-up and weight decay; of its scripts also the heads for spans and tags
RECIPES: dict[str, dict[str, Phase]] = {
    "laptop": {
        "intermediate": Phase(learning_rate=1e-4, epochs=3, freeze="embeddings"),
        "pair_classification": Phase(learning_rate=1e-4, epochs=3, freeze="embeddings"),
        "multiple_choice": Phase(learning_rate=5e-5, epochs=5, freeze="embeddings"),
        "span": Phase(learning_rate=1e-4, epochs=2, batch_size=16, window=192, freeze="embeddings"),
        "token_classification": Phase(learning_rate=1e-4, epochs=5, freeze="embeddings"),
        "retrieval": _NOT_TRAINED,
    },
    "paper": {
        "intermediate": Phase(learning_rate=1e-5, epochs=2, max_length=256, window=384),
        "pair_classification": Phase(learning_rate=1e-5, epochs=2, max_length=256),
        "multiple_choice": Phase(learning_rate=1e-5, epochs=5, max_length=256),
        "span": Phase(learning_rate=1e-5, epochs=2, batch_size=16, max_length=256, window=384),
        "token_classification": Phase(learning_rate=1e-5, epochs=10, max_length=256),
        "retrieval": _NOT_TRAINED,
    },
    "xtreme": {
        "intermediate": Phase(learning_rate=2e-5, epochs=5, warmup=0.0, weight_decay=0.0, window=384),
        "pair_classification": Phase(learning_rate=2e-5, epochs=5, warmup=0.0, weight_decay=0.0),
        "multiple_choice": Phase(learning_rate=2e-5, epochs=5, warmup=0.0, weight_decay=0.0),
        # 500 steps of warm-up, of the 8,300 or so that SQuAD's 3 epochs are
        "span": Phase(learning_rate=3e-5, epochs=3, warmup=0.06, weight_decay=1e-4, window=384),
        "token_classification": Phase(learning_rate=2e-5, epochs=10, warmup=0.0, weight_decay=0.0),
        "retrieval": _NOT_TRAINED,
    },
}
XTREME_LARGE_LEARNING_RATE = 3e-5
