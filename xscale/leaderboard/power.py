"""What an experiment can find: the least effect that it detects with a given probability."""

from __future__ import annotations

import math

from scipy import stats

from xscale.leaderboard import statistics as st

POWER = 0.8


def detectable(error: float, freedom: float, comparisons: int = 1, power: float = POWER) -> float:
    """The least true difference that is found with probability `power` at 5%, two-sided.

    (t(1 − α/2m) + t(power)) · standard error, t with `freedom` degrees of freedom: the usual sum of two
    quantiles (Bloom 1995, Evaluation Review 19; Miller 2024, arXiv 2411.00640, section 5), at the level that
    the first of m `comparisons` has under Holm's correction. Infinite where nothing was measured.
    """
    if math.isnan(error) or error <= 0:
        return math.inf
    level = (1 - st.LEVEL) / (2 * max(comparisons, 1))
    return float((stats.t.isf(level, freedom) + stats.t.ppf(power, freedom)) * error)
