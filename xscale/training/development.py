"""Scores on development sets while a target is trained: English chooses the step, other languages are only recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from harness_tasks.rows import Options, build_documents
from harness_tasks.sources import DataError
from harness_tasks.targets import document_pairs, get_target
from xscale.experiment import Development
from xscale.heads import HEADS, Inputs, padded_texts
from xscale.precision import Precision, autocast
from xscale.progress import say
from xscale.training.heads import Encoded, call, collate, encode_pairs, moved
from xscale.training.labels import answer_numbers, target_answers
from xscale.training.loop import Scoring
from xscale.training.tasks import Example, Head
from xscale.training.trunk import Trunk, with_states

_ROWS_A_BATCH = 64


@dataclass(frozen=True)
class DevelopmentSet:
    """Validation rows of a target in one language, encoded as in training."""

    target: str
    language: str
    head: Head
    inputs: list[Encoded]
    documents: Sequence[Mapping[str, Any]] = ()  # of a target without choices, with what they became
    texts: Inputs | None = None

    @property
    def rows(self) -> int:
        """How many documents there are."""
        return len(self.documents) if self.texts is not None else len(self.inputs)

    def commonest_share(self) -> float:
        """The accuracy of always giving the commonest label, or the choice that is most often right; 0 without choices."""
        if self.texts is not None:
            return 0.0
        counts = Counter(item.target for item in self.inputs if isinstance(item.target, int))
        return max(counts.values(), default=0) / max(1, len(self.inputs))


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
    if not get_target(target).has_choices:
        made = HEADS[head].inputs(tokenizer, documents, max_length)
        encoded = [
            Encoded([text.ids.tolist()], 0, None if text.types is None else [text.types.tolist()])
            for text in made.texts
        ]
        return DevelopmentSet(target, language, head, encoded, documents, made)
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
        if get_target(target).place_of(language, "validation")[1] is None:
            continue
        if language != "en" and rows:
            try:
                found.append(development_set(target, language, head, rows, source, tokenizer, max_length))
            except DataError as error:
                say(f"validation of {target} in {language} is left out: {error}")
    return found


def scoring_of(
    wanted: Development,
    sets: Sequence[DevelopmentSet],
    model: PreTrainedModel,
    total: int,
    tokenizer: PreTrainedTokenizerBase,
    device: torch.device,
    precision: Precision,
    trunk: Trunk | None = None,
) -> Scoring:
    """Looks at all sets, evenly spread over `total` updates (one at the end for `choose: last`)."""
    times = 1 if wanted.choose == "last" else wanted.times
    assert wanted.choose != "none"
    return Scoring(
        lambda: {item.language: accuracy(model, item, tokenizer, device, precision, trunk) for item in sets},
        frozenset(round(total * (i + 1) / times) for i in range(times)) - {0},
        wanted.choose,
    )


def accuracy(
    model: PreTrainedModel,
    development: DevelopmentSet,
    tokenizer: PreTrainedTokenizerBase,
    device: torch.device,
    precision: Precision,
    trunk: Trunk | None = None,
) -> float:
    """The share of right answers, in [0, 1], or what else the target's figure is; the model is left in evaluation mode. Every
    process computes it in full.

    A classifier's labels are matched with the target's answers by name, as in evaluation.
    """
    model.eval()
    columns, rows = _columns(model, development.target), _ROWS_A_BATCH
    while True:
        try:
            if development.texts is not None:
                return _ratio(model, development, rows, tokenizer, device, precision, trunk)
            right = _right(model, development, columns, rows, tokenizer, device, precision, trunk)
            return right / max(1, len(development.inputs))
        except RuntimeError as error:
            if rows == 1 or not should_reduce_batch_size(error):
                raise
        rows //= 2
        clear_device_cache(garbage_collection=True)


def _right(
    model: PreTrainedModel,
    development: DevelopmentSet,
    columns: list[int] | None,
    rows: int,
    tokenizer: PreTrainedTokenizerBase,
    device: torch.device,
    precision: Precision,
    trunk: Trunk | None,
) -> int:
    order = sorted(range(len(development.inputs)), key=lambda i: development.inputs[i].length)
    right = torch.zeros((), dtype=torch.long, device=device)
    for start in range(0, len(order), rows):
        batch = [development.inputs[i] for i in order[start : start + rows]]
        inputs = collate(batch, development.head, tokenizer)
        if trunk is not None:
            inputs |= with_states(inputs, batch, development.head, trunk)
        inputs = moved(inputs, device)
        labels = inputs.pop("labels")
        with torch.no_grad(), autocast(device, precision):
            logits = call(model, inputs).logits
        if columns is not None:
            logits = logits[:, columns]
        right += (logits.argmax(-1) == labels).sum()
    return int(right)


def _ratio(
    model: PreTrainedModel,
    development: DevelopmentSet,
    rows: int,
    tokenizer: PreTrainedTokenizerBase,
    device: torch.device,
    precision: Precision,
    trunk: Trunk | None,
) -> float:
    """The sum of the answers' numerators over that of their denominators, answers as the head's record decodes them."""
    assert development.texts is not None
    of_texts, texts = HEADS[development.head], development.texts.texts
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    outputs: list[np.ndarray | None] = [None] * len(texts)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i].ids))
    for start in range(0, len(order), rows):
        chosen = order[start : start + rows]
        inputs = padded_texts([texts[i] for i in chosen], int(pad or 0), types=True)
        marks = inputs.pop("marks").to(device)
        if trunk is not None:
            inputs |= with_states(inputs, [development.inputs[i] for i in chosen], development.head, trunk)
        with torch.no_grad(), autocast(device, precision):
            read = of_texts.read(
                lambda given: call(model, dict(given)), moved(inputs, device), marks, model.config
            )
        for i, row in zip(chosen, read.float().cpu().numpy(), strict=True):
            outputs[i] = row
    answers = of_texts.decode(outputs, development.texts, development.documents, model.config)
    spec = get_target(development.target)
    scores = [
        spec.scored(document, text) for document, text in zip(development.documents, answers, strict=True)
    ]
    return sum(score[0] for score in scores) / max(1e-9, sum(score[1] for score in scores))


def _columns(model: PreTrainedModel, target: str) -> list[int] | None:
    """Columns of the model's logits in the order of the target's answers; None where they are choices."""
    answers = target_answers(target)
    if answers is None:
        return None
    names = [model.config.id2label[column] for column in range(len(model.config.id2label))]
    return [answer_numbers(names, answers).index(number) for number in range(len(answers))]
