"""Estimates, gaps and paired deltas of a panel's checkpoints, all from the same bootstrap draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

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


STAR_SEEDS = 3  # below this many training runs a difference has an interval and no star


@dataclass(frozen=True)
class Delta:
    """A checkpoint less its baseline on the same rows, or the mean of that over `seeds` training seeds.

    `p` is two-sided; `p_holm` is corrected for the family that the question names, and NaN where the delta is
    not of that family. `se` and `freedom` are the standard error and its degrees of freedom. `detectable` is
    the least delta that would have been found four times in five. `reason` says why there is no delta.
    """

    value: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    p: float = float("nan")
    p_holm: float = float("nan")
    baseline: str | None = None
    reason: str | None = None
    seeds: int = 0
    se: float = float("nan")
    freedom: float = float("nan")
    detectable: float = float("nan")
    same: bool = False  # every answer is the baseline's

    @property
    def significant(self) -> bool:
        """Whether the corrected p-value is at most 5%, over three seeds or more."""
        return self.seeds >= STAR_SEEDS and self.p_holm <= 1 - st.LEVEL


class Bootstrap:
    """Draws of one panel, each made once; the same counts of clusters for every subset and language, so all
    are paired.
    """

    def __init__(self, panel: Panel, draws: int = st.DRAWS, seed: int = 0) -> None:
        self.panel = panel
        self.draws, self.seed = draws, seed
        self._counts: npt.NDArray[np.uint8] | None = None
        self._kept: dict[tuple[str, tuple[str, ...]], tuple[st.Floats, st.Floats]] = {}
        self._bounds: dict[tuple[str, tuple[str, ...]], st.Floats] = {}
        self._totals: dict[tuple[str, tuple[str, ...]], tuple[st.Floats, st.Floats]] = {}
        self.deltas: dict[Any, Delta] = {}  # what `paired_delta` made

    @property
    def counts(self) -> npt.NDArray[np.uint8]:
        """How often each cluster is in each draw: (clusters, draws); drawn when first needed."""
        if self._counts is None:
            self._counts = st.draw_counts(self.panel.cluster_count, self.draws, self.seed)
        return self._counts

    def totals(self, subset: str, languages: Sequence[str] = ()) -> tuple[st.Floats, st.Floats]:
        """As `Panel.totals`, kept."""
        key = (subset, tuple(languages))
        if key not in self._totals:
            self._totals[key] = self.panel.totals(subset, languages)
        return self._totals[key]

    def prepare(self, subset: str, groups: Sequence[Sequence[str]]) -> None:
        """Compute the draws of several groups of languages in one product, which is several times faster."""
        wanted = [
            key for key in dict.fromkeys(tuple(group) for group in groups) if (subset, key) not in self._kept
        ]
        if not wanted:
            return
        if self.panel.own_rows:
            for key in wanted:
                self._kept[subset, key] = self._over_languages(subset, key)
            return
        parts = [self.panel.totals(subset, key) for key in wanted]
        numerators = np.concatenate([numerator for numerator, _ in parts])
        if (
            self.panel.scores is None
        ):  # languages have the same rows: means over rows and languages are ratios
            sizes = [
                len(self.panel.language_indices(key)) if key else len(self.panel.languages) for key in wanted
            ]
            scale = np.repeat(sizes, len(self.panel.entries)).astype(float)
            numerators = numerators / scale[:, None]
            denominators = parts[0][1] / sizes[0]
        else:
            denominators = np.concatenate([denominator for _, denominator in parts]).T
        draws = st.bootstrap_means(numerators.T, self.counts, denominators)
        sums = denominators.sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            values = numerators.sum(axis=1, dtype=np.float64) / sums
        for number, key in enumerate(wanted):
            part = slice(number * len(self.panel.entries), (number + 1) * len(self.panel.entries))
            self._kept[subset, key] = values[part], draws[part]

    def _over_languages(self, subset: str, group: Sequence[str]) -> tuple[st.Floats, st.Floats]:
        """Means over languages that have rows of their own. A language with n clusters takes the counts of the first n:
        the sums of a draw differ in size then, which a ratio of sums allows for."""
        codes = [self.panel.languages[i] for i in self._indices(group)]
        for code in codes:
            if (subset, (code,)) not in self._kept:
                above, below = self.totals(subset, (code,))
                draws = st.bootstrap_means(above.T, self.counts, below.T)
                with np.errstate(invalid="ignore", divide="ignore"):
                    self._kept[subset, (code,)] = above.sum(axis=1) / below.sum(axis=1), draws
        found = [self._kept[subset, (code,)] for code in codes]
        total = sum((drawn for _, drawn in found[1:]), found[0][1])
        return np.mean([value for value, _ in found], axis=0), total / np.float32(len(codes))

    def _indices(self, languages: Sequence[str]) -> list[int]:
        panel = self.panel
        return panel.language_indices(languages) if languages else list(range(len(panel.languages)))

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
            clusters = self.clusters(subset, languages=languages)
            self._bounds[key] = st.proportion_intervals(*self(subset, languages), clusters)
        return self._bounds[key]

    def clusters(self, *subsets: str, languages: Sequence[str] = ()) -> int:
        """How many clusters have rows of the subset; of several, the least.

        Of L languages with rows of their own and n_l clusters it is L² / Σ 1/n_l: as many give a mean over one language
        the same variance, where clusters are alike.
        """
        panel = self.panel
        if not panel.own_rows:
            return min(len(np.unique(panel.clusters[panel.masks[name]])) for name in subsets)
        index = self._indices(languages)
        found = []
        for name in subsets:
            columns = (panel.clusters[panel.masks[name], column] for column in index)
            numbers = [len(np.unique(column[column >= 0])) for column in columns]
            found.append(int(len(index) ** 2 / sum(1 / n for n in numbers)) if all(numbers) else 0)
        return min(found)


def estimate(
    bootstrap: Bootstrap, indices: Sequence[int], subset: str, languages: Sequence[str] = (), seed: int = 0
) -> Estimate:
    """Accuracy on a subset, of one checkpoint or the mean over several seeds of one."""
    values, draws = bootstrap(subset, languages)
    picked = list(indices)
    clusters = bootstrap.clusters(subset, languages=languages)
    if len(picked) == 1:
        low, high = bootstrap.bounds(subset, languages)[picked[0]].tolist()
        return Estimate(float(values[picked[0]]), low, high)
    low, high = st.intervals(st.over_seeds(values[picked], draws[picked], seed), clusters)
    return Estimate(float(values[picked].mean()), max(0.0, float(low)), min(1.0, float(high)))


def difference(
    values: st.Floats, draws: st.Floats, clusters: int, seed: int = 0, few: st.Few = st.MANY
) -> Delta:
    """Mean over seeds of a difference, with interval and p-value: `values` (seeds,), `draws` (seeds, draws).

    `few` is what `statistics.few_discordant` says of its clusters.
    """
    combined = st.widened(st.over_seeds(values, draws, seed), few, seed)
    low, high = st.intervals(combined, clusters)
    error, freedom = st.mean_error(values, draws, clusters, few)
    value = float(np.mean(values))
    return Delta(
        value,
        float(low),
        float(high),
        st.t_p(value, error, freedom),
        seeds=len(values),
        se=error,
        freedom=freedom,
    )


def paired_delta(
    bootstrap: Bootstrap,
    mine: Sequence[int],
    base: Sequence[int],
    subset: str,
    languages: Sequence[str] = (),
    seed: int = 0,
) -> Delta:
    """Delta of checkpoints to their baselines, pair by pair (one pair a seed), on the same rows.

    The p-value of one pair is exact (`statistics.sign_flip_p`); over several seeds it is for seeds and
    clusters as samples. Made once for the same pairs.
    """
    key = (tuple(mine), tuple(base), subset, tuple(languages), seed)
    if key in bootstrap.deltas:
        return bootstrap.deltas[key]
    values, draws = bootstrap(subset, languages)
    mine, base = list(mine), list(base)
    deltas, delta_draws = values[mine] - values[base], draws[mine] - draws[base]
    differences, size = cluster_differences(bootstrap, mine, base, subset, languages)
    clusters = bootstrap.clusters(subset, languages=languages)
    few = st.few_discordant(differences / size, clusters)
    found = difference(deltas, delta_draws, clusters, seed, few)
    p = found.p
    if len(mine) == 1 and bootstrap.panel.scores is None:
        p = st.sign_flip_p(differences[0])
    panel = bootstrap.panel
    answers = [
        panel.predictions,
        *(panel.scores or ()),
    ]  # a text that is not entirely right may be another, with another score
    same = all((each[mine] == each[base]).all() for each in answers)
    made = replace(found, p=p, baseline=bootstrap.panel.ids[base[0]], same=same)
    bootstrap.deltas[key] = made
    return made


def cluster_differences(
    bootstrap: Bootstrap, mine: Sequence[int], base: Sequence[int], subset: str, languages: Sequence[str]
) -> tuple[st.Floats, float]:
    """What each cluster adds to the difference, (pairs, clusters), and the mean denominator of a cluster.

    Of scores that are no accuracies, the linear part of the difference of two ratios (Davison & Hinkley 1997,
    section 2.7.2); of languages with rows of their own, the clusters of one after those of another.
    """
    if bootstrap.panel.own_rows:
        codes = [bootstrap.panel.languages[i] for i in bootstrap._indices(languages)]
        parts = [_ratio_differences(*bootstrap.totals(subset, (code,)), mine, base) for code in codes]
        total = sum(part.shape[1] for part in parts)
        scale = [total / (len(codes) * part.shape[1]) for part in parts]
        return np.concatenate([part * by for part, by in zip(parts, scale, strict=True)], axis=1), 1.0
    numerators, denominators = bootstrap.totals(subset, languages)
    if denominators.ndim == 1:
        there = np.asarray(denominators > 0)
        return (numerators[mine] - numerators[base])[:, there], float(denominators[there].mean())
    return _ratio_differences(numerators, denominators, mine, base), 1.0


def _ratio_differences(
    numerators: st.Floats, denominators: st.Floats, mine: Sequence[int], base: Sequence[int]
) -> st.Floats:
    there = np.asarray(denominators.any(axis=0))
    shares = numerators.sum(axis=1) / denominators.sum(axis=1)
    part = (numerators - shares[:, None] * denominators) / denominators[:, there].mean(axis=1)[:, None]
    return np.asarray((part[mine] - part[base])[:, there])


def difference_of_deltas(
    bootstrap: Bootstrap,
    mine: Sequence[int],
    base: Sequence[int],
    first: str,
    second: str,
    languages: Sequence[str] = (),
    seed: int = 0,
) -> Delta:
    """The delta on the subset `first` less that on `second`: does it help more there?

    Both are paired with the baseline by cluster and seed (a difference in differences). The p-value is that of
    t: signs cannot be flipped here, as equal gains need not be 0.
    """
    mine, base = list(mine), list(base)
    parts = []
    variance = 0.0
    for name in (first, second):
        values, draws = bootstrap(name, languages)
        parts.append((values[mine] - values[base], draws[mine] - draws[base]))
        differences, size = cluster_differences(bootstrap, mine, base, name, languages)
        variance += st.few_discordant(
            differences / size, bootstrap.clusters(name, languages=languages)
        ).variance
    values, draws = parts[0][0] - parts[1][0], parts[0][1] - parts[1][1]
    clusters = bootstrap.clusters(first, second, languages=languages)
    return replace(
        difference(values, draws, clusters, seed, st.Few(1.0, variance)),
        baseline=bootstrap.panel.ids[base[0]],
    )
