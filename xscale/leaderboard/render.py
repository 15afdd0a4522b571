"""Boards as text: terminal, Markdown, LaTeX, CSV, JSON, HTML.

Percent with one decimal for people; CSV and JSON hold shares. Whatever comes from a manifest is shown as
text: control and direction characters become visible escapes, and each format's own special characters are
escaped.
"""

from __future__ import annotations

import csv
import html
import io
import json
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from tabulate import tabulate

from harness_tasks.targets import languages
from xscale.errors import UserError
from xscale.leaderboard.bootstrap import Delta, Estimate
from xscale.leaderboard.panels import SUBSET_NAMES
from xscale.leaderboard.table import BREAKDOWNS, NO_BASELINE, Board, Row, Table, to_json
from xscale.terminal import safe_text

FORMATS = ("simple", "github", "latex_booktabs", "csv", "json", "html")
WIDTH = 80
PAGE_COLUMNS = 8  # figures that a printed page has room for beside names
SHORT = 10  # columns that a name is cut to at most
_NONE = "-"
BASE_OR_ID = "base or id"
DIFFERENCE = "ΔOOD - ΔID"
Cells = list[list[str]]


def render(board: Board, format: str = "simple", *, wide: bool = False, width: int = WIDTH) -> str:
    """The board as text in one of `FORMATS`; raises `UserError` for another.

    "simple" keeps to `width` columns: it leaves out columns that say the same in every row, then shortens
    names, and lays a breakdown out in several parts. `wide` shows every column whole in all formats for
    people.
    """
    if format not in FORMATS:
        raise UserError(f"unknown format {format!r}; there are: {', '.join(FORMATS)}")
    if format == "json":
        return json.dumps(to_json(board), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if format == "csv":
        return _csv(board)
    narrow = None if wide or format != "simple" else max(width, 40)
    parts = [text_block(text, format, narrow) for text in board.answer]
    parts += [_table(table, format, wide, narrow) for table in board.tables]
    if not board.tables:
        parts.append(text_line("No results to show.", format))
    parts.append(_notes(board, format, narrow))
    joined = "\n\n".join(part for part in parts if part) + "\n"
    return f'<section class="xscale-board">\n{joined}</section>\n' if format == "html" else joined


def percent(value: float, signed: bool = False) -> str:
    """A share as percent with one decimal; "-" where undefined."""
    if math.isnan(value):
        return _NONE
    rounded = (
        round(100 * round(value, 6), 1) + 0.0
    )  # from the figure that JSON has, so that both always agree
    return f"{rounded:+.1f}" if signed else f"{rounded:.1f}"


def span(item: Estimate | Delta, signed: bool = False) -> str:
    """An interval as "[low, high]" in percent."""
    if math.isnan(item.low):
        return _NONE
    return f"[{percent(item.low, signed)}, {percent(item.high, signed)}]"


def visible(text: object, longest: int | None = None) -> str:
    """Text that cannot act on the reader's screen: control and direction characters as escapes, one line.

    Longer texts than `longest` are cut in the middle.
    """
    shown = safe_text(text)
    if longest is not None and len(shown) > longest:
        head = (longest - 1) // 2
        shown = shown[:head] + "…" + shown[len(shown) - (longest - 1 - head) :]
    return shown


def subset_name(name: str) -> str:
    """The heading of a subset's column."""
    return SUBSET_NAMES.get(name, name)


def intermediate_name(row: Row) -> str:
    """The arm; without one, intermediate tasks in the order that they were trained in."""
    return row.arm or "+".join(row.intermediate) or _NONE


def seeds_name(row: Row) -> str:
    """The seed, or how many there are."""
    return (
        _NONE if not row.seeds else str(row.seeds[0]) if len(row.seeds) == 1 else f"mean of {len(row.seeds)}"
    )


def delta_text(delta: Delta) -> str:
    """A delta in points, with a star where its corrected p-value is at most 5%."""
    return percent(delta.value, signed=True) + ("*" if delta.significant else "")


def rank_text(row: Row) -> str:
    """The ranks that a checkpoint can have, "2" or "2-4"."""
    if row.rank is None:
        return _NONE
    return str(row.rank[0]) if row.rank[0] == row.rank[1] else f"{row.rank[0]}-{row.rank[1]}"


def _identity(table: Table) -> list[tuple[str, Callable[[Row], str]]]:
    """The columns that say which checkpoint a row is; the id stands in for a base that is unknown (the heading says so),
    and beside one that is not enough.
    """
    labels = [(row.base or row.id, row.intermediate, row.size, row.seeds, row.targets) for row in table.rows]
    columns: list[tuple[str, Callable[[Row], str]]] = []
    if len(set(labels)) < len(labels):
        columns.append(("id", lambda row: visible(row.id)))
    columns += [
        (
            BASE_OR_ID if any(row.base is None for row in table.rows) else "base",
            lambda row: visible(row.base if row.base is not None else row.id),
        ),
        ("intermediate", lambda row: visible(intermediate_name(row))),
        ("tuned on", lambda row: visible("+".join(row.targets) or _NONE)),
        ("N", lambda row: _NONE if row.size is None else f"{row.size:,}"),
        ("seed", seeds_name),
    ]
    return columns


def _columns(table: Table, wide: bool) -> tuple[list[str], Cells, Cells]:
    """Headings, a line of cells for each checkpoint, and the lines that every shown subset needs."""
    identity = _identity(table)
    if wide and identity[0][0] != "id":
        identity.insert(0, ("id", lambda row: visible(row.id)))
    heads = [name for name, _ in identity]
    lines = [[cell(row) for _, cell in identity] for row in table.rows]
    rows_line = ["rows", *[""] * (len(heads) - 1)]
    common_line = ["commonest label", *[""] * (len(heads) - 1)]

    def add(head: str, cells: Sequence[str], rows: str = "", common: str = "") -> None:
        heads.append(head)
        for line, cell in zip(lines, cells, strict=True):
            line.append(cell)
        rows_line.append(rows)
        common_line.append(common)

    names = list(table.subsets)
    first = [name for name in ("all", "id", "ood") if name in names]
    order = [*first, "gap", *[name for name in names if name not in first]]
    for name in order:
        if name == "gap":
            if any(row.gap is not None for row in table.rows):
                gaps = [row.gap for row in table.rows]
                add("gap", [percent(gap.value, True) if gap else _NONE for gap in gaps])
                if wide:
                    add("95%", [span(gap, True) if gap else _NONE for gap in gaps])
            continue
        subset = table.subsets[name]
        add(
            visible(subset_name(name)),
            [percent(row.acc[name].value) for row in table.rows],
            f"{subset.rows:,}",
            percent(subset.commonest_label),
        )
        if wide:
            add("95%", [span(row.acc[name]) for row in table.rows])
            if any(row.seed_spread for row in table.rows):
                add("sd", [percent(row.seed_spread.get(name, math.nan)) for row in table.rows])
    _delta_columns(table, wide, add)
    if any(row.rank for row in table.rows):
        add("rank", [rank_text(row) for row in table.rows])
        if wide:
            add("group", [row.rank_group for row in table.rows])
    if wide and any(row.note for row in table.rows):
        add("note", [visible(row.note or "") for row in table.rows])
    return heads, lines, [rows_line, common_line]


def _delta_columns(table: Table, wide: bool, add: Callable[[str, list[str]], None]) -> None:
    """The deltas with their intervals, and ΔOOD − ΔID."""
    marks = _reasons(table)
    for name in table.rows[0].deltas if table.rows and not _no_deltas(table) else ():
        deltas = [row.deltas[name] for row in table.rows]
        add(
            visible(f"Δ{subset_name(name)}"),
            [_NONE if math.isnan(delta.value) else delta_text(delta) for delta in deltas],
        )
        add(
            "95% of Δ",
            [
                span(delta, True)
                if delta.reason is None
                else "baseline"
                if delta.reason == "baseline"
                else f"[{marks.index(delta.reason) + 1}]"
                for delta in deltas
            ],
        )
        if wide:
            add("p", [p_text(delta.p) for delta in deltas])
            add("p (Holm)", [p_text(delta.p_holm) for delta in deltas])
            add("detectable", [_found(delta) for delta in deltas])
    differences = [row.delta_difference for row in table.rows]
    if any(differences):
        add(DIFFERENCE, [f"{percent(d.value, True)} {span(d, True)}" if d else _NONE for d in differences])
        if wide:
            add("p of it", [p_text(d.p) if d else _NONE for d in differences])


def _no_deltas(table: Table) -> bool:
    """Whether all rows are models without a baseline: a line says it better than empty columns."""
    return {delta.reason for row in table.rows for delta in row.deltas.values()} == {NO_BASELINE}


def _found(delta: Delta) -> str:
    return _NONE if not math.isfinite(delta.detectable) else percent(delta.detectable)


def p_text(value: float) -> str:
    """A p-value for people."""
    return _NONE if math.isnan(value) else "<0.001" if value < 0.001 else f"{value:.3f}"


def _reasons(table: Table) -> list[str]:
    """Why deltas are missing, each once, in the order of the rows; "baseline" needs no footnote."""
    found = [delta.reason for row in table.rows for delta in row.deltas.values() if delta.reason]
    return [reason for reason in dict.fromkeys(found) if reason != "baseline"]


def _table(table: Table, format: str, wide: bool, width: int | None) -> str:
    heads, lines, foot = _columns(table, wide)
    caption = visible(f"{table.title}" + (f" (table {table.number})" if table.number > 1 else ""))
    heads, lines, foot, same = _without_constants(heads, lines, foot, keep=wide)
    details = [same] if same else []
    if width is not None:
        heads, lines, foot = _fitted(heads, lines, foot, width)
    blocks = [grid(heads, lines, foot, format)]
    if table.groups:
        blocks += _breakdown(table, format, width)
    marked = "no deltas: {1}" if _no_deltas(table) else "[{0}] {1}"
    details += [marked.format(number, reason) for number, reason in enumerate(_reasons(table), 1)]
    details += table.notes
    label = f"tab:xscale-{re.sub('[^a-z0-9]+', '-', table.target.lower())}"
    label += f"-{table.number}" if table.number > 1 else ""
    joined = "\n\n".join(blocks)
    return with_caption(caption, [visible(detail) for detail in details], joined, format, width, label)


def _without_constants(
    heads: list[str], lines: Cells, foot: Cells, keep: bool
) -> tuple[list[str], Cells, Cells, str]:
    """Leave out identity columns that are the same in all of several rows, and say them in a line instead."""
    names = ("base", BASE_OR_ID, "intermediate", "tuned on", "N", "seed")
    same = (
        []
        if keep or len(lines) < 2
        else [
            index
            for index, head in enumerate(heads)
            if head in names and len({line[index] for line in lines}) == 1
        ]
    )
    # a ladder's baseline has no intermediate task: one name and dashes is still one name
    if "intermediate" in heads and not keep and len(lines) > 1:
        index = heads.index("intermediate")
        if len({line[index] for line in lines} - {_NONE}) == 1 and index not in same:
            same.append(index)
    if len(same) == sum(head in (*names, "id") for head in heads):
        same = same[1:]
    said = []
    for index in sorted(same):
        value = next((line[index] for line in lines if line[index] != _NONE), _NONE)
        if value != _NONE:
            size = heads.index("N") if heads[index] == "intermediate" and "N" in heads else index
            some = any(
                line[index] == line[size] == _NONE for line in lines
            )  # anybody's model, trained on none
            said.append(f"{heads[index]} {value}{' where N is given' if some else ''}")
    left = [index for index in range(len(heads)) if index not in same]
    foot = [[line[index] for index in left] for line in foot]
    for line, name in zip(foot, ("rows", "commonest label"), strict=True):
        line[0] = name
    return (
        [heads[index] for index in left],
        [[line[index] for index in left] for line in lines],
        foot,
        ", ".join(said),
    )


def _fitted(heads: list[str], lines: Cells, foot: Cells, width: int) -> tuple[list[str], Cells, Cells]:
    """Make the table fit: leave out what tells no rows apart, shorten names, leave out figures last."""

    def size(index: int) -> int:
        return max(len(row[index]) for row in (heads, *lines, *foot))

    def fits() -> bool:
        return sum(size(index) for index in range(len(heads))) + 2 * (len(heads) - 1) <= width

    def drop(index: int) -> None:
        for row in (heads, *lines, *foot):
            del row[index]
        for row, name in zip(foot, ("rows", "commonest"), strict=False):
            row[0] = name

    def shorten(longest: int) -> None:
        for index, head in enumerate(heads):
            if head in ("id", "base", BASE_OR_ID, "intermediate", "tuned on"):
                for row in lines:
                    row[index] = visible(row[index], longest)

    def drop_if_spare(name: str) -> None:
        if name not in heads or fits():
            return
        index, names = heads.index(name), ("id", "base", BASE_OR_ID, "intermediate", "tuned on", "N", "seed")
        kept = [i for i, head in enumerate(heads) if head in names and i != index]
        if kept and len({tuple(row[i] for i in kept) for row in lines}) == len(lines):
            drop(index)

    if not fits() and foot:
        foot[-1][0] = "commonest"
    if not fits() and "gap" in heads and DIFFERENCE in heads:
        drop(heads.index("gap"))
    drop_if_spare("tuned on")
    for longest in range(40, 13, -2):
        if not fits():
            shorten(longest)
    for name in ("seed", "intermediate"):
        drop_if_spare(name)
    if not fits() and "rank" in heads:
        drop(heads.index("rank"))
    for longest in (12, 10, 8):
        if not fits():
            shorten(longest)
    if not fits() and DIFFERENCE in heads:
        drop(heads.index(DIFFERENCE))
    while not fits() and len(heads) > 2:  # subsets that were asked for: the last ones wait for --wide
        drop(len(heads) - 3 if len(heads) > 4 else len(heads) - 1)
    return heads, lines, foot


def fitted(
    heads: Sequence[str], lines: Sequence[Sequence[str]], spare: Sequence[str], width: int = WIDTH
) -> tuple[list[str], Cells]:
    """Heads and lines of at most `width` columns where that is possible: texts of the columns in `spare` are cut, then left
    out, the first one first; the others stay whole."""
    heads, body = list(heads), [list(line) for line in lines]

    def excess() -> int:
        sizes = [max(len(line[index]) for line in (heads, *body)) for index in range(len(heads))]
        return sum(sizes) + 2 * (len(heads) - 1) - width

    for name in spare:
        if excess() > 0:
            index = heads.index(name)
            room = max(len(line[index]) for line in (heads, *body)) - excess()
            for line in body:
                line[index] = visible(line[index], max(room, len(name), SHORT))
    for name in spare:
        if excess() > 0:
            index = heads.index(name)
            for line in (heads, *body):
                del line[index]
    return heads, body


def _breakdown(table: Table, format: str, width: int | None) -> list[str]:
    """Accuracy by language group: a column a group where the width has room for all of them, else a line a group."""
    names = list(table.groups)
    identity = [(head, cell) for head, cell in _identity(table) if head != "tuned on"]
    heads, lines, _, _ = _without_constants(
        [head for head, _ in identity],
        [[cell(row) for _, cell in identity] for row in table.rows],
        [[""] * len(identity), [""] * len(identity)],
        keep=False,
    )
    lines = [[visible(cell, 20) for cell in line] for line in lines]
    figures = [
        [percent(row.groups[name].value) if name in row.groups else _NONE for name in names]
        for row in table.rows
    ]
    counts = [str(len(table.groups[name])) for name in names]
    several = set(counts) > {"1"} or counts[:1] not in ([], ["1"])
    title = (
        f"Accuracy on {subset_name(table.group_subset)} rows by language group"
        if (table.group_subset != "all")
        else "Accuracy by language group"
    )
    wide = sum(max(len(line[i]) for line in (heads, *lines)) + 2 for i in range(len(heads)))
    wide += sum(max(len(_short(name)), 5) + 2 for name in names) - 2
    if (width is not None and wide > width) or (format == "latex_booktabs" and len(names) > PAGE_COLUMNS):
        parts = _upright(heads, lines, names, figures, counts if several else [], format, width)
    else:
        body = [[*line, *cells] for line, cells in zip(lines, figures, strict=True)]
        foot = [["languages", *[""] * (len(heads) - 1), *counts]] if several else []
        align = [*sides(heads), *["right"] * len(names)]
        parts = [grid([*heads, *map(_short, names)], body, foot, format, align)]
    blocks = parts if format == "html" else [f"{text_line(title, format)}\n\n{parts[0]}", *parts[1:]]
    return blocks


def _upright(
    heads: list[str],
    lines: Cells,
    names: list[str],
    figures: Cells,
    counts: list[str],
    format: str,
    width: int | None,
) -> list[str]:
    """A line a language group and a column a checkpoint, which `heads` and `lines` name, in as many tables as it takes."""
    facts = languages()
    named = [
        f"{name} {facts[name].name}" if name in facts and ":" not in name else _short(name) for name in names
    ]
    first = max(map(len, (*named, *heads)))
    first += len("  languages") if counts else 0
    blocks, start = [], 0
    while start < len(lines):
        stop, used = start, first
        while stop < len(lines):
            used += 2 + max(map(len, (*lines[stop], "99.9")))
            if width is not None and used > width and stop > start:
                break
            stop += 1
        body = [
            [name, *([counts[index]] if counts else []), *[cells[index] for cells in figures[start:stop]]]
            for index, name in enumerate(named)
        ]
        above = [
            [
                head,
                *(["languages" if index == 0 else ""] if counts else []),
                *[line[index] for line in lines[start:stop]],
            ]
            for index, head in enumerate(heads)
        ]
        align = ["left", *["right"] * (len(body[0]) - 1)]
        rest = above[1:]
        blocks.append(grid(above[0], rest or body, body if rest else [], format, align))
        start = stop
    return blocks


def _short(group: str) -> str:
    return visible(group.partition(":")[2] or group)


def sides(heads: Sequence[str]) -> list[str]:
    """Where columns with these heads are set: names left, figures right."""
    left = {
        "id",
        "base",
        BASE_OR_ID,
        "arm",
        "intermediate",
        "tuned on",
        "note",
        "verdict",
        "target",
        "subset",
        *BREAKDOWNS,
    }
    return ["left" if head in left else "right" for head in heads]


def grid(heads: list[str], lines: Cells, foot: Cells, format: str, align: Sequence[str] | None = None) -> str:
    """A table of cells that are already text; `foot` stands apart below. Columns are set as `align` says, else by their
    heads."""
    align = list(align or sides(heads))
    escape = {"github": _markdown, "latex_booktabs": _latex}.get(format, str)
    heads, lines = [escape(head) for head in heads], [[escape(cell) for cell in line] for line in lines]
    foot = [[escape(cell) for cell in line] for line in foot if any(line)]
    if format == "html":
        return _html_table(heads, lines, foot, align)
    if format == "simple":
        rule = ["-" * max(len(row[index]) for row in (heads, *lines, *foot)) for index in range(len(heads))]
        whole = [heads, rule, *lines, *([rule, *foot] if foot else [])]
        text = tabulate(whole, tablefmt="plain", disable_numparse=True, colalign=align)
        return "\n".join(row.rstrip() for row in text.splitlines())
    kind = {"latex_booktabs": "latex_raw", "github": "pipe"}.get(format, format)  # pipe: with alignment
    text = tabulate(lines + foot, heads, tablefmt=kind, disable_numparse=True, colalign=align)
    rows = text.splitlines()
    if format == "latex_booktabs":
        ruled = [row for row in rows if row != "\\hline"]
        return "\n".join(
            [
                ruled[0],
                "\\toprule",
                ruled[1],
                "\\midrule",
                *ruled[2 : -1 - len(foot)],
                *(["\\midrule"] if foot else []),
                *ruled[len(ruled) - 1 - len(foot) : -1],
                "\\bottomrule",
                ruled[-1],
            ]
        )
    return text


def _html_table(heads: list[str], lines: Cells, foot: Cells, align: list[str]) -> str:
    def row(cells: list[str], tag: str) -> str:
        out = []
        for index, (cell, side) in enumerate(zip(cells, align, strict=True)):
            kind = (
                'th scope="row"' if index == 0 and tag == "td" else 'th scope="col"' if tag == "th" else "td"
            )
            out.append(
                f'<{kind} style="text-align: {side}">{html.escape(cell)}</{kind.split(maxsplit=1)[0]}>'
            )
        return f"<tr>{''.join(out)}</tr>"

    body = "\n".join(row(line, "td") for line in lines)
    end = "\n<tfoot>\n" + "\n".join(row(line, "td") for line in foot) + "\n</tfoot>" if foot else ""
    return f"<table>\n<thead>\n{row(heads, 'th')}\n</thead>\n<tbody>\n{body}\n</tbody>{end}\n</table>"


def with_caption(
    caption: str, details: list[str], block: str, format: str, width: int | None, label: str = ""
) -> str:
    """A table under its caption and details; `label` is that of LaTeX."""
    if format == "github":
        return "\n\n".join([f"**{_markdown(caption)}**", block, *[_markdown(detail) for detail in details]])
    if format == "latex_booktabs":
        notes = " ".join(f"{_latex(detail)}." for detail in details)
        return (
            f"\\begin{{table}}\n\\centering\n\\caption{{{_latex(caption)}. {notes}}}\n"
            + (f"\\label{{{label}}}\n" if label else "")
            + f"{block}\n\\end{{table}}"
        )
    if format == "html":
        notes = "".join(f"<p>{html.escape(detail)}</p>" for detail in details)
        return f"<figure>\n<figcaption>{html.escape(caption)}{notes}</figcaption>\n{block}\n</figure>"
    return "\n".join(
        [*_wrapped(caption, width), *[line for text in details for line in _wrapped(text, width)], "", block]
    )


def _notes(board: Board, format: str, width: int | None) -> str:
    starred = any(
        delta.significant for table in board.tables for row in table.rows for delta in row.deltas.values()
    )
    items = list(board.notes)
    ranked = " or ".join(dict.fromkeys(subset_name(table.rank_subset) for table in board.tables))
    if board.tables:
        items.insert(
            0,
            "percent; ID/OOD: in/out of distribution; gap: ID - OOD; Δ: points over the size-0 baseline "
            "on the same rows, 95% interval over clusters of rows with all their languages"
            + (
                f"; *: p <= 0.05 after Holm over the {board.settings.get('comparisons')} deltas of the question, "
                "shown or not"
                if starred
                else ""
            )
            + f"; rank: by {ranked}, ranks that cannot be told apart overlap",
        )
    items += [f"not shown: {identity} ({status}): {why}" for identity, status, why in board.unavailable]
    if format == "simple":
        return "\n".join(line for item in items for line in _wrapped(visible(item), width))
    if format == "github":
        return "\n".join(f"- {_markdown(visible(item))}" for item in items)
    if format == "html":
        return "<ul>\n" + "\n".join(f"<li>{html.escape(visible(item))}</li>" for item in items) + "\n</ul>"
    return (
        f"{{\\footnotesize {' '.join(f'{_latex(visible(item))}.' for item in items)}\\par}}" if items else ""
    )


def text_block(text: str, format: str, width: int | None = WIDTH) -> str:
    """A paragraph, wrapped to `width` in the terminal form."""
    shown = visible(text)
    return "\n".join(_wrapped(shown, width)) if format == "simple" else text_line(shown, format)


def text_line(text: str, format: str) -> str:
    if format == "html":
        return f"<p>{html.escape(text)}</p>"
    return _markdown(text) if format == "github" else _latex(text) if format == "latex_booktabs" else text


def _wrapped(text: str, width: int | None) -> list[str]:
    import textwrap

    return textwrap.wrap(text, width, subsequent_indent="  ") if width else [text]


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|~#])", r"\\\1", text.replace("&", "&amp;")) if text != _NONE else text


_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "Δ": r"$\Delta$",
    "…": r"\ldots{}",
    "×": r"$\times$",
    "−": "$-$",
    "≥": r"$\ge$",
    "≤": r"$\le$",
}
_MINUS = re.compile(r"(?<![\w.\])])-(?=\d)")  # of a number, not the hyphen of a name or a range


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in _MINUS.sub("−", text))


