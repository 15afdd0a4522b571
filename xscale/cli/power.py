"""`xscale plan --power`: what an experiment could find."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats


def power(experiment: Any, data: str | None, manifest: Path) -> list[str]:
    """The least change that the experiment finds, by target; from clusters of the question's rows and its seeds.

    What clusters and training runs scatter by is taken from deltas of three seeds or more that the manifest has
    results of, else assumed.
    """
    from harness_tasks.targets import get_target
    from xscale import pipeline
    from xscale.experiment import plan
    from xscale.leaderboard.power import power_lines

    source = pipeline.experiment_source(experiment, data)
    question = experiment.question
    counts: dict[str, int] = {}
    absent = []
    for target, (languages, limit) in pipeline.selection(experiment).items():
        if question.targets is not None and target not in question.targets:
            continue
        if get_target(target).place(languages[0]).rows.kind == "own":
            known = own_clusters(target, languages, limit, source)
            if known is None:
                absent.append(f"{target}: nothing can be said before its rows are here")
            else:
                counts[target] = known
            continue
        known = asked_clusters(target, languages[0], question.subset, limit, source)
        if known is None:
            absent.append(f"{target}: nothing can be said before its rows are here")
        else:
            counts[target] = known
    sized = {(recipe.arm, recipe.size) for recipe in plan(experiment, source) if recipe.size}
    comparisons = len(sized) * (len(counts) + len(absent))
    measured = _measured(manifest, question.subset)
    found = power_lines(counts, len(experiment.seeds), comparisons, question.subset.upper(), measured)
    return [*found, *absent]


def asked_clusters(target: str, language: str, subset: str, limit: int | None, source: str) -> int | None:
    """How many clusters have rows of the subset among the first `limit` that are evaluated.

    Where the rows are not here, of the official ones; None for a user's target.
    """
    from harness_tasks.rows import Options, data_record, document_order, row_count
    from harness_tasks.sources import DataError
    from harness_tasks.subsets import load_membership
    from harness_tasks.subsets.membership import known_labels, shipped
    from harness_tasks.targets import get_target
    from xscale.leaderboard.panels import clusters_of

    user, options = get_target(target).user, Options(data=source)
    official: dict[str, Any] = {"rows": 0, "anchor": ""} if user else shipped(target)["test"]
    total, anchor, where = int(official["rows"]), str(official["anchor"]), "hub"
    if user or source != "hub":
        try:
            anchor = str(data_record(target, language, options)["data_anchor"])
            total, where = row_count(target, language, options), source
        except DataError:
            if user:
                return None
    rows = load_membership(target, anchor, None, where).get(subset, np.arange(total))
    labels = known_labels(target, anchor)
    if limit is not None and labels is not None:
        rows = np.intersect1d(rows, document_order(target, anchor, labels)[:limit])
        limit = None
    return clusters_among(Counter(clusters_of(target, rows.tolist()).tolist()), total, limit)


def clusters_among(sizes: Counter[Any], total: int, limit: int | None) -> int:
    """How many clusters have a row among `limit` of `total` rows: all without one, else as many as are to be expected of
    rows drawn at random (the hypergeometric chance that none of a cluster's is drawn). `sizes`: rows of each cluster."""
    if limit is None or limit >= total:
        return max(1, len(sizes))
    missed = stats.hypergeom.pmf(0, total, list(sizes.values()), limit)
    return max(1, round(len(sizes) - float(missed.sum())))


def own_clusters(target: str, languages: Sequence[str], limit: int | None, source: str) -> int | None:
    """Of L languages with n_l clusters of their own, L² / Σ 1/n_l: as many give a mean over one language the same variance.

    None where a language's rows are not here. Of a limit's rows as many clusters as are to be expected.
    """
    from harness_tasks.sources import DataError
    from harness_tasks.targets import get_target
    from harness_tasks.targets.reading import read_target

    field = get_target(target).text_fields[0]
    counts = []
    for language in languages:
        try:
            texts = [row[field] for row in read_target(target, language, "test", source)]
        except DataError:
            return None
        counts.append(clusters_among(Counter(texts), len(texts), limit))
    return int(len(counts) ** 2 / sum(1 / count for count in counts))


def _measured(manifest: Path, subset: str) -> dict[str, tuple[float, float]]:
    """By target, the median over deltas of three seeds or more of what clusters and training runs scatter by."""
    from xscale.leaderboard.bootstrap import STAR_SEEDS, Bootstrap
    from xscale.leaderboard.ladders import seed_groups
    from xscale.leaderboard.statistics import seed_parts
    from xscale.loading import load

    if not manifest.exists():
        return {}
    found: dict[str, list[tuple[float, float]]] = {}
    for panel in load(manifest)[0]:
        if subset not in panel.masks:
            continue
        bootstrap = Bootstrap(panel, 1000)
        values, draws = bootstrap(subset)
        for group in seed_groups(panel):
            if len(group.pairs) < STAR_SEEDS or not panel.entries[group.indices[0]].size:
                continue
            mine, base = [i for i, _ in group.pairs], [b for _, b in group.pairs]
            parts = seed_parts(values[mine] - values[base], draws[mine] - draws[base])
            cluster = math.sqrt(parts.rows * bootstrap.clusters(subset))
            found.setdefault(panel.target, []).append((cluster, math.sqrt(parts.seeds * len(mine))))
    return {
        target: (float(np.median([a for a, _ in items])), float(np.median([b for _, b in items])))
        for target, items in found.items()
    }
