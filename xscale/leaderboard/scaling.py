"""Scaling curves: accuracy against the number of intermediate-task examples, their fits, and what follows
from them.

Fits use sizes above 0 only. Size 0 has no place on a logarithmic axis and the power law has no value there;
it is the baseline that deltas are taken to, and is drawn left of a break in the axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import stats

from xscale.leaderboard import statistics as st
from xscale.leaderboard.bootstrap import Bootstrap, Delta, Estimate, estimate, paired_delta
from xscale.leaderboard.ladders import Ladder, group_of

SEED_FREEDOM = 4  # of the seeds' variance, pooled over sizes, below which no shape is told from another
CLOSE = 2.0  # models whose AIC differs by less cannot be told apart (Burnham & Anderson 2002, section 2.6)
FIT_DRAWS = 2_000  # enough for 95% bounds of parameters; the accuracies themselves use all draws
LEAST_SIZES = {
    "flat": 2,
    "log-linear": 3,
    "power law": 4,
}  # different sizes above 0 for a fit with an error of its own
PARAMETERS = {
    "flat": ("level",),
    "log-linear": ("level", "per doubling"),
    "power law": ("limit", "scale", "exponent"),
}


@dataclass(frozen=True)
class Point:
    """A size on a curve: mean over its seeds, with its interval; `delta` is to the baselines of the same
    seeds.
    """

    size: int
    ids: tuple[str, ...]
    seeds: tuple[int | None, ...]
    values: tuple[float, ...]
    acc: Estimate
    delta: Delta


@dataclass(frozen=True)
class Fit:
    """A fitted curve, or why there is none.

    `parameters` by name; `aic` and Akaike `weight` among the models that could be fitted; `misfit` is the
    p-value that the sizes lie on the curve but for the noise of items and seeds. `seed_noise` says whether the
    intervals hold the noise of training, or test items only. `left_out` draws have no such curve (no limit between 0% and
    100%): the intervals are those of the others, and too narrow for the limit where they are many. With y a share and N
    examples: flat y = level;
    log-linear y = level + per doubling · log2 N; power law y = limit − scale · N^(−exponent).
    """

    model: str
    parameters: dict[str, Estimate] = field(default_factory=dict)
    aic: float = math.nan
    weight: float = math.nan
    misfit: float = math.nan
    seed_noise: bool = False
    refused: str | None = None
    left_out: int = 0
    line: tuple[tuple[float, float, float, float], ...] = ()  # size, value, low, high


@dataclass(frozen=True)
class Means:
    """What is fitted: one observation a size, the mean over its seeds, with the covariance of all sizes.

    `sizes` above 0, ascending; `values` (sizes,), `covariance` (sizes, sizes): that of the clusters, which the
    sizes share, from the bootstrap, and on the diagonal the seeds' variance, pooled over sizes, over the number
    of seeds. `draws` (sizes, draws) are resampled means with that noise. `freedom` of the pooled variance is
    Σ(k−1); 0 where every size has one seed and the noise of training is not known.
    """

    sizes: tuple[int, ...]
    values: st.Floats
    covariance: st.Floats
    draws: st.Floats
    freedom: int
    clusters: int

    def part(self, count: int) -> Means:
        """The `count` smallest sizes."""
        return replace(
            self,
            sizes=self.sizes[:count],
            values=self.values[:count],
            covariance=self.covariance[:count, :count],
            draws=self.draws[:count],
        )

    @property
    def whitener(self) -> st.Floats:
        """W with W'W the inverse of the covariance: least squares on W·y are generalised least squares on y."""
        noise = 1e-9 + 1e-6 * np.trace(self.covariance) / len(self.sizes)
        return np.asarray(
            np.linalg.inv(np.linalg.cholesky(self.covariance + noise * np.eye(len(self.sizes))))
        )


