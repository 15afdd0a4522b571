"""Intervals, paired tests, corrections and ranks for test items that exist in many languages at once.

The unit that is resampled is the *cluster*: rows that are not independent of each other (the hypotheses of one
premise), each in every language. Neither a document nor a row of a larger cluster is ever drawn alone (cluster
bootstrap; Davison & Hinkley 1997, section 3.8). All draws use one matrix of counts, so everything computed with
the same seed is paired: a difference of two checkpoints, or of two subsets, is the difference of their draws.

Shapes: `clusters` of test rows, `draws` bootstrap draws, `columns` checkpoints (or checkpoint × group of languages).
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


def draw_counts(clusters: int, draws: int = DRAWS, seed: int = 0) -> npt.NDArray[np.uint8]:
    """How often each cluster occurs in each bootstrap draw: shape (clusters, draws), columns sum to `clusters`.

    Multinomial counts with equal probabilities, drawn as `clusters` uniform indices a draw. The same
    arguments give the same counts on every platform (PCG64).
    """
    if clusters < 1 or draws < 1:
        raise ValueError(f"clusters and draws must be positive, not {clusters} and {draws}")
    generator = np.random.default_rng(seed)
    counts = np.empty((clusters, draws), np.uint8)
    step = max(1, min(draws, 5_000_000 // clusters))
    for start in range(0, draws, step):
        size = min(step, draws - start)
        picked = generator.integers(0, clusters, size=(size, clusters), dtype=np.int64)
        picked += np.arange(size)[:, None] * clusters
        block = np.bincount(picked.ravel(), minlength=size * clusters).reshape(size, clusters)
        counts[:, start : start + size] = block.T  # a count stays far below 256: P(>255) < 1e-500
    return counts


def bootstrap_means(totals: Floats, counts: npt.NDArray[np.uint8], weights: Floats | None = None) -> Floats:
    """Figures on resampled clusters: shape (columns, draws), float32.

    A figure is Σ_c n_c / Σ_c m_c over clusters c with the numerators n (`totals`, shape (clusters, columns))
    and the denominators m (`weights`, shape (clusters,) or (clusters, columns); ones by default): an accuracy
    is right answers over documents. In a draw both sums count each cluster as often as it was drawn (a ratio
    estimate under the cluster bootstrap; Davison & Hinkley 1997, sections 2.7 and 3.8). Clusters whose
    denominators are 0 are not in the subset and count nothing; a draw that holds none of the subset's is NaN.
    One matrix product a chunk of draws.
    """
    weights = np.ones(len(totals)) if weights is None else np.asarray(weights)
    there = weights if weights.ndim == 1 else weights.any(axis=1)
    chosen = np.flatnonzero(there)
    table = np.ascontiguousarray(totals[chosen].T, dtype=np.float32)
    shares = np.ascontiguousarray(weights[chosen].T, dtype=np.float32)
    result = np.empty((table.shape[0], counts.shape[1]), np.float32)
    for start in range(0, counts.shape[1], _CHUNK):
        block = counts[chosen, start : start + _CHUNK].astype(np.float32)
        with np.errstate(invalid="ignore", divide="ignore"):
            result[:, start : start + _CHUNK] = (table @ block) / (shares @ block)
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
    that are all equal. The bound is then Clopper-Pearson's with the clusters as trials: 1 − (α/2)^(1/n), the
    rule of three in its two-sided form.
    """
    bounds = np.array(intervals(draws, clusters, level), dtype=float)
    if clusters >= 1:
        width = 1 - ((1 - level) / 2) ** (1 / clusters)
        bounds[np.asarray(values) == 1.0] = (1 - width, 1.0)
        bounds[np.asarray(values) == 0.0] = (0.0, width)
    return bounds


class SeedParts(NamedTuple):
    """Variance of a mean over k seeds: of the rows, of the seeds beyond the rows, s²/k of the values, and t's
    degrees of freedom.
    """

    rows: float
    seeds: float
    between: float
    freedom: float


def seed_parts(values: Floats, draws: Floats) -> SeedParts:
    """Split the variance of a mean over k ≥ 2 seeds; `values` (k,) on the rows as they are, `draws` (k,
    draws).

    Model: figure of seed s = μ + A_s + B + E_s, where A is the seed, B the choice of rows for all seeds and
    E its interaction. The draws' mean over seeds has the variance of B + ΣE/k. The variance s² of the
    values is that of A + E, and E's is the variance between seeds of the draws' deviations, so the seeds'
    part is max(0, s² − var(E))/k. Degrees of freedom ν = (rows + seeds)/((s²/k)/(k−1)), at least k−1.
    Satterthwaite's formula squares both; but s² of 3 seeds is so uncertain itself that its intervals cover
    as little as 92%; Behrens and Fisher's cover 98%. Deltas, ranks and curves all have this variance.
    """
    values, draws = np.asarray(values, float), np.asarray(draws, float)
    count = len(values)
    between = float(values.var(ddof=1))
    rows = float(np.nanvar(draws.mean(axis=0)))
    interaction = float(np.nanmean((draws - values[:, None]).var(axis=0, ddof=1)))
    seeds = max(0.0, between - interaction) / count
    freedom = (count - 1) * (rows + seeds) / (between / count) if between > 0 else math.inf
    return SeedParts(rows, seeds, between / count, max(freedom, count - 1.0))


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
    return np.asarray(values.mean() + (rows + noise - values.mean()) * t_stretch(parts.freedom))


