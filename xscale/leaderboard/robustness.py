"""Effective robustness: how far a checkpoint's OOD accuracy lies off what its ID accuracy lets expect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from xscale.leaderboard import statistics as st
from xscale.leaderboard.bootstrap import Bootstrap, Estimate
from xscale.leaderboard.ladders import seeds_key
from xscale.leaderboard.panels import Panel

LEAST_POINTS = 4  # for a line with an error of its own
LEAST_SPREAD = 0.05  # of logit(ID) between the points of a line
DRAWS = 2_000


@dataclass(frozen=True)
class Robustness:
    """The ID→OOD line on logit axes and the judged checkpoints' distances from it, or why there is none.

    logit(OOD) = intercept + slope · logit(ID); `residuals` maps ids to OOD − the line's OOD, as shares. `makers`
    are the checkpoints that the line goes through; none of them is judged by it. With `leave_one_out` there is
    no independent line: each checkpoint is judged by the line through the others, without the seeds and the size
    of its own recipe, and `intercept` and `slope` are those of the line through all.
    """

    makers: tuple[str, ...] = ()
    leave_one_out: bool = False
    intercept: Estimate | None = None
    slope: Estimate | None = None
    residuals: dict[str, Estimate] = field(default_factory=dict)
    refused: str | None = None


def effective_robustness(bootstrap: Bootstrap) -> Robustness | None:
    """The panel's line, and every other checkpoint's residual; None where it has no ID or no OOD rows.

    Taori et al. 2020 (arXiv 2007.00644), Miller et al. 2021 (arXiv 2107.04649): accuracies of standard models on
    two test sets lie on a line when both axes are logits; being above it is robustness that accuracy on the
    first does not explain. The line is drawn by those who are not judged: baselines (size 0) and entries with
    `makes_line` in the manifest. Where these are too few or too alike, the line is left-one-out, and said to be.
    A relation that is curved gives no line: the interval of a quadratic term, refitted in every draw, excludes 0
    (natural language inference is V-shaped when training sizes vary: Yuan et al. 2023, arXiv 2306.04618).
    """
    panel = bootstrap.panel
    if not {"id", "ood"} <= set(panel.masks):
        return None
    rows = min(int(panel.masks[name].sum()) for name in ("id", "ood"))
    clusters = bootstrap.clusters("id", "ood")
    (id_values, id_draws), (ood_values, ood_draws) = bootstrap("id"), bootstrap("ood")
    x, y = logit(id_values, rows), logit(ood_values, rows)
    xs, ys = logit(id_draws[:, :DRAWS], rows), logit(ood_draws[:, :DRAWS], rows)
    makers = [i for i, entry in enumerate(panel.entries) if entry.size == 0 or entry.makes_line]
    alone = _too_few(x[makers]) is not None
    points = list(range(len(panel.entries))) if alone else makers
    refused = _too_few(x[points]) or _curved(x[points], y[points], xs[points], ys[points], clusters)
    names = tuple(panel.ids[i] for i in points)
    if refused:
        return Robustness(names, alone, refused=refused)
    lines = [_line(x[points][:, None], y[points][:, None]), _line(xs[points], ys[points])]
    items = _estimates(
        [float(part[0]) for part in lines[0]], np.vstack([part[None] for part in lines[1]]), clusters
    )
    judged = points if alone else [i for i in range(len(panel.entries)) if i not in makers]
    residuals: dict[str, Estimate] = {}
    for i in judged:
        mine, drawn = lines
        if alone:
            others = [j for j in points if not _same_point(panel, i, j)]
            if _too_few(x[others]):
                continue
            mine, drawn = _line(x[others][:, None], y[others][:, None]), _line(xs[others], ys[others])
        value = float(ood_values[i] - share(mine[0][0] + mine[1][0] * x[i]))
        draws = ood_draws[i, :DRAWS] - share(drawn[0] + drawn[1] * xs[i])
        residuals[panel.ids[i]] = _estimates([value], draws[None], clusters)[0]
    return Robustness(names, alone, items[0], items[1], residuals)


def _same_point(panel: Panel, first: int, second: int) -> bool:
    """Whether two are the same checkpoint or seeds of one recipe and size."""
    keys = [seeds_key(panel.entries[index], panel.target) for index in (first, second)]
    return keys[0] == keys[1]


def _too_few(x: st.Floats) -> str | None:
    if len(x) < LEAST_POINTS:
        return f"needs {LEAST_POINTS} checkpoints, there are {len(x)}"
    return "ID accuracies hardly differ" if np.ptp(x) < LEAST_SPREAD else None


def _curved(x: st.Floats, y: st.Floats, xs: st.Floats, ys: st.Floats, clusters: int) -> str | None:
    """Why there is no line where a parabola fits better; it takes five points to tell."""
    if len(x) <= LEAST_POINTS:
        return None
    low, high = st.intervals(_quadratic(xs, ys), clusters)
    value = float(_quadratic(x[:, None], y[:, None])[0])
    if low <= 0 <= high:
        return None
    return f"the relation is curved (quadratic term {value:+.2f} [{low:+.2f}, {high:+.2f}])"


def _quadratic(x: st.Floats, y: st.Floats) -> st.Floats:
    """The quadratic term of least squares along the first axis, by what a line leaves of x² and of y
    (Frisch & Waugh 1933)."""

    def remainder(values: st.Floats) -> st.Floats:
        intercept, slope = _line(x, values)
        return np.asarray(values - intercept - slope * x)

    square = remainder((x - x.mean(axis=0)) ** 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((square * remainder(y)).sum(axis=0) / (square**2).sum(axis=0))


def _estimates(values: Sequence[float], draws: st.Floats, clusters: int) -> list[Estimate]:
    bounds = st.intervals(draws, clusters)
    return [
        Estimate(value, float(low), float(high)) for value, (low, high) in zip(values, bounds, strict=True)
    ]


def _line(x: st.Floats, y: st.Floats) -> tuple[st.Floats, st.Floats]:
    """Intercept and slope of least squares along the first axis."""
    dx, dy = x - x.mean(axis=0), y - y.mean(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = (dx * dy).sum(axis=0) / (dx**2).sum(axis=0)
    return y.mean(axis=0) - slope * x.mean(axis=0), slope


def logit(value: st.Floats, rows: int) -> st.Floats:
    """log(p / (1 − p)) with shares kept half a row away from 0 and 1."""
    kept = np.clip(value, 0.5 / rows, 1 - 0.5 / rows)
    return np.asarray(np.log(kept / (1 - kept)))


def share(value: st.Floats) -> st.Floats:
    """The inverse of `logit`."""
    return np.asarray(1 / (1 + np.exp(-value)))
