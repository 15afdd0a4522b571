"""Models with a head, their inputs, and how they are written to disk."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForMultipleChoice,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from xscale.errors import UserError
from xscale.experiment import Phase
from xscale.heads.span import windows
from xscale.training.tasks import Example, Head

_MODEL_CLASSES: dict[Head, Any] = {
    "pair_classification": AutoModelForSequenceClassification,
    "multiple_choice": AutoModelForMultipleChoice,
    "span": AutoModelForQuestionAnswering,
    "token_classification": AutoModelForTokenClassification,
    "masked_lm": AutoModelForMaskedLM,
    "causal_lm": AutoModelForCausalLM,
}
_NAMED_LABELS = ("pair_classification", "token_classification")
_DROPOUT_FIELDS = ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout")
_MASKS_READY_MADE = (
    "bert",
    "camembert",
    "roberta",
    "xlm-roberta",
)  # that take a mask of four dimensions as it is
IGNORED = -100  # the label of tokens that do not count in the loss
MASKED_SHARE = 0.15


@dataclass(frozen=True)
class Encoded:
    """Token ids of one training input: one sequence, or one for each choice.

    `target`: the label; for a span its first and last token; for token classification one label a token. `types`: for
    each token which text of the pair it is of, where the tokenizer gives that to its model.
    """

    ids: list[list[int]]
    target: int | tuple[int, int] | list[int]
    types: list[list[int]] | None = None

    @property
    def length(self) -> int:
        """Tokens of all sequences together."""
        return sum(map(len, self.ids))


def model_with_head(
    pretrained: str, head: Head, labels: Sequence[str], seed: int, dropout: float | None
) -> PreTrainedModel:
    """The encoder at `pretrained` under a new head, whose weights depend on `seed` alone; `dropout` replaces the base's.

    Raises `UserError` when transformers has no such head for that architecture, or the model cannot be had.
    """
    torch.manual_seed(seed)
    extra: dict[str, Any] = {}
    if head in _NAMED_LABELS:
        extra = {
            "id2label": dict(enumerate(labels)),
            "label2id": {label: i for i, label in enumerate(labels)},
        }
    try:
        config = AutoConfig.from_pretrained(pretrained, trust_remote_code=False)
        if dropout is not None:
            extra |= {name: dropout for name in _DROPOUT_FIELDS if hasattr(config, name)}
        return _MODEL_CLASSES[head].from_pretrained(
            pretrained, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, **extra
        )
    except (OSError, ValueError) as error:
        kind = "causal language model" if head == "causal_lm" else "encoder"
        raise UserError(
            f"base {pretrained!r}: no {head} model of it can be made ({str(error).splitlines()[0]}); "
            f"{'a' if head == 'causal_lm' else 'an'} {kind} that transformers' auto classes know is needed"
        ) from None


def has_head(config: Any, head: Head) -> bool:
    """Whether transformers has that head for the architecture."""
    return type(config) in _MODEL_CLASSES[head]._model_mapping


def encoder_of(pretrained: str, seed: int, dropout: float | None) -> PreTrainedModel:
    """The whole base without a head, with its own pooler; where it has none, with one that depends on `seed` alone."""
    torch.manual_seed(seed)
    config = AutoConfig.from_pretrained(pretrained, trust_remote_code=False)
    extra = {n: dropout for n in _DROPOUT_FIELDS if dropout is not None and hasattr(config, n)}
    return AutoModel.from_pretrained(
        pretrained, dtype=torch.float32, trust_remote_code=False, use_safetensors=True, **extra
    )


def share_encoder(model: PreTrainedModel, other: PreTrainedModel) -> None:
    """Give `other` the encoder of `model`, layer objects and all, so that training one trains both; heads stay apart."""
    source, target = model.base_model, other.base_model
    for name, child in source.named_children():
        if getattr(target, name, None) is not None and child is not None:
            setattr(target, name, child)
    other.tie_weights()


def freeze(model: PreTrainedModel, embeddings: bool, layers: int) -> None:
    """Leave the embedding layer (words, positions, types and their norm) and the lowest `layers` layers as they are.

    Raises `UserError` when the model has no such parts or fewer layers.
    """
    base = model.base_model
    if embeddings:
        if not isinstance(getattr(base, "embeddings", None), torch.nn.Module):
            raise UserError(
                f"freeze: embeddings: {type(model).__name__} has none by that name; use freeze: nothing"
            )
        for parameter in base.embeddings.parameters():
            parameter.requires_grad_(False)
    if layers:
        stack = getattr(getattr(base, "encoder", None) or getattr(base, "transformer", None), "layer", None)
        if stack is None or len(stack) < layers:
            have = "none" if stack is None else len(stack)
            raise UserError(f"freeze_layers: {layers} layers to freeze, {type(model).__name__} has {have}")
        for layer in stack[:layers]:
            for parameter in layer.parameters():
                parameter.requires_grad_(False)


def input_length(phase: Phase, head: Head) -> int:
    """Tokens of a sequence at most: a span task's window, where the phase has one of its own."""
    return phase.window or phase.max_length if head == "span" else phase.max_length


