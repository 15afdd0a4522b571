"""Estimates, gaps and paired deltas of a panel's checkpoints, all from the same bootstrap draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xscale.leaderboard import statistics as st
from xscale.leaderboard.panels import Panel


@dataclass(frozen=True)
class Estimate:
    """A share between 0 and 1, or a difference of shares, with its 95% interval; NaN where undefined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Delta:
    """A checkpoint less its baseline on the same rows.

    `p` is two-sided, `p_holm` corrected for all deltas that the board shows. `reason` says why there is none.
    """

    value: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    p: float = float("nan")
    p_holm: float = float("nan")
    baseline: str | None = None
    reason: str | None = None

    @property
    def significant(self) -> bool:
        """Whether the corrected p-value is at most 5%."""
        return self.p_holm <= 1 - st.LEVEL


class Bootstrap:
    """Draws of one panel, each made once; the same row counts for every subset and language, so all are
    paired.
    """

    def __init__(self, panel: Panel, draws: int = st.DRAWS, seed: int = 0) -> None:
        self.panel = panel
        self.draws, self.seed = draws, seed
        self._counts: npt.NDArray[np.uint8] | None = None
        self._kept: dict[tuple[str, tuple[str, ...]], tuple[st.Floats, st.Floats]] = {}
        self._bounds: dict[tuple[str, tuple[str, ...]], st.Floats] = {}
        self._right: dict[tuple[str, ...], st.Floats] = {}

    @property
    def counts(self) -> npt.NDArray[np.uint8]:
        """How often each row is in each draw: (rows, draws); drawn when first needed."""
        if self._counts is None:
            self._counts = st.draw_counts(len(self.panel.rows), self.draws, self.seed)
        return self._counts

    def right(self, languages: Sequence[str] = ()) -> st.Floats:
        """In how many of the languages (default: all) a row was got right: (checkpoints, rows)."""
        key = tuple(languages)
        if key not in self._right:
            self._right[key] = self.panel.right(key or None)
        return self._right[key]

    def prepare(self, subset: str, groups: Sequence[Sequence[str]]) -> None:
        """Compute the draws of several groups of languages in one product, which is several times faster."""
        wanted = [
            key for key in dict.fromkeys(tuple(group) for group in groups) if (subset, key) not in self._kept
        ]
        if not wanted:
            return
        mask = self.panel.masks[subset]
        sizes = [
            len(self.panel.language_indices(key)) if key else len(self.panel.languages) for key in wanted
        ]
        shares = np.concatenate(
            [self.right(key) / np.float32(size) for key, size in zip(wanted, sizes, strict=True)]
        )
        draws = st.bootstrap_means(shares.T, self.counts, mask)
        values = shares[:, mask].mean(axis=1, dtype=np.float64)
        for number, key in enumerate(wanted):
            part = slice(number * len(self.panel.entries), (number + 1) * len(self.panel.entries))
            self._kept[subset, key] = values[part], draws[part]

    def __call__(self, subset: str, languages: Sequence[str] = ()) -> tuple[st.Floats, st.Floats]:
        """Accuracy of every checkpoint, (checkpoints,), and its draws, (checkpoints, draws): macro over
        languages.
        """
        self.prepare(subset, [languages])
        return self._kept[subset, tuple(languages)]

    def forget(self, subset: str, languages: Sequence[str]) -> None:
        """Let the draws of a group of languages go: 40 kB a checkpoint."""
        self._kept.pop((subset, tuple(languages)), None)

    def bounds(self, subset: str, languages: Sequence[str] = ()) -> st.Floats:
        """Intervals of the accuracies: (checkpoints, 2)."""
        key = (subset, tuple(languages))
        if key not in self._bounds:
            self._bounds[key] = st.proportion_intervals(*self(subset, languages), self.clusters(subset))
        return self._bounds[key]

    def clusters(self, *subsets: str) -> int:
        """The rows of the smallest of the subsets."""
        return min(int(self.panel.masks[name].sum()) for name in subsets)


def estimate(
    bootstrap: Bootstrap, indices: Sequence[int], subset: str, languages: Sequence[str] = (), seed: int = 0
) -> Estimate:
    """Accuracy on a subset, of one checkpoint or the mean over several seeds of one."""
    values, draws = bootstrap(subset, languages)
    picked = list(indices)
    clusters = bootstrap.clusters(subset)
    if len(picked) == 1:
        low, high = bootstrap.bounds(subset, languages)[picked[0]].tolist()
        return Estimate(float(values[picked[0]]), low, high)
    low, high = st.intervals(st.over_seeds(values[picked], draws[picked], seed), clusters)
    return Estimate(float(values[picked].mean()), max(0.0, float(low)), min(1.0, float(high)))


def difference(values: st.Floats, draws: st.Floats, clusters: int, seed: int = 0) -> Estimate:
    """Mean over seeds of a difference, with its interval: `values` (seeds,), `draws` (seeds, draws)."""
    low, high = st.intervals(st.over_seeds(values, draws, seed), clusters)
    return Estimate(float(np.mean(values)), float(low), float(high))


def paired_delta(
    bootstrap: Bootstrap,
    mine: Sequence[int],
    base: Sequence[int],
    subset: str,
    languages: Sequence[str] = (),
    seed: int = 0,
) -> Delta:
    """Delta of checkpoints to their baselines, pair by pair (one pair a seed), on the same rows, with its
    p-value.
    """
    values, draws = bootstrap(subset, languages)
    mine, base = list(mine), list(base)
    deltas, delta_draws = values[mine] - values[base], draws[mine] - draws[base]
    found = difference(deltas, delta_draws, bootstrap.clusters(subset), seed)
    mask = bootstrap.panel.masks[subset]
    if len(mine) == 1:
        right = bootstrap.right(languages)
        p = st.sign_flip_p((right[mine[0]].astype(int) - right[base[0]])[mask])
    else:
        p = st.seeds_p(deltas, delta_draws)
    return Delta(found.value, found.low, found.high, p, p, bootstrap.panel.ids[base[0]])
