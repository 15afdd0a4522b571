"""Accuracy on development sets while a target is trained: English chooses the step, other languages are only recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from harness_tasks.rows import Options, build_documents
from harness_tasks.sources import DataError
from harness_tasks.targets import document_pairs, get_target
from xscale.progress import say
from xscale.training.heads import Encoded, collate, encode_pairs
from xscale.training.labels import answer_numbers, target_answers
from xscale.training.tasks import Example, Head

_ROWS_A_BATCH = 64


@dataclass(frozen=True)
class DevelopmentSet:
    """Validation rows of a target in one language, encoded as in training."""

    target: str
    language: str
    head: Head
    inputs: list[Encoded]


def development_set(
    target: str,
    language: str,
    head: Head,
    rows: int | None,
    source: str,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
) -> DevelopmentSet:
    """The first `rows` validation documents (all when None). Raises `DataError` where the source has none."""
    documents = build_documents(target, language, "validation", Options(data=source))[:rows]
    examples = [Example(document_pairs(document), int(document["label"])) for document in documents]
    return DevelopmentSet(target, language, head, encode_pairs(tokenizer, examples, max_length))


def other_languages(
    target: str,
    head: Head,
    rows: int,
    source: str,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
) -> list[DevelopmentSet]:
    """The target's validation sets but English; a language that the source does not have is named and left out."""
    found = []
    for language in get_target(target).languages:
        if language != "en" and rows:
            try:
                found.append(development_set(target, language, head, rows, source, tokenizer, max_length))
            except DataError as error:
                say(f"validation of {target} in {language} is left out: {error}")
    return found


def accuracy(
    model: PreTrainedModel,
    development: DevelopmentSet,
    tokenizer: PreTrainedTokenizerBase,
    accelerator: Accelerator,
    use_bf16: bool,
) -> float:
    """The share of right answers, in [0, 1]; the model is left in evaluation mode. Every process computes it in full.

    A classifier's labels are matched with the target's answers by name, as in evaluation.
    """
    model.eval()
    columns = _columns(model, development.target)
    order = sorted(range(len(development.inputs)), key=lambda i: development.inputs[i].length)
    right = 0
    for start in range(0, len(order), _ROWS_A_BATCH):
        batch = [development.inputs[i] for i in order[start : start + _ROWS_A_BATCH]]
        right += _right(model, batch, development.head, columns, tokenizer, accelerator.device, use_bf16)
    return right / max(1, len(order))


def _columns(model: PreTrainedModel, target: str) -> list[int] | None:
    """Columns of the model's logits in the order of the target's answers; None where they are choices."""
    answers = target_answers(target)
    if answers is None:
        return None
    names = [model.config.id2label[column] for column in range(len(model.config.id2label))]
    return [answer_numbers(names, answers).index(number) for number in range(len(answers))]


def _right(
    model: PreTrainedModel,
    batch: Sequence[Encoded],
    head: Head,
    columns: list[int] | None,
    tokenizer: PreTrainedTokenizerBase,
    device: torch.device,
    use_bf16: bool,
) -> int:
    inputs = {name: tensor.to(device) for name, tensor in collate(batch, head, tokenizer).items()}
    labels = inputs.pop("labels")
    with torch.no_grad(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=use_bf16):
        logits = model(**inputs).logits
    if columns is not None:
        logits = logits[:, columns]
    return int((logits.argmax(-1) == labels).sum())