def encode(
    tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], head: Head, max_length: int
) -> list[Encoded]:
    """Training inputs in the examples' order: one an example, but for spans one a window of a long context."""
    if head == "span":
        return _encode_spans(tokenizer, examples, max_length)
    if head == "token_classification":
        return _encode_tagged(tokenizer, examples, max_length)
    encoded = encode_pairs(tokenizer, examples, max_length)
    first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if head == "causal_lm" and first is not None:  # lm_eval scores a text behind this token
        return [
            Encoded([text if text[:1] == [first] else [first, *text][:max_length]], item.target)
            for item in encoded
            for text in item.ids
        ]
    return encoded


def encode_pairs(
    tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], max_length: int
) -> list[Encoded]:
    """Each example's pairs; the longer text of a pair is cut where both exceed `max_length`."""
    pairs = [pair for example in examples for pair in example.pairs]
    if not pairs:
        return []
    single = not any(second for _, second in pairs)
    encoded = tokenizer(
        [first for first, _ in pairs],
        None if single else [second for _, second in pairs],
        truncation="longest_first",
        max_length=max_length,
        add_special_tokens=True,
        return_attention_mask=False,
        return_token_type_ids=not single and "token_type_ids" in tokenizer.model_input_names,
    )
    result, position = [], 0
    for example in examples:
        here = slice(position, position + len(example.pairs))
        types = encoded["token_type_ids"][here] if "token_type_ids" in encoded else None
        result.append(Encoded(encoded["input_ids"][here], example.label, types))
        position += len(example.pairs)
    return result


def _encode_spans(
    tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], window: int
) -> list[Encoded]:
    """The windows over each example's context; one without the answer points at its first token (SQuAD)."""
    encoded = []
    for example, made in zip(
        examples, windows(tokenizer, [example.pairs[0] for example in examples], window), strict=True
    ):
        for one in made:
            ends = one.tokens_of(example.span) if example.span is not None else None
            types = None if one.types is None else [one.types.tolist()]
            encoded.append(Encoded([one.ids.tolist()], ends or (0, 0), types))
    return encoded


def _encode_tagged(
    tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], max_length: int
) -> list[Encoded]:
    """A word's first token carries its tag; all others do not count."""
    encoded = tokenizer(
        [example.pairs[0][0].split(" ") for example in examples],
        is_split_into_words=True,
        truncation=True,
        max_length=max_length,
        return_attention_mask=False,
    )
    result = []
    for number, example in enumerate(examples):
        assert example.tags is not None
        labels, before = [], None
        for word in encoded.word_ids(number):
            labels.append(IGNORED if word is None or word == before else example.tags[word])
            before = word
        result.append(Encoded([encoded["input_ids"][number]], labels))
    return result


def collate(
    batch: Sequence[Encoded], head: Head, tokenizer: PreTrainedTokenizerBase, seed: int = 0
) -> dict[str, torch.Tensor]:
    """Pad a batch to its longest sequence: `input_ids`, `attention_mask` and, where they are known, `token_type_ids` of
    shape (batch, length), or (batch, choices, length) for multiple choice, and the labels that the head's model takes.
    `seed` decides which tokens are masked."""
    flat = [sequence for item in batch for sequence in item.ids]
    length = max(map(len, flat))
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    input_ids = torch.full((len(flat), length), int(pad or 0))
    attention_mask = torch.zeros((len(flat), length), dtype=torch.long)
    for row, sequence in enumerate(flat):
        input_ids[row, : len(sequence)] = torch.tensor(sequence)
        attention_mask[row, : len(sequence)] = 1
    inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
    types = [sequence for item in batch for sequence in item.types or ()]
    if types:
        inputs["token_type_ids"] = torch.tensor([row + [0] * (length - len(row)) for row in types])
    if head == "multiple_choice":
        inputs = {name: tensor.view(len(batch), -1, length) for name, tensor in inputs.items()}
    if head == "span":
        ends = torch.tensor([item.target for item in batch])
        return inputs | {"start_positions": ends[:, 0], "end_positions": ends[:, 1]}
    if head == "token_classification":
        labels = torch.full((len(flat), length), IGNORED)
        for row, item in enumerate(batch):
            assert isinstance(item.target, list)
            labels[row, : len(item.target)] = torch.tensor(item.target)
        return inputs | {"labels": labels}
    if head == "causal_lm":  # every token but the first is predicted
        labels = torch.where(attention_mask == 1, input_ids, IGNORED)
        labels[:, 0] = IGNORED
        return inputs | {"labels": labels}
    if head == "masked_lm":
        masked, labels = mask_tokens(input_ids, tokenizer, seed)
        return inputs | {"input_ids": masked, "labels": labels}
    return inputs | {"labels": torch.tensor([item.target for item in batch])}


