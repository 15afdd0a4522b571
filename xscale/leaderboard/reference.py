"""The gate: a leaderboard against a reference that a former `xscale board --format json` wrote."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xscale.errors import UserError
from xscale.leaderboard import statistics as st
from xscale.leaderboard.panels import TARGET_NAMES, Panel, Result
from xscale.leaderboard.render import grid, p_text, percent, subset_name, text_block, visible

REFERENCE_FORMATS = (1,)


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
    counts that the reference holds, by cluster, corrected by Holm. A checkpoint of the reference that has no result
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
        return unknown(
            "the reference has no row counts; write it with `--seeds each --format json` (of accuracies: other figures "
            "have none)"
        )
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
        p = st.sign_flip_p(panel.by_cluster(after - before, subset))
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
