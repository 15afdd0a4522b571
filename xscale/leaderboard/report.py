"""The report: one HTML page that needs no network, with its figures as SVG, PNG and CSV files beside it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from xscale.files import whole_file, write_text
from xscale.leaderboard import plots
from xscale.leaderboard import statistics as st
from xscale.leaderboard.bootstrap import Bootstrap
from xscale.leaderboard.claims import with_claims
from xscale.leaderboard.family import Question, family
from xscale.leaderboard.page.arms import arms
from xscale.leaderboard.page.boards import boards, comparisons
from xscale.leaderboard.page.curves import all_curves, curve_data, curves_part
from xscale.leaderboard.page.examples import examples as example_rows
from xscale.leaderboard.page.first import first_screen
from xscale.leaderboard.page.languages import language_maps
from xscale.leaderboard.page.made import made_of, measured, trained
from xscale.leaderboard.page.parts import PAGE, Part, Plot, csv_text, environment, markup
from xscale.leaderboard.page.subsets import robustness_part, subsets_part
from xscale.leaderboard.panels import Panel, Result
from xscale.leaderboard.render import render
from xscale.leaderboard.table import Filter, make_board
from xscale.manifest import Entry
from xscale.portable import published

SECTIONS = (
    ("boards", "Tables"),
    ("arms", "Arms"),
    ("curves", "Curves"),
    ("robust", "OOD against ID"),
    ("languages", "Languages"),
    ("subsets", "Subsets"),
    ("examples", "Flipped rows"),
    ("method", "Method"),
    ("made", "How it was made"),
)


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
    targets: Sequence[str] = (),
    explore: bool = False,
) -> Path:
    """Write `index.html`, `board.json`, `board.csv`, `curves.json` and `plots/*.svg|png|csv` into `folder`,
    and the figures for a dark ground as `plots/*-dark.svg|png`.

    Returns the path of the page. The page's tables hold the figures of `make_board` with the same
    `draws`, `seed` and `question` and otherwise its defaults. `command` and `made` (now) are shown under "How it
    was made". `examples` reads English texts of flipped rows from the source that the results name; where these
    are gone or other texts, row numbers stand alone. `targets` are those that are shown (all when empty); what is tested
    counts all of `panels`, whatever is shown. With `explore`, for panels of some languages only, nothing is tested, and
    the question has no answer. No local path is written. Raises `UserError` where matplotlib or jinja2 is missing.
    """
    templates = environment()
    asked = question or Question()
    panels, results = _without_paths(panels, results)
    every = [Part(panel, Bootstrap(panel, draws, seed)) for panel in panels]
    parts = [part for part in every if not targets or part.panel.target in targets]
    drawn_once = [part.bootstrap for part in every]
    common: dict[str, Any] = {
        "draws": draws,
        "seed": seed,
        "bootstraps": drawn_once,
        "question": asked,
        "deltas": (asked.subset,),
        "show": Filter(targets=tuple(targets)),
        "explore": explore,
    }
    board = make_board(panels, results, **common)
    board = replace(
        board, unavailable=[(name, state, published(why)) for name, state, why in board.unavailable]
    )
    means = make_board(panels, results, seeds="mean", **common)
    tested = {} if explore else family(drawn_once, asked, seed)
    js = (PAGE / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(js.encode()).digest()).decode()
    curves = {id(part): found for part, found in zip(parts, all_curves(every, parts, seed), strict=True)}
    drawn: list[Plot] = []
    context = {
        "css": markup((PAGE / "report.css").read_text(encoding="utf-8")),
        "js": markup(js),
        "script_hash": f"sha256-{digest}",
        "sections": SECTIONS,
        "first": first_screen(parts, board, results, asked, tested, drawn, seed, explore=explore),
        "tables": boards(parts, board, means, results),
        "comparisons": comparisons(board),
        "board_notes": list(dict.fromkeys([*means.notes, *board.notes])),
        "unavailable": board.unavailable,
        "arms": arms(parts, asked, tested, drawn, seed),
        "curves": [
            item for part in parts if (item := curves_part(part, curves[id(part)], drawn)) is not None
        ],
        "robustness": [item for part in parts if (item := robustness_part(part, drawn)) is not None],
        "maps": language_maps(parts, asked, drawn),
        "subsets": [
            item for part in parts if (item := subsets_part(part, curves[id(part)], drawn)) is not None
        ],
        "examples": [item for part in parts for item in example_rows(part, results, examples)],
        "measured": measured(parts),
        "trained": trained(parts),
        "made": made_of([part.panel for part in parts], board, command, made or datetime.now(timezone.utc)),
    }
    page = templates.get_template("report.html").render(context)
    for plot in drawn:
        write_plot(plot, folder / "plots")
    write_text(folder / "board.json", render(board, "json"))
    write_text(folder / "board.csv", render(board, "csv"))
    data = [curve_data(curve) for part in parts for curve in curves[id(part)]]
    write_text(
        folder / "curves.json",
        json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n",
    )
    write_text(folder / "index.html", with_claims(page, drawn_once, seed))
    return folder / "index.html"


def _without_paths(panels: Sequence[Panel], results: Sequence[Result]) -> tuple[list[Panel], list[Result]]:
    """Panels and results whose bases and data are named without folders; what differs keeps names that differ."""
    entries = [entry for panel in panels for entry in panel.entries] + [result.entry for result in results]
    names: dict[str, str] = {}
    for entry in entries:
        for name in (
            entry.base,
            *entry.intermediate,
            *(one for sets in entry.targets.values() for one in sets),
        ):
            if name is not None and name not in names:
                short, count = published(name), 1
                while (tried := short if count == 1 else f"{short} ({count})") in names.values():
                    count += 1
                names[name] = tried

    def cleaned(entry: Entry) -> Entry:
        return entry.model_copy(
            update={
                "base": None if entry.base is None else names[entry.base],
                "note": None if entry.note is None else published(entry.note),
                "intermediate": [names[name] for name in entry.intermediate],
                "targets": {key: [names[name] for name in sets] for key, sets in entry.targets.items()},
            }
        )

    return (
        [replace(panel, entries=tuple(map(cleaned, panel.entries))) for panel in panels],
        [replace(result, entry=cleaned(result.entry)) for result in results],
    )


def write_plot(plot: Plot, folder: Path) -> None:
    """Write a figure as SVG and PNG, both again for a dark ground as `NAME-dark`, and its data as CSV."""
    drawing = plots.svg(plot.figure)
    write_text(folder / f"{plot.name}.svg", drawing)
    write_text(folder / f"{plot.name}-dark.svg", plots.dark_svg(drawing))
    with whole_file(folder / f"{plot.name}.png") as path:
        path.write_bytes(plots.png(plot.figure))
    plots.darken(plot.figure)
    with whole_file(folder / f"{plot.name}-dark.png") as path:
        path.write_bytes(plots.png(plot.figure))
    write_text(folder / f"{plot.name}.csv", csv_text(plot.data))
