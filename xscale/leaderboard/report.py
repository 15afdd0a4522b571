"""The report: one HTML page that needs no network, with the same plots as SVG and PNG files beside it."""

from __future__ import annotations

import base64
import hashlib
import math
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness_tasks.rows import Options, data_record
from harness_tasks.sources import DataError
from harness_tasks.targets import get_target, read_target, targets
from xscale.errors import UserError
from xscale.files import whole_file, write_text
from xscale.leaderboard import arm_plots, plots, scaling
from xscale.leaderboard import statistics as st
from xscale.leaderboard.answer import with_answer
from xscale.leaderboard.arms import arm_tables, by_language
from xscale.leaderboard.bootstrap import STAR_SEEDS, Bootstrap, Estimate
from xscale.leaderboard.claims import with_claims
from xscale.leaderboard.family import Family, Question, family
from xscale.leaderboard.ladders import ladders
from xscale.leaderboard.panels import TARGET_NAMES, Panel, Result
from xscale.leaderboard.render import (
    p_text,
    percent,
    rank_text,
    render,
    seeds_name,
    span,
    subset_name,
    visible,
)
from xscale.leaderboard.robustness import Robustness, effective_robustness
from xscale.leaderboard.table import BREAKDOWNS, Board, Table, language_groups, make_board, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE = Path(__file__).parent / "page"
EXAMPLES = 6
_SECTIONS = (
    ("boards", "Leaderboard"),
    ("curves", "Scaling curves"),
    ("robust", "OOD against ID"),
    ("languages", "Languages"),
    ("subsets", "Subsets"),
    ("examples", "Flipped rows"),
    ("made", "How it was made"),
)
_MARKERS = (
    '<circle cx="20" cy="7" r="4"/>',
    '<path d="M16 3h8v8h-8z"/>',
    '<path d="M20 2l5 9h-10z"/>',
    '<path d="M20 1.5l5 5.5-5 5.5-5-5.5z"/>',
    '<path d="M20 12l5-9h-10z"/>',
    '<path d="M18 2h4v3h3v4h-3v3h-4v-3h-3v-4h3z"/>',
)
_DASHES = ("none", "8 4", "2 3", "10 3 2 3")


@dataclass(frozen=True)
class Plot:
    """A plot with the file name it gets, a title, and in words what it shows."""

    name: str
    title: str
    description: str
    figure: Figure
    bare: Figure | None = None  # without a legend, for the page


