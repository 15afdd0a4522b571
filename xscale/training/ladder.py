"""Nested samples: for a seed, the sample of size n is a prefix of the sample of any larger size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xscale.errors import UserError
from xscale.experiment import Mixing


def sample_order(labels: Sequence[int], seed: int) -> np.ndarray:
    """A permutation of the rows, shape (rows,), whose every prefix has the labels balanced like the whole.

    The rows of each label are shuffled; then each takes its evenly spread positions: the j-th row (from 0) of a label
    with m rows is placed by (j + u) / m, where u in (0, 1) is one offset a label. A prefix of n rows holds each label
    its exact share of n give or take one row for each other label.
    """
    generator = np.random.default_rng(seed)
    label_array = np.asarray(labels)
    positions = np.empty(len(label_array))
    for label in np.unique(label_array):
        rows = generator.permutation(np.flatnonzero(label_array == label))
        positions[rows] = (np.arange(len(rows)) + generator.uniform(0.0, 1.0)) / len(rows)
    return np.argsort(positions, kind="stable")


def nested_sample(
    labels: Sequence[int], size: int, seed: int, name: str, from_end: bool = False
) -> np.ndarray:
    """Row numbers of the sample, shape (size,): the first of the order, or its last ones (`from_end`), so that two samples
    of one set share rows only where they are together larger than it. Raises `UserError` when there are fewer rows than
    `size`."""
    if size > len(labels):
        raise UserError(
            f"size {size} is larger than {name}, which has {len(labels)} usable rows here; choose sizes up to that"
        )
    order = sample_order(labels, seed)
    return (order[::-1] if from_end else order)[:size]


def mixing_weights(sizes: Sequence[int], mixing: Mixing) -> np.ndarray:
    """The share of each task in a mixture, shape (tasks,), from its number of rows; the sum is 1.

    `capped` is the rule of Phang et al. 2020 (arXiv 2005.13013), after Raffel et al. 2020: p ~ min(n, 2^17).
    """
    n = np.asarray(sizes, dtype=float)
    if mixing.rule == "uniform":
        n = np.ones_like(n)
    elif mixing.rule == "capped":
        n = np.minimum(n, mixing.cap)
    elif mixing.rule == "temperature":
        n = n ** (1.0 / mixing.temperature)
    return n / n.sum()


def split_size(sizes: Sequence[int], size: int, weights: np.ndarray) -> list[int]:
    """How many of `size` examples each task gives: its share by `weights`, give or take one.

    The examples are dealt one at a time, each to the task that is farthest behind its share, so the split of a size is
    never smaller, for any task, than that of a smaller size: samples over several tasks are nested too. A task without
    rows left is passed over. Raises `UserError` when all tasks together have fewer rows.
    """
    if size > sum(sizes):
        raise UserError(
            f"size {size} is larger than all tasks together, which have {sum(sizes)} usable rows here; "
            "choose sizes up to that"
        )
    due = np.concatenate(
        [(np.arange(rows) + 0.5) / weight for rows, weight in zip(sizes, weights, strict=True)]
    )
    owner = np.repeat(np.arange(len(sizes)), sizes)
    order = np.lexsort((owner, due))[:size]
    return [int(count) for count in np.bincount(owner[order], minlength=len(sizes))]
