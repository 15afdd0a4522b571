"""How it was made: what was trained on what, the data, the versions, the statistics, and how to cite."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import datetime
from importlib import metadata
from typing import Any

from harness_tasks.targets import targets
from xscale.leaderboard.arms import named_ladders
from xscale.leaderboard.ladders import ladders
from xscale.leaderboard.page.parts import Part
from xscale.leaderboard.page.subsets import about
from xscale.leaderboard.panels import TARGET_NAMES, Panel
from xscale.leaderboard.render import visible
from xscale.leaderboard.table import Board
from xscale.portable import published


def made_of(
    panels: Sequence[Panel], board: Board, command: str | None, made: datetime
) -> list[tuple[str, str]]:
    items = [("made", f"{made:%Y-%m-%d %H:%M} UTC")]
    if command:
        items.append(("command", published(command)))
    versions = [f"Python {platform.python_version()}"]
    for package in ("xscale", "lm_eval", "numpy", "scipy", "matplotlib"):
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    settings = board.settings
    items += [
        ("versions", ", ".join(versions)),
        (
            "statistics",
            f"bootstrap over clusters of rows, {settings['draws']:,} draws, seed {settings['seed']}, "
            f"{100 * settings['level']:.0f}% intervals; exact sign-flip tests; Holm",
        ),
    ]
    for panel in panels:
        seeds = sorted({entry.seed for entry in panel.entries if entry.seed is not None})
        items.append(
            (
                f"{visible(panel.target)} {panel.number}",
                f"{panel.title}; languages {' '.join(panel.languages)}; task version {panel.key[3]}; "
                f"data fingerprint {panel.key[2][:16]}; English labels {panel.key[0][:16]}; "
                f"training seeds {' '.join(map(str, seeds)) or 'unknown'}; {len(panel.ids)} checkpoints",
            )
        )
    return items


def trained(parts: Sequence[Part]) -> list[dict[str, str]]:
    """What each arm was trained on, a line an arm and target."""
    found = []
    for part in parts:
        entries = part.panel.entries
        for name, ladder in named_ladders(ladders(part.panel)).items():
            mine = [entries[i] for size, group in ladder.sizes.items() if size for i in group]
            seeds = sorted({entry.seed for entry in mine if entry.seed is not None})
            found.append(
                {
                    "target": visible(TARGET_NAMES.get(part.panel.target, part.panel.target), 40),
                    "arm": visible(name, 60),
                    "base": visible(published(ladder.base or "-"), 60),
                    "data": visible(" + ".join(ladder.intermediate) or "-", 120),
                    "sizes": ", ".join(f"{size:,}" for size in ladder.sizes),
                    "seeds": ", ".join(map(str, seeds)) or "-",
                    "tuned": visible(" + ".join(ladder.tuned_on) or "-", 80),
                    "recipe": visible(ladder.recipe[:12] or "-"),
                }
            )
    return found


def measured(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """What was measured: languages and rows of each target, what ID and OOD are, whose the data are."""
    found = []
    known = targets()
    for panel in [part.panel for part in parts]:
        spec = known.get(panel.target)
        found.append(
            {
                "title": visible(panel.title),
                "languages": " ".join(panel.languages),
                "subsets": [
                    (name, panel.row_count(name), about(panel, name))
                    for name in ("id", "ood")
                    if name in panel.masks
                ],
                "source": ""
                if panel.bundled or spec is None
                else f"{spec.citation} Licence: {spec.licence}.",
            }
        )
    return found
