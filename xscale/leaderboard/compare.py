"""Two checkpoints side by side, and the gate that compares a leaderboard with a reference."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from xscale.errors import UserError
from xscale.leaderboard import statistics as st
from xscale.leaderboard.panels import TARGET_NAMES, Panel, Result, differences
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
from xscale.leaderboard.table import Bootstrap, Delta, Groups, estimate, language_groups, paired_delta, plain

REFERENCE_FORMATS = (1,)


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
        documents=int(was.size),
        flips=tuple(flips),
    )


def replace_entries(panel: Panel, indices: Sequence[int]) -> Panel:
    """The panel with only some of its checkpoints, in the given order."""
    chosen = list(indices)
    return replace(
        panel, entries=tuple(panel.entries[index] for index in chosen), predictions=panel.predictions[chosen]
    )


def _line(bootstrap: Bootstrap, name: str, subset: str, languages: Sequence[str], seed: int) -> Line:
    panel = bootstrap.panel
    return Line(
        name=name,
        rows=int(panel.masks[subset].sum()),
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
            "percent; delta: B - A in points on the same rows, 95% interval over rows with all their languages; "
            "*: p <= 0.05 after Holm over all lines shown",
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


@dataclass(frozen=True)
class Change:
    """One checkpoint and subset against the reference; `verdict` is "worse", "better", "same", or
    "unknown".
    """

    id: str
    target: str
    subset: str
    old: float
    new: float
    delta: float
    p_holm: float
    verdict: str
    why: str = ""


@dataclass(frozen=True)
class Check:
    """What changed against a reference. `failed`: a checkpoint got significantly worse or could not be
    checked.
    """

    changes: tuple[Change, ...]
    new: tuple[str, ...]

    @property
    def failed(self) -> bool:
        """Whether the gate is closed."""
        return any(change.verdict in ("worse", "unknown") for change in self.changes)


def check_reference(panels: Sequence[Panel], results: Sequence[Result], path: Path) -> Check:
    """Compare checkpoints with a board written by `xscale board --format json`, by id, on the reference's
    rows.

    Every subset of the reference is tested by the exact paired test of `statistics.sign_flip_p` on the row
    counts that the reference holds, corrected by Holm. A checkpoint of the reference that has no result
    now, or one on other data, cannot be checked and closes the gate too. Raises `UserError` when the file
    is no such board.
    """
    changes: list[Change] = []
    p_values: list[float] = []
    now = {result.entry.id: result for result in results}
    tables = read_reference(path)
    for table in tables:
        for row in table["rows"]:
            for change, p in _changes(path, table, row, panels, now):
                changes.append(change)
                p_values.append(p)
    adjusted = st.holm(p_values).tolist()
    judged = []
    for change, p in zip(changes, adjusted, strict=True):
        verdict = change.verdict
        if not verdict:
            verdict = "same" if not p <= 1 - st.LEVEL else "worse" if change.delta < 0 else "better"
        judged.append(replace(change, p_holm=p, verdict=verdict))
    known = {(table["target"], name) for table in tables for row in table["rows"] for name in row["ids"]}
    new = {name for panel in panels for name in panel.ids if (panel.target, name) not in known}
    return Check(tuple(judged), tuple(sorted(new)))


def _changes(
    path: Path,
    table: Mapping[str, Any],
    row: Mapping[str, Any],
    panels: Sequence[Panel],
    now: Mapping[str, Result],
) -> list[tuple[Change, float]]:
    name, target = str(row["id"]), str(table["target"])
    old = float(row["acc"]["all"]["value"])

    def unknown(why: str) -> list[tuple[Change, float]]:
        return [(Change(name, target, "all", old, math.nan, math.nan, math.nan, "unknown", why), math.nan)]

    if not row.get("rows_right"):
        return unknown("the reference has no row counts; write it with `--seeds each --format json`")
    if name not in now:
        return unknown("not in the manifest any more")
    if now[name].status != "ok":
        return unknown(now[name].problem or now[name].status)
    key = tuple(table["key"])
    mine = [panel for panel in panels if panel.target == target and name in panel.ids]
    panel = next((panel for panel in mine if panel.key == key), None)
    if panel is None:
        return unknown(
            "evaluated on other data than the reference" if mine else f"no {target} result any more"
        )
    try:
        before = st.unpack_counts(row["rows_right"], len(panel.rows)).astype(int)
    except ValueError as error:
        raise UserError(f"{path}: {name}: {error}; write the reference again") from None
    after = panel.right()[panel.ids.index(name)].astype(int)
    found = []
    for subset in row["acc"]:
        if subset not in panel.masks:
            found.append((replace(unknown(f"the subset {subset} is gone")[0][0], subset=subset), math.nan))
            continue
        mask, count = panel.masks[subset], len(panel.languages)
        was, is_now = float(before[mask].mean()) / count, float(after[mask].mean()) / count
        p = st.sign_flip_p((after - before)[mask])
        found.append((Change(name, target, subset, was, is_now, is_now - was, math.nan, ""), p))
    return found


def read_reference(path: Path) -> list[dict[str, Any]]:
    """The tables of a board's JSON; raises `UserError` when the file is not one."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] not in REFERENCE_FORMATS:
            raise UserError(
                f"{path}: format {data['format']!r} of another version; write the reference again"
            )
        for table in data["tables"]:
            assert {"target", "key", "rows"} <= set(table)
            assert all({"id", "ids", "acc"} <= set(row) and "all" in row["acc"] for row in table["rows"])
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror or error}; `xscale board --format json` writes a reference"
        ) from None
    except (ValueError, KeyError, TypeError, AssertionError):
        raise UserError(f"{path}: not a board; write it with `xscale board --format json`") from None
    return list(data["tables"])


