"""Proof by simulation: with a known truth, intervals cover it as often as they say and tests err no more
often.

The short forms run with the other tests; the long ones are marked slow and print the table of
docs/statistics.md (`pytest -m slow -s tests/leaderboard/test_simulation.py`).
"""

import numpy as np
import pytest
from scipy.stats import norm

from xscale.leaderboard import statistics as st

ROWS, LANGUAGES = 300, 12


def answers(truth: np.ndarray, share: float, rng: np.random.Generator, checkpoints: int) -> np.ndarray:
    """Right answers per row, (repeats, checkpoints, rows): share of languages, of checkpoints that share
    their items.

    `truth` (repeats, checkpoints, rows) is the probability of each; half of `share` of the latent variance
    is the item itself, the other half the item for one checkpoint, the rest is the document's.
    """
    repeats, _, rows = truth.shape
    item = rng.standard_normal((repeats, 1, rows, 1), np.float32) * np.sqrt(share / 2)
    own = rng.standard_normal((repeats, checkpoints, rows, 1), np.float32) * np.sqrt(share / 2)
    noise = rng.standard_normal((repeats, checkpoints, rows, LANGUAGES), np.float32) * np.sqrt(1 - share)
    return np.asarray((item + own + noise < norm.ppf(truth)[..., None]).sum(axis=-1))


def covered(bounds: np.ndarray, truth: float) -> float:
    return float(((bounds[:, 0] <= truth) & (truth <= bounds[:, 1])).mean())


