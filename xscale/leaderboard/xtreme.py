"""XTREME's table (Hu et al. 2020) of the manifest's entries: tasks, categories, average; published rows beside it.

A task is the mean over its languages, English among them; a question-answering task the mean of F1 and exact match. A
category is the mean over its tasks, the average that over the nine tasks, as XTREME's own evaluate.py has it
(github.com/google-research/xtreme). Neither is given where a part is missing.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness_tasks.targets import targets
from xscale.errors import UserError
from xscale.leaderboard.ladders import recipe_of
from xscale.leaderboard.panels import Result, is_todays, of_bundled_suite
from xscale.leaderboard.render import (
    FORMATS,
    WIDTH,
    grid,
    percent,
    spreadsheet,
    text_block,
    visible,
    with_caption,
)
from xscale.leaderboard.table import Filter, plain
from xscale.manifest import Entry

PAIR, STRUCTURED, QUESTIONS, RETRIEVAL = CATEGORIES = (
    "pair sentence",
    "structured prediction",
    "question answering",
    "sentence retrieval",
)
COLUMNS = {
    "XNLI": PAIR,
    "PAWS-X": PAIR,
    "POS": STRUCTURED,
    "NER": STRUCTURED,
    "XQuAD": QUESTIONS,
    "MLQA": QUESTIONS,
    "TyDiQA": QUESTIONS,
    "BUCC": RETRIEVAL,
    "Tatoeba": RETRIEVAL,
}
SHORT = {PAIR: "pair", STRUCTURED: "structured", QUESTIONS: "QA", RETRIEVAL: "retrieval"}
PUBLISHED = Path(__file__).with_name("published.tsv")
CAPTION = "XTREME (Hu et al. 2020), mean over each task's languages"
NOTES = (
    "percent; XNLI, PAWS-X, Tatoeba: accuracy; POS, NER, BUCC: F1; XQuAD, MLQA, TyDiQA: F1 / exact match, which count with their "
    "mean; category: mean over its tasks; average: mean over the nine tasks; -: not given, as a part is missing; ~: over fewer "
    "languages or rows than XTREME's, in no mean",
)


@dataclass(frozen=True)
class Cell:
    """A task's score: F1 or accuracy, and of question answering the exact match; `part` says what it lacks."""

    score: float
    exact: float | None = None
    part: str = ""

    @property
    def value(self) -> float:
        """What counts in means: of question answering the mean of F1 and exact match; NaN of a part of the task."""
        if self.part:
            return math.nan
        return self.score if self.exact is None else (self.score + self.exact) / 2


@dataclass(frozen=True)
class Row:
    """One checkpoint, or the mean of its seeds; `cells` by column, `means` of categories by name, `note` what is missing.

    `source` is the citation of a published row, which was not run here.
    """

    name: str
    base: str | None
    size: int | None
    seeds: tuple[int, ...]
    ids: tuple[str, ...]
    cells: Mapping[str, Cell]
    means: Mapping[str, float] = field(default_factory=dict)
    average: float = math.nan
    note: str = ""
    source: str = ""


def xtreme_columns() -> dict[str, str]:
    """Column -> target, of the targets that are in XTREME's table."""
    found = {}
    for name, target in targets().items():
        if target.benchmark is not None and target.benchmark[1] in COLUMNS:
            found[target.benchmark[1]] = name
    return found


def xtreme_rows(results: Sequence[Result], show: Filter | None = None) -> list[Row]:
    """A row for every entry with results, seeds of one recipe and size together."""
    chosen = show or Filter()
    grouped: dict[tuple[Any, ...], list[Result]] = {}
    for result in results:
        if result.status == "ok" and chosen.passes(result.entry):
            grouped.setdefault(_seeds_key(result.entry), []).append(result)
    rows = []
    for group in grouped.values():
        distinct = len({result.entry.seed for result in group}) == len(group)
        rows += [_row(part) for part in ([group] if distinct else [[one] for one in group])]
    return [row for row in rows if row is not None]


def _seeds_key(entry: Entry) -> tuple[Any, ...]:
    if entry.size is None or entry.seed is None:
        return (entry.id,)
    tasks = tuple(entry.intermediate) if entry.size else ()
    return entry.model, entry.base, entry.arm, tasks, recipe_of(entry), entry.size


def _row(group: Sequence[Result]) -> Row | None:
    """The mean over seeds; None where no seed has results of any of the tasks."""
    cells: dict[str, Cell] = {}
    known = xtreme_columns()
    for column in COLUMNS:
        found = [(one.entry.id, _cell(one, known[column])) for one in group if column in known]
        there = [cell for _, cell in found if cell is not None]
        if not there:
            continue
        part = "; ".join(dict.fromkeys(cell.part for cell in there if cell.part))
        if len(there) < len(found):
            lacking = ", ".join(name for name, cell in found if cell is None)
            part = "; ".join(filter(None, (part, f"not of {lacking}")))
        exact = [cell.exact for cell in there if cell.exact is not None]
        cells[column] = Cell(_mean([cell.score for cell in there]), _mean(exact) if exact else None, part)
    if not cells:
        return None
    first = group[0].entry
    name = (
        "no intermediate task" if first.size == 0 else first.arm or "+".join(first.intermediate) or first.id
    )
    seeds = tuple(one.entry.seed for one in group if one.entry.seed is not None)
    return _with_means(
        Row(name, first.base, first.size, seeds, tuple(one.entry.id for one in group), cells), _missing(cells)
    )