def write_report(
    panels: Sequence[Panel],
    results: Sequence[Result],
    folder: Path,
    *,
    draws: int = st.DRAWS,
    seed: int = 0,
    command: str | None = None,
    examples: bool = True,
    made: datetime | None = None,
    question: Question | None = None,
) -> Path:
    """Write `index.html`, `board.json`, `board.csv`, `curves.json` and `plots/*.svg|png` into `folder`.

    Returns the path of the page. The page's leaderboard holds the figures of `make_board` with the same
    `draws`, `seed` and `question` (what is tested, and the subset that is compared), otherwise with its defaults.
    `command` and `made` (now) are shown under "How it was made". `examples` reads English texts of flipped rows from
    the source that the results name; where these are gone or other texts, row numbers stand alone. Raises `UserError`
    where matplotlib or jinja2 is missing.
    """
    environment = _environment()
    parts = [_Part(panel, Bootstrap(panel, draws, seed)) for panel in panels]
    drawn_once = [part.bootstrap for part in parts]
    asked = question or Question()
    same: dict[str, Any] = {
        "draws": draws,
        "seed": seed,
        "bootstraps": drawn_once,
        "question": asked,
        "deltas": (asked.subset,),
    }
    board = make_board(panels, results, **same)
    means = make_board(panels, results, seeds="mean", **same)
    drawn: list[Plot] = []
    js = (PAGE / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(js.encode()).digest()).decode()
    curves = {id(part): _curves(part, seed) for part in parts}
    tested = family(drawn_once, asked, seed)
    context = {
        "css": _markup((PAGE / "report.css").read_text(encoding="utf-8")),
        "js": _markup(js),
        "script_hash": f"sha256-{digest}",
        "sections": _SECTIONS,
        "lead": _lead(board),
        "answer": with_answer(board, drawn_once, asked, seed).answer,
        "warnings": _warnings(board, results),
        "tables": [_table(table, means) for table in board.tables],
        "comparisons": sum(
            not math.isnan(delta.p)
            for table in board.tables
            for row in table.rows
            for delta in row.deltas.values()
        ),
        "board_notes": board.notes,
        "unavailable": board.unavailable,
        "curves": [
            item
            for part in parts
            if (item := _curves_part(part, curves[id(part)], drawn, tested, asked)) is not None
        ],
        "robustness": [item for part in parts if (item := _robustness_part(part, drawn)) is not None],
        "heat": [item for part in parts if (item := _heat_part(part, drawn)) is not None],
        "subsets": [
            item for part in parts if (item := _subsets_part(part, curves[id(part)], drawn)) is not None
        ],
        "examples": [item for part in parts for item in _examples(part, results, examples)],
        "made": _made(panels, board, command, made or datetime.now(timezone.utc)),
        "checkpoints": _checkpoints(results),
    }
    page = environment.get_template("report.html").render(context)
    for plot in drawn:
        with whole_file(folder / "plots" / f"{plot.name}.svg") as path:
            path.write_text(plots.svg(plot.figure), encoding="utf-8")
        with whole_file(folder / "plots" / f"{plot.name}.png") as path:
            path.write_bytes(plots.png(plot.figure))
    write_text(folder / "board.json", render(board, "json"))
    write_text(folder / "board.csv", render(board, "csv"))
    write_text(
        folder / "curves.json", _json([_curve_data(curve) for part in parts for curve in curves[id(part)]])
    )
    write_text(folder / "index.html", with_claims(page, drawn_once, seed))
    return folder / "index.html"


def _curve_data(curve: scaling.Curve) -> dict[str, Any]:
    """A curve for `curves.json`, without the drawn lines, which follow from the parameters."""
    data = asdict(curve)
    for fit in data["fits"]:
        del fit["line"]
    return dict(plain(data))


def _safe(name: str) -> str:
    """Letters, digits, `_` and `-` as they are; any other name by its hash, so that two never meet."""
    if name and len(name) <= 40 and all(c.isascii() and (c.isalnum() or c in "_-") for c in name):
        return name
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]


@dataclass(frozen=True)
class _Part:
    panel: Panel
    bootstrap: Bootstrap

    @property
    def dom(self) -> str:
        """A name that is safe in an attribute and a file name; one of each for the known targets' tables."""
        return f"{_safe(self.panel.target)}-{self.panel.number}"

    @property
    def title(self) -> str:
        return visible(self.panel.title)

    @property
    def name(self) -> str:
        """The target's name for a plot's title; the bundled suite is named as such."""
        name = visible(TARGET_NAMES.get(self.panel.target, self.panel.target), 40)
        return f"{name} (bundled suite)" if self.panel.bundled else name


def _environment() -> Any:
    try:
        import jinja2
    except ImportError:
        raise UserError("the report needs jinja2; install it with `pip install 'xscale[report]'`") from None
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "span": span,
        "exact": lambda value: "" if math.isnan(value) else repr(plain(float(value))),
        "subset": lambda name: visible(subset_name(name)),
        "seeds": seeds_name,
        "rank": rank_text,
        "visible": visible,
        "p": p_text,
    }
    return environment


def _markup(text: str) -> Any:
    from markupsafe import Markup

    return Markup(text)


