"""Nested, stratified samples, and how a ladder over several tasks is split."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xscale.errors import UserError
from xscale.experiment import Mixing
from xscale.training.ladder import mixing_weights, nested_sample, sample_order, split_size

labels_lists = st.lists(st.integers(0, 4), min_size=1, max_size=300)


@given(labels_lists, st.integers(0, 2**31), st.data())
def test_a_smaller_sample_is_a_prefix_of_a_larger_one(
    labels: list[int], seed: int, data: st.DataObject
) -> None:
    small = data.draw(st.integers(1, len(labels)))
    large = data.draw(st.integers(small, len(labels)))
    first, second = (nested_sample(labels, size, seed, "task") for size in (small, large))
    assert list(first) == list(second[:small])
    assert len(set(second)) == large


@given(labels_lists, st.integers(0, 2**31))
def test_every_prefix_is_balanced_like_the_whole(labels: list[int], seed: int) -> None:
    order = sample_order(labels, seed)
    assert sorted(order) == list(range(len(labels)))
    whole, seen = Counter(labels), Counter[int]()
    for n, row in enumerate(order, start=1):
        seen[labels[row]] += 1
        for label, count in whole.items():
            assert abs(seen[label] - n * count / len(labels)) <= len(whole)


def test_another_seed_is_another_sample_and_the_same_seed_the_same() -> None:
    labels = [i % 3 for i in range(600)]
    first = nested_sample(labels, 100, 1, "task")
    assert list(first) == list(nested_sample(labels, 100, 1, "task"))
    assert len(set(first) & set(nested_sample(labels, 100, 2, "task"))) < 50


def test_a_sample_is_not_the_files_beginning() -> None:
    """With rows sorted by label and topic in the file, a sample still comes from all of it."""
    labels = [0] * 500 + [1] * 500
    rows = nested_sample(labels, 100, 1, "task")
    assert rows[:50].min() < 250 and rows.max() > 900
    assert np.abs(np.corrcoef(np.arange(100), rows)[0, 1]) < 0.3


@given(labels_lists, st.integers(0, 2**31), st.data())
def test_samples_from_both_ends_share_rows_only_where_the_set_is_too_small(
    labels: list[int], seed: int, data: st.DataObject
) -> None:
    """The intermediate phase's rows and a target's, each balanced and nested by itself."""
    one, two = (data.draw(st.integers(1, len(labels))) for _ in range(2))
    first = set(nested_sample(labels, one, seed, "task"))
    last = list(nested_sample(labels, two, seed, "task", from_end=True))
    assert len(first & set(last)) == max(0, one + two - len(labels))
    assert (
        last[: len(last) // 2]
        == list(nested_sample(labels, max(1, two // 2), seed, "task", from_end=True))[: len(last) // 2]
    )
    whole, seen = Counter(labels), Counter(labels[row] for row in last)
    for label, count in whole.items():
        assert abs(seen[label] - two * count / len(labels)) <= len(whole)


def test_too_large_a_size_says_what_there_is() -> None:
    with pytest.raises(UserError, match="size 7 is larger than rte, which has 6 usable rows"):
        nested_sample([0, 1] * 3, 7, 1, "rte")


@pytest.mark.parametrize(
    ("mixing", "expected"),
    [
        # min(n, 2^17): 100,000 and 131,072
        (Mixing(rule="capped"), [100_000 / 231_072, 131_072 / 231_072]),
        (Mixing(rule="uniform"), [0.5, 0.5]),
        (Mixing(rule="proportional"), [0.2, 0.8]),
        (Mixing(rule="temperature", temperature=2.0), [1 / 3, 2 / 3]),  # square roots: 1 to 2
    ],
)
def test_mixing_weights(mixing: Mixing, expected: list[float]) -> None:
    assert mixing_weights([100_000, 400_000], mixing) == pytest.approx(expected)


@settings(max_examples=50)
@given(st.lists(st.integers(1, 60), min_size=2, max_size=5), st.sampled_from(["uniform", "proportional"]))
def test_splits_are_nested_and_keep_the_rule(sizes: list[int], rule: str) -> None:
    weights = mixing_weights(sizes, Mixing.model_validate({"rule": rule}))
    before = [0] * len(sizes)
    for size in range(sum(sizes) + 1):
        split = split_size(sizes, size, weights)
        assert sum(split) == size
        assert all(b <= s <= n for b, s, n in zip(before, split, sizes, strict=True))
        if all(s < n for s, n in zip(split, sizes, strict=True)):
            assert all(abs(s - size * w) <= len(sizes) for s, w in zip(split, weights, strict=True))
        before = split


def test_a_total_beyond_all_tasks_is_refused() -> None:
    with pytest.raises(UserError, match="size 31 is larger than all tasks together, which have 30"):
        split_size([10, 20], 31, np.array([0.5, 0.5]))