def _cell(result: Result, target: str) -> Cell | None:
    """One checkpoint's score of a target; bundled rows are not XTREME's."""
    spec = targets()[target]
    parts = [
        scores
        for part in (result.scores, *result.more)
        for name, scores in part.items()
        if name.partition("/")[0] == target and not of_bundled_suite(target, scores.source, scores.anchor)
    ]
    old = dict.fromkeys(scores.version for scores in parts if not is_todays(target, scores.version))
    parts = [scores for scores in parts if is_todays(target, scores.version)]
    if old and not parts:
        return Cell(
            math.nan,
            part=f"version {' and '.join(old)} of its task scored otherwise; run `xscale eval` again",
        )
    figures: dict[str, tuple[float, float, int]] = {}
    fewer = []
    for language in spec.languages:
        here = [scores for scores in parts if language in scores.figures]
        if here:
            best = max(here, key=lambda scores: scores.figures[language][2])
            figures[language] = best.figures[language]
            whole = dict(spec.places[language].size).get("test")
            if best.limit is not None or (whole is not None and figures[language][2] < whole):
                fewer.append(language)
    if not figures:
        return None
    said = []
    missing = [language for language in spec.languages if language not in figures]
    if missing:
        said.append(f"{len(figures)} of {len(spec.languages)} languages, without {', '.join(missing)}")
    if fewer:
        said.append(f"not all rows of {', '.join(fewer)}" if len(fewer) < len(figures) else "not all rows")
    asked = spec.benchmark is not None and spec.benchmark[0] == QUESTIONS
    return Cell(
        _mean([figure[0] for figure in figures.values()]),
        _mean([figure[1] for figure in figures.values()]) if asked else None,
        "; ".join(said),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _missing(cells: Mapping[str, Cell]) -> str:
    """In words, what a row lacks of XTREME."""
    absent = [column for column in COLUMNS if column not in cells]
    said = [f"no {', '.join(absent)}"] if absent else []
    said += [f"{column}: {cell.part}" for column, cell in cells.items() if cell.part]
    return "; ".join(said)


def _with_means(row: Row, note: str) -> Row:
    """The row with the means of whole categories and of the whole benchmark (`Cell.value` is NaN of a part)."""
    values = {column: row.cells[column].value if column in row.cells else math.nan for column in COLUMNS}
    means = {name: _mean([values[c] for c, kind in COLUMNS.items() if kind == name]) for name in CATEGORIES}
    fields = {
        name: getattr(row, name) for name in ("name", "base", "size", "seeds", "ids", "cells", "source")
    }
    return Row(**fields, means=means, average=_mean(list(values.values())), note=note)


def published_rows() -> list[Row]:
    """The reference rows of published.tsv: as published, not run here, with where each figure was read."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    sources: dict[str, dict[str, list[str]]] = {}  # model -> source -> columns
    with PUBLISHED.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file, delimiter="\t"):
            found.setdefault(line["model"], {}).setdefault(line["column"], {})[line["metric"]] = line["value"]
            said = f"{line['citation']}; read in {line['source']}"
            sources.setdefault(line["model"], {}).setdefault(said, []).append(line["column"])
    rows = []
    for model, columns in found.items():
        first, *others = sorted(sources[model], key=lambda said: -len(sources[model][said]))
        source = "; ".join([first, *(f"{', '.join(sources[model][said])}: {said}" for said in others)])
        cells = {}
        for column in filter(columns.__contains__, COLUMNS):
            given = {metric: float(value) / 100 for metric, value in columns[column].items()}
            score = given.get("f1", given.get("accuracy", math.nan))
            lacks = COLUMNS[column] == QUESTIONS and "exact_match" not in given
            cells[column] = Cell(score, given.get("exact_match"), "F1 only" if lacks else "")
        rows.append(_with_means(Row(model, None, None, (), (), cells, source=source), _missing(cells)))
    return rows


def render_xtreme(
    rows: Sequence[Row], format: str = "simple", *, wide: bool = False, width: int = WIDTH
) -> str:
    """The table in one of the board's formats; "simple" keeps to `width` columns, in several parts.

    CSV and JSON hold shares. Raises `UserError` for an unknown format.
    """
    if format not in FORMATS:
        raise UserError(f"unknown format {format!r}; there are: {', '.join(FORMATS)}")
    if format == "json":
        made = [asdict(row) | {"published": bool(row.source)} for row in rows]
        whole = {"columns": COLUMNS, "rows": made}
        return json.dumps(plain(whole), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if format == "csv":
        return _csv(rows)
    narrow = None if wide or format != "simple" else max(width, 40)
    run, published = ([row for row in rows if bool(row.source) == kind] for kind in (False, True))
    if not run and not published:
        return text_block("No results on any task of XTREME.", format, narrow) + "\n"
    bases = {row.base for row in run}
    details = [f"base {next(iter(bases))}"] if len(bases) == 1 and None not in bases else []
    heads, lines, foot = _cells(run, published, named=len(bases) > 1)
    blocks = []
    for part in _parts(heads, [*lines, *foot], narrow):
        taken = [[[row[index] for index in part] for row in rows] for rows in (lines, foot)]
        blocks.append(grid([heads[index] for index in part], taken[0], taken[1], format))
    noted: dict[str, list[str]] = {}
    for row in run:
        noted.setdefault(row.note, []).append(_label(row))
    details += [f"{', '.join(labels)}: {note}" for note, labels in noted.items() if note]
    sources = dict.fromkeys((row.source, row.note) for row in published)
    for source, note in sources:
        names = ", ".join(row.name for row in published if (row.source, row.note) == (source, note))
        details.append(
            f"{names}: as published, not run here, in no statistics: {source}" + (f"; {note}" if note else "")
        )
    shown = with_caption(
        CAPTION,
        [visible(text) for text in [*details, *NOTES]],
        "\n\n".join(blocks),
        format,
        narrow,
        "tab:xscale-xtreme",
    )
    return f'<section class="xscale-board">\n{shown}\n</section>\n' if format == "html" else shown + "\n"


def _label(row: Row) -> str:
    return row.name if row.size is None else f"{row.name}, N {row.size:,}"


def _cells(
    run: Sequence[Row], published: Sequence[Row], *, named: bool
) -> tuple[list[str], list[list[str]], list[list[str]]]:
    """Headings, lines of what was run, lines of what was published."""
    heads = [*(["base"] if named else []), "intermediate", "N", "seed", "average"]
    heads += [*(SHORT[name] for name in CATEGORIES), *COLUMNS]

    def line(row: Row) -> list[str]:
        seeds = (
            "-"
            if not row.seeds
            else str(row.seeds[0])
            if len(row.seeds) == 1
            else f"mean of {len(row.seeds)}"
        )
        first = [visible(row.base or "-", 24)] if named else []
        first += [visible(row.name, 32) + (" (published)" if row.source else "")]
        first += ["-" if row.size is None else f"{row.size:,}", seeds]
        first += [percent(row.average), *[percent(row.means[name]) for name in CATEGORIES]]
        return [*first, *[_text(row.cells.get(column)) for column in COLUMNS]]

    return heads, [line(row) for row in run], [line(row) for row in published]


def _text(cell: Cell | None) -> str:
    if cell is None or math.isnan(cell.score):
        return "-"
    exact = "" if cell.exact is None else f"/{percent(cell.exact)}"
    return f"{'~' if cell.part else ''}{percent(cell.score)}{exact}"


def _parts(heads: Sequence[str], lines: Sequence[Sequence[str]], width: int | None) -> list[list[int]]:
    """Columns by block: the first ones, which name a row, stand in each; as many others as `width` takes."""
    fixed = heads.index("average")
    names = list(range(fixed))
    wide = [max(len(row[i]) for row in (heads, *lines)) + 2 for i in range(len(heads))]
    if width is None:
        return [list(range(len(heads)))]
    parts: list[list[int]] = []
    used = width + 1
    for index in range(fixed, len(heads)):
        used += wide[index]
        if not parts or used > width + 2:
            parts.append([*names])
            used = sum(wide[:fixed]) + wide[index]
        parts[-1].append(index)
    return parts


def _csv(rows: Sequence[Row]) -> str:
    """One line a row; shares; a task that lacks a part says so in `note`."""
    lines: list[dict[str, Any]] = []
    for row in rows:
        line: dict[str, Any] = {
            "name": row.name,
            "ids": " ".join(row.ids),
            "base": row.base or "",
            "size": row.size,
            "seeds": " ".join(map(str, row.seeds)),
            "published": row.source,
            "average": row.average,
        }
        line |= {SHORT[name].lower(): row.means[name] for name in CATEGORIES}
        for column, kind in COLUMNS.items():
            cell = row.cells.get(column)
            line[column] = None if cell is None else cell.score
            if kind == QUESTIONS:
                line[f"{column} exact match"] = None if cell is None else cell.exact
        line["note"] = row.note
        lines.append({key: spreadsheet(plain(value)) for key, value in line.items()})
    out = io.StringIO()
    writer = csv.DictWriter(out, list(lines[0]) if lines else ["name"], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue()
