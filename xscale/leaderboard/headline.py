"""The headline: what each arm gains over the baseline against its size, on every target, in and out of distribution."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from xscale.leaderboard import plots
from xscale.leaderboard.arms import named_ladders
from xscale.leaderboard.bootstrap import Bootstrap, Delta, paired_delta
from xscale.leaderboard.family import Family, Question, member
from xscale.leaderboard.ladders import group_of, ladders
from xscale.leaderboard.panels import TARGET_NAMES
from xscale.leaderboard.render import percent, span, subset_name, visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FILLED = 3  # arms with a filled band; more have whiskers, side by side, and a fainter band
MOST = 8  # arms in one panel; of more, only those are drawn that end highest and lowest
WIDE = 3  # panels in a line where targets have one panel each


@dataclass(frozen=True)
class Gains:
    """Deltas of one target on one subset: arm -> size -> delta to the baseline of the same seeds."""

    target: str
    name: str  # for people
    number: int
    subset: str
    rows: int
    deltas: Mapping[str, Mapping[int, Delta]]

    @property
    def title(self) -> str:
        """Target, subset and rows."""
        which = "all rows" if self.subset == "all" else visible(subset_name(self.subset), 24)
        return f"{self.name}, {which} ({self.rows:,})"


def gains(bootstraps: Sequence[Bootstrap], question: Question, tested: Family, seed: int = 0) -> list[Gains]:
    """The first table of every target that has a ladder: on the question's subset, then on ID rows where it is OOD.

    On the question's subset the deltas are those of `tested`, elsewhere they have intervals only. With more than
    three targets there is the question's subset alone.
    """
    asked = [
        bootstrap
        for bootstrap in bootstraps
        if bootstrap.panel.number == 1
        and not bootstrap.panel.further
        and (question.targets is None or bootstrap.panel.target in question.targets)
    ]
    found = []
    for bootstrap in asked:
        panel = bootstrap.panel
        first = question.subset_of(panel)
        both = first == "ood" and "id" in panel.masks and len(asked) <= WIDE
        name = visible(TARGET_NAMES.get(panel.target, panel.target), 30)
        for subset in (first, "id") if both else (first,):
            deltas = gains_on(bootstrap, subset, tested if subset == first else {}, seed)
            if deltas:
                shown = f"{name}-like" if panel.bundled else name
                rows = panel.row_count(subset)
                found.append(Gains(panel.target, shown, panel.number, subset, rows, deltas))
    return found


def gains_on(bootstrap: Bootstrap, subset: str, tested: Family, seed: int = 0) -> dict[str, dict[int, Delta]]:
    """Arm -> size above 0 -> delta on a subset; those of `tested` where it has them."""
    panel = bootstrap.panel
    found: dict[str, dict[int, Delta]] = {}
    for name, ladder in named_ladders(ladders(panel)).items():
        for size, indices in sorted(ladder.sizes.items()):
            group = group_of(panel, indices)
            if size and group.pairs:
                mine, base = zip(*group.pairs, strict=True)
                alone = replace(paired_delta(bootstrap, mine, base, subset, seed=seed), p_holm=math.nan)
                found.setdefault(name, {})[size] = tested.get(member(panel, group), alone)
    return found


def arms_of(items: Sequence[Gains]) -> list[str]:
    """All arms in their first order: an arm's colour is its place here, in every panel."""
    return list(dict.fromkeys(arm for item in items for arm in item.deltas))


def gains_words(item: Gains) -> str:
    """A panel as a sentence."""
    parts = [
        f"{visible(arm, 40)} "
        + ", ".join(f"{percent(d.value, True)} {span(d, True)} at {size:,}" for size, d in cells.items())
        for arm, cells in item.deltas.items()
    ]
    return f"{item.title}, points over the baseline: {'; '.join(parts)}."


def gains_rows(items: Sequence[Gains]) -> list[dict[str, Any]]:
    """The figure's data, a line a mark; points."""
    return [
        {
            "target": item.target,
            "subset": item.subset,
            "rows": item.rows,
            "arm": arm,
            "size": size,
            "seeds": delta.seeds,
            "delta": 100 * delta.value,
            "low": 100 * delta.low,
            "high": 100 * delta.high,
            "p": delta.p,
            "p_holm": delta.p_holm,
        }
        for item in items
        for arm, cells in item.deltas.items()
        for size, delta in cells.items()
    ]


