"""Statistics against independent computations, and by simulation against a known truth."""

import itertools

import numpy as np
import pytest
from scipy import stats
from statsmodels.api import OLS
from synthetic import correlated

from xscale.leaderboard import statistics as st


def test_counts_are_multinomial_and_repeatable() -> None:
    counts = st.draw_counts(300, 400, seed=3)
    assert counts.shape == (300, 400)
    assert (counts.sum(axis=0, dtype=int) == 300).all()
    assert (counts == st.draw_counts(300, 400, seed=3)).all()
    assert (counts != st.draw_counts(300, 400, seed=4)).any()
    assert abs(counts.var() - (1 - 1 / 300)) < 0.02  # of a binomial with 300 trials of 1/300


def test_means_equal_a_loop_over_draws() -> None:
    rng = np.random.default_rng(0)
    values, mask = rng.random((50, 3)), rng.random(50) < 0.4
    counts = st.draw_counts(50, 30, seed=1)
    draws = st.bootstrap_means(values, counts, mask)
    for draw in range(30):
        picked = np.repeat(np.arange(50), counts[:, draw])
        picked = picked[mask[picked]]
        assert np.allclose(draws[:, draw], values[picked].mean(axis=0), atol=1e-6)


def test_a_draw_without_rows_of_the_subset_is_undefined() -> None:
    mask = np.zeros(20, bool)
    mask[3] = True
    draws = st.bootstrap_means(np.ones((20, 1)), st.draw_counts(20, 500), mask)
    assert 0.3 < np.isnan(draws).mean() < 0.42  # (1 - 1/20)^20 = 36%
    assert np.isnan(st.intervals(draws, 1)).all()


def test_interval_agrees_with_the_normal_one_for_many_rows() -> None:
    values = np.random.default_rng(0).random((4000, 2)) < [0.3, 0.6]
    bounds = st.intervals(st.bootstrap_means(values, st.draw_counts(4000)), 4000)
    error = np.sqrt(values.mean(axis=0) * (1 - values.mean(axis=0)) / 4000)
    expected = values.mean(axis=0)[:, None] + np.array([-1.96, 1.96]) * error[:, None]
    assert np.allclose(bounds, expected, atol=0.0015)


def test_all_right_has_the_exact_bound() -> None:
    (low, high), (zero, least) = st.proportion_intervals(np.array([1.0, 0.0]), np.ones((2, 100)), 60).tolist()
    assert (high, zero) == (1.0, 0.0)
    assert low == pytest.approx(stats.beta.ppf(0.025, 60, 1))  # Clopper-Pearson
    assert least == pytest.approx(1 - low)


@pytest.mark.parametrize("seed", range(8))
def test_sign_flip_equals_enumeration(seed: int) -> None:
    rng = np.random.default_rng(seed)
    differences = rng.integers(-4, 5, size=11)
    flips = np.array(list(itertools.product((-1, 1), repeat=11)))
    sums = np.abs(flips @ np.abs(differences))
    expected = (sums >= abs(differences.sum())).mean()
    assert st.sign_flip_p(differences) == pytest.approx(expected, abs=1e-12)


def test_sign_flip_of_single_answers_is_the_sign_test() -> None:
    differences = np.array([1] * 40 + [-1] * 22 + [0] * 100)
    assert st.sign_flip_p(differences) == pytest.approx(stats.binomtest(40, 62).pvalue)
    assert st.sign_flip_p(differences * 7) == pytest.approx(stats.binomtest(40, 62).pvalue)


def test_sign_flip_agrees_with_scipys_permutations() -> None:
    rng = np.random.default_rng(5)
    first, second = rng.integers(0, 16, 400), rng.integers(0, 16, 400)
    second = np.where(rng.random(400) < 0.7, first, second)
    expected = stats.permutation_test(
        (first, second),
        lambda a, b, axis: (a - b).mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    ).pvalue
    assert st.sign_flip_p(first - second) == pytest.approx(expected, abs=0.012)


def test_no_difference_and_a_large_one() -> None:
    assert st.sign_flip_p(np.zeros(10, int)) == 1.0
    assert st.sign_flip_p(np.array([3, -3])) == 1.0
    assert st.sign_flip_p(np.full(5010, 15)) == 1e-14


