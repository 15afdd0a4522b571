"""Which documents are computed together: in blocks and batches that do not depend on what else is asked for.

A document's score depends, in its last bits, on the batch it is computed in. So that answers can grow, from a few documents
to all, and still be what one evaluation of all gives, the batches of a target in a language are fixed once: its documents,
in the task's fixed order, are cut into blocks, the first one small and each next one larger; a block's texts make batches
of similar length. An evaluation computes the batches that have a document it needs, whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xscale.evaluation.tokens import Tokens

if TYPE_CHECKING:
    import torch

Document = Mapping[str, Any]
# documents of a language that are computed where one is asked for; more where batches are large
FIRST_BLOCK = 16


@dataclass(frozen=True)
class Section:
    """The documents of a target in one language, all of them in the task's fixed order, and the positions of those
    whose answers are needed (ascending). `task` is lm_eval's."""

    documents: Sequence[Document]
    needed: Sequence[int]
    task: Any = None


def blocks(total: int, first: int, growth: int = 4, largest: int | None = None) -> list[range]:
    """Positions 0 ... total - 1 in blocks: `first` of them, then as many as to have `growth` times what was before, at most
    `largest` at once. A last block of less than half of what is before it is joined to the one before."""
    ends = []
    end = first
    while end < total:
        ends.append(end)
        end += min(end * (growth - 1), largest or total)
    if ends and largest is None and total - ends[-1] < ends[-1] / 2:
        ends.pop()
    return [range(start, end) for start, end in zip([0, *ends], [*ends, total], strict=True) if end > start]


def needed_blocks(section: Section, all_blocks: Sequence[range]) -> list[range]:
    """The blocks that have a document whose answer is needed."""
    needed = np.asarray(section.needed, dtype=np.int64)
    return [
        block
        for block in all_blocks
        if np.searchsorted(needed, block.start) < np.searchsorted(needed, block.stop)
    ]


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


Batch = dict[str, "torch.Tensor"]  # a model's inputs by name, all of shape (texts, length)


def padded(tokens: Tokens, batch: np.ndarray, pad: int, types: bool = False, pin: bool = False) -> Batch:
    """A batch's `input_ids`, `attention_mask` and, with `types`, `token_type_ids` where the tokenizer gives them.

    All are int64 of shape (texts, longest); page-locked when `pin`.
    """
    import torch  # here: what only reads results needs none of it

    starts, lengths = tokens.starts[batch], tokens.lengths[batch]
    columns = np.arange(int(lengths.max(initial=1)))
    mask = columns < lengths[:, None]
    places = np.minimum(starts[:, None] + columns, len(tokens.ids) - 1)
    arrays = {"input_ids": np.where(mask, tokens.ids[places], pad), "attention_mask": mask}
    if types and tokens.types is not None:
        arrays["token_type_ids"] = np.where(mask, tokens.types[places], 0)
    inputs = {name: torch.from_numpy(array.astype(np.int64)) for name, array in arrays.items()}
    return {name: tensor.pin_memory() for name, tensor in inputs.items()} if pin else inputs
