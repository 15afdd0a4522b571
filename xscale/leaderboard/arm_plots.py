"""Figures of arms: what each gains against its size."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from xscale.leaderboard import plots
from xscale.leaderboard.arms import Arms
from xscale.leaderboard.render import subset_name, visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TOGETHER = 3  # arms in one panel; more stand in small multiples
COLUMNS = 3


def arms_figure(table: Arms, measure: str = "accuracy") -> Figure:
    """Delta against N, one line an arm with its 95% band, from a common zero at the baseline.

    Size 0 stands left of a break in the logarithmic axis: there every arm is 0. Above three arms each has a panel
    of its own with the others in grey, all on the same axes, which hold every band whole.
    """
    mpl, figure_class = plots._pyplot()
    arms = list(table.cells)
    multiples = len(arms) > TOGETHER
    columns = COLUMNS if multiples else 1
    rows = math.ceil(len(arms) / COLUMNS) if multiples else 1
    with mpl.rc_context(plots._STYLE):
        size = (2.6 * columns, 2.2 * rows) if multiples else (5.2, 3.6)
        figure = figure_class(figsize=size, layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
        for index, axes in enumerate(panels):
            mine = [arms[index]] if multiples and index < len(arms) else [] if multiples else arms
            if multiples and not mine:
                axes.set_visible(False)
                continue
            axes.axhline(0, color=plots.FAINT, linewidth=1, linestyle=(0, (1, 2)))
            if multiples:
                for arm in arms:
                    if arm not in mine:
                        _line(axes, table, arm, plots.FAINT, band=False)
            for arm in mine:
                _line(axes, table, arm, _colour(arms.index(arm)), band=True, mark=arms.index(arm))
            _axis(axes, table)
            if multiples:
                axes.set_title(visible(mine[0], 24))
                axes.tick_params(labelbottom=index + COLUMNS >= len(arms))  # nothing stands below it
        if not multiples:
            panels[0].set_title(f"Change of {subset_name(table.subset)} {measure} by N")
            if len(arms) > 1:
                figure.legend(loc="outside lower left", ncols=min(3, len(arms)), fontsize=8)
        labels = "points over the baseline", "intermediate-task examples (log scale)"
        if multiples:
            figure.supylabel(labels[0], fontsize=9)
            figure.supxlabel(labels[1], fontsize=9)
        else:  # inside the axes' own room, above the legend
            panels[0].set_ylabel(labels[0])
            panels[0].set_xlabel(labels[1])
    return figure


def _colour(index: int) -> str:
    return plots.COLOURS[index % len(plots.COLOURS)]


def _zero(table: Arms) -> float:
    return math.log2(table.sizes[0]) - plots._break_width(table.sizes)


def _line(axes: Axes, table: Arms, arm: str, colour: str, *, band: bool, mark: int = 0) -> None:
    cells = {size: cell.delta for size, cell in sorted(table.cells[arm].items())}
    x = [_zero(table), *[math.log2(size) for size in cells]]
    y = [0.0, *[100 * delta.value for delta in cells.values()]]
    if band:
        low = [0.0, *[100 * delta.low for delta in cells.values()]]
        high = [0.0, *[100 * delta.high for delta in cells.values()]]
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.plot(
        x,
        y,
        color=colour,
        marker=plots.MARKERS[mark % len(plots.MARKERS)] if band else None,
        markersize=5,
        linewidth=1.8 if band else 0.7,
        alpha=1.0 if band else 0.4,
        label=visible(arm, 30) if band else None,
    )


def _axis(axes: Axes, table: Arms) -> None:
    ticks = [_zero(table), *[math.log2(size) for size in table.sizes]]
    labels = ["0", *[plots._short_number(size) for size in table.sizes]]
    step = math.ceil(len(ticks) / 7)
    axes.set_xticks(ticks[::step], labels[::step])
