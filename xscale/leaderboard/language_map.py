"""Heat map of what each language gains: languages by script and family, arms and sizes from left to right."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from harness_tasks.targets import languages as known_languages
from xscale.leaderboard import plots
from xscale.leaderboard.arms import by_language, named_ladders
from xscale.leaderboard.bootstrap import Bootstrap
from xscale.leaderboard.family import Question
from xscale.leaderboard.ladders import group_of, ladders
from xscale.leaderboard.render import percent, subset_name, visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_COLUMNS = 24  # above it only the largest size of each arm is drawn
FEWEST = 5  # rows that the figure has room for: the names below the map would leave one or two languages none


@dataclass(frozen=True)
class LanguageMap:
    """Deltas (shares) by language and (arm, size), `values` (languages, columns); `base` is the baseline's accuracy.

    `groups` has script and family of each language, which stand together; `names` are theirs.
    """

    subset: str
    codes: tuple[str, ...]
    names: tuple[str, ...]
    groups: tuple[tuple[str, str], ...]
    columns: tuple[tuple[str, int], ...]
    values: tuple[tuple[float, ...], ...]
    base: tuple[float, ...]


def language_map(bootstrap: Bootstrap, question: Question) -> LanguageMap | None:
    """The panel's map on the question's subset, means over seeds; None where no ladder has a baseline."""
    panel = bootstrap.panel
    subset = question.subset_of(panel)
    sizes = sorted({size for ladder in ladders(panel) for size in ladder.sizes if size})
    found = {(arm, size): row for size in sizes for arm, row in by_language(bootstrap, size, subset).items()}
    if not found:
        return None
    arms = list(dict.fromkeys(arm for arm, _ in found))
    columns = [(arm, size) for arm in arms for size in sizes if (arm, size) in found]
    if len(columns) > MOST_COLUMNS:
        columns = [(arm, max(size for other, size in columns if other == arm)) for arm in arms]
    starts = {
        index
        for ladder in named_ladders(ladders(panel)).values()
        for size, indices in ladder.sizes.items()
        for _, index in (group_of(panel, indices).pairs if size else ())
    }
    base = panel.figures_by_language(subset)[sorted(starts)].mean(axis=0)
    known = known_languages()
    details = {
        code: (known[code].script, known[code].family, known[code].name) if code in known else ("", "", code)
        for code in panel.languages
    }
    scripts = [details[code][0] for code in panel.languages]
    order = sorted(
        range(len(panel.languages)),
        key=lambda i: (-scripts.count(scripts[i]), *details[panel.languages[i]]),
    )
    codes = [panel.languages[i] for i in order]
    return LanguageMap(
        subset,
        tuple(codes),
        tuple(details[code][2] for code in codes),
        tuple(details[code][:2] for code in codes),
        tuple(columns),
        tuple(tuple(float(found[column][i]) for column in columns) for i in order),
        tuple(float(base[i]) for i in order),
    )


def map_words(item: LanguageMap) -> str:
    """Which languages gain most and least at the largest size of each arm, for those who cannot see it."""
    parts = []
    for arm in dict.fromkeys(arm for arm, _ in item.columns):
        number = max((n, i) for i, (other, n) in enumerate(item.columns) if other == arm)[1]
        row = [line[number] for line in item.values]
        first, last = int(np.argmax(row)), int(np.argmin(row))
        parts.append(
            f"{visible(arm, 40)} at {item.columns[number][1]:,}: most {item.names[first]} {percent(row[first], True)}, "
            f"least {item.names[last]} {percent(row[last], True)}"
        )
    return f"Points over the baseline by language, {subset_words(item.subset)}. {'; '.join(parts)}."


def map_rows(item: LanguageMap) -> list[dict[str, Any]]:
    """The map's data, a line a cell; percent and points."""
    return [
        {
            "language": code,
            "name": name,
            "script": script,
            "family": family,
            "baseline": 100 * base,
            "arm": arm,
            "size": size,
            "delta": 100 * value,
        }
        for code, name, (script, family), base, line in zip(
            item.codes, item.names, item.groups, item.base, item.values, strict=True
        )
        for (arm, size), value in zip(item.columns, line, strict=True)
    ]


def subset_words(subset: str) -> str:
    """A subset's name in a sentence."""
    return "all rows" if subset == "all" else f"{visible(subset_name(subset), 30)} rows"


