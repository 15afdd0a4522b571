"""Two checkpoints side by side: differences by subset and language, and the rows that flipped."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from harness_tasks.targets import targets
from xscale.errors import UserError
from xscale.leaderboard import statistics as st
from xscale.leaderboard.bootstrap import Bootstrap, Delta, estimate, paired_delta
from xscale.leaderboard.panels import Panel, Result, differences
from xscale.leaderboard.render import (
    delta_text,
    grid,
    p_text,
    percent,
    span,
    subset_name,
    text_block,
    visible,
)
from xscale.leaderboard.table import Groups, language_groups, plain

LONGEST_TEXT = 200  # letters of a row's text that are shown


@dataclass(frozen=True)
class Line:
    """One subset or group of languages: both accuracies, and second − first on the same rows."""

    name: str
    rows: int
    languages: int
    commonest_label: float
    first: float
    second: float
    delta: Delta


@dataclass(frozen=True)
class Flip:
    """A row on which the two differ: languages where only the second is right, and where only the first
    is.
    """

    row: int
    label: int
    gained: tuple[str, ...]
    lost: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """Two checkpoints on one target; `gained` and `lost` count documents, `flips` come largest change
    first.
    """

    target: str
    title: str
    bundled: bool
    first: str
    second: str
    subsets: tuple[Line, ...]
    groups: tuple[Line, ...]
    by: str
    subset: str
    gained: int
    lost: int
    documents: int
    flips: tuple[Flip, ...]


def compare(
    panels: Sequence[Panel],
    results: Sequence[Result],
    first: str,
    second: str,
    *,
    by: str = "language",
    subset: str = "all",
    draws: int = st.DRAWS,
    seed: int = 0,
    groups: Groups | None = None,
) -> list[Comparison]:
    """Compare two checkpoints on every target that both answered: second − first.

    Every subset on all languages, then every group of languages (`by`) on `subset`; p-values are corrected
    by Holm for all of these. Raises `UserError` for an unknown or unevaluated id, and where the two were
    not evaluated on the same rows of the same data (it says what differs).
    """
    if first == second:
        raise UserError(f"nothing to compare: {first!r} twice")
    status = {result.entry.id: result for result in results}
    for name in (first, second):
        if name not in status:
            raise UserError(f"no checkpoint {name!r} in the manifest; `xscale ls` lists them")
        if status[name].status != "ok":
            raise UserError(f"checkpoint {name!r}: {status[name].problem}")
    found = [
        _comparison(panel, first, second, by, subset, draws, seed, groups)
        for panel in panels
        if first in panel.ids and second in panel.ids
    ]
    if not found:
        raise UserError(f"{first!r} and {second!r} cannot be compared: {_why_not(panels, first, second)}")
    return _corrected(found)


def _why_not(panels: Sequence[Panel], first: str, second: str) -> str:
    pairs = [
        (a, b) for a in panels for b in panels if first in a.ids and second in b.ids and a.target == b.target
    ]
    return "; ".join(f"{a.target}: {differences(a, b)}" for a, b in pairs) or "no target that both answered"


def _comparison(
    panel: Panel, first: str, second: str, by: str, subset: str, draws: int, seed: int, groups: Groups | None
) -> Comparison:
    a, b = panel.ids.index(first), panel.ids.index(second)
    pair = replace_entries(panel, (a, b))
    if subset not in pair.masks:
        raise UserError(f"{panel.target} has no subset {subset!r}; it has: {', '.join(pair.masks)}")
    bootstrap = Bootstrap(pair, draws, seed)
    axes = language_groups(pair, by, groups)
    lines = [_line(bootstrap, name, name, (), seed) for name in pair.masks]
    by_group = [_line(bootstrap, name, subset, codes, seed) for name, codes in axes.items()]
    was, now = pair.correct[:, pair.masks[subset]]
    flips: list[Flip] = []
    for index in np.flatnonzero((was != now).any(axis=1)).tolist():
        gained, lost = (
            tuple(code for code, yes in zip(pair.languages, here, strict=True) if yes)
            for here in (now[index] & ~was[index], was[index] & ~now[index])
        )
        label = int(pair.labels[pair.masks[subset]][index, 0])
        row = int(pair.rows[pair.masks[subset]][index])
        if pair.own_rows:  # rows of that number are another one in each language
            flips += [Flip(row, label, (code,), ()) for code in gained]
            flips += [Flip(row, label, (), (code,)) for code in lost]
        else:
            flips.append(Flip(row, label, gained, lost))
    flips.sort(key=lambda flip: (-abs(len(flip.gained) - len(flip.lost)), flip.row))
    return Comparison(
        target=panel.target,
        title=panel.title,
        bundled=panel.bundled,
        first=first,
        second=second,
        subsets=tuple(lines),
        groups=tuple(by_group),
        by=by,
        subset=subset,
        gained=int((now & ~was).sum()),
        lost=int((was & ~now).sum()),
        documents=pair.row_count(subset) if pair.own_rows else int(was.size),
        flips=tuple(flips),
    )


def replace_entries(panel: Panel, indices: Sequence[int]) -> Panel:
    """The panel with only some of its checkpoints, in the given order."""
    chosen = list(indices)
    return replace(
        panel,
        entries=tuple(panel.entries[index] for index in chosen),
        predictions=panel.predictions[chosen],
        scores=None if panel.scores is None else (panel.scores[0][chosen], panel.scores[1][chosen]),
    )


def _line(bootstrap: Bootstrap, name: str, subset: str, languages: Sequence[str], seed: int) -> Line:
    panel = bootstrap.panel
    return Line(
        name=name,
        rows=panel.row_count(subset),
        languages=len(languages) or len(panel.languages),
        commonest_label=panel.commonest_label(subset, languages or None),
        first=estimate(bootstrap, [0], subset, languages, seed).value,
        second=estimate(bootstrap, [1], subset, languages, seed).value,
        delta=paired_delta(bootstrap, [1], [0], subset, languages, seed),
    )


def _corrected(found: Sequence[Comparison]) -> list[Comparison]:
    adjusted = iter(
        st.holm([line.delta.p for item in found for line in (*item.subsets, *item.groups)]).tolist()
    )

    def corrected(lines: Sequence[Line]) -> tuple[Line, ...]:
        return tuple(replace(line, delta=replace(line.delta, p_holm=next(adjusted))) for line in lines)

    return [replace(item, subsets=corrected(item.subsets), groups=corrected(item.groups)) for item in found]


def render_comparison(
    found: Sequence[Comparison],
    format: str = "simple",
    *,
    flips: int = 10,
    width: int = 80,
    texts: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> str:
    """Comparisons as text ("simple", "github") or JSON; `flips` rows that changed are listed (JSON has
    all), with their English text where `texts` has a target's rows.
    """
    if format == "json":
        return json.dumps(plain([asdict(item) for item in found]), indent=2, ensure_ascii=False) + "\n"
    if format not in ("simple", "github"):
        raise UserError(f"unknown format {format!r}; there are: simple, github, json")
    blocks = []
    for item in found:
        blocks.append(text_block(item.title, format, width))
        pair = [
            text_block(f"{name}: {visible(of)}", format, width)
            for name, of in (("A", item.first), ("B", item.second))
        ]
        blocks.append(("\n" if format == "simple" else "\n\n").join(pair))
        blocks.append(_lines_grid("subset", item.subsets, format, width, shorten=False))
        on = "" if item.subset == "all" else f" ({subset_name(item.subset)} rows)"
        blocks.append(_lines_grid(f"{item.by}{on}", item.groups, format, width, shorten=True))
        share = 100 * (item.gained + item.lost) / item.documents
        blocks.append(
            text_block(
                f"{item.gained + item.lost:,} of {item.documents:,} documents flipped ({share:.1f}%): {item.gained:,} to "
                f"right, {item.lost:,} to wrong, in {len(item.flips):,} rows",
                format,
                width,
            )
        )
        if flips and item.flips:
            rows = (texts or {}).get(item.target, ())
            blocks.append(_flips(item.target, item.flips[:flips], rows, format, width))
    blocks.append(
        text_block(
            "percent; delta: B - A in points on the same rows, 95% interval over clusters of rows with all their "
            "languages; p after Holm over all lines shown; two training runs: another pair may differ",
            format,
            width,
        )
    )
    return "\n\n".join(blocks) + "\n"


def _flips(
    target: str, flips: Sequence[Flip], rows: Sequence[Mapping[str, Any]], format: str, width: int
) -> str:
    """Rows that flipped: where, what is right, and the English text where there is one."""
    known = targets().get(target)

    def label(flip: Flip) -> str:
        if known and not known.answers:
            return "-"  # documents without choices have no label
        return known.answers[flip.label] if known and flip.label < len(known.answers) else str(flip.label)

    def text(flip: Flip) -> str:
        if known is None or flip.row >= len(rows):
            return ""
        return visible(" | ".join(str(rows[flip.row][name]) for name in known.text_fields), LONGEST_TEXT)

    if format == "github":
        heads = ["row", "label", "right in B only", "right in A only", *(["text"] if rows else [])]
        body = [
            [str(flip.row), label(flip), " ".join(flip.gained) or "-", " ".join(flip.lost) or "-"]
            + ([text(flip)] if rows else [])
            for flip in flips
        ]
        return grid(heads, body, [], format)
    lines = []
    for flip in flips:
        where = [
            f"right in {name} only: {' '.join(codes)}"
            for name, codes in (("B", flip.gained), ("A", flip.lost))
            if codes
        ]
        of = f" ({label(flip)})" if known is None or known.answers else ""
        lines.append(text_block(f"row {flip.row}{of}, {'; '.join(where)}", format, width))
        if text(flip):
            lines.append(textwrap.indent(text_block(text(flip), format, width - 4), "    "))
    return "\n".join(lines)


def _lines_grid(head: str, lines: Sequence[Line], format: str, width: int, shorten: bool) -> str:
    heads = [head, "rows", "commonest", "A", "B", "delta", "95%", "p (Holm)"]
    if shorten:
        heads[1] = "languages"
    body = [
        [
            visible(line.name.partition(":")[2] or line.name if shorten else subset_name(line.name), 24),
            str(line.languages) if shorten else f"{line.rows:,}",
            percent(line.commonest_label),
            percent(line.first),
            percent(line.second),
            delta_text(line.delta),
            span(line.delta, True),
            p_text(line.delta.p_holm),
        ]
        for line in lines
    ]
    if shorten and all(line.languages == 1 for line in lines):
        heads, body = [head, *heads[2:]], [[cells[0], *cells[2:]] for cells in body]
    if format == "simple":
        rest = sum(max(len(row[index]) for row in (heads, *body)) + 2 for index in range(1, len(heads)))
        for cells in body:
            cells[0] = visible(cells[0], max(width - rest, 8))
    return grid(heads, body, [], format)