def t_stretch(freedom: float, level: float = LEVEL) -> float:
    """How much wider Student's t is than a normal at `level`."""
    tail = (1 + level) / 2
    return 1.0 if math.isinf(freedom) else float(special.stdtrit(freedom, tail) / special.ndtri(tail))


FEW_DISCORDANT = 20


class Few(NamedTuple):
    """What is done to an interval that rests on few clusters: the estimate is drawn to 0, variance is added."""

    shrink: float
    variance: float


MANY = Few(1.0, 0.0)


def few_discordant(differences: Floats, clusters: int) -> Few:
    """What an interval needs where nearly no cluster differs between two checkpoints.

    `differences` (pairs, clusters) is what each cluster adds to a paired difference, in units of a whole
    cluster (−1 to 1). Resampling a sample without a difference finds none: the interval would be [0, 0], yet
    30 items alike exclude no difference below 10 points. Below 20 clusters that differ, two more are assumed,
    one all for and one all against (Bonett & Price 2012, J. Educ. Behav. Stat. 37: the adjusted Wald interval
    of a paired difference, which adds 1 to both discordant counts; Agresti & Min 2005 add ½): the estimate
    shrinks by n/(n+2) and 2a²/(n+2)² is added to its variance. a² is the mean square of the differences seen,
    the two of size 1 counted among them, so that it is 1 where answers are whole and less where only few of
    many languages ever differ. tests/leaderboard/test_few_discordant.py has the coverage.
    """
    mean = differences.mean(axis=0)
    discordant = int((np.abs(differences).max(axis=0) > 0).sum())
    if discordant >= FEW_DISCORDANT or clusters < 1:
        return MANY
    square = (float((mean**2).sum()) + 2) / (discordant + 2)
    return Few(clusters / (clusters + 2), 2 * square / (clusters + 2) ** 2)


def widened(draws: Floats, few: Few, seed: int = 0) -> Floats:
    """Draws of a difference with what `few_discordant` adds."""
    if few.variance == 0:
        return draws
    noise = np.random.default_rng([seed, 7]).standard_normal(draws.shape[-1])
    return np.asarray(few.shrink * draws + math.sqrt(few.variance) * noise)


def mean_error(values: Floats, draws: Floats, clusters: int, few: Few = MANY) -> tuple[float, float]:
    """Standard error of a mean over k seeds, for seeds and clusters as samples, and its degrees of freedom.

    With one seed it is that of the clusters alone, with clusters − 1 degrees of freedom.
    """
    if len(values) > 1:
        parts = seed_parts(values, draws)
        return math.sqrt(parts.rows + parts.seeds + few.variance), parts.freedom
    return math.sqrt(float(np.nanvar(np.asarray(draws[0], float))) + few.variance), max(clusters - 1.0, 1.0)


def t_p(value: float, error: float, freedom: float) -> float:
    """Two-sided p-value of Student's t = value / error."""
    if math.isnan(value) or math.isnan(error):
        return math.nan
    if error == 0:
        return 1.0 if value == 0 else LEAST_P
    return float(max(2 * stats.t.sf(abs(value) / error, freedom), LEAST_P))


def sign_flip_p(differences: npt.NDArray[np.integer[Any]]) -> float:
    """Exact two-sided p-value that paired differences of clusters are centred at 0.

    `differences` (clusters,) are integers: how many documents of the cluster A got right less how many B did.
    Under the null the two checkpoints are exchangeable in each cluster, so each difference keeps its size and
    flips its sign with probability ½, all rows and languages of a cluster together (Fisher 1935; Winkler 2014
    for exchangeable blocks). p = P(|Σ ±d_c| ≥ |Σ d_c|).

    No sampling: Σ over clusters of ±|d_c| is T less twice a sum of independent |d_c|·Bernoulli(½), T = Σ|d_c|,
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
    values: Floats, covariance: Floats, seeds: Floats, between: Floats, counts: Floats, clusters: int
) -> Floats:
    """p-values of all differences between columns: shape (columns, columns), ones on the diagonal.

    `values` (columns,) are means over `counts` seeds; `covariance` (columns, columns) is that of their draws on
    the same resampled clusters; `seeds` and `between` (columns,) are the parts of `seed_parts`, 0 for one seed.
    t = difference / √(rows + seeds): the variance of a delta between two columns whose seeds have nothing in
    common. Degrees of freedom (rows + seeds) · Σb / Σ(b²/(k−1)) with b = s²/k: as in `seed_parts` for one column,
    Welch's for two without noise of rows; at most clusters − 1.
    """
    columns = len(values)
    if clusters < 2:
        return np.ones((columns, columns))
    spread = np.diag(covariance)
    variance = (
        np.clip(spread[:, None] + spread[None, :] - 2 * covariance, 0, None) * clusters / (clusters - 1)
    )
    variance[variance < 1e-12] = 0
    total = variance + seeds[:, None] + seeds[None, :]
    weight = between**2 / np.maximum(counts - 1, 1)
    least = np.where(counts > 1, counts - 1.0, math.inf)
    difference = np.abs(values[:, None] - values[None, :])
    with np.errstate(invalid="ignore", divide="ignore"):
        freedom = total * (between[:, None] + between[None, :]) / (weight[:, None] + weight[None, :])
        freedom = np.maximum(freedom, np.minimum(least[:, None], least[None, :]))
        freedom = np.clip(np.nan_to_num(freedom, nan=math.inf, posinf=math.inf), 1, clusters - 1)
        p = 2 * stats.t.sf(difference / np.sqrt(total), freedom)
    p = np.where(total == 0, np.where(difference > 1e-9, LEAST_P, 1.0), p)
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
