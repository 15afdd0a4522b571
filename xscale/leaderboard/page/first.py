"""The first screen: the question, the answer, the headline figure, and what to keep in mind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness_tasks.targets import targets
from xscale.leaderboard.answer import answers, words
from xscale.leaderboard.bootstrap import STAR_SEEDS
from xscale.leaderboard.family import Family, Question
from xscale.leaderboard.headline import (
    Gains,
    arms_of,
    gains,
    gains_limits,
    gains_rows,
    gains_words,
    headline_figure,
    panel_figure,
)
from xscale.leaderboard.ladders import ladders
from xscale.leaderboard.page.parts import Part, Plot, inline, legend
from xscale.leaderboard.panels import TARGET_NAMES, Result
from xscale.leaderboard.render import visible
from xscale.leaderboard.table import Board

LANGUAGES_ONLY = (
    "These are some of the languages, and the question is about all of them: nothing is tested here. "
    "Changes have an interval and no star."
)


def first_screen(
    parts: Sequence[Part],
    board: Board,
    results: Sequence[Result],
    question: Question,
    tested: Family,
    drawn: list[Plot],
    seed: int = 0,
    *,
    explore: bool = False,
) -> dict[str, Any]:
    """What the template's head needs. Where languages are only explored there is no answer."""
    drawn_once = [part.bootstrap for part in parts]
    answer = [LANGUAGES_ONLY] if explore else words(answers(drawn_once, question, tested, seed))
    items = gains(drawn_once, question, tested, seed)
    return {
        "facts": facts(parts, board, results),
        "answer": [first_sentence(text) for text in answer],
        "headline": _headline(items, answer, drawn) if items else None,
        "caveats": caveats(board, results, tested),
    }


def first_sentence(text: str) -> tuple[str, str]:
    """The first sentence, and the rest."""
    head, dot, rest = text.partition(". ")
    return head + dot.strip(), rest


def facts(parts: Sequence[Part], board: Board, results: Sequence[Result]) -> str:
    """What was measured, in a line."""
    count = len({name for table in board.tables for row in table.rows for name in row.ids})
    shown = {name for table in board.tables for row in table.rows for name in row.ids}
    bases = list(dict.fromkeys(r.entry.base for r in results if r.entry.id in shown and r.entry.base))
    found = [f"{count} checkpoint{'s' * (count != 1)}"]
    if len(bases) == 1:
        found[0] += f" of {visible(bases[0], 60)}"
    elif bases:
        found[0] += f" of {len(bases)} bases"
    named = [
        f"{visible(TARGET_NAMES.get(part.panel.target, part.panel.target), 40)}"
        f"{'-like items of the bundled suite' if part.panel.bundled else ''} in "
        f"{len(part.panel.languages)} language{'s' * (len(part.panel.languages) != 1)}"
        for part in parts
        if part.panel.number == 1
    ]
    if named:
        found.append(f"zero-shot on {' and '.join(named[:4])}{' and others' * (len(named) > 4)}")
    rungs = [ladder for part in parts for ladder in ladders(part.panel)]
    if rungs:
        arms = len({(ladder.name, ladder.base) for ladder in rungs})
        sizes = sorted({size for ladder in rungs for size in ladder.sizes})
        seeds = sorted({len(group) for ladder in rungs for group in ladder.sizes.values()})
        many = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"{seeds[0]}"
        found.append(f"{arms} arm{'s' * (arms > 1)}, N from {sizes[0]:,} to {sizes[-1]:,}")
        found.append(f"{many} seed{'s' * (seeds[-1] > 1)}")
    return ", ".join(found) + "."


def _headline(items: Sequence[Gains], answer: Sequence[str], drawn: list[Plot]) -> dict[str, Any]:
    """The figure as panels of their own, so that they stand beside each other as the width allows."""
    arms = arms_of(items)
    words = f"{' '.join(answer)} {' '.join(gains_words(item) for item in items)}"
    title = "Change over the baseline against the number of intermediate-task examples"
    drawn.append(Plot("headline", title, words, headline_figure(items), gains_rows(items)))
    by_target = [[other for other in items if other.target == item.target] for item in items]
    paired = max(map(len, by_target)) > 1
    return {
        "name": "headline",
        "caption": title,
        "alone": len(items) == 1,
        "legend": legend([visible(arm, 40) for arm in arms]) if len(arms) > 1 else [],
        "panels": [
            inline(
                panel_figure(item, arms, gains_limits(mine if paired else [item])),
                f"headline-{number}",
                item.title,
                gains_words(item) if number else words,
            )
            for number, (item, mine) in enumerate(zip(items, by_target, strict=True))
        ],
    }


def caveats(board: Board, results: Sequence[Result], tested: Family) -> list[tuple[str, str]]:
    """What to keep in mind: a few words for the line, and a sentence."""
    found = []
    if any(table.bundled for table in board.tables):
        names = " or ".join(
            dict.fromkeys(
                visible(TARGET_NAMES.get(t.target, t.target), 40) for t in board.tables if t.bundled
            )
        )
        found.append(
            (
                f"bundled suite, not {names}",
                f"Figures marked BUNDLED SUITE are on test items written for xscale. They are not {names} results.",
            )
        )
    seeds = {delta.seeds for delta in tested.values()}
    if seeds == {1}:
        found.append(
            (
                "one seed",
                "One seed: intervals cover the choice of test items, not the luck of training. Published seed noise "
                "on OOD subsets is tens of points.",
            )
        )
    elif seeds and min(seeds) < STAR_SEEDS:
        few = sum(delta.seeds < STAR_SEEDS for delta in tested.values())
        found.append(
            (
                f"{few} of {len(tested)} changes have fewer than {STAR_SEEDS} seeds",
                f"{few} of {len(tested)} changes are over fewer than {STAR_SEEDS} training seeds: they have an "
                "interval and no star.",
            )
        )
    if any(str(result.entry.base or "").startswith("embedded:") for result in results):
        found.append(
            (
                "the base has seen NLI data",
                "The embedded base model was itself tuned for retrieval on data that includes NLI, so it is not the "
                "starting point that the literature has.",
            )
        )
    limited = [table.title for table in board.tables if ", limited" in table.title]
    if limited:
        found.append(
            (
                "part of the test rows",
                "Only a part of the test rows was evaluated, the same for every checkpoint: "
                + "; ".join(visible(title) for title in limited)
                + ".",
            )
        )
    if any(t.target not in targets() for t in board.tables):
        found.append(
            (
                "targets of unknown origin",
                "Some results are of targets that this version does not know: they have no subsets.",
            )
        )
    if board.unavailable:
        found.append(
            (
                f"{len(board.unavailable)} not shown",
                f"{len(board.unavailable)} of the manifest's checkpoints have no result that counts; they are listed "
                "below the tables.",
            )
        )
    return found
