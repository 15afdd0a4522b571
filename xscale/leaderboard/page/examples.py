"""Rows whose answers size flips, with their English texts where the data is at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness_tasks.rows import Options, data_record
from harness_tasks.sources import DataError, source_here
from harness_tasks.targets import get_target, read_target, targets
from xscale.leaderboard.ladders import ladders
from xscale.leaderboard.page.parts import Part, ladder_title
from xscale.leaderboard.panels import Panel, Result, source_label
from xscale.portable import published

EXAMPLES = 6


def examples(part: Part, results: Sequence[Result], texts: bool) -> list[dict[str, Any]]:
    """For each ladder (three at most), rows whose answers the largest size changes in most languages."""
    panel, found = part.panel, []
    if panel.own_rows:  # a row of one language has nothing to do with that of another
        return []
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
        seed = panel.entries[chosen[-1]].seed
        found.append(
            {
                "title": f"{part.title}: {ladder_title(ladder)}",
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
            source = source_here(scores.source)
            record = data_record(panel.target, "en", Options(data=source))
            if record["data_fingerprint"] != scores.fingerprints["en"]:
                return None, f"{none}the data at {source_label(scores.source)} is not what was evaluated."
            return list(read_target(panel.target, "en", "test", source)), ""
        except (DataError, OSError, ValueError) as error:
            return None, f"{none}{published(str(error))}."
    return None, f"{none}English was not evaluated."


def _fields(target: str, row: Mapping[str, Any]) -> list[tuple[str, str]]:
    names = (*get_target(target).text_fields, *get_target(target).pivot)
    return [(name, str(row[name])) for name in names if name in row]


def _label_name(target: str, label: int) -> str:
    known = targets()
    names = known[target].answers if target in known else ()
    return names[label] if label < len(names) else str(label)
