"""The report's plots, by matplotlib.

Why matplotlib: a plot is an SVG of 5 to 30 kB whose text stays text (searchable, read aloud, sharp in
print), drawn without a line of script; the same figure gives the PNG. Altair or Plotly would put a runtime
of 0.8 to 4 MB into the page, draw nothing without script, and need a browser engine for PNG. What they add,
tooltips, the tables beside the plots give to everyone, keyboard and screen reader included.

Colours are told apart by colour-blind readers (after Okabe & Ito 2008, darkened to a contrast of 3:1 on
white), and never stand alone: each line has a marker and a dash pattern of its own.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from xscale.errors import UserError
from xscale.leaderboard.render import subset_name, visible
from xscale.leaderboard.robustness import Robustness
from xscale.leaderboard.scaling import Curve, Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT, PAPER = "#1b1b1f", "#6b6b76", "#fffffe"
COLOURS = ("#0072b2", "#c44e00", "#007a5a", "#a0407e", "#7d6600", "#4f4f57")
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
# what the page replaces by its own colours, so that plots follow light and dark
VARIABLES = {INK: "--ink", FAINT: "--faint", PAPER: "--paper"} | {
    c: f"--line-{i}" for i, c in enumerate(COLOURS)
}
# the same on a dark ground, as in the page's style
DARK = dict(
    zip(
        (INK, FAINT, PAPER, *COLOURS),
        ("#ececf1", "#a9a9b6", "#16161a", "#56b4e9", "#ff9a55", "#3fd0a4", "#e79ac6", "#e0c53c", "#c4c4cf"),
        strict=True,
    )
)
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "xscale",
    "text.parse_math": False,
    "font.size": 9,
    "axes.titlesize": 10,
    "font.family": ["DejaVu Sans"],
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": PAPER,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
}


def _pyplot() -> Any:
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError("plots need matplotlib; install it with `pip install 'xscale[report]'`") from None
    return mpl, Figure


def curves_figure(
    curves: Sequence[Curve],
    limits: tuple[float, float] | None = None,
    legend: bool = True,
    measure: str = "accuracy",
) -> Figure:
    """Accuracy against size for several ladders on one subset: points with 95% intervals, bands, seeds, the
    chosen fit.

    `limits` (shares) are those of the vertical axis, so that plots stand side by side. Size 0 stands left
    of a break.
    """
    mpl, figure_class = _pyplot()
    with mpl.rc_context(_STYLE):
        figure = figure_class(
            figsize=(4.6, 3.4 + (0.22 * len(curves) if legend else 0)), layout="constrained"
        )
        axes = figure.add_subplot()
        sizes = sorted({point.size for curve in curves for point in curve.points if point.size > 0})
        zero = math.log2(sizes[0]) - _break_width(sizes)
        for index, curve in enumerate(curves):
            _draw_curve(axes, curve, index, zero)
        if curves and not math.isnan(curves[0].commonest_label):
            common = 100 * curves[0].commonest_label
            axes.axhline(common, color=FAINT, linewidth=1, linestyle=(0, (1, 2)), zorder=1)
            axes.annotate(
                "commonest label",
                (1, common),
                xycoords=("axes fraction", "data"),
                xytext=(0, 2),
                textcoords="offset points",
                ha="right",
                va="bottom",
                color=FAINT,
                fontsize=7.5,
            )
        _size_axis(axes, sizes, zero, any(point.size == 0 for curve in curves for point in curve.points))
        low, high = limits or value_limits(curves)
        axes.set_ylim(100 * low, 100 * high)
        axes.set_ylabel(f"{measure} (%)")
        if curves:
            group = "" if curves[0].group == "all languages" else f", {visible(curves[0].group, 30)}"
            axes.set_title(f"{_subset_title(curves[0].subset)} ({curves[0].rows:,} rows){group}")
        if legend and curves:
            handles, names = axes.get_legend_handles_labels()
            figure.legend(handles, names, loc="outside lower left", ncols=1, fontsize=8)
    return figure


def value_limits(curves: Sequence[Curve]) -> tuple[float, float]:
    """The range (shares) of the curves with their whole intervals, within 0 and 1: no band is cut."""
    points = [point.acc for curve in curves for point in curve.points]
    common = [curve.commonest_label for curve in curves if not math.isnan(curve.commonest_label)]
    values = [*[point.value for point in points], *common]
    low = min(values, default=0.0)
    high = max(values, default=1.0)
    lows = [point.low for point in points if not math.isnan(point.low)]
    highs = [point.high for point in points if not math.isnan(point.high)]
    return max(0.0, min([low, *lows]) - 0.02), min(1.0, max([high, *highs]) + 0.02)


def _draw_curve(axes: Axes, curve: Curve, index: int, zero: float) -> None:
    colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
    dash: Any = DASHES[(index // len(COLOURS)) % len(DASHES)]
    points = [point for point in curve.points if point.size > 0]
    base = [point for point in curve.points if point.size == 0]
    x = [math.log2(point.size) for point in points]
    y = [100 * point.acc.value for point in points]
    low, high = [100 * point.acc.low for point in points], [100 * point.acc.high for point in points]
    axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.plot(
        x,
        y,
        color=colour,
        marker=marker,
        markersize=5,
        linewidth=1.8,
        linestyle=dash,
        label=ladder_name(curve),
    )
    for point, at in [*zip(points, x, strict=True), *[(point, zero) for point in base]]:
        if len(point.values) > 1:
            axes.plot(
                [at] * len(point.values),
                [100 * v for v in point.values],
                color=colour,
                marker=".",
                markersize=3,
                linestyle="none",
                alpha=0.8,
            )
    for point in base:
        value = 100 * point.acc.value
        axes.errorbar(
            [zero],
            [value],
            [[_below(point)], [_above(point)]],
            color=colour,
            marker=marker,
            markersize=5,
            linewidth=1.2,
            capsize=2,
        )
        if x:
            axes.plot([zero, x[0]], [value, y[0]], color=colour, linewidth=1, linestyle=(0, (1, 2)))
    if curve.fit is not None:
        axes.plot(
            [math.log2(n) for n, *_ in curve.fit.line],
            [100 * v for _, v, *_ in curve.fit.line],
            color=colour,
            linewidth=1,
            linestyle=(0, (3, 2)),
            alpha=0.9,
        )


def _below(point: Point) -> float:
    return max(0.0, 100 * (point.acc.value - point.acc.low)) if not math.isnan(point.acc.low) else 0.0


def _above(point: Point) -> float:
    return max(0.0, 100 * (point.acc.high - point.acc.value)) if not math.isnan(point.acc.high) else 0.0


def _break_width(sizes: Sequence[int]) -> float:
    return max(1.0, 0.22 * (math.log2(sizes[-1]) - math.log2(sizes[0])))


def _size_axis(axes: Axes, sizes: Sequence[int], zero: float, has_zero: bool) -> None:
    ticks = [math.log2(size) for size in sizes]
    wanted = ticks if len(ticks) <= 8 else ticks[:: math.ceil(len(ticks) / 8)]
    labels = [_short_number(sizes[ticks.index(tick)]) for tick in wanted]
    if has_zero:
        wanted, labels = [zero, *wanted], ["0", *labels]
        middle = (zero + ticks[0]) / 2
        axes.annotate(
            "//",
            (middle, 0),
            xycoords=("data", "axes fraction"),
            ha="center",
            va="center",
            color=INK,
            fontsize=10,
            bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1},
        )
    axes.set_xticks(wanted, labels)
    axes.set_xlabel("intermediate-task examples (log scale)")
    pad = 0.35
    axes.set_xlim((zero if has_zero else ticks[0]) - pad, ticks[-1] + pad)


def _short_number(value: int) -> str:
    for unit, name in ((1_000_000, "M"), (1_000, "k")):
        if value >= 10 * unit or (value >= unit and value % unit == 0):
            return f"{value / unit:.0f}{name}"
    return f"{value:,}"


def robustness_figure(
    names: Sequence[str],
    groups: Sequence[str | None],
    id_values: Sequence[float],
    ood_values: Sequence[float],
    line: Robustness,
    rows: int,
    sizes: Sequence[int | None] = (),
    measure: str = "accuracy",
    target: str = "",
) -> Figure:
    """OOD against ID accuracy on logit axes, one mark a checkpoint, the line that judges them, and OOD = ID.

    All sequences have one item a checkpoint; `groups` share a colour, and marks grow with `sizes`. Groups whose
    names end in "baseline" are grey crosses. `target` stands in the title.
    """
    mpl, figure_class = _pyplot()
    least, most = 0.5 / max(rows, 1), 1 - 0.5 / max(rows, 1)

    def logit(share: float) -> float:
        kept = min(max(share, least), most)
        return math.log(kept / (1 - kept))

    with mpl.rc_context(_STYLE):
        bases = list(dict.fromkeys(groups))
        steps = sorted({size for size in sizes if size})
        marks = [4.5 + (4.5 * (1 + steps.index(size)) / len(steps) if size else 0) for size in sizes]
        figure = figure_class(figsize=(5.2, 4.4 + 0.2 * math.ceil(len(bases) / 2)), layout="constrained")
        axes = figure.add_subplot()
        every = [logit(value) for value in (*id_values, *ood_values)]
        low, high = min(every) - 0.1, max(every) + 0.1
        axes.plot([low, high], [low, high], color=FAINT, linewidth=1, linestyle=(0, (1, 2)))
        axes.annotate(
            "OOD = ID",
            (high, high),
            ha="right",
            va="bottom",
            color=FAINT,
            fontsize=7.5,
            xytext=(-4, 0),
            textcoords="offset points",
        )
        plain = [base for base in bases if base is not None and base.endswith("baseline")]
        for base in bases:
            chosen = [i for i, group in enumerate(groups) if group == base]
            # arms have the colours that they have everywhere
            index = plain.index(base) if base in plain else [b for b in bases if b not in plain].index(base)
            colour = FAINT if base in plain else COLOURS[index % len(COLOURS)]
            axes.scatter(
                [logit(id_values[i]) for i in chosen],
                [logit(ood_values[i]) for i in chosen],
                marker="X" if base in plain else MARKERS[index % len(MARKERS)],
                s=[marks[i] ** 2 if marks else 36 for i in chosen],
                color=colour,
                alpha=0.75,
                linewidths=0,
                zorder=2,
                label=visible(base if base is not None else "other models", 40),
            )
        if line.slope is not None and line.intercept is not None:
            made = [logit(value) for name, value in zip(names, id_values, strict=True) if name in line.makers]
            ends = [min(made), max(made)]
            axes.plot(
                ends,
                [line.intercept.value + line.slope.value * end for end in ends],
                color=INK,
                linewidth=1.5,
                linestyle=(0, (5, 2)),
            )
        ticks = _logit_ticks(low, high)
        positions = [logit(tick) for tick in ticks]
        axes.set_xticks(positions, [f"{100 * tick:g}" for tick in ticks])
        axes.set_yticks(positions, [f"{100 * tick:g}" for tick in ticks])
        axes.set_xlim(low, high)
        axes.set_ylim(low, high)
        axes.set_xlabel(f"ID {measure} (%, logit scale)")
        axes.set_ylabel(f"OOD {measure} (%, logit scale)")
        axes.set_title(
            (f"{target}, " if target else "")
            + "OOD against ID"
            + (", larger marks: larger N" if len(steps) > 1 else "")
        )
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower left", ncols=2, fontsize=8)
    return figure


def _logit_ticks(low: float, high: float) -> list[float]:
    for step in (0.01, 0.02, 0.05, 0.1):
        ticks = [round(step * k, 4) for k in range(1, round(1 / step))]
        inside = [tick for tick in ticks if low <= math.log(tick / (1 - tick)) <= high]
        if len(inside) <= 9:
            return inside
    return inside


def _luminance(colour: Sequence[float]) -> float:
    """Relative luminance of red, green, blue between 0 and 1 (WCAG 2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def ladder_name(curve: Curve) -> str:
    """Base, intermediate tasks and target fine-tuning of a ladder, for a legend."""
    task = curve.arm or "+".join(curve.intermediate) or "no intermediate task"
    parts = [curve.base or "unknown base", task]
    if curve.tuned_on:
        parts.append(f"tuned on {'+'.join(curve.tuned_on)}")
    return visible(", ".join(parts), 90)


def _subset_title(subset: str) -> str:
    return "All rows" if subset == "all" else visible(subset_name(subset), 30)


def png(figure: Figure) -> bytes:
    """The figure as PNG, 150 dots an inch."""
    return _saved(figure, "png", dpi=150, metadata={"Software": None})


def svg(figure: Figure) -> str:
    """The figure as a stand-alone SVG file; the same figure gives the same bytes."""
    text = _saved(figure, "svg", metadata={"Date": None, "Creator": None}).decode()
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = _in_tags(text, _shorter)
    return re.sub(
        r"\n\s*", "\n", text.replace("<svg ", "<svg font-family=\"'DejaVu Sans', Verdana, sans-serif\" ", 1)
    )


def _shorter(tag: str) -> str:
    """A tag without what the root says already, with coordinates of two decimals."""
    tag = re.sub(r"font-family: 'DejaVu Sans'; ?| transform=\"rotate\(-0 [^)]*\)\"", "", tag)
    return re.sub(r"\d+\.\d{3,}", lambda found: f"{float(found.group()):.2f}", tag)


def _in_tags(text: str, change: Callable[[str], str]) -> str:
    """Change the tags only: what stands between them may be a checkpoint's name."""
    return re.sub(r"<[^>]*>", lambda found: change(found.group()), text)


def dark_svg(text: str) -> str:
    """A drawing of `svg` for a dark ground; colours that stand for values stay."""

    def adapt(tag: str) -> str:
        return re.sub(r"#[0-9a-f]{6}", lambda found: DARK.get(found.group(), found.group()), tag)

    return _in_tags(text, adapt)


def darken(figure: Figure) -> None:
    """Give a figure, drawn once, the colours that it has on a dark ground; colours that stand for values stay."""
    from matplotlib.axis import Axis
    from matplotlib.collections import Collection
    from matplotlib.colors import to_hex, to_rgba
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    from matplotlib.text import Text

    parts = {
        Line2D: ("color", "markerfacecolor", "markeredgecolor"),
        Text: ("color",),
        Patch: ("facecolor", "edgecolor"),
        Collection: ("facecolor", "edgecolor"),
    }

    def dark(colour: Any) -> Any:
        *tint, alpha = to_rgba(colour)
        return to_rgba(DARK.get(to_hex(tint), colour), alpha)

    figure.set_layout_engine("none")  # it is laid out already
    for artist in figure.findobj():
        if isinstance(artist, Axis):  # ticks that are yet to be made
            artist.set_tick_params(colors=DARK[INK], grid_color=DARK[FAINT])
        boxes = [artist.get_bbox_patch()] if isinstance(artist, Text) and artist.get_bbox_patch() else []
        for one in [artist, *boxes]:
            for name in next((names for kind, names in parts.items() if isinstance(one, kind)), ()):
                was = getattr(one, f"get_{name}")()
                several = isinstance(one, Collection)  # a colour for each of its parts
                getattr(one, f"set_{name}")([dark(colour) for colour in was] if several else dark(was))


def _saved(figure: Figure, format: str, **options: Any) -> bytes:
    import warnings

    mpl, _ = _pyplot()
    out = io.BytesIO()
    with warnings.catch_warnings(), mpl.rc_context(_STYLE):
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing"
        )  # a name in another script: the SVG has the text
        figure.savefig(out, format=format, facecolor=figure.get_facecolor(), **options)
    return out.getvalue()


def inline_svg(text: str, prefix: str, title: str, description: str) -> str:
    """A stand-alone SVG made fit for a page: colours as CSS variables, ids of its own, title and description.

    `prefix` must be unique in the page. `title` and `description` are escaped here; they are what a screen
    reader says.
    """
    from html import escape

    def adapt(tag: str) -> str:
        tag = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', tag)
        tag = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", tag)
        tag = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', tag)
        for colour, name in VARIABLES.items():
            tag = tag.replace(colour, f"var({name})")
        return tag

    body = re.sub(r"<style[^>]*>.*?</style>", "", text[text.index("<svg") :], flags=re.DOTALL)
    body = _in_tags(body, adapt)
    head = re.match(r"<svg[^>]*>", body)
    assert head is not None
    box = re.search(r'viewBox="([^"]+)"', head.group())
    width = float(box.group(1).split()[2]) if box else 400
    start = (
        f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{box.group(1) if box else ""}" role="img" '
        f'aria-labelledby="{prefix}-t {prefix}-d" stroke-linejoin="round" style="max-width: {1.35 * width:.0f}px">'
        f'<title id="{prefix}-t">{escape(title)}</title><desc id="{prefix}-d">{escape(description)}</desc>'
    )
    return start + body[head.end() :]
