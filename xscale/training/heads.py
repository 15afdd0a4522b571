"""Models with a head, their inputs, and how they are written to disk."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import (
    AutoModelForMultipleChoice,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from xscale.training.tasks import Example, Head

_MODEL_CLASSES: dict[Head, Any] = {
    "pair_classification": AutoModelForSequenceClassification,
    "multiple_choice": AutoModelForMultipleChoice,
}


def model_with_head(
    pretrained: str, head: Head, labels: Sequence[str], seed: int, dropout: float | None
) -> PreTrainedModel:
    """The encoder at `pretrained` under a new head, whose weights depend on `seed` alone; `dropout` replaces the base's."""
    torch.manual_seed(seed)
    names = {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}
    extra: dict[str, Any] = dict(names) if head == "pair_classification" else {}
    if dropout is not None:
        extra |= {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    return _MODEL_CLASSES[head].from_pretrained(pretrained, dtype=torch.float32, **extra)


def freeze_embeddings(model: PreTrainedModel) -> None:
    """Leave the embedding layer (words, positions, types and their norm) as it is."""
    for parameter in model.base_model.embeddings.parameters():
        parameter.requires_grad_(False)


def tokenise(
    tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], max_length: int
) -> list[list[list[int]]]:
    """Token ids for each example and each of its pairs; the longer text of a pair is cut where both exceed `max_length`."""
    pairs = [pair for example in examples for pair in example.pairs]
    if not pairs:
        return []
    encoded = tokenizer(
        [first for first, _ in pairs],
        [second for _, second in pairs],
        truncation="longest_first",
        max_length=max_length,
        add_special_tokens=True,
        return_attention_mask=False,
    )["input_ids"]
    result, position = [], 0
    for example in examples:
        result.append(encoded[position : position + len(example.pairs)])
        position += len(example.pairs)
    return result


def collate(
    ids: Sequence[list[list[int]]], labels: Sequence[int], head: Head, pad_token_id: int
) -> dict[str, torch.Tensor]:
    """Pad a batch to its longest pair: `input_ids`, `attention_mask` of shape (batch, length), or (batch, choices, length)
    for multiple choice, and `labels` of shape (batch,)."""
    flat = [pair for pairs in ids for pair in pairs]
    length = max(map(len, flat))
    input_ids = torch.full((len(flat), length), pad_token_id)
    attention_mask = torch.zeros((len(flat), length), dtype=torch.long)
    for row, pair in enumerate(flat):
        input_ids[row, : len(pair)] = torch.tensor(pair)
        attention_mask[row, : len(pair)] = 1
    if head == "multiple_choice":
        input_ids, attention_mask = (
            tensor.view(len(ids), -1, length) for tensor in (input_ids, attention_mask)
        )
    return {"input_ids": input_ids, "attention_mask": attention_mask, "labels": torch.tensor(labels)}


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, store: Path) -> None:
    """Write an ordinary transformers checkpoint: config, tokenizer, sharded safetensors with an index.

    Frozen parameters go into a shard of their own, kept once in `store` under its content's hash and hard-linked from
    every checkpoint that has the same ones (copied where the file system has no links): with frozen embeddings a
    checkpoint takes 85 MB instead of 470.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    shards = [[name for name in state if name in frozen], [name for name in state if name not in frozen]]
    shards = [names for names in shards if names]
    weight_map: dict[str, str] = {}
    for number, names in enumerate(shards, start=1):
        file = folder / f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        tensors = {name: state[name] for name in names}
        if names[0] in frozen:
            _link_shared(tensors, file, store)
        else:
            save_file(tensors, file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(names, file.name)
    total = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


def _link_shared(tensors: dict[str, torch.Tensor], file: Path, store: Path) -> None:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}\n".encode())
        digest.update(tensors[name].numpy().data)
    shared = store / f"{digest.hexdigest()}.safetensors"
    if not shared.exists():
        store.mkdir(parents=True, exist_ok=True)
        temporary = store / f".{shared.name}.{os.getpid()}.part"
        save_file(tensors, temporary, metadata={"format": "pt"})
        os.replace(temporary, shared)
    try:
        os.link(shared, file)
    except OSError:
        shutil.copyfile(shared, file)
