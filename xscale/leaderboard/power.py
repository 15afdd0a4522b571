"""What an experiment can find: the least effect that it detects with a given probability."""

from __future__ import annotations

import math
from collections.abc import Mapping

from scipy import stats

from harness_tasks.targets import targets
from xscale.leaderboard import statistics as st

POWER = 0.8
CLUSTER_SD = (
    0.22  # of a premise's paired difference, as an XLM-R of XNLI has it: 0.54 points over 1,670 premises
)
SEED_SD = 0.01  # of a delta between training runs, beyond test items


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


def planned(
    clusters: int, seeds: int, comparisons: int, cluster_sd: float = CLUSTER_SD, seed_sd: float = SEED_SD
) -> float:
    """The least delta that an experiment finds four times in five, before it is run.

    `clusters` of test rows on the question's subset, `seeds` k, `comparisons` that the question makes (arms ×
    sizes × targets). Variance cluster_sd²/clusters + seed_sd²/k, degrees of freedom as `statistics.seed_parts`
    has them, with the seeds' part of a cluster's deviations taken for none. With one seed there is no noise of
    training in it, nor a claim beyond test items.
    """
    rows, training = cluster_sd**2 / clusters, seed_sd**2 / seeds
    if seeds == 1:
        return detectable(math.sqrt(rows), max(clusters - 1, 1), comparisons)
    freedom = (seeds - 1) * (rows + training) / training if training else math.inf
    return detectable(math.sqrt(rows + training), freedom, comparisons)


def power_lines(
    clusters: Mapping[str, int],
    seeds: int,
    comparisons: int,
    subset: str,
    measured: Mapping[str, tuple[float, float]],
) -> list[str]:
    """What an experiment could find, a line a target; `measured` has cluster and seed deviations known here."""
    lines = []
    for target, count in clusters.items():
        cluster_sd, seed_sd = measured.get(target, (CLUSTER_SD, SEED_SD))
        least = planned(count, seeds, comparisons, cluster_sd, seed_sd)
        spec = targets().get(target)
        measure = f"{subset} accuracy"
        if spec is not None and not spec.has_choices:  # no subsets
            measure = {"f1": "F1"}.get(spec.metrics[0], "accuracy")
        origin = "measured here" if target in measured else "assumed"
        lines.append(
            f"{target}: a change of {100 * least:.1f} points of {measure} is found four times in five "
            f"({count:,} clusters of test rows, {seeds} seed{'s' * (seeds > 1)}, {comparisons} comparisons; {origin}: "
            f"{100 * cluster_sd:.0f} points a cluster, {100 * seed_sd:.1f} a training run)"
        )
    if seeds < 3:
        lines.append(
            "below three seeds nothing is claimed of training, whatever is found on these test items"
        )
    return lines
