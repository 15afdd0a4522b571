"""Checkpoints with the same lower layers, evaluated together: those layers are computed once for all of them.

Each batch goes through the shared layers once and then through every checkpoint's own upper layers, so no activations
are kept beyond a batch. The scores go into each checkpoint's journal (`xscale.evaluation.scores`), where its ordinary
evaluation finds them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from xscale.adapters import ADAPTER_CONFIG
from xscale.evaluation.batches import Batch, Section
from xscale.evaluation.encoder_lm import (
    Call,
    EncoderLM,
    Head,
    head_call,
    head_of,
    load_model,
)
from xscale.evaluation.scores import Journal
from xscale.evaluation.tokens import tokenizer_fingerprint
from xscale.progress import say

MODEL_TYPES = ("bert", "camembert", "roberta", "xlm-roberta")  # `embeddings`, then `encoder.layer`
SHARE_THAT_PAYS = 0.25  # of all layers; with the embeddings alone nothing is gained
UPPER_LAYERS_IN_MEMORY = 4 << 30  # bytes
_LAYER = re.compile(r"(?:^|\.)encoder\.layer\.(\d+)\.(.+)")
_EMBEDDINGS = re.compile(r"(?:^|\.)embeddings\.(.+)")


def groups(models: Sequence[EncoderLM], target: str) -> list[tuple[list[EncoderLM], int]]:
    """Models that share enough lower layers to be evaluated together on a target, and how many layers they share."""
    heads = {id(model): head_of(model.folder, target, model.label) for model in models}
    alike = defaultdict(list)
    for model in models:
        head = heads[id(model)]
        adapter = (head.folder / ADAPTER_CONFIG).is_file()  # its base's weights are elsewhere
        if head.config.model_type in MODEL_TYPES and not adapter:
            shape = json.dumps(_shape(head), sort_keys=True, default=str)
            settings = (model.tokens_a_batch, model.precision, str(model.device))
            alike[shape, settings, _digest(head, 0)].append(model)
    found = []
    for candidates in alike.values():
        if len(candidates) < 2:
            continue
        layers = int(heads[id(candidates[0])].config.num_hidden_layers)
        enough = max(1, int(np.ceil(SHARE_THAT_PAYS * layers)))
        same = defaultdict(list)
        for model in candidates:
            head = heads[id(model)]
            lower = [_digest(head, None), *(_digest(head, layer) for layer in range(layers))]
            same[tuple(lower[: enough + 1])].append((model, lower[1:]))
        for members in same.values():
            if len(members) > 1 and None not in members[0][1][:enough]:
                columns = list(zip(*(digests for _, digests in members), strict=True))
                shared = next((i for i, row in enumerate(columns) if len(set(row)) > 1), layers)
                found.append(([model for model, _ in members], shared))
    return found


def evaluate_together(
    models: Sequence[EncoderLM], target: str, sections: Sequence[Section], shared: int
) -> None:
    """Compute the sections' needed batches of all models into their journals, their `shared` lower layers once for all."""
    first = models[0]
    works = [model.work(target, sections) for model in models]
    with ExitStack() as stack:
        journals = [
            stack.enter_context(model.journal(work)) for model, work in zip(models, works, strict=True)
        ]
        work = works[0]
        todo = [n for n in work.todo if any(work.names[n] not in journal.done for journal in journals)]
        if not todo:
            return
        say(f"{target}: {', '.join(model.description for model in models)} share {shared} lower layers")
        trunk = _lower(work.head, shared).to(first.device)
        uppers = [_upper(work.head, shared) for work in works]
        for upper, _ in uppers:
            upper.to(first.device)
        calls = [
            (place, head_call(upper, work.head)) for (upper, place), work in zip(uppers, works, strict=True)
        ]
        checks = [model.check_files for model in models if model.check_files is not None]
        first.run(_together(trunk, calls), work, todo, _Journals(journals, len(work.head.columns), checks))


