"""Two checkpoints side by side: differences by subset and language, and the rows that flipped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

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
    flips = []
    for index in np.flatnonzero((was != now).any(axis=1)).tolist():
        gained = tuple(
            code for code, x, y in zip(pair.languages, was[index], now[index], strict=True) if y and not x
        )
        lost = tuple(
            code for code, x, y in zip(pair.languages, was[index], now[index], strict=True) if x and not y
        )
        label = int(pair.labels[pair.masks[subset]][index, 0])
        flips.append(Flip(int(pair.rows[pair.masks[subset]][index]), label, gained, lost))
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
    found: Sequence[Comparison], format: str = "simple", *, flips: int = 10, width: int = 80
) -> str:
    """Comparisons as text ("simple", "github") or JSON; `flips` rows that changed are listed (JSON has
    all).
    """
    if format == "json":
        return json.dumps(plain([asdict(item) for item in found]), indent=2, ensure_ascii=False) + "\n"
    if format not in ("simple", "github"):
        raise UserError(f"unknown format {format!r}; there are: simple, github, json")
    blocks = []
    for item in found:
        blocks.append(text_block(item.title, format, width))
        blocks.append(text_block(f"A: {visible(item.first)}", format, width))
        blocks.append(text_block(f"B: {visible(item.second)}", format, width))
        blocks.append(_lines_grid("subset", item.subsets, format, shorten=False))
        on = "" if item.subset == "all" else f" ({subset_name(item.subset)} rows)"
        blocks.append(_lines_grid(f"{item.by}{on}", item.groups, format, shorten=True))
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
            heads = ["row", "label", "right in B only", "right in A only"]
            body = [
                [str(flip.row), str(flip.label), _codes(flip.gained), _codes(flip.lost)]
                for flip in item.flips
            ]
            blocks.append(grid(heads, body[:flips], [], format))
    blocks.append(
        text_block(
            "percent; delta: B - A in points on the same rows, 95% interval over clusters of rows with all their "
            "languages; p after Holm over all lines shown; two training runs: another pair may differ",
            format,
            width,
        )
    )
    return "\n\n".join(blocks) + "\n"


def _codes(codes: Sequence[str]) -> str:
    return " ".join(codes) or "-"


def _lines_grid(head: str, lines: Sequence[Line], format: str, shorten: bool) -> str:
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
    return grid(heads, body, [], format)
