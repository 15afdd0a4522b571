"""The figures of some checkpoints one by one, for records that others read: model cards, trackers, shared databases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from xscale.leaderboard import statistics as st
from xscale.leaderboard.bootstrap import Bootstrap, estimate
from xscale.leaderboard.panels import Panel


@dataclass(frozen=True)
class Figure:
    """One checkpoint's figure on a subset of a target's rows, a share with its 95% interval over clusters of rows.

    `languages` are those that it is over: all of the panel, or one. `clusters` is what the interval counts.
    `commonest_label` is NaN where documents have no labels.
    """

    id: str
    target: str
    subset: str
    languages: tuple[str, ...]
    value: float
    low: float
    high: float
    rows: int
    clusters: int
    commonest_label: float
    panel: Panel

    @property
    def metric(self) -> str:
        """The name of lm_eval's metric: acc, f1, ..."""
        return self.panel.metric


def figures(panels: Sequence[Panel], ids: Sequence[str], draws: int = st.DRAWS) -> list[Figure]:
    """Of every checkpoint in `ids` on every panel that has it: each subset over all languages, then each language."""
    found = []
    for panel in panels:
        chosen = [index for index, entry in enumerate(panel.entries) if entry.id in ids]
        if not chosen:
            continue
        part = replace(
            panel,
            entries=tuple(panel.entries[index] for index in chosen),
            predictions=panel.predictions[chosen],
            scores=None if panel.scores is None else (panel.scores[0][chosen], panel.scores[1][chosen]),
        )
        bootstrap = Bootstrap(part, draws)
        places: list[tuple[str, tuple[str, ...]]] = [(name, part.languages) for name in part.masks]
        if len(part.languages) > 1:
            places += [("all", (code,)) for code in part.languages]
        for index, entry in enumerate(part.entries):
            for subset, codes in places:
                over = () if codes == part.languages else codes
                item = estimate(bootstrap, [index], subset, over)
                found.append(
                    Figure(
                        entry.id,
                        part.target,
                        subset,
                        codes,
                        item.value,
                        item.low,
                        item.high,
                        part.row_count(subset),
                        bootstrap.clusters(subset, languages=over),
                        part.commonest_label(subset, over or None),
                        panel,
                    )
                )
    return found
