"""Scaling curves: accuracy against the number of intermediate-task examples, their fits, and what follows
from them.

Fits use sizes above 0 only. Size 0 has no place on a logarithmic axis and the power law has no value there;
it is the baseline that deltas are taken to, and is drawn left of a break in the axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from xscale.leaderboard import statistics as st
from xscale.leaderboard.bootstrap import Bootstrap, Delta, Estimate, difference, estimate, paired_delta
from xscale.leaderboard.ladders import Ladder, group_of

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

    `parameters` by name; `aicc` is NaN where there are too few observations for it; `error` is the residual
    standard deviation. With y a share and N examples: flat y = level; log-linear y = level + per doubling ·
    log2 N; power law y = limit − scale · N^(−exponent).
    """

    model: str
    parameters: dict[str, Estimate] = field(default_factory=dict)
    aicc: float = math.nan
    error: float = math.nan
    refused: str | None = None
    line: tuple[tuple[float, float, float, float], ...] = ()  # size, value, low, high


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

    `points` ascend by size; `chosen` is the model with the least AICc, or None with `refused` saying why.
    `significant_from` is the least size whose delta is above 0 with p ≤ 0.05 after Holm over this curve's
    sizes. `more_data` is the factor on the largest size that buys one more point; infinite where the curve
    does not rise.
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
    points = _corrected(points)
    sizes = [size for size in ladder.sizes if size > 0]
    observed = [values[list(ladder.sizes[size])] for size in sizes]
    resampled = np.stack(
        [
            st.over_seeds(
                values[list(ladder.sizes[size])], draws[list(ladder.sizes[size]), :FIT_DRAWS], seed + size
            )
            for size in sizes
        ]
    )
    clusters = bootstrap.clusters(subset)
    fits = [fit(model, sizes, observed, resampled, clusters) for model in PARAMETERS]
    chosen, refused = choose(fits, sizes, sum(map(len, observed)))
    rising = [point.size for point in points if point.delta.significant and point.delta.value > 0]
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
        rows=int(panel.masks[subset].sum()),
        commonest_label=panel.commonest_label(subset, languages or None),
        points=tuple(points),
        fits=tuple(fits),
        chosen=chosen,
        refused=refused,
        holdouts=_holdouts(sizes, observed, resampled, clusters),
        significant_from=min(rising, default=None),
        more_data=_more_data(chosen, sizes, observed, resampled, clusters),
        growth=next((f.parameters.get("per doubling") for f in fits if f.model == "log-linear"), None),
    )


def _corrected(points: list[Point]) -> list[Point]:
    adjusted = st.holm([point.delta.p for point in points]).tolist()
    return [
        replace(point, delta=replace(point.delta, p_holm=p))
        for point, p in zip(points, adjusted, strict=True)
    ]


def solve(model: str, sizes: Sequence[int], weights: st.Floats, values: st.Floats) -> st.Floats:
    """Weighted least squares for many curves at once: `values` (sizes, curves) -> parameters (parameters,
    curves).

    The power law is linear in limit and scale once its exponent is fixed, so the exponent is searched on a
    grid (0.03 to 3; variable projection, Golub & Pereyra 1973) among those whose limit is a share between
    0 and 1; N is divided by the least size while fitting. A curve that no exponent fits so is NaN.
    """
    root = np.sqrt(np.asarray(weights, float))[:, None]
    x = np.asarray(sizes, float)
    target = root * values
    if model == "flat":
        return np.asarray((root * target).sum(axis=0, keepdims=True) / (root**2).sum())
    if model == "log-linear":
        design = root * np.stack([np.ones_like(x), np.log2(x)], axis=1)
        return np.asarray(np.linalg.pinv(design) @ target)
    fine = values.shape[1] == 1  # one curve may have a finer grid than thousands of draws
    exponents, projections, remainders = _power_law_designs(
        tuple(sizes), tuple(float(w) for w in weights), fine
    )
    parameters = projections @ target  # (exponents, 2, curves)
    loss = ((remainders @ target) ** 2).sum(axis=1)
    loss[(parameters[:, 0] > 1) | (parameters[:, 0] < 0)] = np.inf
    best, columns = loss.argmin(axis=0), np.arange(values.shape[1])
    limit, scale = parameters[best, 0, columns], parameters[best, 1, columns]
    found = np.stack([limit, scale * x.min() ** exponents[best], exponents[best]])
    found[:, np.isinf(loss[best, columns])] = np.nan
    return np.asarray(found)


