"""Batches of texts of similar length, by a budget of padded tokens."""

from __future__ import annotations

import numpy as np
import torch

from xscale.evaluation.tokens import Tokens


def batch_plan(lengths: np.ndarray, budget: int) -> list[np.ndarray]:
    """Indices of texts in batches of similar length, longest first, each of at most `budget` padded tokens (or one text).

    It depends on the lengths and the budget alone, so that an evaluation that was stopped goes on with the same batches.
    """
    order = np.argsort(-lengths, kind="stable")
    plan = []
    first = 0
    while first < len(order):
        count = max(1, budget // max(1, int(lengths[order[first]])))
        plan.append(order[first : first + count])
        first += count
    return plan


Batch = dict[str, torch.Tensor]  # a model's inputs by name, all of shape (texts, length)


def padded(tokens: Tokens, batch: np.ndarray, pad: int, types: bool = False, pin: bool = False) -> Batch:
    """A batch's `input_ids`, `attention_mask` and, with `types`, `token_type_ids` where the tokenizer gives them.

    All are int64 of shape (texts, longest); page-locked when `pin`.
    """
    starts, lengths = tokens.starts[batch], tokens.lengths[batch]
    columns = np.arange(int(lengths.max(initial=1)))
    mask = columns < lengths[:, None]
    places = np.minimum(starts[:, None] + columns, len(tokens.ids) - 1)
    arrays = {"input_ids": np.where(mask, tokens.ids[places], pad), "attention_mask": mask}
    if types and tokens.types is not None:
        arrays["token_type_ids"] = np.where(mask, tokens.types[places], 0)
    inputs = {name: torch.from_numpy(array.astype(np.int64)) for name, array in arrays.items()}
    return {name: tensor.pin_memory() for name, tensor in inputs.items()} if pin else inputs
