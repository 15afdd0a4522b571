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


def padded(
    tokens: Tokens, batch: np.ndarray, pad: int, pin: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Input ids and attention mask of a batch, both int64 of shape (texts, longest); page-locked when `pin`."""
    starts, lengths = tokens.starts[batch], tokens.lengths[batch]
    columns = np.arange(int(lengths.max(initial=1)))
    mask = columns < lengths[:, None]
    places = np.minimum(starts[:, None] + columns, len(tokens.ids) - 1)
    ids = torch.from_numpy(np.where(mask, tokens.ids[places], pad).astype(np.int64))
    attention = torch.from_numpy(mask.astype(np.int64))
    return (ids.pin_memory(), attention.pin_memory()) if pin else (ids, attention)