def map_figure(title: str, item: LanguageMap) -> Figure:
    """The map: purple gains, orange losses, 0 is white; the baseline's accuracy stands in the first column.

    Colours are even on both sides of 0 and are told apart by colour-blind readers; every cell has its figure.
    """
    mpl, figure_class = plots._pyplot()
    count = len(item.columns)
    with mpl.rc_context(plots._STYLE | {"axes.grid": False}):
        labels, left = _labels(item)
        sides = 5 * max(len(f"{script}, {family}") for script, family in item.groups) - left
        figure = figure_class(
            figsize=(sides / 72 + 1.2 + 0.46 * (count + 1), 1.35 + 0.25 * max(len(item.codes), FEWEST)),
            layout="constrained",
        )
        axes = figure.add_subplot()
        most = max((abs(v) for line in item.values for v in line if not math.isnan(v)), default=0.0) or 0.01
        colours = mpl.colormaps["PuOr"]
        mesh = axes.pcolormesh(
            np.arange(1, count + 2),
            np.arange(len(item.codes) + 1),
            [[100 * value for value in line] for line in item.values],
            cmap=colours,
            vmin=-100 * most,
            vmax=100 * most,
            edgecolors=plots.PAPER,
            linewidth=0.8,
        )
        for i, line in enumerate(item.values):
            _text(axes, 0.45, i + 0.5, percent(item.base[i]), plots.INK)
            for j, value in enumerate(line):
                light = plots._luminance(colours((value / most + 1) / 2)) > 0.179
                _text(axes, j + 1.5, i + 0.5, percent(value, signed=True), "#000000" if light else "#ffffff")
        _heads(axes, item)
        _languages(axes, item, labels, left)
        axes.set_xlim(0, count + 1)
        axes.set_ylim(max(len(item.codes), FEWEST), 0)
        axes.tick_params(length=0)
        for side in axes.spines.values():
            side.set_visible(False)
        room = int(72 * figure.get_figwidth() / 5.2)
        figure.suptitle(textwrap.fill(visible(title, 160), room), x=0.01, ha="left", fontsize=9)
        bar = figure.colorbar(mesh, ax=axes, shrink=0.6, pad=0.01, aspect=25)
        bar.outline.set_visible(False)
        bar.solids.set_rasterized(False)  # a picture in an SVG would be no line drawing
        bar.set_label("points over baseline", fontsize=8)
        bar.ax.tick_params(labelsize=7.5)
    return figure


def _text(axes: Axes, x: float, y: float, text: str, colour: str, size: float = 7, **more: Any) -> None:
    options = {"ha": "center", "va": "center"} | more
    axes.text(x, y, text, fontsize=size, color=colour, **options)


def _heads(axes: Axes, item: LanguageMap) -> None:
    """Sizes below the map, and the arms below their sizes."""
    bottom = len(item.codes)
    axes.set_xticks([])
    _text(axes, 0.45, bottom + 0.45, "base", plots.INK, 7.5)
    for j, (_, size) in enumerate(item.columns):
        _text(axes, j + 1.5, bottom + 0.45, plots._short_number(size), plots.INK, 7.5)
    start = 1
    for arm, members in groupby(item.columns, key=lambda column: column[0]):
        wide = len(list(members))
        small = len(arm) > 6 * wide
        name = visible(arm, max(5, 7 * wide))
        _text(axes, start + wide / 2, bottom + 1.3, name, plots.INK, 6.8 if small else 8, fontweight="bold")
        if start > 1:
            axes.plot([start, start], [0, bottom + 1.6], color=plots.FAINT, linewidth=0.8, clip_on=False)
        start += wide


def _labels(item: LanguageMap) -> tuple[list[str], float]:
    """The languages' names with their codes, and how far left of the map (points) there is room beside them."""
    names = [
        f"{visible(name, 24)} ({code})" if name != code else visible(code, 24)
        for code, name in zip(item.codes, item.names, strict=True)
    ]
    return names, -14 - 5.6 * max(map(len, names))


def _languages(axes: Axes, item: LanguageMap, labels: Sequence[str], left: float) -> None:
    """Names at the left, their script and family further left, lines between the groups."""
    axes.set_yticks([i + 0.5 for i in range(len(labels))], labels)
    start = 0
    for (script, family), members in groupby(item.groups):
        high = len(list(members))
        words = f"{script}, {family}" if script else ""
        axes.annotate(
            words,
            (0, start + 0.5),
            xycoords=("axes fraction", "data"),
            xytext=(left, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=7.5,
            color=plots.FAINT,
        )
        if start:
            axes.plot(
                [0, len(item.columns) + 1], [start, start], color=plots.FAINT, linewidth=0.6, clip_on=False
            )
        start += high