def headline_figure(items: Sequence[Gains]) -> Figure:
    """All panels in one figure with a legend: a line of panels a target, or a grid where targets have one each."""
    mpl, figure_class = plots._pyplot()
    per_target = max(sum(other.target == item.target for other in items) for item in items)
    columns = per_target if per_target > 1 else min(WIDE, len(items))
    lines = _lines(items, columns)
    arms = arms_of(items)
    with mpl.rc_context(plots._STYLE):
        figure = figure_class(
            figsize=(3.5 * columns + 0.3, 2.7 * len(lines) + 0.25 + 0.2 * math.ceil(len(arms) / 3)),
            layout="constrained",
        )
        grid = figure.subplots(len(lines), columns, squeeze=False)
        for line, panels in zip(lines, grid, strict=True):
            limits = gains_limits([item for item in items if item.target in {one.target for one in line}])
            for item, axes in zip([*line, *[None] * (columns - len(line))], panels, strict=True):
                if item is None:
                    axes.set_visible(False)
                else:
                    draw_gains(axes, item, arms, limits if per_target > 1 else gains_limits([item]))
        handles: dict[str, Any] = {}
        for axes in grid.ravel():
            found, names = axes.get_legend_handles_labels()
            handles |= dict(zip(names, found, strict=True))
        if len(arms) > 1:
            figure.legend(
                list(handles.values()), list(handles), loc="outside lower left", ncols=3, fontsize=8
            )
    return figure


def _lines(items: Sequence[Gains], columns: int) -> list[list[Gains]]:
    by_target: dict[str, list[Gains]] = {}
    for item in items:
        by_target.setdefault(item.target, []).append(item)
    if max(map(len, by_target.values())) > 1:
        return list(by_target.values())
    return [list(items[start : start + columns]) for start in range(0, len(items), columns)]


def panel_figure(item: Gains, arms: Sequence[str], limits: tuple[float, float]) -> Figure:
    """One panel alone, without legend."""
    mpl, figure_class = plots._pyplot()
    with mpl.rc_context(plots._STYLE):
        figure = figure_class(figsize=(3.6, 2.55), layout="constrained")
        draw_gains(figure.add_subplot(), item, arms, limits)
    return figure


def gains_limits(items: Sequence[Gains]) -> tuple[float, float]:
    """The range in points that holds 0 and every band whole."""
    every = [d for item in items for cells in item.deltas.values() for d in cells.values()]
    low = min([0.0, *[100 * d.low for d in every if not math.isnan(d.low)]])
    high = max([0.0, *[100 * d.high for d in every if not math.isnan(d.high)]])
    pad = 0.06 * (high - low) or 1.0
    return low - pad, high + pad


def draw_gains(axes: Axes, item: Gains, arms: Sequence[str], limits: tuple[float, float]) -> None:
    """Draw a panel: a line an arm from 0 at the baseline, which stands left of a break in the logarithmic axis."""
    sizes = sorted({size for cells in item.deltas.values() for size in cells})
    zero = math.log2(sizes[0]) - plots._break_width(sizes)
    shown = _shown(item)
    step = 0.055 * (math.log2(sizes[-1]) - zero) / max(6, len(shown)) * 2 if len(shown) > FILLED else 0.0
    axes.axhline(0, color=plots.FAINT, linewidth=1, zorder=1)
    for place, arm in enumerate(shown):
        number = arms.index(arm)
        colour = plots.COLOURS[number % len(plots.COLOURS)]
        dash: Any = plots.DASHES[(number // len(plots.COLOURS)) % len(plots.DASHES)]
        cells = item.deltas[arm]
        x = [zero, *[math.log2(size) + step * (place - (len(shown) - 1) / 2) for size in cells]]
        y, low, high = (
            [0.0, *[100 * getattr(d, part) for d in cells.values()]] for part in ("value", "low", "high")
        )
        axes.fill_between(x, low, high, color=colour, alpha=0.16 if not step else 0.04, linewidth=0)
        if step or len(cells) == 1:
            axes.vlines(x[1:], low[1:], high[1:], color=colour, linewidth=1.1, alpha=0.7)
        axes.plot(
            x,
            y,
            color=colour,
            linestyle=dash,
            linewidth=1.7,
            marker=plots.MARKERS[number % len(plots.MARKERS)],
            markersize=4.5,
            markevery=range(1, len(x)),
            label=visible(arm, 34),
        )
    ticks = [math.log2(size) for size in sizes]
    every = math.ceil(len(ticks) / 6)
    kept = list(reversed(range(len(ticks) - 1, -1, -every)))
    axes.set_xticks([zero, *[ticks[i] for i in kept]], ["0", *[plots._short_number(sizes[i]) for i in kept]])
    axes.annotate(
        "//",
        ((zero + ticks[0]) / 2, 0),
        xycoords=("data", "axes fraction"),
        ha="center",
        va="center",
        fontsize=9,
        color=plots.INK,
        bbox={"facecolor": plots.PAPER, "edgecolor": "none", "pad": 1},
    )
    axes.set_ylim(*limits)
    left = len(item.deltas) - len(shown)
    axes.set_title(item.title + (f", {left} arms between left out" if left else ""))
    axes.set_ylabel("points over baseline")
    axes.set_xlabel("intermediate-task examples")


def _shown(item: Gains) -> list[str]:
    """The arms that are drawn: of very many those that end highest and lowest."""
    arms = list(item.deltas)
    if len(arms) <= MOST:
        return arms
    last = {arm: item.deltas[arm][max(item.deltas[arm])].value for arm in arms}
    ordered = sorted(arms, key=lambda arm: -last[arm])
    kept = {*ordered[: MOST // 2], *ordered[-(MOST // 2) :]}
    return [arm for arm in arms if arm in kept]
