"""Spans: long contexts in windows, and the answer as the best pair of a first and a last token in any of them.

As in Devlin et al. 2019 (section 4.2) and the reference code for SQuAD: the score of a span is the sum of the logits of its
first and last token, answers have at most 30 tokens. All pairs are compared, not those of the 20 best first and last tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForQuestionAnswering, PreTrainedTokenizerBase

from xscale.heads.record import Document, Forward, Head, Inputs, Tensors, Text

WINDOW = 384  # tokens, of checkpoints that do not say what they were trained with
LONGEST_ANSWER = 30  # tokens
_IMPOSSIBLE = -1e30


@dataclass(frozen=True)
class Window:
    """A question with a part of its context. `inside` says which tokens are of the context, `offsets` (tokens, 2) their first
    and last-plus-one characters there."""

    ids: np.ndarray
    types: np.ndarray | None
    inside: np.ndarray
    offsets: np.ndarray

    def tokens_of(self, span: tuple[int, int]) -> tuple[int, int] | None:
        """The first and last token of these characters; None where the window does not have all of them."""
        starts, ends = self.offsets.T
        here = np.flatnonzero(self.inside & (starts < span[1]) & (ends > span[0]))
        if len(here) and starts[here[0]] <= span[0] and ends[here[-1]] >= span[1]:
            return int(here[0]), int(here[-1])
        return None


def windows(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, str]], length: int
) -> list[list[Window]]:
    """For each (question, context) its windows of `length` tokens.

    A question takes a sixth of a window at most, and windows begin a third of one apart: 384, 64 and 128 tokens, as in jiant
    and XTREME.
    """
    questions, overlaps = [], []
    for question, _ in pairs:
        offsets = tokenizer(
            question,
            add_special_tokens=False,
            truncation=True,
            max_length=max(1, length // 6),
            return_offsets_mapping=True,
        )["offset_mapping"]
        questions.append(question[: offsets[-1][1]] if offsets else question)
        room = length - len(offsets) - tokenizer.num_special_tokens_to_add(pair=True)
        overlaps.append(max(0, room - max(1, length // 3)))
    found: list[list[Window]] = [[] for _ in pairs]
    for overlap in sorted(set(overlaps)):  # the tokenizer takes one for all its texts
        mine = [row for row, its in enumerate(overlaps) if its == overlap]
        made = tokenizer(
            [questions[row] for row in mine],
            [pairs[row][1] for row in mine],
            truncation="only_second",
            max_length=length,
            stride=overlap,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_attention_mask=False,
            return_token_type_ids="token_type_ids" in tokenizer.model_input_names,
        )
        for number, row in enumerate(made["overflow_to_sample_mapping"]):
            types = np.array(made["token_type_ids"][number], np.int32) if "token_type_ids" in made else None
            found[mine[row]].append(
                Window(
                    np.array(made["input_ids"][number], np.int32),
                    types,
                    np.array([part == 1 for part in made.sequence_ids(number)], bool),
                    np.array(made["offset_mapping"][number], np.int32).reshape(-1, 2),
                )
            )
    return found


def _inputs(tokenizer: PreTrainedTokenizerBase, documents: Sequence[Document], length: int) -> Inputs:
    texts: list[Text] = []
    of = []
    for made in windows(tokenizer, [(d["question"], d["context"]) for d in documents], length):
        of.append(range(len(texts), len(texts) + len(made)))
        texts += [Text(w.ids, w.types, w.inside.astype(np.int32), w.offsets) for w in made]
    return Inputs(texts, of)


def _read(forward: Forward, inputs: Tensors, marks: torch.Tensor, config: Any) -> torch.Tensor:
    """Of each window the score of its best span, the span's first and last token, and the score of no answer: (texts, 4)."""
    output = forward(inputs)
    first, last = output.start_logits.float(), output.end_logits.float()
    length = first.shape[1]
    inside = marks == 1
    place = torch.arange(length, device=first.device)
    apart = place[None, :] - place[:, None]  # [first token, last token]
    possible = inside[:, :, None] & inside[:, None, :] & ((apart >= 0) & (apart < LONGEST_ANSWER))
    scores = torch.where(possible, first[:, :, None] + last[:, None, :], _IMPOSSIBLE).flatten(1)
    best = scores.argmax(dim=1)  # the first one among equals
    of_best = scores.gather(1, best[:, None])[:, 0]
    columns = (of_best, (best // length).float(), (best % length).float(), first[:, 0] + last[:, 0])
    return torch.stack(columns, dim=1)


def _decode(
    outputs: Sequence[np.ndarray | None], inputs: Inputs, documents: Sequence[Document], config: Any
) -> list[str]:
    """The best span of all windows, the first one among equals. Where the training had questions without an answer
    (`xscale_no_answer` in the configuration), none if it scores higher, by the window that is surest that there is one."""
    answers = []
    for document, texts in zip(documents, inputs.of, strict=True):
        found = [(output, text) for text in texts if (output := outputs[text]) is not None]
        (score, first, last, _), text = max(found, key=lambda pair: float(pair[0][0]))
        none = min(float(output[3]) for output, _ in found)
        offsets = inputs.texts[text].facts
        no_answer = score <= _IMPOSSIBLE or (getattr(config, "xscale_no_answer", False) and none > score)
        answers.append(
            "" if no_answer else document["context"][offsets[int(first)][0] : offsets[int(last)][1]]
        )
    return answers


SPAN = Head("span", AutoModelForQuestionAnswering, _inputs, _read, _decode, max_length=WINDOW)