def render_check(check: Check, width: int = 80) -> str:
    """The check as text: what got worse, better, or cannot be told; one line when all is the same."""
    order = {"worse": 0, "unknown": 1, "better": 2}
    shown = sorted(
        (change for change in check.changes if change.verdict in order), key=lambda c: order[c.verdict]
    )
    same = sum(change.verdict == "same" for change in check.changes)
    blocks = []
    if shown:
        body = [
            [
                change.verdict,
                visible(change.id, 30),
                TARGET_NAMES.get(change.target, change.target),
                subset_name(change.subset),
                percent(change.old),
                percent(change.new),
                percent(change.delta, True),
                p_text(change.p_holm),
            ]
            for change in shown
        ]
        blocks.append(
            grid(
                ["verdict", "id", "target", "subset", "old", "new", "change", "p (Holm)"], body, [], "simple"
            )
        )
        blocks += [
            text_block(f"{change.id} ({change.target}): {change.why}", "simple", width)
            for change in shown
            if change.why
        ]
    if check.new:
        blocks.append(text_block(f"not in the reference: {', '.join(check.new)}", "simple", width))
    verdict = "FAILED" if check.failed else "passed"
    blocks.append(
        f"check {verdict}: {same} of {len(check.changes)} figures cannot be told from the reference"
    )
    return "\n\n".join(blocks) + "\n"


def changed_figures(old: Any, new: Any, where: str = "") -> list[str]:
    """Every place where two boards' JSON differ, as "place: old -> new", for a gate on exact figures."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(key for key in new if key not in old)]
        return [
            line
            for key in keys
            for line in changed_figures(old.get(key), new.get(key), f"{where}.{key}".lstrip("."))
        ]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [
            line
            for i, (a, b) in enumerate(zip(old, new, strict=True))
            for line in changed_figures(a, b, f"{where}[{_label(a, i)}]")
        ]
    if (
        isinstance(old, float)
        and isinstance(new, float)
        and math.isclose(old, new, rel_tol=1e-6, abs_tol=1.5e-6)
    ):
        return []
    return [] if old == new else [f"{where}: {old!r} -> {new!r}"]


def _label(item: Any, index: int) -> str:
    return str(item.get("id") or item.get("target") or index) if isinstance(item, dict) else str(index)
