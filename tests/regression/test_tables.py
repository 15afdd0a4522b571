"""Stored predictions give the figures that they gave before; a difference prints its place, the old and the
new value.

After a change that is meant: `python tests/regression/make_tables.py` writes the reference again and prints
the same.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xscale.leaderboard import scaling
from xscale.leaderboard.bootstrap import Bootstrap
from xscale.leaderboard.compare import compare
from xscale.leaderboard.ladders import ladders
from xscale.leaderboard.panels import build_panels, load_results
from xscale.leaderboard.reference import changed_figures
from xscale.leaderboard.render import render
from xscale.leaderboard.robustness import effective_robustness
from xscale.leaderboard.table import make_board, plain, to_json
from xscale.manifest import read_manifest

FOLDER = Path(__file__).parent / "tables"


def halves(target: str, anchor: str) -> dict[str, np.ndarray]:
    """Subsets of the stored predictions."""
    rows = np.arange(90)
    return {"id": rows[::2], "ood": rows[1::2], "long": rows[::9]}


def figures() -> dict[str, Any]:
    """Everything that the leaderboard says about the stored predictions."""
    results = load_results(read_manifest(FOLDER / "manifest.json"), FOLDER / "results")
    panels = build_panels(results, membership=halves)
    subsets, deltas = ("id", "ood", "long"), ("all", "id", "ood", "long")
    board = make_board(panels, results, subsets=subsets, deltas=deltas, by="language", draws=2_000)
    means = make_board(panels, results, seeds="mean", draws=2_000)
    bootstrap = Bootstrap(panels[0], 2_000)
    ladder = ladders(panels[0])[0]
    flips = compare(panels, results, "snli-0-s0", "snli-512-s0", draws=2_000)[0]
    curve = scaling.curve(bootstrap, ladder, "ood")
    return {
        "board": to_json(board),
        "terminal": render(board).splitlines(),
        "markdown": render(means, "github").splitlines(),
        "means": to_json(means)["tables"][0]["rows"],
        "comparison": plain(
            {
                "gained": flips.gained,
                "lost": flips.lost,
                "rows": [flip.row for flip in flips.flips],
                "deltas": {line.name: [line.delta.value, line.delta.p] for line in flips.subsets},
            }
        ),
        "curve": plain(
            {
                "points": [
                    [point.size, point.acc.value, point.acc.low, point.acc.high] for point in curve.points
                ],
                "fits": {
                    fit.model: fit.refused or {k: v.value for k, v in fit.parameters.items()}
                    for fit in curve.fits
                },
                "holdouts": {item.model: item.error.value for item in curve.holdouts},
            }
        ),
        "robustness": plain(
            line.refused or [line.leave_one_out, line.slope.value if line.slope else None]
            if (line := effective_robustness(bootstrap))
            else None
        ),
    }


def test_figures_are_those_of_the_reference() -> None:
    reference = json.loads((FOLDER / "reference.json").read_text(encoding="utf-8"))
    changed = changed_figures(reference, json.loads(json.dumps(figures())))
    if changed:
        shown = "\n".join(changed[:50])
        pytest.fail(f"{len(changed)} figures changed (place: old -> new):\n{shown}", pytrace=False)
