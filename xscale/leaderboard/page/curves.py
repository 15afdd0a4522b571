"""Accuracy against size: curves, their fits, and what follows from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from xscale.leaderboard import plots, scaling
from xscale.leaderboard.bootstrap import STAR_SEEDS, Estimate
from xscale.leaderboard.ladders import ladders
from xscale.leaderboard.page.parts import Part, Plot, figure, legend, safe
from xscale.leaderboard.render import p_text, percent, span, subset_name, visible
from xscale.leaderboard.table import BREAKDOWNS, language_groups, plain


def curve_data(curve: scaling.Curve) -> dict[str, Any]:
    """A curve for `curves.json`, without the drawn lines, which follow from the parameters."""
    data = asdict(curve)
    for fit in data["fits"]:
        del fit["line"]
    return dict(plain(data))


WHOLE = "all languages"


def all_curves(every: Sequence[Part], shown: Sequence[Part], seed: int) -> list[list[scaling.Curve]]:
    """For each part that is shown every ladder on every subset, and on every group of languages for all, ID and OOD rows.

    First sizes are corrected over the curves of all languages of `every` part, shown or not.
    """
    whole_ones = [
        [
            scaling.curve(part.bootstrap, ladder, subset, seed=seed)
            for ladder in ladders(part.panel)
            for subset in part.panel.masks
        ]
        for part in every
    ]
    corrected = iter(scaling.correct_curves([curve for part in whole_ones for curve in part]))
    found = {id(part): [next(corrected) for _ in mine] for part, mine in zip(every, whole_ones, strict=True)}
    return [found[id(part)] + _group_curves(part, seed) for part in shown]


def _group_curves(part: Part, seed: int) -> list[scaling.Curve]:
    panel, bootstrap = part.panel, part.bootstrap
    rungs = ladders(panel)
    if not rungs:
        return []
    found = []
    axes: dict[str, tuple[str, ...]] = {}
    for by in BREAKDOWNS:
        axes |= language_groups(panel, by)
    for subset in [name for name in ("all", "id", "ood") if name in panel.masks]:
        bootstrap.prepare(subset, list(axes.values()))
        for group, codes in axes.items():
            found += [scaling.curve(bootstrap, ladder, subset, group, codes, seed) for ladder in rungs]
            if group not in panel.languages:  # single languages are drawn again as a heat map
                bootstrap.forget(subset, codes)
    return found


def whole(curves: Sequence[scaling.Curve], subset: str) -> list[scaling.Curve]:
    """The curves of a subset over all languages."""
    return [curve for curve in curves if curve.subset == subset and curve.group == WHOLE]


def curve_plot(part: Part, curves: Sequence[scaling.Curve], limits: tuple[float, float] | None) -> Plot:
    """Accuracy against size on a subset, all ladders together; `limits` (shares) of the vertical axis."""
    subset = curves[0].subset
    name = subset_name(subset) if subset != "all" else "all rows"
    words = "; ".join(_curve_words(curve) for curve in curves)
    return Plot(
        f"{part.dom}-curve-{safe(subset)}",
        f"{part.name}, {visible(name)}: {part.panel.measure} against size",
        f"{words}. Always answering the commonest label gives {percent(curves[0].commonest_label)}%.",
        plots.curves_figure(curves, limits, measure=part.panel.measure),
        curve_rows(curves),
        plots.curves_figure(curves, limits, legend=False, measure=part.panel.measure),
    )


def curve_rows(curves: Sequence[scaling.Curve]) -> list[dict[str, Any]]:
    """The curves' points, a line each; percent and points."""
    return [
        {
            "ladder": plots.ladder_name(curve),
            "subset": curve.subset,
            "size": point.size,
            "seeds": len(point.values),
            "score": 100 * point.acc.value,
            "low": 100 * point.acc.low,
            "high": 100 * point.acc.high,
            "delta": 100 * point.delta.value,
            "delta_low": 100 * point.delta.low,
            "delta_high": 100 * point.delta.high,
        }
        for curve in curves
        for point in curve.points
    ]


def _curve_words(curve: scaling.Curve) -> str:
    values = ", ".join(f"{percent(point.acc.value)}% at {point.size:,}" for point in curve.points)
    return f"{plots.ladder_name(curve)}: {values}; " + (
        f"best fit {curve.chosen}" if curve.chosen else "which curve it is cannot be told"
    )