def test_holm_on_a_worked_example() -> None:
    assert st.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # Holm 1979
    adjusted = st.holm([0.02, float("nan"), 0.9])
    assert adjusted[[0, 2]] == pytest.approx([0.04, 0.9])
    assert np.isnan(adjusted[1])
    assert len(st.holm([])) == 0


def pairwise(values: np.ndarray, draws: int = 40_000) -> np.ndarray:
    """p-values of all pairs of columns of single seeds: `values` (clusters, columns)."""
    clusters, columns = values.shape
    resampled = st.bootstrap_means(values, st.draw_counts(clusters, draws)).astype(float)
    none, one = np.zeros(columns), np.ones(columns)
    return st.pairwise_p(values.mean(axis=0), np.cov(resampled), none, none, one, clusters)


def test_pairwise_agrees_with_paired_t_tests() -> None:
    rng = np.random.default_rng(2)
    values = rng.random((80, 1)) + 0.3 * rng.standard_normal((80, 4)) + [0, 0.05, 0.1, 0.3]
    p = pairwise(values)
    for i, j in itertools.combinations(range(4), 2):
        expected = stats.ttest_rel(values[:, i], values[:, j]).pvalue
        assert p[i, j] == pytest.approx(expected, rel=0.05, abs=0.004)


def test_two_equal_columns_cannot_be_told_apart() -> None:
    values = np.repeat(np.random.default_rng(0).random((50, 1)), 2, axis=1)
    assert pairwise(values, 500)[0, 1] == 1.0


def two_way_error(right: np.ndarray) -> float:
    """Standard error of a mean over seeds and clusters, clustered both ways (Cameron, Gelbach & Miller 2011), by
    statsmodels: `right` (seeds, clusters).
    """
    clusters = right.shape[1]
    seed, cluster = np.divmod(np.arange(right.size), clusters)
    fitted = OLS(right.ravel(), np.ones(right.size)).fit()
    both = np.stack([seed, cluster], axis=1)
    robust = fitted.get_robustcov_results("cluster", groups=both, use_correction=True)
    return float(robust.bse[0])


@pytest.mark.parametrize("spread", [0.0, 0.03, 0.1])
def test_the_variance_of_a_mean_agrees_with_two_way_clusters(spread: float) -> None:
    """Seeds and clusters crossed; the mean over twenty data sets, since one variance of eight seeds is a noisy one."""
    rng = np.random.default_rng(8)
    ours, theirs = [], []
    for _ in range(20):
        item = rng.standard_normal((1, 300))
        latent = 0.7 * item + 0.7 * rng.standard_normal((8, 300))
        right = (latent < stats.norm.ppf(0.6 + spread * rng.standard_normal((8, 1)))).astype(float)
        draws = st.bootstrap_means(right.T, st.draw_counts(300, 2000))
        ours.append(st.mean_error(right.mean(axis=1), draws, 300)[0] ** 2)
        theirs.append(two_way_error(right) ** 2)
    assert np.sqrt(np.mean(ours)) == pytest.approx(np.sqrt(np.mean(theirs)), rel=0.08)


def test_ranks_have_the_variance_of_the_deltas() -> None:
    """Two recipes of three seeds each: the pair's t is the one of their difference with both seeds' variances."""
    rng = np.random.default_rng(3)
    values = np.array([[0.50, 0.53, 0.47], [0.60, 0.66, 0.57]])
    draws = values[..., None] + 0.01 * rng.standard_normal((2, 3, 20_000))
    parts = [st.seed_parts(v, d) for v, d in zip(values, draws, strict=True)]
    merged = draws.mean(axis=1)
    means = values.mean(axis=1)
    given = [np.array([getattr(part, name) for part in parts]) for name in ("seeds", "between")]
    p = st.pairwise_p(means, np.cov(merged), *given, np.array([3, 3]), 500)
    expected = stats.ttest_ind(values[0], values[1], equal_var=False)
    assert p[0, 1] == pytest.approx(expected.pvalue, rel=0.25)
    ignoring = st.pairwise_p(means, np.cov(merged), np.zeros(2), np.zeros(2), np.ones(2), 500)
    assert ignoring[0, 1] < 1e-4 < p[0, 1]


def test_ranks_and_letters() -> None:
    means = np.array([0.5, 0.9, 0.6, 0.55])
    p = np.full((4, 4), 1e-6)
    p[0, 3] = p[3, 0] = p[2, 3] = p[3, 2] = (
        0.5  # 0.55 can be told from neither neighbour, but these from each other
    )
    found = st.ranks(means, p)
    assert found.best == [3, 1, 2, 2]
    assert found.worst == [4, 1, 3, 4]
    assert found.groups == ["c", "a", "b", "bc"]


