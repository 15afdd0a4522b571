"""Tags of words: a word's first token carries its tag; long sentences are taken in pieces of whole words.

As in XTREME's and jiant's code for UDPOS and PAN-X: a sentence of more tokens than a text may have is split before the word that
does not fit any more, so that every word is answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForTokenClassification, PreTrainedTokenizerBase

from harness_tasks.tagging import NO_TAG
from harness_tasks.targets import get_target
from xscale.errors import UserError
from xscale.heads.record import Document, Forward, Head, Inputs, Tensors, Text


def _inputs(tokenizer: PreTrainedTokenizerBase, documents: Sequence[Document], length: int) -> Inputs:
    """Each sentence's pieces; `facts` are (first tokens, 2): the number of a word and the place of its first token."""
    if not documents:
        return Inputs([], [])
    encoded = tokenizer(
        [document["words"].split(" ") for document in documents],
        is_split_into_words=True,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
    )
    texts: list[Text] = []
    of = []
    for number, tokens in enumerate(encoded["input_ids"]):
        made = _pieces(np.array(tokens, np.int32), encoded.word_ids(number), length)
        of.append(range(len(texts), len(texts) + len(made)))
        texts += made
    return Inputs(texts, of)


def _pieces(ids: np.ndarray, words: Sequence[int | None], length: int) -> list[Text]:
    """A sentence with its special tokens at both ends in texts of at most `length` tokens, each with those ends."""
    inside = [place for place, word in enumerate(words) if word is not None]
    if not inside:
        return [Text(ids, facts=np.empty((0, 2), np.int32))]
    first, last = inside[0], inside[-1] + 1
    head, tail = ids[:first], ids[last:]
    room = max(1, length - len(head) - len(tail))
    starts = [place for place in inside if place == first or words[place] != words[place - 1]]
    pieces: list[list[int]] = [[]]
    for start, end in zip(starts, [*starts[1:], last], strict=True):
        if pieces[-1] and end - pieces[-1][0] > room:
            pieces.append([])
        pieces[-1].append(start)
    ends = [*(piece[0] for piece in pieces[1:]), last]
    return [
        Text(
            np.concatenate([head, ids[piece[0] : min(end, piece[0] + room)], tail]),
            facts=np.array([(words[start], start - piece[0] + len(head)) for start in piece], np.int32),
        )
        for piece, end in zip(pieces, ends, strict=True)
    ]


def _read(forward: Forward, inputs: Tensors, marks: torch.Tensor, config: Any) -> torch.Tensor:
    """The number of each token's likeliest tag, NaN where the model gives no numbers: (texts, length)."""
    logits = forward(inputs).logits.float()
    return torch.where(logits.isfinite().all(dim=-1), logits.argmax(dim=-1).float(), torch.nan)


def _decode(
    outputs: Sequence[np.ndarray | None], inputs: Inputs, documents: Sequence[Document], config: Any
) -> list[str]:
    """Tags separated by spaces; `NO_TAG` of a word without a token."""
    answers = []
    for document, texts in zip(documents, inputs.of, strict=True):
        names = tags_of_labels(config, document["target"])
        tags = [NO_TAG] * len(document["gold"])
        for text in texts:
            output = outputs[text]
            if output is not None:
                for word, place in inputs.texts[text].facts.tolist():
                    tags[word] = names[int(output[place])]
        answers.append(" ".join(tags))
    return answers


def tags_of_labels(config: Any, target: str) -> dict[int, str]:
    """By number of a model's label the tag that its configuration calls it by.

    Raises `UserError` where these are not just the target's tags; nothing is guessed from an order.
    """
    names = {int(number): str(name) for number, name in config.id2label.items()}
    wanted = get_target(target).tags
    if sorted(names.values()) != sorted(wanted):
        raise UserError(
            f"the labels of its head are {', '.join(list(names.values())[:8])}, ...; {target} has {', '.join(wanted)}: set "
            "id2label in its config.json"
        )
    return names


TAGS = Head("token_classification", AutoModelForTokenClassification, _inputs, _read, _decode)