def _json(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"


def _lead(board: Board) -> str:
    count = len({name for table in board.tables for row in table.rows for name in row.ids})
    names = [
        f"{'the bundled suite for ' if table.bundled else ''}{TARGET_NAMES.get(table.target, visible(table.target))}"
        for table in board.tables
    ]
    what = " and ".join(dict.fromkeys(names))
    return (
        f"What does more English intermediate-task data buy on languages and test items unlike the training data? "
        f"{count} checkpoints, zero-shot{f' on {what}' if what else ''}."
    )


def _warnings(board: Board, results: Sequence[Result]) -> list[str]:
    texts = []
    if any(table.bundled for table in board.tables):
        texts.append(
            "Figures marked BUNDLED SUITE are on test items written for xscale. They are not XNLI or XCOPA results."
        )
    if any(str(result.entry.base or "").startswith("embedded:") for result in results):
        texts.append(
            "The embedded base model was itself tuned for retrieval on data that includes NLI, so it is not the "
            "starting point that the literature has."
        )
    seeds = {len(seeds) for seeds in _seeds_of_ladders(results).values()}
    if seeds == {1}:
        texts.append(
            "One seed: intervals cover the choice of test items, not the luck of training. Published seed noise on "
            "OOD subsets is tens of points."
        )
    return texts


def _seeds_of_ladders(results: Iterable[Result]) -> dict[tuple[Any, ...], set[int | None]]:
    found: dict[tuple[Any, ...], set[int | None]] = {}
    for result in results:
        entry = result.entry
        if result.status == "ok" and entry.size:
            found.setdefault((entry.base, tuple(entry.intermediate), entry.size), set()).add(entry.seed)
    return found


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


# how each column that says which checkpoint it is fills its cells: heading, whether a number, (text, value to sort by)
_IDENTITY: dict[str, tuple[str, bool, Any]] = {
    "base": ("base", False, lambda row: (visible(row.base or "-"), "")),
    "intermediate": (
        "intermediate",
        False,
        lambda row: (visible(row.arm or "+".join(row.intermediate) or "-"), ""),
    ),
    "tuned_on": ("tuned on", False, lambda row: (visible("+".join(row.targets) or "-"), "")),
    "size": ("N", True, lambda row: ("-" if row.size is None else f"{row.size:,}", _number(row.size))),
    "seed": ("seed", True, lambda row: (seeds_name(row), _number(row.seeds[0] if row.seeds else None))),
}


def _table(table: Table, means: Board) -> dict[str, Any]:
    columns = list(table.subsets)
    same = next((m for m in means.tables if (m.target, m.number) == (table.target, table.number)), None)
    merged = [row for row in same.rows if row.size is not None] if same else []
    reasons = [
        d.reason for row in table.rows for d in row.deltas.values() if d.reason and d.reason != "baseline"
    ]
    has_gap = any(row.gap for row in table.rows)
    identity = {key: [cell(row) for row in table.rows] for key, (_, _, cell) in _IDENTITY.items()}
    lifted = [
        key for key, cells in identity.items() if len(cells) > 1 and len({text for text, _ in cells}) == 1
    ]
    if len({text for text, _ in identity["intermediate"]} - {"-"}) == 1 and len(table.rows) > 1:
        lifted = [*lifted, "intermediate"] if "intermediate" not in lifted else lifted
    said = [
        f"{_IDENTITY[key][0]} {next((t for t, _ in identity[key] if t != '-'), '-')}"
        for key in _IDENTITY
        if key in lifted
    ]
    return {
        "identity": [
            (key, head, number) for key, (head, number, _) in _IDENTITY.items() if key not in lifted
        ],
        "cells": identity,
        "said": "; ".join(text for text in said if not text.endswith(" -")),
        "title": visible(table.title),
        "dom": f"board-{_safe(table.target)}-{table.number}",
        "target": table.target,
        "number": table.number,
        "published": TARGET_NAMES.get(table.target, table.target),
        "bundled": table.bundled,
        "columns": columns,
        "gap_after": columns.index("ood") if has_gap and "ood" in columns else -1,
        "delta_names": list(table.rows[0].deltas) if table.rows else [],
        "rows": table.rows,
        "subsets": table.subsets,
        "reasons": list(dict.fromkeys(reasons)),
        "reason_numbers": {reason: number for number, reason in enumerate(dict.fromkeys(reasons), 1)},
        "notes": table.notes,
        "means": merged if any(len(row.ids) > 1 for row in merged) else [],
    }


# ---------------------------------------------------------------- curves


def _curves(part: _Part, seed: int) -> list[scaling.Curve]:
    """Every ladder on every subset, and on every group of languages for all, ID and OOD rows."""
    found = []
    panel, bootstrap = part.panel, part.bootstrap
    rungs = ladders(panel)
    for ladder in rungs:
        found += [scaling.curve(bootstrap, ladder, subset, seed=seed) for subset in panel.masks]
    found = scaling.correct_curves(found)
    if not rungs:
        return []
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


def _whole(curves: Sequence[scaling.Curve], subset: str) -> list[scaling.Curve]:
    return [curve for curve in curves if curve.subset == subset and curve.group == "all languages"]


def _figure(plot: Plot, drawn: list[Plot]) -> dict[str, Any]:
    """What the page needs of a plot; also keeps it to be written as files."""
    drawn.append(plot)
    text = plots.svg(plot.bare or plot.figure)
    return {
        "svg": _markup(plots.inline_svg(text, f"plot-{len(drawn)}", plot.title, plot.description)),
        "caption": plot.title,
    }


def _curve_plot(part: _Part, curves: Sequence[scaling.Curve], limits: tuple[float, float] | None) -> Plot:
    subset = curves[0].subset
    safe = _safe(subset)
    name = subset_name(subset) if subset != "all" else "all rows"
    words = "; ".join(_curve_words(curve) for curve in curves)
    return Plot(
        f"{part.dom}-curve-{safe}",
        f"{part.name}, {visible(name)}: accuracy against size",
        f"{words}. Always answering the commonest label gives {percent(curves[0].commonest_label)}%.",
        plots.curves_figure(curves, limits),
        plots.curves_figure(curves, limits, legend=False),
    )


def _curve_words(curve: scaling.Curve) -> str:
    values = ", ".join(f"{percent(point.acc.value)}% at {point.size:,}" for point in curve.points)
    return f"{plots.ladder_name(curve)}: {values}; " + (
        f"best fit {curve.chosen}" if curve.chosen else "which curve it is cannot be told"
    )


def _legend(curves: Sequence[scaling.Curve]) -> list[dict[str, Any]]:
    items = []
    for index, curve in enumerate(curves):
        colour = index % len(plots.COLOURS)
        marker = _MARKERS[index % len(_MARKERS)].replace("/>", f' fill="var(--line-{colour})"/>')
        dash = _DASHES[(index // len(plots.COLOURS)) % len(_DASHES)]
        items.append(
            {"colour": colour, "dash": dash, "marker": _markup(marker), "name": plots.ladder_name(curve)}
        )
    return items


def _arm_plots(part: _Part, tested: Family, asked: Question) -> list[Plot]:
    """What each arm gains against its size, and, of several arms, by language at the largest size that they share."""
    found = arm_tables([part.bootstrap], asked, tested)
    if not found or not found[0].cells:
        return []
    (table,) = found
    words = "; ".join(
        f"{visible(arm, 40)}: "
        + ", ".join(
            f"{percent(cell.delta.value, True)} {span(cell.delta, True)} at {size:,}"
            for size, cell in row.items()
        )
        for arm, row in table.cells.items()
    )
    name = subset_name(table.subset)
    items = [
        Plot(
            f"{part.dom}-arms",
            f"{part.name}, {visible(name)}: points over the baseline against size",
            f"Change of accuracy with its 95% interval, in points. {words}.",
            arm_plots.arms_figure(table),
        )
    ]
    if table.compared:
        size = table.compared[-1]
        values = by_language(part.bootstrap, size, table.subset)
        title = f"{part.name}, {visible(name)}: points over the baseline at {size:,}, by language"
        words = "; ".join(
            f"{visible(arm, 40)}: "
            + ", ".join(f"{c} {percent(v, True)}" for c, v in zip(part.panel.languages, row, strict=True))
            for arm, row in values.items()
        )
        figure = arm_plots.languages_figure(title, list(values), part.panel.languages, list(values.values()))
        items.append(Plot(f"{part.dom}-arms-languages", title, f"{words}.", figure))
    return items


def _curves_part(
    part: _Part, curves: Sequence[scaling.Curve], drawn: list[Plot], tested: Family, asked: Question
) -> dict[str, Any] | None:
    if not curves:
        return None
    main = [name for name in ("all", "id", "ood") if name in part.panel.masks]
    shown = [curve for name in main for curve in _whole(curves, name)]
    limits = plots.value_limits(shown)
    figures = [_figure(plot, drawn) for plot in _arm_plots(part, tested, asked)]
    figures += [_figure(_curve_plot(part, _whole(curves, name), limits), drawn) for name in main]
    shown_ladders = []
    focus = "ood" if "ood" in part.panel.masks else "all"
    for ladder, first in zip(ladders(part.panel), _whole(curves, "all"), strict=True):
        mine = [curve for curve in curves if _same_ladder(curve, first)]
        whole = [curve for curve in mine if curve.group == "all languages"]
        groups = [curve for curve in mine if curve.group != "all languages" and curve.subset == focus]
        shown_ladders.append(
            {
                "name": plots.ladder_name(first),
                "ood": focus == "ood",
                "refused": next((curve.refused for curve in whole if curve.refused), None),
                "subsets": [
                    _fit_row(curve, "all rows" if curve.subset == "all" else subset_name(curve.subset))
                    for curve in whole
                ],
                "groups": [_fit_row(curve, curve.group.partition(":")[2] or curve.group) for curve in groups],
                "growth": _growth_words(scaling.growth_difference(part.bootstrap, ladder)),
                "points": [
                    {"subset": curve.subset, "point": point} for curve in whole for point in curve.points
                ],
                "fits": [_fit_details(curve, fit) for curve in whole for fit in curve.fits],
            }
        )
    return {
        "title": part.title,
        "legend": _legend(_whole(curves, "all")),
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
    if curve.group != "all languages":
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
    return "∞" if math.isinf(value) or value > 1e6 else f"×{value:.3g}"


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


# ---------------------------------------------------------------- robustness, languages, subsets


def _robustness_part(part: _Part, drawn: list[Plot]) -> dict[str, Any] | None:
    panel, bootstrap = part.panel, part.bootstrap
    if not {"id", "ood"} <= set(panel.masks):
        return None
    line = effective_robustness(bootstrap)
    assert line is not None  # both subsets are there
    id_values, ood_values = bootstrap("id")[0].tolist(), bootstrap("ood")[0].tolist()
    bases = [entry.base for entry in panel.entries]
    words = "; ".join(
        f"{name}: ID {percent(x)}%, OOD {percent(y)}%"
        for name, x, y in list(zip(panel.ids, id_values, ood_values, strict=True))[:40]
    )
    plot = Plot(
        f"{part.dom}-ood-against-id",
        f"{part.title}: OOD against ID",
        words,
        plots.robustness_figure(
            panel.ids,
            bases,
            id_values,
            ood_values,
            line,
            min(int(panel.masks[n].sum()) for n in ("id", "ood")),
        ),
    )
    position = {name: index for index, name in enumerate(panel.ids)}
    return {
        "title": part.title,
        "figure": _figure(plot, drawn),
        "lines": [_line_words(line)],
        "rows": [
            {
                "id": name,
                "id_acc": id_values[position[name]],
                "ood_acc": ood_values[position[name]],
                "residual": item,
            }
            for name, item in line.residuals.items()
        ],
    }


def _line_words(line: Robustness) -> str:
    if line.refused or line.slope is None or line.intercept is None:
        return f"No line: {line.refused}."
    slope = f"{line.slope.value:.2f} [{line.slope.low:.2f}, {line.slope.high:.2f}]"
    intercept = f"{line.intercept.value:.2f} [{line.intercept.low:.2f}, {line.intercept.high:.2f}]"
    who = (
        "no independent line (baselines and entries with makes_line are too few or too alike): each checkpoint is "
        "measured from the line through the others, without the seeds of its own size (leave one out)"
        if line.leave_one_out
        else f"line through {len(line.makers)} baselines and entries with makes_line, which it does not judge"
    )
    return f"logit(OOD) = {intercept} + {slope} · logit(ID); {who}."


def _heat_part(part: _Part, drawn: list[Plot]) -> dict[str, Any] | None:
    panel = part.panel
    figures = []
    for number, ladder in enumerate(ladders(panel), 1):
        sizes = list(ladder.sizes)
        shares = panel.figures_by_language()
        values = [
            [float(np.mean([shares[i, k] for i in ladder.sizes[size]])) for size in sizes]
            for k in range(len(panel.languages))
        ]
        name = ", ".join([ladder.base or "unknown base", "+".join(ladder.intermediate) or "-"])
        words = "; ".join(
            f"{code}: " + ", ".join(percent(value) for value in row)
            for code, row in zip(panel.languages, values, strict=True)
        )
        title = f"{part.name}, {visible(name, 60)}"
        plot = Plot(
            f"{part.dom}-languages-{number}",
            f"{title}: accuracy by language and size",
            f"Sizes {', '.join(f'{size:,}' for size in sizes)}. {words}.",
            plots.heat_map_figure(title, panel.languages, sizes, values),
        )
        figures.append(_figure(plot, drawn))
    return {"title": part.title, "figures": figures} if figures else None


def _subsets_part(part: _Part, curves: Sequence[scaling.Curve], drawn: list[Plot]) -> dict[str, Any] | None:
    panel, bootstrap = part.panel, part.bootstrap
    names = [name for name in panel.masks if name not in ("all", "id", "ood")]
    if not names:
        return None
    items = []
    for name in names:
        whole = _whole(curves, name)
        bounds, values = bootstrap.bounds(name), bootstrap(name)[0]
        items.append(
            {
                "name": name,
                "title": visible(subset_name(name)),
                "about": f"{_about(panel, name)}{int(panel.masks[name].sum()):,} rows; always answering the "
                f"commonest label gives {percent(panel.commonest_label(name))}%.",
                "figure": _figure(_curve_plot(part, whole, None), drawn) if whole else None,
                "rows": [
                    (identity, Estimate(float(value), float(low), float(high)))
                    for identity, value, (low, high) in zip(panel.ids, values, bounds, strict=True)
                ],
            }
        )
    return {"title": part.title, "dom": part.dom, "subsets": items, "legend": _legend(_whole(curves, "all"))}


def _about(panel: Panel, name: str) -> str:
    """The subset's rule, where it ships with the tasks; the bundled suite has rules of its own."""
    known = targets()
    subsets = known[panel.target].subsets if panel.target in known else ()
    found = next((item for item in subsets if item.name == name), None)
    return f"{found.rule} " if found and not panel.bundled else ""


# ---------------------------------------------------------------- examples and provenance


def _examples(part: _Part, results: Sequence[Result], texts: bool) -> list[dict[str, Any]]:
    """For each ladder (three at most), rows whose answers the largest size changes in most languages."""
    panel, found = part.panel, []
    rows: list[Mapping[str, Any]] | None = None
    problem = ""
    if texts:
        rows, problem = english_rows(panel, results)
    for ladder in ladders(panel)[:3]:
        sizes = list(ladder.sizes)
        if sizes[0] != 0:
            continue
        chosen = [ladder.sizes[size][0] for size in sizes]
        right = panel.correct[chosen]
        change = right[-1].sum(axis=1, dtype=int) - right[0].sum(axis=1, dtype=int)
        up, down = np.argsort(-change, kind="stable"), np.argsort(change, kind="stable")
        picked = [i for i in [*up[: EXAMPLES - EXAMPLES // 3], *down[: EXAMPLES // 3]] if change[i]]
        name = ", ".join([ladder.base or "unknown base", "+".join(ladder.intermediate) or "-"])
        seed = panel.entries[chosen[-1]].seed
        found.append(
            {
                "title": f"{part.title}: {visible(name, 80)}",
                "note": f"Seed {seed}. " * (seed is not None)
                + (problem or "English text; answers count over all languages."),
                "sizes": sizes,
                "languages": len(panel.languages),
                "rows": [
                    {
                        "row": int(panel.rows[i]),
                        "text": _fields(panel.target, rows[int(panel.rows[i])]) if rows else [],
                        "label": _label_name(panel.target, int(panel.labels[i, 0])),
                        "right": [int(right[k, i].sum()) for k in range(len(sizes))],
                        "gained": " ".join(
                            c
                            for c, x, y in zip(panel.languages, right[0, i], right[-1, i], strict=True)
                            if y > x
                        ),
                        "lost": " ".join(
                            c
                            for c, x, y in zip(panel.languages, right[0, i], right[-1, i], strict=True)
                            if x > y
                        ),
                    }
                    for i in picked
                ],
            }
        )
    return found


def english_rows(panel: Panel, results: Sequence[Result]) -> tuple[list[Mapping[str, Any]] | None, str]:
    """The English test rows that the panel was evaluated on, or None and why they cannot be shown."""
    none = "Texts are not shown: "
    for result in results:
        scores = result.scores.get(panel.target)
        if scores is None or result.entry.id not in panel.ids or "en" not in scores.fingerprints:
            continue
        try:
            record = data_record(panel.target, "en", Options(data=scores.source))
            if record["data_fingerprint"] != scores.fingerprints["en"]:
                return None, f"{none}the data at {scores.source} is not what was evaluated."
            return list(read_target(panel.target, "en", "test", scores.source)), ""
        except (DataError, OSError, ValueError) as error:
            return None, f"{none}{error}."
    return None, f"{none}English was not evaluated."


def _fields(target: str, row: Mapping[str, Any]) -> list[tuple[str, str]]:
    names = (*get_target(target).text_fields, *get_target(target).pivot)
    return [(name, str(row[name])) for name in names if name in row]


def _label_name(target: str, label: int) -> str:
    known = targets()
    names = known[target].answers if target in known else ()
    return names[label] if label < len(names) else str(label)


def _made(
    panels: Sequence[Panel], board: Board, command: str | None, made: datetime
) -> list[tuple[str, str]]:
    items = [("made", f"{made:%Y-%m-%d %H:%M} UTC")]
    if command:
        items.append(("command", command))
    versions = [f"Python {platform.python_version()}"]
    for package in ("xscale", "lm_eval", "numpy", "scipy", "matplotlib"):
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    settings = board.settings
    items += [
        ("versions", ", ".join(versions)),
        (
            "statistics",
            f"bootstrap over clusters of rows, {settings['draws']:,} draws, seed {settings['seed']}, "
            f"{100 * settings['level']:.0f}% intervals; exact sign-flip tests; Holm",
        ),
    ]
    for panel in panels:
        seeds = sorted({entry.seed for entry in panel.entries if entry.seed is not None})
        items.append(
            (
                f"{visible(panel.target)} {panel.number}",
                f"{panel.title}; languages {' '.join(panel.languages)}; task version {panel.key[3]}; "
                f"data fingerprint {panel.key[2][:16]}; English labels {panel.key[0][:16]}; "
                f"training seeds {' '.join(map(str, seeds)) or 'unknown'}; {len(panel.ids)} checkpoints",
            )
        )
    return items


def _checkpoints(results: Iterable[Result]) -> list[dict[str, str]]:
    return [
        {
            "id": result.entry.id,
            "model": result.entry.model,
            "args": ", ".join(f"{key}={value}" for key, value in result.entry.model_args.items()) or "-",
            "weights": str(result.info.get("weights") or result.entry.sha256 or "-"),
            "lm_eval": str(result.info.get("lm_eval") or "-"),
        }
        for result in results
    ]