@dataclass(frozen=True)
class _Journals:
    """Several models' journals: each gets its own columns of a batch's scores."""

    journals: Sequence[Journal]
    width: int
    checks: Sequence[Callable[[], None]]

    def add(self, batch: int, scores: np.ndarray) -> None:
        """Keep a batch's scores, shape (texts, models x width)."""
        for check in self.checks:
            check()
        for position, journal in enumerate(self.journals):
            if batch not in journal.done:
                journal.add(batch, scores[:, position * self.width : (position + 1) * self.width])


def members_at_once(model: EncoderLM, target: str, shared: int) -> int:
    """How many models' upper layers fit into the memory set aside for them; at least two."""
    head = head_of(model.folder, target, model.label)
    layers = int(head.config.num_hidden_layers)
    hidden, inner = int(head.config.hidden_size), int(head.config.intermediate_size)
    size = 4 * (layers - shared) * (4 * hidden * hidden + 2 * hidden * inner) + 4 * hidden * hidden
    return max(2, UPPER_LAYERS_IN_MEMORY // size)


def _together(trunk: Any, uppers: Sequence[tuple[_Given, Call]]) -> Call:
    def call(batch: Batch) -> torch.Tensor:
        hidden = trunk(**batch).last_hidden_state
        scores = []
        for place, upper in uppers:
            place.hidden = hidden
            try:
                scores.append(upper(batch))
            finally:
                place.hidden = None  # a batch that does not fit into memory is tried again in halves
        return torch.cat(scores, dim=1)

    return call


class _Given(torch.nn.Module):
    """In place of the embeddings: hidden states that were computed before."""

    hidden: torch.Tensor | None = None

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor | None:
        return self.hidden


def _lower(head: Head, shared: int) -> Any:
    base = load_model(head).base_model
    base.encoder.layer = base.encoder.layer[:shared]
    base.pooler = None
    return base


def _upper(head: Head, shared: int) -> tuple[Any, _Given]:
    model = load_model(head)
    place = _Given()
    model.base_model.encoder.layer = model.base_model.encoder.layer[shared:]
    model.base_model.embeddings = place
    return model, place


def _shape(head: Head) -> dict[str, Any]:
    """All of the configuration but the head's own part."""
    own = ("id2label", "label2id", "architectures", "_name_or_path", "problem_type", "transformers_version")
    config = {name: value for name, value in head.config.to_dict().items() if name not in own}
    return config | {
        "tokenizer": tokenizer_fingerprint(head.folder),
        "max_length": head.max_length,
        "pad": head.pad,
    }


def _digest(head: Head, layer: int | None) -> str | None:
    """SHA-256 of a layer's weights (None: the embeddings'); None where the checkpoint has no such safetensors."""
    digest = hashlib.sha256()
    any_found = False
    for path in sorted(head.folder.glob("*.safetensors")):
        stat = path.stat()
        place = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
        for name, value in _digests(path, layer, place):
            any_found = True
            digest.update(f"{name} {value}\n".encode())
    return digest.hexdigest() if any_found else None


def _digests(path: Path, layer: int | None, place: tuple[int, ...]) -> tuple[tuple[str, str], ...]:
    """Parameter names within the layer, with what identifies their values. Hard links (the same `place`) are read once."""
    if (place, layer) not in _known:
        result = []
        try:
            with safe_open(path, framework="pt") as file:
                for key in sorted(file.keys()):
                    match = _EMBEDDINGS.search(key) if layer is None else _LAYER.search(key)
                    if match and (layer is None or int(match[1]) == layer):
                        tensor = file.get_tensor(key).contiguous()
                        content = hashlib.sha256(tensor.view(-1).view(torch.uint8).numpy().data).hexdigest()
                        kind = f"{tensor.dtype} {tuple(tensor.shape)}"
                        result.append((match[match.lastindex or 1], f"{kind} {content}"))
        except (OSError, SafetensorError):
            return ()  # loading it says what is wrong
        _known[place, layer] = tuple(result)
    return _known[place, layer]


_known: dict[tuple[tuple[int, ...], int | None], tuple[tuple[str, str], ...]] = {}