def means_of(
    sizes: Sequence[int],
    values: Sequence[st.Floats],
    draws: Sequence[st.Floats],
    clusters: int,
    seed: int = 0,
) -> Means:
    """Gather what is fitted: for each size its `values` (seeds,) and their `draws` (seeds, draws).

    The seeds' variance beyond the clusters is s² − E of `statistics.seed_parts`, pooled over sizes with k−1 as
    weights and at least 0. Sizes with one seed get the pooled one.
    """
    counts = np.array([len(part) for part in values])
    excess, freedom = 0.0, int((counts - 1).sum())
    for part, drawn in zip(values, draws, strict=True):
        if len(part) > 1:
            own = (np.asarray(drawn, float) - np.asarray(part)[:, None]).var(axis=0, ddof=1)
            excess += (len(part) - 1) * (float(np.var(part, ddof=1)) - float(np.nanmean(own)))
    seeds = max(0.0, excess / freedom) / counts if freedom else np.zeros(len(counts))
    merged = np.stack([np.asarray(part, float).mean(axis=0) for part in draws])
    kept = merged[:, ~np.isnan(merged).any(axis=0)]
    covariance = np.atleast_2d(np.cov(kept)) + np.diag(seeds)
    noise = np.random.default_rng([seed, len(counts)]).standard_normal(merged.shape)
    return Means(
        tuple(sizes),
        np.array([float(np.mean(part)) for part in values]),
        covariance,
        merged + noise * np.sqrt(seeds)[:, None],
        freedom,
        clusters,
    )


@dataclass(frozen=True)
class Holdout:
    """The largest size predicted from the smaller ones; `error` is observed − predicted."""

    size: int
    model: str
    predicted: float
    observed: float
    error: Estimate


@dataclass(frozen=True)
class Curve:
    """One ladder on one subset and group of languages.

    `points` ascend by size; `chosen` is the model that the data single out (`choose`), or None with `refused`
    saying why. `significant_from` is the least size from which on every delta is above 0 with p ≤ 0.05 after
    Holm over all curves that claim one (`correct_curves`). `more_data` is the factor on the largest size that
    buys one more point; infinite where the curve does not rise.
    """

    target: str
    table: int
    base: str | None
    arm: str | None
    intermediate: tuple[str, ...]
    tuned_on: tuple[str, ...]
    recipe: str
    subset: str
    group: str
    languages: tuple[str, ...]
    rows: int
    commonest_label: float
    points: tuple[Point, ...]
    fits: tuple[Fit, ...]
    chosen: str | None
    refused: str | None
    holdouts: tuple[Holdout, ...]
    significant_from: int | None
    more_data: Estimate | None
    growth: Estimate | None  # per doubling of data
    seed_noise: bool  # whether intervals of fits hold the noise of training

    @property
    def fit(self) -> Fit | None:
        """The chosen fit."""
        return next((fit for fit in self.fits if fit.model == self.chosen), None)

    @property
    def holdout(self) -> Holdout | None:
        """The largest size as the chosen model predicts it from the smaller ones; log-linear where none is
        chosen.
        """
        return next((item for item in self.holdouts if item.model == (self.chosen or "log-linear")), None)


def curve(
    bootstrap: Bootstrap,
    ladder: Ladder,
    subset: str = "all",
    group: str = "all languages",
    languages: Sequence[str] = (),
    seed: int = 0,
) -> Curve:
    """The curve of one ladder on a subset and the languages of a group (all where none are named)."""
    panel = bootstrap.panel
    values, draws = bootstrap(subset, languages)
    points = []
    for size, indices in ladder.sizes.items():
        pairs = group_of(panel, indices).pairs if size else []
        delta = Delta(reason="baseline" if size == 0 else "no baseline result")
        if pairs:
            mine, base = zip(*pairs, strict=True)
            delta = paired_delta(bootstrap, mine, base, subset, languages, seed)
        points.append(
            Point(
                size=size,
                ids=tuple(panel.entries[i].id for i in indices),
                seeds=tuple(panel.entries[i].seed for i in indices),
                values=tuple(float(values[i]) for i in indices),
                acc=estimate(bootstrap, indices, subset, languages, seed),
                delta=delta,
            )
        )
    sizes = [size for size in ladder.sizes if size > 0]
    groups = [list(ladder.sizes[size]) for size in sizes]
    means = means_of(
        sizes,
        [values[g] for g in groups],
        [draws[g, :FIT_DRAWS] for g in groups],
        bootstrap.clusters(subset, languages=languages),
        seed,
    )
    fits = weighed([fit(model, means) for model in PARAMETERS])
    growth = fits[1].parameters.get("per doubling")
    chosen, refused = choose(fits, means)
    return Curve(
        target=panel.target,
        table=panel.number,
        base=ladder.base,
        arm=ladder.arm,
        intermediate=ladder.intermediate,
        tuned_on=ladder.tuned_on,
        recipe=ladder.recipe,
        subset=subset,
        group=group,
        languages=tuple(languages) or panel.languages,
        rows=panel.row_count(subset),
        commonest_label=panel.commonest_label(subset, languages or None),
        points=tuple(points),
        fits=tuple(fits),
        chosen=chosen,
        refused=refused,
        holdouts=_holdouts(means),
        significant_from=None,
        more_data=_more_data(chosen, means),
        growth=growth,
        seed_noise=means.freedom > 0,
    )


