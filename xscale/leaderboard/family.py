"""The question of an experiment, and the family of tests that answers it: fixed before anyone looks.

What a board shows, and in which order, changes nothing here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from xscale.leaderboard import statistics as st
from xscale.leaderboard.bootstrap import Bootstrap, Delta, paired_delta
from xscale.leaderboard.ladders import Group, seed_groups, seeds_key
from xscale.leaderboard.panels import Panel
from xscale.leaderboard.power import detectable


@dataclass(frozen=True)
class Question:
    """What is tested: deltas to the baseline on `subset`, of every arm and size, on `targets` (None: all)."""

    subset: str = "ood"
    targets: tuple[str, ...] | None = None

    def subset_of(self, panel: Panel) -> str:
        """The question's subset, or all rows where the panel has none of it."""
        return self.subset if self.subset in panel.masks else "all"


Member = tuple[str, int, tuple[Any, ...]]  # target, number of its table, `seeds_key`
Family = Mapping[Member, Delta]


def member(panel: Panel, group: Group) -> Member:
    """The name of a group in a family."""
    return panel.target, panel.number, seeds_key(panel.entries[group.indices[0]], panel.target)


def family(bootstraps: Sequence[Bootstrap], question: Question, seed: int = 0) -> Family:
    """Every delta of the question, p-values corrected by Holm over all of them.

    One delta for each arm, size and target, the mean over all of its seeds. A checkpoint that is in several
    tables of a target counts in the first; languages that others added to a target are
    not of the question. Beside each stands what could have been detected with the
    correction at its strictest (Bonferroni's level, Holm's first step).
    """
    found: dict[Member, Delta] = {}
    for bootstrap in bootstraps:
        panel = bootstrap.panel
        if panel.further or (question.targets is not None and panel.target not in question.targets):
            continue
        for group in seed_groups(panel):
            key = member(panel, group)
            twice = key in found or any((t, k) == (key[0], key[2]) for t, _, k in found)
            if twice or not group.pairs or not panel.entries[group.indices[0]].size:
                continue
            mine, base = zip(*group.pairs, strict=True)
            found[key] = paired_delta(bootstrap, mine, base, question.subset_of(panel), seed=seed)
    adjusted = st.holm([delta.p for delta in found.values()]).tolist()
    return {
        key: replace(delta, p_holm=p, detectable=detectable(delta.se, delta.freedom, len(found)))
        for (key, delta), p in zip(found.items(), adjusted, strict=True)
    }