def curves_part(part: Part, curves: Sequence[scaling.Curve], drawn: list[Plot]) -> dict[str, Any] | None:
    """Figures of all, ID and OOD rows, and for each ladder its fits; None where there is no ladder."""
    if not curves:
        return None
    main = [name for name in ("all", "id", "ood") if name in part.panel.masks]
    shown = [curve for name in main for curve in whole(curves, name)]
    limits = plots.value_limits(shown)
    figures = [figure(curve_plot(part, whole(curves, name), limits), drawn) for name in main]
    shown_ladders = []
    focus = "ood" if "ood" in part.panel.masks else "all"
    for ladder, first in zip(ladders(part.panel), whole(curves, "all"), strict=True):
        mine = [curve for curve in curves if _same_ladder(curve, first)]
        over_all = [curve for curve in mine if curve.group == WHOLE]
        groups = [curve for curve in mine if curve.group != WHOLE and curve.subset == focus]
        shown_ladders.append(
            {
                "name": plots.ladder_name(first),
                "ood": focus == "ood",
                "refused": next((curve.refused for curve in over_all if curve.refused), None),
                "subsets": [
                    _fit_row(curve, "all rows" if curve.subset == "all" else subset_name(curve.subset))
                    for curve in over_all
                ],
                "groups": [_fit_row(curve, curve.group.partition(":")[2] or curve.group) for curve in groups],
                "growth": _growth_words(scaling.growth_difference(part.bootstrap, ladder)),
                "points": [
                    {"subset": curve.subset, "point": point} for curve in over_all for point in curve.points
                ],
                "fits": [_fit_details(curve, fit) for curve in over_all for fit in curve.fits],
            }
        )
    return {
        "title": part.title,
        "legend": legend([plots.ladder_name(curve) for curve in whole(curves, "all")]),
        "figures": figures,
        "ladders": shown_ladders,
    }


def _same_ladder(a: scaling.Curve, b: scaling.Curve) -> bool:
    return (a.base, a.arm, a.intermediate, a.tuned_on, a.recipe) == (
        b.base,
        b.arm,
        b.intermediate,
        b.tuned_on,
        b.recipe,
    )


def _fit_row(curve: scaling.Curve, name: str) -> dict[str, str]:
    first = next((point for point in curve.points if point.size == 0), None)
    last = curve.points[-1]
    held = curve.holdout
    return {
        "name": visible(name),
        "rows": f"{curve.rows:,}",
        "first": percent(first.acc.value) if first else "-",
        "last": percent(last.acc.value),
        "fit": curve.chosen or "cannot be told",
        "growth": f"{percent(curve.growth.value, True)} {span(curve.growth, True)}"
        if curve.growth
        else "needs 3 sizes",
        "more": _factor_words(curve.more_data),
        "significant": _first_size(curve),
        "predicted": f"{percent(held.predicted)} ({held.model})" if held else "-",
        "error": f"{percent(held.error.value, True)} {span(held.error, True)}" if held else "-",
    }


def _first_size(curve: scaling.Curve) -> str:
    """From which size on deltas are above 0; not claimed for groups of languages, nor below three seeds."""
    if curve.group != WHOLE:
        return "-"
    if max((point.delta.seeds for point in curve.points), default=0) < STAR_SEEDS:
        return "needs 3 seeds"
    return f"{curve.significant_from:,}" if curve.significant_from else "none"


def _factor_words(item: Estimate | None) -> str:
    if item is None:
        return "needs 3 sizes"
    return (
        "never"
        if math.isinf(item.value)
        else f"{_times(item.value)} [{_times(item.low)}, {_times(item.high)}]"
    )


def _times(value: float) -> str:
    """A factor with three digits, in full: ×5,860."""
    return "∞" if math.isinf(value) or value > 1e6 else f"×{float(f'{value:.3g}'):,.10g}"


def _growth_words(item: Estimate | None) -> str:
    if item is None:
        return "ID and OOD growth cannot be compared: needs 3 sizes above 0 and both subsets."
    verdict = (
        "OOD grows slower than ID"
        if item.low > 0
        else "OOD grows faster than ID"
        if item.high < 0
        else ("whether OOD grows slower than ID cannot be told")
    )
    return f"Growth per doubling of data, ID less OOD: {percent(item.value, True)} points {span(item, True)}: {verdict}."


def _fit_details(curve: scaling.Curve, fit: scaling.Fit) -> dict[str, str]:
    if fit.refused:
        return {
            "subset": curve.subset,
            "model": fit.model,
            "parameters": f"refused: {fit.refused}",
            "aic": "-",
            "weight": "-",
            "misfit": "-",
            "holdout": "-",
        }
    held = next((item for item in curve.holdouts if item.model == fit.model), None)
    return {
        "subset": curve.subset,
        "model": fit.model + (" (chosen)" if fit.model == curve.chosen else ""),
        "parameters": "; ".join(f"{name} {_parameter(name, item)}" for name, item in fit.parameters.items())
        + ("" if fit.seed_noise else " (intervals of test items only: one seed)")
        + (f" ({fit.left_out:,} draws that no such curve fits are left out)" if fit.left_out else ""),
        "aic": f"{fit.aic:.1f}",
        "weight": f"{fit.weight:.2f}",
        "misfit": p_text(fit.misfit),
        "holdout": f"{percent(held.error.value, True)} {span(held.error, True)}" if held else "-",
    }


def _parameter(name: str, item: Estimate) -> str:
    if name in ("level", "per doubling", "limit"):
        return f"{percent(item.value)}% {span(item)}"
    return f"{item.value:.3g} [{item.low:.3g}, {item.high:.3g}]"