def correct_curves(curves: Sequence[Curve]) -> list[Curve]:
    """Correct the deltas of all curves together by Holm and find each one's `significant_from`.

    Give it every curve for which a first size is printed: with the correction within each curve only, some of
    thirty curves without any effect would claim one in a sixth of reports.
    """
    adjusted = iter(st.holm([point.delta.p for curve in curves for point in curve.points]).tolist())
    found = []
    for curve in curves:
        points = tuple(
            replace(point, delta=replace(point.delta, p_holm=next(adjusted))) for point in curve.points
        )
        first = None
        for point in reversed([point for point in points if point.size > 0]):
            if not (point.delta.significant and point.delta.value > 0):
                break
            first = point.size
        found.append(replace(curve, points=points, significant_from=first))
    return found


def solve(model: str, sizes: Sequence[int], whitener: st.Floats, values: st.Floats) -> st.Floats:
    """Generalised least squares for many curves at once: `values` (sizes, curves) -> parameters (parameters,
    curves).

    `whitener` W has W'W = the inverse of the sizes' covariance (Aitken 1936). The power law is linear in limit
    and scale once its exponent is fixed, so the exponent is searched on a grid (0.03 to 3; variable projection,
    Golub & Pereyra 1973) among those whose limit is a share between 0 and 1; N is divided by the least size
    while fitting. A curve that no exponent fits so is NaN.
    """
    x = np.asarray(sizes, float)
    target = whitener @ values
    if model == "flat":
        return np.asarray(np.linalg.pinv(whitener @ np.ones((len(x), 1))) @ target)
    if model == "log-linear":
        return np.asarray(np.linalg.pinv(whitener @ np.stack([np.ones_like(x), np.log2(x)], axis=1)) @ target)
    exponents = np.geomspace(0.03, 3.0, 400 if values.shape[1] == 1 else 60)
    first = whitener @ np.ones(len(x))
    others = -((x / x.min())[None, :] ** -exponents[:, None]) @ whitener.T  # (exponents, sizes)
    aa, ab, bb = first @ first, others @ first, (others**2).sum(axis=1)
    ay, by = first @ target, others @ target  # (curves,), (exponents, curves)
    scale = (by * aa - np.outer(ab, ay)) / (bb * aa - ab**2)[:, None]
    limit = (ay[None, :] - ab[:, None] * scale) / aa
    loss = (target**2).sum(axis=0) - limit * ay - scale * by
    loss[(limit > 1) | (limit < 0)] = np.inf
    best, columns = loss.argmin(axis=0), np.arange(values.shape[1])
    found = np.stack(
        [limit[best, columns], scale[best, columns] * x.min() ** exponents[best], exponents[best]]
    )
    found[:, np.isinf(loss[best, columns])] = np.nan
    return np.asarray(found)


def predict(model: str, parameters: st.Floats, sizes: Sequence[float] | st.Floats) -> st.Floats:
    """Values of fitted curves: `parameters` (parameters, curves) -> (sizes, curves)."""
    x = np.asarray(sizes, float)[:, None]
    if model == "flat":
        return np.asarray(parameters[0] + 0 * x)
    if model == "log-linear":
        return np.asarray(parameters[0] + parameters[1] * np.log2(x))
    return np.asarray(parameters[0] - parameters[1] * x ** -parameters[2])


