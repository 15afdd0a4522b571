"""What could have been found, by simulation."""

from collections import Counter

import numpy as np
import pytest
from scipy import stats

from harness_tasks.rows import Options, build_documents
from xscale.cli.power import asked_clusters, clusters_among
from xscale.leaderboard.power import detectable, planned, power_lines


@pytest.mark.parametrize("comparisons", [1, 6])
def test_the_detectable_change_is_found_four_times_in_five(comparisons: int) -> None:
    """120 items, one seed: the share of simulated experiments whose t-test is below 5% over the comparisons."""
    rng = np.random.default_rng(1)
    truth = planned(120, 1, comparisons, cluster_sd=0.3)
    samples = truth + 0.3 * rng.standard_normal((4000, 120))
    p = stats.ttest_1samp(samples, 0, axis=1).pvalue
    assert np.mean(p <= 0.05 / comparisons) == pytest.approx(0.8, abs=0.03)


def test_three_seeds() -> None:
    rng = np.random.default_rng(2)
    truth = planned(10**9, 3, 1, seed_sd=0.01)  # training runs alone
    p = stats.ttest_1samp(truth + 0.01 * rng.standard_normal((4000, 3)), 0, axis=1).pvalue
    assert np.mean(p <= 0.05) == pytest.approx(
        0.8, abs=0.08
    )  # the sum of two quantiles is rough at 2 degrees
    assert planned(835, 3, 1) < planned(835, 3, 12) and planned(835, 10, 1) < planned(835, 3, 1)


def test_nothing_measured_nothing_found() -> None:
    assert detectable(0.0, 10) == float("inf")


def test_lines_say_what_they_rest_on() -> None:
    lines = power_lines({"xnli": 835}, 1, 4, "OOD", {})
    assert "835 clusters of test rows, 1 seed, 4 comparisons; assumed" in lines[0]
    assert "below three seeds" in lines[1]
    assert "measured here: 30 points a cluster, 2.0 a training run" in " ".join(
        power_lines({"xnli": 835}, 3, 4, "OOD", {"xnli": (0.3, 0.02)})
    )


@pytest.mark.parametrize(("target", "limit"), [("xnli", 30), ("xnli", 120), ("xnli", None), ("xcopa", 60)])
def test_as_many_clusters_are_counted_as_are_evaluated(target: str, limit: int | None) -> None:
    """Those of the first documents, in the order in which they come; the bundled suite has fewer rows than the official data."""
    documents = build_documents(target, "en", "test", Options(data="bundled"))[:limit]
    there = {doc["cluster"] for doc in documents if "ood" in doc["subsets"]}
    assert asked_clusters(target, "en", "ood", limit, "bundled") == len(there)


def test_clusters_of_rows_in_an_unknown_order_are_those_to_be_expected() -> None:
    rows = np.repeat(np.arange(100), 3)
    rng = np.random.default_rng(1)
    drawn = [len(set(rng.permutation(rows)[:60].tolist())) for _ in range(2000)]
    assert clusters_among(Counter(rows.tolist()), 300, 60) == round(float(np.mean(drawn)))
