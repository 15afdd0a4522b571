"""Frozen lower layers in training: what they make of a text is computed once, kept, and given to the layers above.

With frozen embeddings and `freeze_layers: k` the hidden states that enter layer k never change while the others are trained.
They are read by all epochs, sizes, arms, seeds and phases whose frozen weights are the same (`xscale.hidden_states`). Dropout is
off below the cut, here and where nothing is kept.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from transformers import PreTrainedModel

from xscale import hidden_states
from xscale.experiment import Phase
from xscale.hidden_states import HiddenStates, name_of
from xscale.precision import Precision, autocast
from xscale.progress import progress
from xscale.training.heads import Encoded, Given
from xscale.training.tasks import Head

MODEL_TYPES = ("bert", "camembert", "roberta", "xlm-roberta")  # `embeddings`, then `encoder.layer`
_ROWS_ON_CPU, _TOKENS_ON_CUDA = 4, 8192  # of a block
_SEGMENT_BYTES = 256 << 20
_UNRELATED = (
    "id2label",
    "label2id",
    "architectures",
    "_name_or_path",
    "problem_type",
    "transformers_version",
)

Text = tuple[list[int], list[int] | None]  # token ids, token types


def frozen_part(model: PreTrainedModel, phase: Phase) -> list[torch.nn.Module]:
    """The embeddings and the layers below the cut, where nothing of them is trained."""
    if phase.freeze != "embeddings" or not phase.freeze_layers:
        return []
    base = model.base_model
    stack = getattr(getattr(base, "encoder", None) or getattr(base, "transformer", None), "layer", None)
    return [base.embeddings, *list(stack)[: phase.freeze_layers]] if stack is not None else []


@contextmanager
def cut(
    models: Sequence[PreTrainedModel], phase: Phase, device: torch.device, precision: Precision
) -> Iterator[Trunk | None]:
    """Take the frozen part out of the models, which share it, for as long as the block lasts; None where there is no such
    part, or none is to be kept."""
    base = models[0].base_model
    usable = phase.freeze == "embeddings" and phase.freeze_layers > 0 and hidden_states.limit() > 0
    if not usable or base.config.model_type not in MODEL_TYPES:
        yield None
        return
    embeddings, layers = base.embeddings, base.encoder.layer
    trunk = Trunk(base, phase.freeze_layers, device, precision)
    places = [model.base_model for model in models]
    for place in places:
        place.encoder.layer = layers[phase.freeze_layers :]
        place.embeddings = Given()
    try:
        yield trunk
    finally:
        trunk.give_back(base.config)
        for place in places:
            place.encoder.layer = layers
            place.embeddings = embeddings


def with_states(
    inputs: dict[str, torch.Tensor], batch: Sequence[Encoded], head: Head, trunk: Trunk
) -> dict[str, torch.Tensor]:
    """`states` for the inputs of a batch, shape of its tokens and the width."""
    states = trunk.states_now(inputs) if head == "masked_lm" else trunk.states(batch)
    return {"states": states.view(*inputs["input_ids"].shape, -1)}


class Trunk:
    """The embeddings and the lowest `layers` layers of a model, whose modules it takes over, and the states they have made.

    A text's states depend on the text alone, on a CPU to the last bit: it is computed among as many others of its length as any
    other, which are copies where there are no more.
    """

    def __init__(
        self, base: PreTrainedModel, layers: int, device: torch.device, precision: Precision
    ) -> None:
        self._base = copy.copy(base)
        self._base._modules = dict(base._modules)
        encoder = copy.copy(base.encoder)
        encoder._modules = dict(encoder._modules)
        encoder.layer = base.encoder.layer[:layers]
        self._base.encoder, self._base.pooler = encoder, None
        config = copy.deepcopy(base.config)
        config._attn_implementation = "sdpa"
        self.give_back(config)
        self._base.to(device).eval()
        self.layers, self.computed = layers, 0
        self._device, self._precision, self._width = device, precision, int(config.hidden_size)
        self._dtype = self._run({"input_ids": torch.tensor([[0, 1]])}).dtype
        self._open_store()

    def give_back(self, config: Any) -> None:
        """Let the modules read that configuration."""
        for module in self._base.modules():
            if hasattr(module, "config"):
                module.config = config

    def prepare(self, inputs: Sequence[Encoded], what: str, accelerator: Accelerator) -> None:
        """Compute and keep the states of texts that have none, as many as there is room for, in one process for all."""
        if accelerator.is_main_process:
            self._compute({name_of(*text): text for text in _texts(inputs)}, what)
        accelerator.wait_for_everyone()
        if not accelerator.is_main_process:
            self._open_store()

    def states(self, batch: Sequence[Encoded]) -> torch.Tensor:
        """The states of a batch's texts, padded with zeros, shape (texts, length, width), on the CPU."""
        texts = list(_texts(batch))
        result = torch.zeros(len(texts), max(len(ids) for ids, _ in texts), self._width, dtype=self._dtype)
        rest = []
        for row, text in enumerate(texts):
            if (name := name_of(*text)) in self._store:
                result[row, : len(text[0])] = _from_store(self._store.get(name), self._dtype)
            else:
                rest.append(row)
        for number, states in self._blocks([texts[row] for row in rest]):
            result[rest[number], : len(states)] = states
        return result

    def states_now(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """The states of a batch of which nothing is kept, as its tokens are masked anew each time; on the CPU."""
        taken = ("input_ids", "attention_mask", "token_type_ids")
        return self._run({name: inputs[name] for name in taken if name in inputs}).cpu()

    def _open_store(self) -> None:
        self._store = HiddenStates(self._key(), self._width, "<f4" if self._dtype == torch.float32 else "<u2")

    def _compute(self, texts: dict[bytes, Text], what: str) -> None:
        todo = [(name, text) for name, text in texts.items() if name not in self._store]
        if not todo:
            return
        a_text = _SEGMENT_BYTES // (self._width * self._dtype.itemsize)  # tokens of a segment
        with progress(f"frozen layers: {what}", len(todo)) as advance:
            while todo:
                sizes = np.cumsum([len(ids) for _, (ids, _) in todo])
                count = max(1, int(np.searchsorted(sizes, a_text)))
                part, todo = todo[:count], todo[count:]
                chosen = [text for _, text in part]
                blocks = ((n, _to_store(states)) for n, states in self._blocks(chosen, advance))
                names, lengths = [name for name, _ in part], [len(ids) for ids, _ in chosen]
                if not self._store.add(names, lengths, blocks):
                    return  # what has no room is computed as often as it is met
                self.computed += count

    def _blocks(
        self, texts: Sequence[Text], advance: Callable[[int], None] = lambda count: None
    ) -> Iterator[tuple[int, torch.Tensor]]:
        by_length = defaultdict(list)
        for number, (ids, _) in enumerate(texts):
            by_length[len(ids)].append(number)
        for length, numbers in sorted(by_length.items()):
            rows = max(1, _TOKENS_ON_CUDA // length) if self._device.type == "cuda" else _ROWS_ON_CPU
            for start in range(0, len(numbers), rows):
                chosen = numbers[start : start + rows]
                filled = [texts[number] for number in chosen] + [texts[chosen[0]]] * (rows - len(chosen))
                inputs = {"input_ids": torch.tensor([ids for ids, _ in filled])}
                if filled[0][1] is not None:
                    inputs["token_type_ids"] = torch.tensor([types for _, types in filled])
                yield from zip(chosen, self._run(inputs).cpu(), strict=False)
                advance(len(chosen))

    def _run(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        here = {name: tensor.to(self._device) for name, tensor in inputs.items()}
        with torch.no_grad(), autocast(self._device, self._precision):
            states: torch.Tensor = self._base(**here).last_hidden_state
        return states

    def _key(self) -> str:
        """Of all that decides what a text's states are: weights, shape, precision, kind of device, versions."""
        config = self._base.config.to_dict().items()
        settings: list[Any] = [{k: v for k, v in config if k not in _UNRELATED and "dropout" not in k}]
        settings += [
            self.layers,
            self._precision,
            self._device.type,
            version("torch"),
            version("transformers"),
        ]
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
        for name, tensor in self._base.state_dict().items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
        return digest.hexdigest()


def _to_store(states: torch.Tensor) -> np.ndarray:
    return (
        states.numpy() if states.dtype == torch.float32 else states.view(torch.int16).numpy().view(np.uint16)
    )


def _from_store(array: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    if dtype == torch.float32:
        return torch.from_numpy(np.array(array))
    return torch.from_numpy(np.array(array).view(np.int16)).view(dtype)


def _texts(inputs: Sequence[Encoded]) -> Iterator[Text]:
    for item in inputs:
        for number, ids in enumerate(item.ids):
            yield ids, item.types[number] if item.types is not None else None
