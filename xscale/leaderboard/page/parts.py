"""What every section of the page is made of: a panel with its draws, figures with their files, safe text."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xscale.errors import UserError
from xscale.leaderboard import plots
from xscale.leaderboard.bootstrap import Bootstrap, Delta
from xscale.leaderboard.ladders import Ladder
from xscale.leaderboard.panels import TARGET_NAMES, Panel
from xscale.leaderboard.render import (
    p_text,
    percent,
    rank_text,
    seeds_name,
    span,
    spreadsheet,
    subset_name,
    visible,
)
from xscale.leaderboard.table import plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE = Path(__file__).parent
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
    """A figure with the name of its files, a title, what it says in words, and its data, a mapping a line."""

    name: str
    title: str
    description: str
    figure: Figure
    data: Sequence[Mapping[str, Any]]
    bare: Figure | None = None  # without a legend, for the page


@dataclass(frozen=True)
class Part:
    """A panel with its bootstrap, as the sections take it."""

    panel: Panel
    bootstrap: Bootstrap

    @property
    def dom(self) -> str:
        """A name that is safe in an attribute and a file name; one of each for the known targets' tables."""
        return f"{safe(self.panel.target)}-{self.panel.number}"

    @property
    def title(self) -> str:
        """The panel's title."""
        return visible(self.panel.title)

    @property
    def name(self) -> str:
        """The target's name for a figure's title; the bundled suite is named as such."""
        name = visible(TARGET_NAMES.get(self.panel.target, self.panel.target), 40)
        return f"{name} (bundled suite)" if self.panel.bundled else name


def safe(name: str) -> str:
    """Letters, digits, `_` and `-` as they are; any other name by its hash, so that two never meet."""
    if name and len(name) <= 40 and all(c.isascii() and (c.isalnum() or c in "_-") for c in name):
        return name
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def markup(text: str) -> Any:
    """Text that is HTML already."""
    from markupsafe import Markup

    return Markup(text)


def environment() -> Any:
    """Jinja's, which escapes everything and knows no undefined name."""
    try:
        import jinja2
    except ImportError:
        raise UserError("the report needs jinja2; install it with `pip install 'xscale[report]'`") from None
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "percent": percent,
        "span": span,
        "exact": lambda value: "" if math.isnan(value) else repr(plain(float(value))),
        "subset": lambda name: visible(subset_name(name)),
        "seeds": seeds_name,
        "rank": rank_text,
        "visible": visible,
        "p": p_text,
        "number": lambda value: f"{value:,}",
    }
    return made


def figure(plot: Plot, drawn: list[Plot]) -> dict[str, Any]:
    """What the page needs of a figure; also keeps it to be written as files."""
    drawn.append(plot)
    return {
        "svg": inline(plot.bare or plot.figure, f"plot-{len(drawn)}", plot.title, plot.description),
        "name": plot.name,
        "caption": plot.title,
    }


def inline(drawing: Figure, prefix: str, title: str, description: str) -> Any:
    """A figure for the page; `prefix` must be unique in it."""
    return markup(plots.inline_svg(plots.svg(drawing), prefix, title, description))


def legend(names: Sequence[str]) -> list[dict[str, Any]]:
    """Line, marker and name of each; the place in the sequence decides the colour, as in the figures."""
    items = []
    for index, name in enumerate(names):
        colour = index % len(plots.COLOURS)
        marker = _MARKERS[index % len(_MARKERS)].replace("/>", f' fill="var(--line-{colour})"/>')
        dash = _DASHES[(index // len(plots.COLOURS)) % len(_DASHES)]
        items.append({"colour": colour, "dash": dash, "marker": markup(marker), "name": name})
    return items


def ladder_title(ladder: Ladder) -> str:
    """Base and arm of a ladder."""
    return visible(f"{ladder.base or 'unknown base'}, {ladder.name}", 80)


def no_change(delta: Delta, ids: Sequence[str], collapsed: Sequence[str]) -> str:
    """Why a delta is nothing at all: the same answers, or nearly all one label; else empty."""
    if delta.reason or percent(delta.value) not in ("0.0", "-0.0"):
        return ""
    if delta.same:
        return "same answers as the baseline"
    return "nearly all one label" if any(name in collapsed for name in ids) else ""


def csv_text(lines: Sequence[Mapping[str, Any]]) -> str:
    """A figure's data as CSV: six decimals, empty where undefined, no cell that a spreadsheet would run."""
    heads = list(dict.fromkeys(head for line in lines for head in line))
    out = io.StringIO()
    writer = csv.DictWriter(out, heads, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: spreadsheet(plain(value)) for key, value in line.items()} for line in lines)
    return out.getvalue()