@lru_cache(maxsize=64)
def _power_law_designs(
    sizes: tuple[int, ...], weights: tuple[float, ...], fine: bool
) -> tuple[st.Floats, st.Floats, st.Floats]:
    """Exponents, and for each the projections of weighted values onto limit and scale, and onto what is
    left over.
    """
    x, root = np.asarray(sizes, float), np.sqrt(np.asarray(weights))[:, None]
    exponents = np.geomspace(0.03, 3.0, 400 if fine else 60)
    designs = root * np.stack(
        [np.stack([np.ones_like(x), -((x / x.min()) ** -e)], axis=1) for e in exponents]
    )
    projections = np.linalg.pinv(designs)
    return exponents, projections, np.eye(len(x)) - designs @ projections


def predict(model: str, parameters: st.Floats, sizes: Sequence[float] | st.Floats) -> st.Floats:
    """Values of fitted curves: `parameters` (parameters, curves) -> (sizes, curves)."""
    x = np.asarray(sizes, float)[:, None]
    if model == "flat":
        return np.asarray(parameters[0] + 0 * x)
    if model == "log-linear":
        return np.asarray(parameters[0] + parameters[1] * np.log2(x))
    return np.asarray(parameters[0] - parameters[1] * x ** -parameters[2])


def fit(
    model: str, sizes: Sequence[int], observed: Sequence[st.Floats], resampled: st.Floats, clusters: int
) -> Fit:
    """Fit one model: `observed` holds each size's values by seed, `resampled` (sizes, draws) their mean in
    each draw.

    AICc = n·ln(RSS/n) + 2k + 2k(k+1)/(n−k−1) (Hurvich & Tsai 1989) over the n observations (size × seed), k
    being the parameters and the error variance. Intervals are those of the parameters refitted to every
    draw: they hold the choice of test items, and of training seeds where there are several.
    """
    needed = LEAST_SIZES[model]
    if len(sizes) < needed:
        return Fit(model, refused=f"needs {needed} sizes above 0, there are {len(sizes)}")
    weights = np.array([len(part) for part in observed])
    means = np.array([part.mean() for part in observed])
    parameters = solve(model, sizes, weights, means[:, None])
    if np.isnan(parameters).any():
        return Fit(model, refused="no power law with a limit between 0% and 100% fits")
    fitted = predict(model, parameters, sizes)[:, 0]
    loss = sum(float(((part - value) ** 2).sum()) for part, value in zip(observed, fitted, strict=True))
    count, free = int(weights.sum()), len(parameters) + 1
    aicc = math.nan
    if count > free + 1:
        aicc = (
            count * math.log(max(loss, 1e-12) / count) + 2 * free + 2 * free * (free + 1) / (count - free - 1)
        )
    many = solve(model, sizes, weights, resampled)
    bounds = st.intervals(_sorted_nan(many), clusters)
    grid = np.geomspace(sizes[0], sizes[-1], 33)
    band = st.intervals(_sorted_nan(predict(model, many, grid)), clusters)
    center = predict(model, parameters, grid)[:, 0]
    return Fit(
        model,
        parameters={
            name: Estimate(float(value[0]), float(low), float(high))
            for name, value, (low, high) in zip(PARAMETERS[model], parameters, bounds, strict=True)
        },
        aicc=aicc,
        error=math.sqrt(loss / (count - free + 1)) if count > free - 1 else math.nan,
        line=tuple(
            (float(n), float(y), float(a), float(b)) for n, y, (a, b) in zip(grid, center, band, strict=True)
        ),
    )


