"""The arms: what each gains at each size, and which cannot be told from the best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xscale.leaderboard import arm_plots
from xscale.leaderboard.arms import Arms, ahead, arm_tables
from xscale.leaderboard.family import Family, Question
from xscale.leaderboard.language_map import subset_words
from xscale.leaderboard.page.parts import Part, Plot, figure, no_change
from xscale.leaderboard.render import percent, span, visible
from xscale.portable import published


def arms(
    parts: Sequence[Part], question: Question, tested: Family, drawn: list[Plot], seed: int = 0
) -> list[dict[str, Any]]:
    """One item a panel with arms: a table of sizes by arms, and, of several arms, a figure with a panel each."""
    by_key = {(part.panel.target, part.panel.number): part for part in parts}
    found = []
    for table in arm_tables([part.bootstrap for part in parts], question, tested, seed):
        part = by_key[table.target, table.number]
        if not table.cells:
            continue
        one_label = part.panel.collapsed
        trained = [entry for entry in part.panel.entries if entry.size]
        about = {entry.arm or "+".join(entry.intermediate): entry for entry in trained}
        found.append(
            {
                "title": part.title,
                "subset": subset_words(table.subset),
                "sizes": table.sizes,
                "rows": [
                    {
                        "arm": visible(arm, 60),
                        "data": visible(published("+".join(about[arm].intermediate)), 80)
                        if arm in about
                        else "",
                        "cells": [
                            None
                            if size not in cells
                            else {
                                "d": cells[size].delta,
                                "best": cells[size].best and size in table.compared,
                                "same": no_change(
                                    cells[size].delta,
                                    [
                                        entry.id
                                        for entry in trained
                                        if entry.size == size
                                        and (entry.arm or "+".join(entry.intermediate)) == arm
                                    ],
                                    one_label,
                                ),
                            }
                            for size in table.sizes
                        ],
                    }
                    for arm, cells in table.cells.items()
                ],
                "best": _best(table),
                "figure": figure(_plot(part, table), drawn) if len(table.cells) > 1 else None,
            }
        )
    return found


def _best(table: Arms) -> str:
    """Which arms may be the best at the largest size that several have."""
    if not table.compared:
        return ""
    size = max(table.compared)
    names = [visible(name, 40) for name in table.best(size)]
    if len(names) == 1:
        return ahead(table, size, names[0])
    return f"At {size:,} examples these cannot be told from the best arm: {', '.join(names)}."


def _plot(part: Part, table: Arms) -> Plot:
    words = "; ".join(
        f"{visible(arm, 40)}: "
        + ", ".join(
            f"{percent(cell.delta.value, True)} {span(cell.delta, True)} at {size:,}"
            for size, cell in row.items()
        )
        for arm, row in table.cells.items()
    )
    return Plot(
        f"{part.dom}-arms",
        f"{part.name}, {subset_words(table.subset)}: points over the baseline, arm by arm",
        f"{_best(table)} Change of {part.panel.measure} with its 95% interval, in points. {words}.",
        arm_plots.arms_figure(table, part.panel.measure),
        [
            {
                "arm": arm,
                "size": size,
                "seeds": cell.delta.seeds,
                "delta": 100 * cell.delta.value,
                "low": 100 * cell.delta.low,
                "high": 100 * cell.delta.high,
                "p_holm": cell.delta.p_holm,
                "maybe_best": cell.best and size in table.compared,
            }
            for arm, row in table.cells.items()
            for size, cell in row.items()
        ],
    )
