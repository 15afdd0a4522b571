"""What a head of a target without choices is: one frozen record, used by training's development scores and by evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

Document = Mapping[str, Any]
Tensors = dict[str, torch.Tensor]
Forward = Callable[[Tensors], Any]  # a model's inputs by name -> its output, as transformers has it


@dataclass(frozen=True)
class Text:
    """One input of a model.

    `ids`: its tokens (int32), special ones too. `types`: which text of a pair each token is of, where the tokenizer says so.
    `marks`: a number for each token, which `read` gets (zeros when None). `facts`: whatever `decode` needs to know of it.
    """

    ids: np.ndarray
    types: np.ndarray | None = None
    marks: np.ndarray | None = None
    facts: Any = None


@dataclass(frozen=True)
class Inputs:
    """The texts that documents become: `of` has, for each document, the numbers of its texts; `shared` are those that every
    document needs (candidates)."""

    texts: Sequence[Text]
    of: Sequence[Sequence[int]]
    shared: Sequence[int] = ()


@dataclass(frozen=True)
class Head:
    """How an encoder with a head answers documents without choices.

    Attributes:
        name: as targets call it
        model_class: transformers' auto class
        inputs: (tokenizer, documents of one language, tokens of a text at most) -> their texts
        read: (forward, a batch's tensors of shape (texts, length), marks of the same shape, the model's configuration)
            -> numbers of shape (texts, width), which are all that is kept of a text. It runs on the model's device, possibly
            under autocast; the width may differ between batches
        decode: (by text what `read` gave of it, None where it was not needed; inputs; documents; configuration) -> the
            documents' answers, as texts
        max_length: tokens of a text at most, where a checkpoint does not say what it was trained with
        one_block: texts are shared by all documents of a language, which are computed together whatever is needed
        optional: beginnings of the names of weights that a checkpoint may lack
    """

    name: str
    model_class: Any
    inputs: Callable[[PreTrainedTokenizerBase, Sequence[Document], int], Inputs]
    read: Callable[[Forward, Tensors, torch.Tensor, Any], torch.Tensor]
    decode: Callable[[Sequence[np.ndarray | None], Inputs, Sequence[Document], Any], list[str]]
    max_length: int = 512
    one_block: bool = False
    optional: tuple[str, ...] = ()


def padded_texts(texts: Sequence[Text], pad: int, types: bool, pin: bool = False) -> Tensors:
    """`input_ids`, `attention_mask`, `marks` and, with `types`, `token_type_ids` of texts: int64, (texts, longest)."""
    shape = len(texts), max(len(text.ids) for text in texts)
    arrays = {"input_ids": np.full(shape, pad, np.int64), "attention_mask": np.zeros(shape, np.int64)}
    arrays["marks"] = np.zeros(shape, np.int64)
    if types and all(text.types is not None for text in texts):
        arrays["token_type_ids"] = np.zeros(shape, np.int64)
    for row, text in enumerate(texts):
        length = len(text.ids)
        arrays["input_ids"][row, :length] = text.ids
        arrays["attention_mask"][row, :length] = 1
        if text.marks is not None:
            arrays["marks"][row, :length] = text.marks
        if "token_type_ids" in arrays:
            arrays["token_type_ids"][row, :length] = np.asarray(text.types)
    inputs = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return {name: tensor.pin_memory() for name, tensor in inputs.items()} if pin else inputs
