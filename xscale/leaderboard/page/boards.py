"""The tables: means over seeds first, then every checkpoint with its particulars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xscale.leaderboard.page.parts import Part, no_change, safe
from xscale.leaderboard.panels import TARGET_NAMES, Result
from xscale.leaderboard.render import seeds_name, visible
from xscale.leaderboard.table import Board, Row, Table
from xscale.portable import published


def boards(
    parts: Sequence[Part], board: Board, means: Board, results: Sequence[Result]
) -> list[dict[str, Any]]:
    """One item a table: `board` has a row a checkpoint, `means` the same with seeds merged."""
    merged = {(table.target, table.number): table for table in means.tables}
    nearly_one = {(p.panel.target, p.panel.number): p.panel.collapsed for p in parts}
    known = {result.entry.id: result for result in results}
    found = []
    for table in board.tables:
        key = (table.target, table.number)
        pooled = merged[key]
        one_label = nearly_one.get(key, [])
        reasons = {
            reason: number
            for number, reason in enumerate(dict.fromkeys([*_reasons(pooled), *_reasons(table)]), 1)
        }
        found.append(
            {
                "title": visible(table.title),
                "dom": f"board-{safe(table.target)}-{table.number}",
                "target": table.target,
                "number": table.number,
                "published": TARGET_NAMES.get(table.target, table.target),
                "bundled": table.bundled,
                "pooled": _rows(pooled, one_label, reasons, {}),
                "each": _rows(table, one_label, reasons, known),
                "merged": any(len(row.ids) > 1 for row in pooled.rows),
                "subsets": table.subsets,
                "reasons": reasons,
                "notes": list(dict.fromkeys([*pooled.notes, *table.notes])),
            }
        )
    return found


def comparisons(board: Board) -> int:
    """How many deltas Holm's correction counts."""
    return int(board.settings["comparisons"])


def _reasons(table: Table) -> list[str]:
    return [
        delta.reason
        for row in table.rows
        for delta in row.deltas.values()
        if delta.reason and delta.reason != "baseline"
    ]


# how each column that says which checkpoint it is fills its cells: heading, whether a number, (text, value to sort by)
_IDENTITY: dict[str, tuple[str, bool, Any]] = {
    "base": ("base", False, lambda row: (visible(row.base or "-"), "")),
    "intermediate": (
        "arm",
        False,
        lambda row: (visible(arm_name(row)), ""),
    ),
    "tuned_on": ("tuned on", False, lambda row: (visible("+".join(row.targets) or "-"), "")),
    "size": ("N", True, lambda row: ("-" if row.size is None else f"{row.size:,}", _number(row.size))),
    "seed": ("seed", True, lambda row: (seeds_name(row), _number(row.seeds[0] if row.seeds else None))),
}


def arm_name(row: Row) -> str:
    """The arm, or the intermediate tasks; of a size-0 checkpoint "baseline", of one that was not trained here its id."""
    if row.size == 0:
        return "baseline"
    return row.arm or "+".join(row.intermediate) or ("-" if row.size else row.id)


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _rows(
    table: Table, one_label: Sequence[str], reasons: Mapping[str, int], known: Mapping[str, Result]
) -> dict[str, Any]:
    """The table's heads and lines; columns that say the same in every row are said once, above it.

    With `known` each row is a checkpoint with its id and particulars.
    """
    columns = list(table.subsets)
    cells = {key: [cell(row) for row in table.rows] for key, (_, _, cell) in _IDENTITY.items()}
    lifted = [key for key in ("base", "tuned_on") if _alike(cells[key])]
    said = [f"{_IDENTITY[key][0]} {_only(cells[key])}" for key in lifted if _only(cells[key]) != "-"]
    heads = [key for key in ("intermediate", "size", "base", "tuned_on", "seed") if key not in lifted]
    if not known and "seed" in heads:
        heads.remove("seed")  # the number of seeds has a column of its own
    seeds = {len(row.seeds) for row in table.rows}
    has_gap = any(row.gap for row in table.rows)
    return {
        "heads": [(key, _IDENTITY[key][0], _IDENTITY[key][1]) for key in heads],
        "said": "; ".join(said),
        "columns": columns,
        "gap_after": columns.index("ood") if has_gap and "ood" in columns else -1,
        "delta_names": list(table.rows[0].deltas) if table.rows else [],
        "spread": any(row.seed_spread for row in table.rows),
        "seeds": seeds != {1} and not known,
        "rows": [
            {
                "row": row,
                "id": visible(row.id),
                "arm": arm_name(row),
                "cells": [cells[key][index] for key in heads],
                "n": cells["size"][index][0],
                "seeds": len(row.seeds),
                "deltas": {
                    name: _delta(delta, row, one_label, reasons) for name, delta in row.deltas.items()
                },
                "details": details(known[row.id]) if row.id in known else [],
            }
            for index, row in enumerate(table.rows)
        ],
    }


def _delta(delta: Any, row: Row, one_label: Sequence[str], reasons: Mapping[str, int]) -> dict[str, Any]:
    why = "" if not delta.reason else "baseline"
    if delta.reason and delta.reason != "baseline":
        why = f"see note {reasons[delta.reason]}"
    return {"d": delta, "why": why, "same": no_change(delta, row.ids, one_label)}


def _alike(cells: Sequence[tuple[str, str]]) -> bool:
    """Whether all rows that say something say the same."""
    return len(cells) > 1 and len({text for text, _ in cells} - {"-"}) <= 1


def _only(cells: Sequence[tuple[str, str]]) -> str:
    return next((text for text, _ in cells if text != "-"), "-")


def details(result: Result) -> list[tuple[str, str]]:
    """What tells a checkpoint from all others: model, arguments, digests, notes; no local path."""
    entry, info = result.entry, result.info
    items = [
        ("model", entry.model),
        ("arguments", ", ".join(f"{key}={value}" for key, value in entry.model_args.items())),
        ("base", entry.base or ""),
        ("intermediate data", " + ".join(entry.intermediate) if entry.size else ""),
        ("fine-tuned on", "; ".join(f"{key}: {' + '.join(sets)}" for key, sets in entry.targets.items())),
        ("baseline", entry.baseline or ""),
        ("recipe", entry.recipe or ""),
        ("weights", str(info.get("weights") or entry.sha256 or "")),
        ("lm_eval", str(info.get("lm_eval") or "")),
        ("precision", str(info.get("precision") or "")),
        ("note", entry.note or ""),
    ]
    return [(name, visible(published(text), 400)) for name, text in items if text]