def fit(model: str, means: Means) -> Fit:
    """Fit one model by generalised least squares on the means of the sizes.

    With the covariance known, −2 log L is χ² = r'V⁻¹r of the residuals r, up to a constant: AIC = χ² + 2k with k
    parameters (Burnham & Anderson 2002, section 2.2). `misfit` is χ²'s p-value with sizes − k degrees of freedom.
    Intervals are those of the parameters refitted to every draw: they hold the choice of test items and, where a
    size has several seeds, the luck of training. With four sizes or more those of the log-linear model are
    stretched by √max(1, χ²/(sizes − 2)) · t(sizes − 2)/z: noise that all seeds of a size share shows only in how
    the sizes scatter round the line.
    """
    sizes = means.sizes
    needed = LEAST_SIZES[model]
    if len(sizes) < needed:
        return Fit(model, refused=f"needs {needed} sizes above 0, there are {len(sizes)}")
    whitener = means.whitener
    parameters = solve(model, sizes, whitener, means.values[:, None])
    if np.isnan(parameters).any():
        return Fit(model, refused="no power law with a limit between 0% and 100% fits")
    residual = whitener @ (means.values - predict(model, parameters, sizes)[:, 0])
    loss, left = float(residual @ residual), len(sizes) - len(parameters)
    many = solve(model, sizes, whitener, means.draws)
    if model == "log-linear" and len(sizes) >= LEAST_SIZES["power law"]:
        stretch = math.sqrt(max(1.0, loss / left)) * st.t_stretch(left)
        many = parameters + (many - parameters) * stretch
    bounds = st.intervals(_sorted_nan(many), means.clusters)
    grid = np.geomspace(sizes[0], sizes[-1], 33)
    band = st.intervals(_sorted_nan(predict(model, many, grid)), means.clusters)
    center = predict(model, parameters, grid)[:, 0]
    return Fit(
        model,
        parameters={
            name: Estimate(float(value[0]), float(low), float(high))
            for name, value, (low, high) in zip(PARAMETERS[model], parameters, bounds, strict=True)
        },
        aic=loss + 2 * len(parameters),
        misfit=float(stats.chi2.sf(loss, left)) if left else math.nan,
        seed_noise=means.freedom > 0,
        left_out=int(np.isnan(many).any(axis=0).sum()),
        line=tuple(
            (float(n), float(y), float(a), float(b)) for n, y, (a, b) in zip(grid, center, band, strict=True)
        ),
    )


def weighed(fits: Sequence[Fit]) -> list[Fit]:
    """The fits with their Akaike weights exp(−Δ/2)/Σexp(−Δ/2) (Burnham & Anderson 2002, section 2.9)."""
    least = min((item.aic for item in fits if not math.isnan(item.aic)), default=math.nan)
    shares = [math.exp((least - item.aic) / 2) if not math.isnan(item.aic) else math.nan for item in fits]
    total = sum(share for share in shares if not math.isnan(share)) or math.nan
    return [replace(item, weight=share / total) for item, share in zip(fits, shares, strict=True)]


def _sorted_nan(values: st.Floats) -> st.Floats:
    """Drop the draws that could not be fitted; all NaN where they are more than a tenth."""
    bad = np.isnan(values).any(axis=0)
    return values[:, ~bad] if bad.mean() <= 0.1 else np.full_like(values, np.nan)


def choose(fits: Sequence[Fit], means: Means) -> tuple[str | None, str | None]:
    """The model that the data single out, or None and why none can be named.

    A model is named only where all three can be judged (four sizes above 0, and enough seeds to know the noise
    of training), where no simpler model is within 2 of its AIC, where the sizes lie on it but for noise (p >
    0.05), and where the growth per doubling agrees: "flat" only if its interval holds 0, another only if not.
    """
    refused = next((item.refused for item in fits if item.refused), None)
    if len(means.sizes) < LEAST_SIZES["power law"]:
        why: str | None = f"needs 4 sizes above 0, there are {len(means.sizes)}"
    elif means.freedom < SEED_FREEDOM:
        why = "needs three seeds at several sizes to know the noise of training"
    else:
        why = refused
    if why:
        return None, f"cannot be told: {why}"
    best = min(fits, key=lambda item: item.aic)
    close = next(item for item in fits if item.aic - best.aic < CLOSE)  # the fits stand from simple to rich
    slope = next(item for item in fits if item.model == "log-linear").parameters["per doubling"]
    if close is not best:
        why = f"{close.model} and {best.model} fit about equally well"
    elif best.misfit <= 1 - st.LEVEL:
        why = f"the sizes scatter more than items and seeds explain, round {best.model} too"
    elif (slope.low <= 0 <= slope.high) != (best.model == "flat"):
        why = f"{best.model} fits best, but the growth per doubling says otherwise"
    return (None, f"cannot be told: {why}") if why else (best.model, None)


