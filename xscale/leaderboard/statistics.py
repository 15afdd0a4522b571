"""Intervals, paired tests, corrections and ranks for test items that exist in many languages at once.

The unit that is resampled is the *row*: the same item in every language. Translations of one item are not
independent, so a document is never drawn alone (cluster bootstrap; Davison & Hinkley 1997, section 3.8).
All draws use one matrix of row counts, so everything computed with the same seed is paired: a difference of
two checkpoints, or of two subsets, is the difference of their draws.

Shapes: `rows` test rows, `draws` bootstrap draws, `columns` checkpoints (or checkpoint × group of languages).
Accuracies are shares between 0 and 1 throughout; only the tables turn them into percent.
"""

from __future__ import annotations

import base64
import binascii
import math
import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special, stats
from scipy.fft import irfft, next_fast_len

Floats = npt.NDArray[Any]
DRAWS = 10_000
LEVEL = 0.95
LEAST_P = 1e-14  # below this a p-value is rounding error
_CHUNK = 2_000  # draws in one matrix product: rows × chunk floats stay below 50 MB


class Interval(NamedTuple):
    """Lower and upper bound; NaN where there is nothing to resample."""

    low: float
    high: float


def draw_counts(rows: int, draws: int = DRAWS, seed: int = 0) -> npt.NDArray[np.uint8]:
    """How often each row occurs in each bootstrap draw: shape (rows, draws), columns sum to `rows`.

    Multinomial counts with equal probabilities, drawn as `rows` uniform indices a draw. The same arguments
    give the same counts on every platform (PCG64).
    """
    if rows < 1 or draws < 1:
        raise ValueError(f"rows and draws must be positive, not {rows} and {draws}")
    generator = np.random.default_rng(seed)
    counts = np.empty((rows, draws), np.uint8)
    step = max(1, min(draws, 5_000_000 // rows))
    for start in range(0, draws, step):
        size = min(step, draws - start)
        picked = generator.integers(0, rows, size=(size, rows), dtype=np.int64)
        picked += np.arange(size)[:, None] * rows
        block = np.bincount(picked.ravel(), minlength=size * rows).reshape(size, rows)
        counts[:, start : start + size] = block.T  # a row's count stays far below 256: P(>255) < 1e-500
    return counts


def bootstrap_means(
    values: Floats, counts: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_] | None = None
) -> Floats:
    """Means of `values` over the resampled rows of a subset: shape (columns, draws), float32.

    `values` has shape (rows, columns), `mask` (rows,) marks the subset (all rows by default). A draw's mean
    is Σ w_r·v_r / Σ w_r over the subset's rows, with w the row counts of that draw; a draw that holds no
    row of the subset is NaN. One matrix product a chunk of draws.
    """
    chosen = np.flatnonzero(mask) if mask is not None else np.arange(len(values))
    table = np.ascontiguousarray(values[chosen].T, dtype=np.float32)
    result = np.empty((table.shape[0], counts.shape[1]), np.float32)
    for start in range(0, counts.shape[1], _CHUNK):
        block = counts[chosen, start : start + _CHUNK].astype(np.float32)
        with np.errstate(invalid="ignore", divide="ignore"):
            result[:, start : start + _CHUNK] = (table @ block) / block.sum(axis=0)
    return result


def intervals(draws: Floats, clusters: int, level: float = LEVEL) -> Floats:
    """Expanded percentile intervals of the last axis: shape (..., 2).

    Plain percentiles are too narrow for few clusters, by about √((n−1)/n)·z/t. The percentiles taken are
    therefore Φ(−√(n/(n−1))·t(n−1)) and its mirror image (Hesterberg 2015, arXiv 1411.5279).
    NaN below 2 clusters or where more than 5% of the draws are NaN.
    """
    draws = np.asarray(draws)
    if clusters < 2 or draws.shape[-1] == 0:
        return np.full((*draws.shape[:-1], 2), np.nan)
    expanded = _expanded_tail(clusters, level)
    missing = np.isnan(draws)
    if missing.any():
        bounds = np.moveaxis(
            np.nanquantile(
                np.where(missing.all(-1, keepdims=True), 0, draws), [expanded, 1 - expanded], axis=-1
            ),
            0,
            -1,
        )
        bounds[missing.mean(axis=-1) > 0.05] = np.nan
        return bounds
    return np.asarray(np.moveaxis(np.quantile(draws, [expanded, 1 - expanded], axis=-1), 0, -1))


@lru_cache(maxsize=1024)
def _expanded_tail(clusters: int, level: float) -> float:
    quantile = stats.t.ppf((1 - level) / 2, clusters - 1) * math.sqrt(clusters / (clusters - 1))
    return float(stats.norm.cdf(quantile))


def proportion_intervals(values: Floats, draws: Floats, clusters: int, level: float = LEVEL) -> Floats:
    """Intervals of accuracies from their draws, with an exact bound where resampling has nothing to vary.

    `values` (columns,), `draws` (columns, draws); shape (columns, 2). All right or all wrong gives draws
    that are all equal. The bound is then Clopper-Pearson's with the rows as trials: 1 − (α/2)^(1/n), the
    rule of three in its two-sided form.
    """
    bounds = np.array(intervals(draws, clusters, level), dtype=float)
    if clusters >= 1:
        width = 1 - ((1 - level) / 2) ** (1 / clusters)
        bounds[np.asarray(values) == 1.0] = (1 - width, 1.0)
        bounds[np.asarray(values) == 0.0] = (0.0, width)
    return bounds


class SeedParts(NamedTuple):
    """Variance of a mean over k seeds: of the rows, of the seeds beyond the rows, and t's degrees of
    freedom.
    """

    rows: float
    seeds: float
    freedom: float


def seed_parts(values: Floats, draws: Floats) -> SeedParts:
    """Split the variance of a mean over k ≥ 2 seeds; `values` (k,) on the rows as they are, `draws` (k,
    draws).

    Model: figure of seed s = μ + A_s + B + E_s, where A is the seed, B the choice of rows for all seeds and
    E its interaction. The draws' mean over seeds has the variance of B + ΣE/k. The variance s² of the
    values is that of A + E, and E's is the variance between seeds of the draws' deviations, so the seeds'
    part is max(0, s² − var(E))/k. Degrees of freedom ν = (k−1)·(rows + seeds)/(s²/k), at least k−1.
    Satterthwaite's formula squares that ratio, but s² of 3 seeds is so uncertain itself that its intervals
    cover as little as 92%; Behrens and Fisher's cover 98%.
    """
    values, draws = np.asarray(values, float), np.asarray(draws, float)
    count = len(values)
    between = float(values.var(ddof=1))
    rows = float(np.nanvar(draws.mean(axis=0)))
    interaction = float(np.nanmean((draws - values[:, None]).var(axis=0, ddof=1)))
    seeds = max(0.0, between - interaction) / count
    freedom = (count - 1) * (rows + seeds) / (between / count) if between > 0 else math.inf
    return SeedParts(rows, seeds, max(freedom, count - 1.0))


def over_seeds(values: Floats, draws: Floats, seed: int = 0) -> Floats:
    """Draws of the mean over k seeds, with the seeds' own spread on top of the rows': shape (draws,).

    `values` (k,) are the seeds' figures on the rows as they are, `draws` (k, draws) the same on resampled
    rows. A draw is the mean over seeds on resampled rows plus a normal deviate with the variance of the
    seeds' part (`seed_parts`); deviations from the mean are then stretched by t(ν)/z at 97.5%. With one
    seed there is nothing to add.

    Drawing k seeds with replacement is the textbook form of the two-level bootstrap, but with the 3 to 5
    seeds that people train it is too narrow: the variance is short by (k−1)/k, and few seeds need t.
    docs/statistics.md has the simulation of both.
    """
    values, draws = np.asarray(values, float), np.asarray(draws)
    rows = draws.mean(axis=0)
    if len(values) < 2:
        return rows
    parts = seed_parts(values, draws)
    noise = np.random.default_rng([seed, len(values)]).standard_normal(len(rows)) * math.sqrt(parts.seeds)
    stretch = (
        1.0
        if math.isinf(parts.freedom)
        else float(special.stdtrit(parts.freedom, 0.975) / special.ndtri(0.975))
    )
    return np.asarray(values.mean() + (rows + noise - values.mean()) * stretch)


def sign_flip_p(differences: npt.NDArray[np.integer[Any]]) -> float:
    """Exact two-sided p-value that paired differences of clusters are centred at 0.

    `differences` (rows,) are integers: in how many languages A was right less in how many B was. Under the
    null the two checkpoints are exchangeable in each row, so each difference keeps its size and flips its
    sign with probability ½, all languages of a row together (Fisher 1935; Winkler 2014 for exchangeable
    blocks). p = P(|Σ ±d_r| ≥ |Σ d_r|).

    No sampling: Σ over rows of ±|d_r| is T less twice a sum of independent |d_r|·Bernoulli(½), T = Σ|d_r|,
    whose probabilities are the inverse Fourier transform of Π_v ((1 + e^(−2πijv/M))/2)^m_v over the sizes v
    with their numbers m_v. Absolute error is below 1e-14, which is also the least p-value returned.
    """
    sizes = np.abs(np.asarray(differences, dtype=np.int64))
    if not sizes.any():
        return 1.0
    number = np.bincount(sizes)
    value = np.flatnonzero(number[1:]) + 1
    observed = abs(int(np.sum(differences, dtype=np.int64)))
    if observed**2 > 66 * int(value**2 @ number[value]):  # Hoeffding: p ≤ 2·exp(−observed²/(2Σd²)) < 1e-14
        return LEAST_P
    divisor = int(np.gcd.reduce(value))
    number, value, observed = number[value], value // divisor, observed // divisor
    total = int(value @ number)
    points = int(next_fast_len(total + 1, real=True))
    angle = np.arange(points // 2 + 1) * (np.pi / points)
    transform = np.ones(
        len(angle)
    )  # (1 + e^(−2ix))/2 = cos(x)·e^(−ix): the real part here, the phases together below
    for size, times in zip(value.tolist(), number.tolist(), strict=True):
        transform *= np.cos(angle * size) ** times
    probability = irfft(transform * np.exp(-1j * np.fmod(angle * total, 2 * np.pi)), points)[: total + 1]
    tail = probability[
        : (total - observed) // 2 + 1
    ].sum()  # sums ≤ −observed; the other tail is its mirror image
    return float(min(1.0, max(2 * tail if observed else 1.0, LEAST_P)))


def seeds_p(values: Floats, draws: Floats) -> float:
    """Two-sided p-value that a mean of k seeds' paired deltas is 0, for seeds *and* rows as samples.

    t = mean / √(rows + seeds) with the variances and degrees of freedom of `seed_parts`, as the intervals
    have. A permutation over k seeds has no value below 2^(1−k), so it could never tell anything for the
    usual 3.
    """
    parts, mean = seed_parts(values, draws), abs(float(np.mean(values)))
    total = parts.rows + parts.seeds
    if total == 0:
        return 1.0 if mean == 0 else LEAST_P
    return float(max(2 * stats.t.sf(mean / math.sqrt(total), parts.freedom), LEAST_P))


def holm(p_values: Sequence[float] | Floats) -> Floats:
    """Holm's step-down adjustment (Holm 1979): family-wise error at most α under any dependence.

    NaN (a comparison that was not made) stays NaN and does not count.
    """
    p = np.asarray(p_values, float)
    adjusted = np.full(p.shape, np.nan)
    made = np.flatnonzero(~np.isnan(p))
    order = made[np.argsort(p[made], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors)) if len(order) else []
    return adjusted


def pairwise_p(
    values: Floats, seed_variance: Floats | None = None, seed_freedom: Floats | None = None
) -> Floats:
    """p-values of all paired differences between columns: shape (columns, columns), ones on the diagonal.

    The t-test of the mean of row differences, all pairs from one covariance matrix (rows are the clusters,
    n−1 degrees of freedom): the large-sample form of `sign_flip_p`, used where the pairs are thousands.
    `seed_variance` (columns,) and `seed_freedom` add the variance of a mean over seeds; degrees of freedom
    are then Welch-Satterthwaite's.
    """
    rows, columns = values.shape
    if rows < 2:
        return np.ones((columns, columns))
    means = values.mean(axis=0)
    covariance = np.atleast_2d(np.cov(values, rowvar=False)) / rows
    spread = np.diag(covariance)
    variance = np.clip(spread[:, None] + spread[None, :] - 2 * covariance, 0, None)
    variance[variance < 1e-15] = 0
    freedom: Any = rows - 1
    if seed_variance is not None and seed_freedom is not None:
        extra = seed_variance[:, None] + seed_variance[None, :]
        with np.errstate(invalid="ignore", divide="ignore"):
            parts = np.where(seed_freedom > 0, seed_variance**2 / np.maximum(seed_freedom, 1), 0)
            denominator = variance**2 / (rows - 1) + parts[:, None] + parts[None, :]
            freedom = np.where(denominator > 0, (variance + extra) ** 2 / denominator, rows - 1)
        variance = variance + extra
    difference = np.abs(means[:, None] - means[None, :])
    with np.errstate(invalid="ignore", divide="ignore"):
        p = 2 * stats.t.sf(difference / np.sqrt(variance), freedom)
    p = np.where(variance == 0, np.where(difference > 1e-12, LEAST_P, 1.0), p)
    np.fill_diagonal(p, 1.0)
    return np.asarray(p)


class Ranks(NamedTuple):
    """For each column: the best and worst rank it can have, and its groups' letters."""

    best: list[int]
    worst: list[int]
    groups: list[str]


def ranks(means: Floats, p_values: Floats, alpha: float = 1 - LEVEL) -> Ranks:
    """Ranks with their uncertainty, from all pairwise p-values (adjusted here by Holm over the pairs).

    Best rank: 1 + how many columns are significantly better; worst: how many are not significantly worse.
    Both bounds hold for all columns at once with confidence 1−α (Mogstad, Romano, Shaikh & Wilhelm 2024
    with Holm's steps). Two columns share a letter exactly if they cannot be told apart (compact letter
    display by insertion and absorption, Piepho 2004); letters begin with the best.
    """
    columns = len(means)
    upper = np.triu_indices(columns, 1)
    adjusted = np.ones((columns, columns))
    adjusted[upper] = holm(p_values[upper])
    adjusted = np.minimum(adjusted, adjusted.T)
    different = adjusted <= alpha
    better = different & (means[None, :] > means[:, None])
    worse = different & (means[None, :] < means[:, None])
    best = (1 + better.sum(axis=1)).tolist()
    worst = (columns - worse.sum(axis=1)).tolist()
    order = np.argsort(-means, kind="stable").tolist()
    return Ranks(best, worst, _letters(different, order))


def _letters(different: npt.NDArray[np.bool_], order: list[int]) -> list[str]:
    """Letters of the sets of columns that are pairwise not different; sets are bit masks over the sorted
    positions.
    """
    columns = len(order)
    sets = [(1 << columns) - 1] if columns else []
    for second in range(columns):
        for first in range(second):
            if not different[order[first], order[second]]:
                continue
            both = (1 << first) | (1 << second)
            split = [part for part in sets if part & both == both]
            if not split:
                continue
            kept = [part for part in sets if part & both != both]
            for piece in [part & ~(1 << first) for part in split] + [part & ~(1 << second) for part in split]:
                if not any(piece & other == piece for other in kept):
                    kept = [other for other in kept if other & piece != other] + [piece]
            sets = kept
    sets.sort(key=lambda part: [position for position in range(columns) if part >> position & 1])
    result = [""] * columns
    for number, part in enumerate(sets):
        for position, column in enumerate(order):
            if part >> position & 1:
                result[column] += _letter(number)
    return result


def _letter(number: int) -> str:
    """a, b, …, z, then (27), (28), … so that letters never run together."""
    return chr(ord("a") + number) if number < 26 else f"({number + 1})"


def pack_counts(right: npt.NDArray[Any]) -> str:
    """In how many languages each row was right, as text: bytes, zlib, base64."""
    return base64.b64encode(zlib.compress(np.asarray(right, np.uint8).tobytes(), 9)).decode()


def unpack_counts(text: str, rows: int) -> npt.NDArray[np.uint8]:
    """The inverse of `pack_counts`; raises ValueError for anything else or another number of rows."""
    try:
        data = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), rows + 1)
    except (binascii.Error, zlib.error) as error:
        raise ValueError(f"rows_right is damaged ({error})") from None
    if len(data) != rows:
        raise ValueError(f"rows_right has {len(data)} rows, not {rows}")
    return np.frombuffer(data, np.uint8)
