"""What each language gains, as a heat map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xscale.leaderboard.family import Question
from xscale.leaderboard.language_map import language_map, map_figure, map_rows, map_words, subset_words
from xscale.leaderboard.page.parts import Part, Plot, figure


def language_maps(parts: Sequence[Part], question: Question, drawn: list[Plot]) -> list[dict[str, Any]]:
    """One item a panel with a ladder: its map, and whether it is wide."""
    found = []
    for part in parts:
        plot = map_plot(part, question)
        if plot is not None:
            found.append(
                {
                    "title": part.title,
                    "figure": figure(plot, drawn),
                    "wide": len({line["arm"] for line in plot.data}) > 1,
                }
            )
    return found


def map_plot(part: Part, question: Question) -> Plot | None:
    """The map of a panel as a figure with its files' names; None where there is no ladder with a baseline."""
    item = language_map(part.bootstrap, question)
    if item is None:
        return None
    title = f"{part.name}, {subset_words(item.subset)}: points over the baseline by language"
    return Plot(f"{part.dom}-languages", title, map_words(item), map_figure(title, item), map_rows(item))