def _holdouts(means: Means) -> tuple[Holdout, ...]:
    """Predict the largest size from the smaller ones by every model that these determine."""
    smaller, truth, found = means.part(len(means.sizes) - 1), float(means.values[-1]), []
    for model, names in PARAMETERS.items():
        if len(smaller.sizes) < len(names):
            continue
        whitener = smaller.whitener
        parameters = solve(model, smaller.sizes, whitener, smaller.values[:, None])
        if np.isnan(parameters).any():
            continue
        predicted = float(predict(model, parameters, means.sizes[-1:])[0, 0])
        many = predict(model, solve(model, smaller.sizes, whitener, smaller.draws), means.sizes[-1:])[0]
        low, high = st.intervals(_sorted_nan((means.draws[-1] - many)[None, :])[0], means.clusters)
        error = Estimate(truth - predicted, float(low), float(high))
        found.append(Holdout(means.sizes[-1], model, predicted, truth, error))
    return tuple(found)


def _more_data(chosen: str | None, means: Means) -> Estimate | None:
    """By what factor the largest size must grow for +1 point, by the chosen power law or else the
    log-linear slope; bounds at 2.5% and 97.5% of the draws.
    """
    model = "power law" if chosen == "power law" else "log-linear"
    if len(means.sizes) < LEAST_SIZES[model]:
        return None
    whitener, largest = means.whitener, means.sizes[-1]
    value = float(_factor(model, solve(model, means.sizes, whitener, means.values[:, None]), largest)[0])
    draws = np.sort(_factor(model, solve(model, means.sizes, whitener, means.draws), largest))
    draws = draws[~np.isnan(draws)]
    if not len(draws):
        return None
    tail = (1 - st.LEVEL) / 2
    low = draws[int(tail * len(draws))]
    high = draws[min(len(draws) - 1, math.ceil((1 - tail) * len(draws)))]
    return Estimate(value, float(low), float(high))


def _factor(model: str, parameters: st.Floats, largest: int) -> st.Floats:
    with np.errstate(all="ignore"):
        if model == "log-linear":
            return np.where(parameters[1] > 0, 2.0 ** np.minimum(0.01 / parameters[1], 1000), np.inf)
        limit, scale, exponent = parameters
        missing = scale * float(largest) ** -exponent - 0.01  # distance to the limit, one point further on
        factor = (scale / missing) ** (1 / exponent) / largest
        return np.where(np.isnan(limit), np.nan, np.where((scale > 0) & (missing > 0), factor, np.inf))


def growth(bootstrap: Bootstrap, ladder: Ladder, subset: str, seed: int = 0) -> Estimate | None:
    """Growth per doubling on a subset, as the curve has it; None below 3 sizes above 0."""
    values, draws = bootstrap(subset)
    sizes = [size for size in ladder.sizes if size > 0]
    groups = [list(ladder.sizes[size]) for size in sizes]
    parts = [values[g] for g in groups], [draws[g, :FIT_DRAWS] for g in groups]
    means = means_of(sizes, *parts, bootstrap.clusters(subset), seed)
    return fit("log-linear", means).parameters.get("per doubling")


def growth_difference(bootstrap: Bootstrap, ladder: Ladder, seed: int = 0) -> Estimate | None:
    """Growth per doubling on ID less that on OOD, from draws on the same rows; above 0: OOD grows slower.

    None without both subsets or below 3 sizes above 0.
    """
    sizes = [size for size in ladder.sizes if size > 0]
    if not {"id", "ood"} <= set(bootstrap.panel.masks) or len(sizes) < LEAST_SIZES["log-linear"]:
        return None
    (id_values, id_draws), (ood_values, ood_draws) = bootstrap("id"), bootstrap("ood")
    gaps, draws = id_values - ood_values, id_draws[:, :FIT_DRAWS] - ood_draws[:, :FIT_DRAWS]
    groups = [list(ladder.sizes[size]) for size in sizes]
    means = means_of(
        sizes, [gaps[g] for g in groups], [draws[g] for g in groups], bootstrap.clusters("id", "ood"), seed
    )
    return fit("log-linear", means).parameters["per doubling"]