def cover(repeats: int, share: float, seed: int, draws: int = 2_000) -> dict[str, float]:
    """How often intervals of accuracy, ID − OOD gap and delta hold the truth, and the per-document one
    of accuracy.
    """
    rng = np.random.default_rng(seed)
    counts = st.draw_counts(ROWS, draws, seed)
    half = np.arange(ROWS) % 2 == 0
    found: dict[str, list[float]] = {"accuracy": [], "gap": [], "delta": [], "per document": []}
    for _ in range(repeats // 100):
        truth = np.where(half, 0.62, 0.50)[None, None] + np.array([0.0, 0.03])[None, :, None]
        right = answers(np.broadcast_to(truth, (100, 2, ROWS)), share, rng, 2) / LANGUAGES
        old, new = right[:, 0].T, right[:, 1].T  # (rows, repeats)
        everything = st.bootstrap_means(old, counts)
        found["accuracy"].append(covered(st.intervals(everything, ROWS), 0.56))
        gap = st.bootstrap_means(old, counts, half) - st.bootstrap_means(old, counts, ~half)
        found["gap"].append(covered(st.intervals(gap, ROWS // 2), 0.12))
        delta = st.bootstrap_means(new, counts) - everything
        found["delta"].append(covered(st.intervals(delta, ROWS), 0.03))
        mean = old.mean(axis=0)
        width = 1.96 * np.sqrt(mean * (1 - mean) / (ROWS * LANGUAGES))
        found["per document"].append(covered(np.stack([mean - width, mean + width], axis=1), 0.56))
    return {name: float(np.mean(values)) for name, values in found.items()}


def cover_seeds(repeats: int, count: int, sd: float, seed: int, draws: int = 1_000) -> tuple[float, float]:
    """How often the interval of a mean over seeds holds the truth 0.5: ours, and drawing seeds with
    replacement.
    """
    rng = np.random.default_rng(seed)
    counts = st.draw_counts(ROWS, draws, seed)
    picks = rng.multinomial(count, np.full(count, 1 / count), size=draws).T / count
    ours, textbook = [], []
    for repeat in range(repeats):
        truth = np.clip(0.5 + sd * rng.standard_normal(count), 0.02, 0.98)
        right = (
            answers(np.broadcast_to(truth[None, :, None], (1, count, ROWS)), 0.5, rng, count)[0] / LANGUAGES
        )
        resampled = st.bootstrap_means(right.T, counts)
        ours.append(st.intervals(st.over_seeds(right.mean(axis=1), resampled, repeat), ROWS))
        textbook.append(st.intervals((picks * resampled).sum(axis=0), ROWS))
    return covered(np.array(ours), 0.5), covered(np.array(textbook), 0.5)


def family_wise_error(repeats: int, comparisons: int, seed: int, *, uneven: bool) -> float:
    """How often any of `comparisons` true nulls is rejected at 5% after Holm.

    `uneven`: checkpoints are as good as the baseline on average, but better on half of the rows and worse
    on the other.
    """
    rng = np.random.default_rng(seed)
    rejected = 0
    shift = np.where(np.arange(ROWS) % 2 == 0, 0.15, -0.15) if uneven else np.zeros(ROWS)
    truth = np.concatenate([np.full((1, ROWS), 0.5), np.tile(0.5 + shift, (comparisons, 1))])
    for _ in range(repeats):
        right = answers(truth[None], 0.5, rng, comparisons + 1)[0]
        p = [st.sign_flip_p(right[index] - right[0]) for index in range(1, comparisons + 1)]
        rejected += bool((st.holm(p) <= 0.05).any())
    return rejected / repeats


def rank_error(repeats: int, checkpoints: int, seed: int) -> float:
    """How often any rank interval misses the true rank; the true accuracies are 0.50, 0.51, 0.52, …"""
    rng = np.random.default_rng(seed)
    truth = 0.5 + 0.01 * np.arange(checkpoints)
    wrong = 0
    counts, none, one = st.draw_counts(ROWS, 1_000, seed), np.zeros(checkpoints), np.ones(checkpoints)
    for _ in range(repeats):
        right = answers(np.broadcast_to(truth[None, :, None], (1, checkpoints, ROWS)), 0.5, rng, checkpoints)[
            0
        ]
        values = right.T / LANGUAGES
        covariance = np.cov(st.bootstrap_means(values, counts))
        means = values.mean(axis=0)
        found = st.ranks(means, st.pairwise_p(means, covariance, none, none, one, ROWS))
        true_rank = checkpoints - np.arange(checkpoints)
        wrong += bool(((np.array(found.best) > true_rank) | (np.array(found.worst) < true_rank)).any())
    return wrong / repeats


def test_short_seeds_need_more_than_the_textbook_bootstrap() -> None:
    ours, textbook = cover_seeds(300, 3, 0.05, seed=1, draws=400)
    assert 0.90 <= ours <= 0.99  # ± 3 standard errors of 300 repeats
    assert textbook < 0.88


def test_short_family_wise_error() -> None:
    assert family_wise_error(120, 10, seed=2, uneven=True) <= 0.11  # 5% + 3 standard errors of 120 repeats


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_intervals_cover_and_per_document_ones_do_not(share: float) -> None:
    found = cover(4000, share, seed=3)
    print(f"\nitems' share of variance {share}:", {name: f"{value:.1%}" for name, value in found.items()})
    for name in ("accuracy", "gap", "delta"):
        assert 0.93 <= found[name] <= 0.97, name
    assert found["per document"] < 0.90


@pytest.mark.slow
@pytest.mark.parametrize("count", [3, 5, 10])
@pytest.mark.parametrize("sd", [0.0, 0.02, 0.05, 0.10])
def test_intervals_over_seeds_cover(count: int, sd: float) -> None:
    """A row's noise is 1.8 points here. Where seeds do not differ at all, few of them cannot show it:
    wider, not less.
    """
    ours, textbook = cover_seeds(3000, count, sd, seed=4)
    print(f"\n{count} seeds, spread {sd:.0%}: {ours:.1%}, seeds drawn with replacement {textbook:.1%}")
    assert 0.93 <= ours <= (0.98 if sd == 0 else 0.97)
    if count == 3 and sd >= 0.05:
        assert textbook < 0.93


@pytest.mark.slow
@pytest.mark.parametrize("uneven", [False, True])
@pytest.mark.parametrize("comparisons", [1, 5, 20])
def test_family_wise_error(comparisons: int, uneven: bool) -> None:
    error = family_wise_error(2000, comparisons, seed=5, uneven=uneven)
    print(f"\n{comparisons} comparisons{', uneven' if uneven else ''}: family-wise error {error:.1%}")
    assert error <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)  # its own noise: 1.5 points


@pytest.mark.slow
def test_rank_intervals_hold_all_true_ranks() -> None:
    error = rank_error(1000, 8, seed=6)
    print(f"\nrank intervals of 8 checkpoints: any wrong in {error:.1%}")
    assert error <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1000)