def mask_tokens(
    input_ids: torch.Tensor, tokenizer: PreTrainedTokenizerBase, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """BERT's masking (Devlin et al. 2019): 15% of the tokens are predicted, at least one a row; of these 80% become the
    mask token, 10% another token, 10% stay. Returns inputs and labels, both of the shape of `input_ids`."""
    generator = np.random.default_rng(seed)
    ids = input_ids.numpy().copy()
    special = np.isin(ids, list(tokenizer.all_special_ids))
    chance = np.where(special, 2.0, generator.random(ids.shape))
    chosen = chance < np.maximum(MASKED_SHARE, chance.min(axis=1, keepdims=True) + 1e-12)
    chosen &= ~special
    labels = np.where(chosen, ids, IGNORED)
    what = generator.random(ids.shape)
    ids[chosen & (what < 0.8)] = tokenizer.mask_token_id
    swapped = chosen & (what >= 0.9)
    ids[swapped] = generator.integers(0, len(tokenizer), int(swapped.sum()))
    return torch.from_numpy(ids), torch.from_numpy(labels)


def counted(inputs: dict[str, torch.Tensor]) -> int:
    """How many targets a batch's mean loss is taken over: rows, or tokens with a label."""
    labels = inputs.get("labels")
    if labels is None:
        return len(inputs["start_positions"])
    return int((labels != IGNORED).sum())


class Given(torch.nn.Module):
    """In place of the embeddings: hidden states that were computed before."""

    hidden: torch.Tensor | None = None

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor | None:
        """Those states, whatever is asked."""
        return self.hidden


def call(model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> Any:
    """The model's output; `states` among the inputs, shape (..., length, width), are what its frozen layers made of them."""
    states = inputs.pop("states", None)
    if states is None:
        return model(**inputs)
    place = model.base_model.embeddings
    place.hidden = states.reshape(-1, *states.shape[-2:])
    try:
        return model(**inputs)
    finally:
        place.hidden = None


def loss_of(
    model: PreTrainedModel, head: Head, inputs: dict[str, torch.Tensor], device: torch.device
) -> torch.Tensor:
    """The mean loss of a batch that lies on the CPU.

    Masked LM computes its logits for the masked tokens only: for all of 32 x 256 tokens those of XLM-R's 250,002 words would
    take tens of gigabytes.
    """
    if head != "multiple_choice" and model.config.model_type in _MASKS_READY_MADE:
        inputs = _with_ready_mask(inputs, model.config._attn_implementation)
    if head != "masked_lm":
        return call(model, moved(inputs, device)).loss
    labels = inputs["labels"].flatten()
    places = (labels != IGNORED).nonzero()[:, 0]
    here = moved(inputs | {"labels": labels[places][None], "places": places}, device)
    chosen = here.pop("places")

    def only_chosen(module: Any, arguments: Any, output: Any) -> Any:
        hidden = output[0]
        picked = hidden.reshape(-1, hidden.shape[-1]).index_select(0, chosen)[None]
        if isinstance(output, tuple):
            return (picked, *output[1:])
        output[next(iter(output))] = picked
        return output

    hook = model.base_model.register_forward_hook(only_chosen)
    try:
        return call(model, here).loss
    finally:
        hook.remove()


def _with_ready_mask(inputs: dict[str, torch.Tensor], attention: str) -> dict[str, torch.Tensor]:
    """The mask as transformers would make it for PyTorch's attention, made here, where it lies on the CPU: there, whether
    any token is padding is asked of the GPU in every forward pass, which has to be waited for."""
    mask = inputs["attention_mask"]
    if attention != "sdpa":
        return inputs
    rest = {name: tensor for name, tensor in inputs.items() if name != "attention_mask"}
    return rest if bool(mask.all()) else rest | {"attention_mask": mask[:, None, None, :].bool()}


def moved(inputs: dict[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
    """On the device; from pinned memory to a GPU, so that it need not wait."""
    if device.type == "cuda":
        inputs = {name: tensor.pin_memory() for name, tensor in inputs.items()}
    return {name: tensor.to(device, non_blocking=True) for name, tensor in inputs.items()}


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
    first_names = {tensor.data_ptr(): name for name, tensor in reversed(list(model.state_dict().items()))}
    state = {  # a tied tensor once, under its first name
        name: tensor.detach().cpu().contiguous()
        for name, tensor in model.state_dict().items()
        if first_names[tensor.data_ptr()] == name
    }
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    shards = [[name for name in state if name in frozen], [name for name in state if name not in frozen]]
    shards = [names for names in shards if names]
    weight_map: dict[str, str] = {}
    for number, names in enumerate(shards, start=1):
        file = folder / f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        shard = {name: state[name] for name in names}
        if names[0] in frozen:
            _link_shared(shard, file, store)
        else:
            save_file(shard, file, metadata={"format": "pt"})
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