def records(board: Board) -> list[dict[str, Any]]:
    """One dict a checkpoint and table, then one an entry without result: shares; every subset with its interval, rows and
    commonest label."""
    lines = [_flat(table, row) for table in board.tables for row in table.rows]
    lines += [{"id": identity, "status": status, "why": why} for identity, status, why in board.unavailable]
    return lines


def _csv(board: Board) -> str:
    lines = records(board)
    heads = list(dict.fromkeys(head for line in lines for head in line)) or ["id"]
    out = io.StringIO()
    writer = csv.DictWriter(out, heads, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: spreadsheet(value) for key, value in line.items()} for line in lines)
    return out.getvalue()


def _flat(table: Table, row: Row) -> dict[str, Any]:
    line: dict[str, Any] = {
        "id": row.id,
        "target": table.target,
        "table": table.number,
        "suite": "bundled" if table.bundled else "published",
        "source": " ".join(table.sources),
        "languages": " ".join(table.languages),
        "data": table.data_fingerprint[:12],
        "base": row.base,
        "arm": row.arm or "",
        "recipe": row.recipe,
        "intermediate": "+".join(row.intermediate),
        "size": row.size,
        "seeds": " ".join(map(str, row.seeds)),
        "tuned_on": "+".join(row.targets),
        "status": "ok",
        "why": "",
    }

    def put(name: str, item: Estimate | Delta) -> None:
        for part, value in (("", item.value), ("_low", item.low), ("_high", item.high)):
            line[name + part] = None if math.isnan(value) else round(value, 6)

    for name, subset in table.subsets.items():
        metric = "acc" if name == "all" else f"acc_{name}"
        put(metric, row.acc[name])
        line[f"{metric}_rows"] = subset.rows
        line[f"{metric}_clusters"] = subset.clusters
        common = subset.commonest_label
        line[f"{metric}_commonest_label"] = None if math.isnan(common) else round(common, 6)
        if row.seed_spread:
            line[f"{metric}_seed_sd"] = round(row.seed_spread[name], 6)
    if row.gap:
        put("gap", row.gap)
    for name, delta in row.deltas.items():
        put(f"delta_{name}", delta)
        line[f"delta_{name}_p"] = None if math.isnan(delta.p) else float(f"{delta.p:.6g}")
        line[f"delta_{name}_p_holm"] = None if math.isnan(delta.p_holm) else float(f"{delta.p_holm:.6g}")
        line[f"delta_{name}_seeds"] = delta.seeds or None
        line[f"delta_{name}_detectable"] = (
            round(delta.detectable, 6) if math.isfinite(delta.detectable) else None
        )
        line[f"delta_{name}_reason"] = delta.reason or ""
    if row.delta_difference:
        put("delta_ood_less_id", row.delta_difference)
        line["delta_ood_less_id_p"] = float(f"{row.delta_difference.p:.6g}")
    for name, item in row.groups.items():
        put(f"acc_{table.group_subset}@{name}" if table.group_subset != "all" else f"acc@{name}", item)
    if row.rank:
        line |= {"rank_best": row.rank[0], "rank_worst": row.rank[1], "rank_group": row.rank_group}
    return line


def spreadsheet(value: Any) -> Any:
    """Text that a spreadsheet would take for a formula gets an apostrophe in front (OWASP, CSV injection)."""
    if not isinstance(value, str):
        return "" if value is None else value
    text = visible(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text