@pytest.mark.parametrize("seed", range(5))
def test_letters_are_shared_exactly_by_those_that_cannot_be_told_apart(seed: int) -> None:
    rng = np.random.default_rng(seed)
    means = rng.random(9)
    p = np.triu(rng.random((9, 9)) ** 6, 1)
    p = p + p.T
    found = st.ranks(means, p)
    upper = np.triu_indices(9, 1)
    adjusted = st.holm(p[upper])
    for i, j, value in zip(*upper, adjusted, strict=True):
        assert bool(set(found.groups[i]) & set(found.groups[j])) == (value > 0.05)


def test_one_seed_adds_nothing_and_several_widen() -> None:
    rows = np.random.default_rng(0).normal(0, 0.01, 5000)
    assert (st.over_seeds(np.array([0.5]), rows[None] + 0.5) == rows + 0.5).all()
    alike, apart = np.array([0.5, 0.5, 0.5]), np.array([0.4, 0.5, 0.6])
    narrow, wide = (
        st.intervals(st.over_seeds(values, values[:, None] + rows), 1000) for values in (alike, apart)
    )
    assert np.ptp(narrow) == pytest.approx(2 * 1.96 * 0.01, rel=0.05)
    assert np.ptp(wide) / 2 == pytest.approx(stats.t.ppf(0.975, 2) * 0.1 / np.sqrt(3), rel=0.1)


def test_noise_of_items_is_not_counted_as_noise_of_seeds() -> None:
    """Three seeds of one accuracy, each answering on its own luck: what they differ by is all in the rows."""
    rng = np.random.default_rng(1)
    right = (rng.random((3, 4000)) < 0.6).T
    parts = st.seed_parts(right.mean(axis=0), st.bootstrap_means(right, st.draw_counts(4000, 2000)))
    assert parts.rows == pytest.approx(0.24 / 4000 / 3, rel=0.15)
    assert parts.seeds < 0.24 / 4000 / 3
    values = right.mean(axis=0) + np.array([-0.1, 0, 0.1])
    parts = st.seed_parts(
        values,
        st.bootstrap_means(right, st.draw_counts(4000, 2000)) + values[:, None] - right.mean(0)[:, None],
    )
    assert parts.seeds == pytest.approx(0.01 / 3, rel=0.1)
    assert parts.freedom == pytest.approx(2, rel=0.05)


def test_p_over_seeds_without_row_noise_is_the_t_test() -> None:
    def p(values: np.ndarray, draws: np.ndarray) -> float:
        return st.t_p(float(values.mean()), *st.mean_error(values, draws, 500))

    deltas = np.array([0.02, 0.05, 0.03])
    still = np.repeat(deltas[:, None], 100, axis=1)
    assert p(deltas, still) == pytest.approx(stats.ttest_1samp(deltas, 0).pvalue)
    noisy = still + np.random.default_rng(0).normal(0, 0.03, 100)
    assert p(deltas, noisy) > p(deltas, still)


def test_a_document_interval_is_too_narrow_on_parallel_items() -> None:
    """The interval that takes translations for independent items covers far less than 95%, the cluster one
    does not.
    """
    cluster, naive = coverage(rows=300, languages=12, draws=800, repeats=400, seed=0)
    assert 0.92 <= cluster <= 0.98  # ± 2.7 standard errors of 400 repeats
    assert naive < 0.80


def coverage(rows: int, languages: int, draws: int, repeats: int, seed: int) -> tuple[float, float]:
    """How often the cluster interval and the per-document interval hold the true accuracy 0.6."""
    rng = np.random.default_rng(seed)
    counts = st.draw_counts(rows, draws, seed)
    scores = np.stack([correlated(rows, languages, 0.6, 0.5, rng) for _ in range(repeats)]).mean(axis=2).T
    bounds = st.intervals(st.bootstrap_means(scores, counts), rows)
    cluster = ((bounds[:, 0] <= 0.6) & (bounds[:, 1] >= 0.6)).mean()
    means = scores.mean(axis=0)
    half = 1.96 * np.sqrt(means * (1 - means) / (rows * languages))
    return float(cluster), float((np.abs(means - 0.6) <= half).mean())