def _sorted_nan(values: st.Floats) -> st.Floats:
    """Drop the draws that could not be fitted; all NaN where they are more than a tenth."""
    bad = np.isnan(values).any(axis=0)
    return values[:, ~bad] if bad.mean() <= 0.1 else np.full_like(values, np.nan)


def choose(fits: Sequence[Fit], sizes: Sequence[int], count: int) -> tuple[str | None, str | None]:
    """The model with the least AICc, or None and the reason that there is no choice."""
    comparable = [item for item in fits if not math.isnan(item.aicc)]
    if len(comparable) < 2:
        return None, (
            f"{count} observations at {len(sizes)} sizes above 0: choosing a model needs 5 (sizes × seeds) "
            "at 3 sizes; the power law 6 at 4 sizes"
        )
    return min(comparable, key=lambda item: item.aicc).model, None


def _holdouts(
    sizes: Sequence[int], observed: Sequence[st.Floats], resampled: st.Floats, clusters: int
) -> tuple[Holdout, ...]:
    """Predict the largest size from the smaller ones by every model that these determine."""
    smaller, weights = sizes[:-1], np.array([len(part) for part in observed[:-1]])
    means = np.array([part.mean() for part in observed[:-1]])[:, None]
    truth, found = float(observed[-1].mean()), []
    for model, names in PARAMETERS.items():
        if len(smaller) < len(names):
            continue
        parameters = solve(model, smaller, weights, means)
        if np.isnan(parameters).any():
            continue
        predicted = float(predict(model, parameters, sizes[-1:])[0, 0])
        many = predict(model, solve(model, smaller, weights, resampled[:-1]), sizes[-1:])[0]
        low, high = st.intervals(_sorted_nan((resampled[-1] - many)[None, :])[0], clusters)
        error = Estimate(truth - predicted, float(low), float(high))
        found.append(Holdout(sizes[-1], model, predicted, truth, error))
    return tuple(found)


def _more_data(
    chosen: str | None,
    sizes: Sequence[int],
    observed: Sequence[st.Floats],
    resampled: st.Floats,
    clusters: int,
) -> Estimate | None:
    """By what factor the largest size must grow for +1 point, by the chosen power law or else the
    log-linear slope.
    """
    model = "power law" if chosen == "power law" else "log-linear"
    if len(sizes) < LEAST_SIZES[model]:
        return None
    weights = np.array([len(part) for part in observed])
    means = np.array([part.mean() for part in observed])[:, None]
    value = float(_factor(model, solve(model, sizes, weights, means), sizes[-1])[0])
    draws = np.sort(_factor(model, solve(model, sizes, weights, resampled), sizes[-1]))
    draws = draws[~np.isnan(draws)]
    if not len(draws):
        return None
    low, high = draws[int(0.025 * len(draws))], draws[min(len(draws) - 1, math.ceil(0.975 * len(draws)))]
    return Estimate(value, float(low), float(high))


def _factor(model: str, parameters: st.Floats, largest: int) -> st.Floats:
    with np.errstate(all="ignore"):
        if model == "log-linear":
            return np.where(parameters[1] > 0, 2.0 ** np.minimum(0.01 / parameters[1], 1000), np.inf)
        limit, scale, exponent = parameters
        missing = scale * float(largest) ** -exponent - 0.01  # distance to the limit, one point further on
        factor = (scale / missing) ** (1 / exponent) / largest
        return np.where(np.isnan(limit), np.nan, np.where((scale > 0) & (missing > 0), factor, np.inf))


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
    weights = np.array([len(group) for group in groups])
    means = np.array([gaps[group].mean() for group in groups])[:, None]
    many = np.stack(
        [
            st.over_seeds(gaps[group], draws[group], seed + size)
            for size, group in zip(sizes, groups, strict=True)
        ]
    )
    slope = solve("log-linear", sizes, weights, means)[1, 0]
    found = difference(
        np.array([slope]), solve("log-linear", sizes, weights, many)[1:2], bootstrap.clusters("id", "ood")
    )
    return Estimate(found.value, found.low, found.high)


