"""Nested samples: for a seed, the sample of size n is a prefix of the sample of any larger size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xscale.errors import UserError


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


def nested_sample(labels: Sequence[int], size: int, seed: int, name: str) -> np.ndarray:
    """Row numbers of the sample, shape (size,). Raises `UserError` when there are fewer rows than `size`."""
    if size > len(labels):
        raise UserError(
            f"size {size} is larger than {name}, which has {len(labels)} usable rows here; choose sizes up to that"
        )
    return sample_order(labels, seed)[:size]
