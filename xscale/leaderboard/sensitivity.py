"""How much one language decides: a delta with each language left out in turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xscale.leaderboard.panels import Panel

FEWEST = 4  # languages below which leaving one out says nothing about the others


@dataclass(frozen=True)
class LeftOut:
    """The language whose absence moves a delta most. `delta` with all languages, `without` that one: shares."""

    language: str
    delta: float
    without: float

    @property
    def moves(self) -> float:
        """By how much the delta moves, a share, 0 or more."""
        return abs(self.without - self.delta)


def one_language_left_out(
    panel: Panel, pairs: Sequence[tuple[int, int]], subset: str = "all"
) -> LeftOut | None:
    """The delta (mean over `pairs` of checkpoint and baseline) with each language left out in turn, where it moves most.

    The jackknife's view of languages as what is sampled (Efron & Tibshirani 1993, chapter 11); intervals treat them as
    fixed. None below `FEWEST` languages, without a pair, or where a figure cannot be computed.
    """
    if len(panel.languages) < FEWEST or not pairs:
        return None
    mine, base = (list(side) for side in zip(*pairs, strict=True))
    every, without = _figures(panel, subset)
    delta = float((every[mine] - every[base]).mean())
    each = (without[mine] - without[base]).mean(axis=0)
    if not np.isfinite([delta, *each]).all():
        return None
    furthest = int(np.abs(each - delta).argmax())
    return LeftOut(panel.languages[furthest], delta, float(each[furthest]))


def _figures(panel: Panel, subset: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Every checkpoint's figure in all languages (checkpoints,) and in all but each one (checkpoints, languages)."""
    if panel.scores is None or panel.own_rows:  # the mean over languages
        figures = panel.figures_by_language(subset)
        total = figures.sum(axis=1)
        count = figures.shape[1]
        return total / count, (total[:, None] - figures) / (count - 1)
    above, below = (part[:, panel.masks[subset]].sum(axis=1) for part in panel.scores)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (
            above.sum(axis=1) / below.sum(axis=1),
            (above.sum(axis=1)[:, None] - above) / (below.sum(axis=1)[:, None] - below),
        )