@dataclass(frozen=True)
class Robustness:
    """The ID→OOD line of a base on logit axes and every checkpoint's distance from it, or why there is none.

    logit(OOD) = intercept + slope · logit(ID); `residuals` maps ids to OOD − the line's OOD, as shares.
    """

    base: str | None
    intercept: Estimate | None = None
    slope: Estimate | None = None
    residuals: dict[str, Estimate] = field(default_factory=dict)
    refused: str | None = None


def effective_robustness(bootstrap: Bootstrap) -> list[Robustness]:
    """For each base, the line over all of its checkpoints and their residuals.

    Taori et al. 2020 (arXiv 2007.00644), Miller et al. 2021 (arXiv 2107.04649): accuracies on two test sets
    lie on a line when both axes are logits; being above it is robustness that accuracy on the first does
    not explain. The line is refitted in every draw.
    """
    panel = bootstrap.panel
    if not {"id", "ood"} <= set(panel.masks):
        return []
    (id_values, id_draws), (ood_values, ood_draws) = bootstrap("id"), bootstrap("ood")
    rows = min(int(panel.masks[name].sum()) for name in ("id", "ood"))
    found = []
    for base in dict.fromkeys(entry.base for entry in panel.entries):
        chosen = [index for index, entry in enumerate(panel.entries) if entry.base == base]
        x, y = _logit(id_values[chosen], rows), _logit(ood_values[chosen], rows)
        if len(chosen) < 4 or np.ptp(x) < 0.05:
            why = (
                f"needs 4 checkpoints, there are {len(chosen)}"
                if len(chosen) < 4
                else "ID accuracies hardly differ"
            )
            found.append(Robustness(base, refused=why))
            continue
        intercept, slope = _line(x[:, None], y[:, None])
        residual = ood_values[chosen] - _share(intercept + slope * x)
        xs, ys = _logit(id_draws[chosen, :FIT_DRAWS], rows), _logit(ood_draws[chosen, :FIT_DRAWS], rows)
        intercepts, slopes = _line(xs, ys)
        residuals = ood_draws[chosen, :FIT_DRAWS] - _share(intercepts + slopes * xs)
        bounds = st.intervals(np.vstack([intercepts, slopes, residuals]), bootstrap.clusters("id", "ood"))
        values = [float(intercept[0]), float(slope[0]), *residual.tolist()]
        items = [
            Estimate(value, float(low), float(high))
            for value, (low, high) in zip(values, bounds, strict=True)
        ]
        ids = [panel.ids[index] for index in chosen]
        found.append(Robustness(base, items[0], items[1], dict(zip(ids, items[2:], strict=True))))
    return found


def _line(x: st.Floats, y: st.Floats) -> tuple[st.Floats, st.Floats]:
    """Intercept and slope of least squares along the first axis."""
    dx, dy = x - x.mean(axis=0), y - y.mean(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = (dx * dy).sum(axis=0) / (dx**2).sum(axis=0)
    return y.mean(axis=0) - slope * x.mean(axis=0), slope


def _logit(share: st.Floats, rows: int) -> st.Floats:
    """log(p / (1 − p)) with shares kept half a row away from 0 and 1."""
    kept = np.clip(share, 0.5 / rows, 1 - 0.5 / rows)
    return np.asarray(np.log(kept / (1 - kept)))


def _share(logit: st.Floats) -> st.Floats:
    return np.asarray(1 / (1 + np.exp(-logit)))
