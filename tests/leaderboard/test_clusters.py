"""Rows of one premise are drawn together, everywhere."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from scipy.stats import norm
from synthetic import SCORED, entry, halves, labels, predictions, result

from xscale.evaluation.predictions import Predictions
from xscale.leaderboard import statistics as st
from xscale.leaderboard.bootstrap import Bootstrap, estimate, paired_delta
from xscale.leaderboard.compare import compare
from xscale.leaderboard.panels import Panel, build_panels, scores_of
from xscale.leaderboard.reference import check_reference
from xscale.leaderboard.render import render
from xscale.leaderboard.table import make_board

RNG = np.random.default_rng(3)


def thirds(target: str, anchor: str) -> dict[str, np.ndarray]:
    """ID is the even premises, OOD the odd ones, `few` every fifth row."""
    rows = np.arange(9_000)
    return {"id": rows[rows // 3 % 2 == 0], "ood": rows[rows // 3 % 2 == 1], "few": rows[::5]}


def premises(count: int, shift: float, own: float, rng: np.random.Generator) -> np.ndarray:
    """Right answers (3 · count rows, 4 languages) that hang together by premise."""
    latent = own * rng.standard_normal((count, 1, 1)) + rng.standard_normal((count, 3, 4))
    return np.asarray(latent < shift).reshape(3 * count, 4)


def two(count: int = 120, own: float = 1.5, **options: object) -> tuple[Panel, dict[str, np.ndarray]]:
    right = {"b": premises(count, 0.2, own, RNG), "c": premises(count, 0.5, own, RNG)}
    made = [entry("b", size=0), entry("c", size=8, intermediate=["t"], baseline="b")]
    clusters = np.arange(3 * count) // 3
    results = [result(one, right[one.id], clusters=clusters, **options) for one in made]
    (panel,) = build_panels(results, membership=thirds)
    return panel, right


def test_clusters_come_from_the_store_or_else_from_the_target() -> None:
    stored = predictions(np.ones((9, 4), bool), clusters=np.array([5, 5, 7, 7, 7, 9, 9, 9, 9]))
    assert scores_of(stored)["xnli"].clusters.tolist() == [5, 5, 7, 7, 7, 9, 9, 9, 9]  # type: ignore[union-attr]
    old = Predictions(stored.table.drop_columns([name for name, _ in SCORED]), stored.info)
    assert scores_of(old)["xnli"].clusters.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]  # type: ignore[union-attr]
    copa = predictions(np.ones((4, 4), bool), target="xcopa", choices=2)
    old = Predictions(copa.table.drop_columns([name for name, _ in SCORED]), copa.info)
    assert scores_of(old)["xcopa"].clusters.tolist() == [0, 1, 2, 3]  # type: ignore[union-attr]


def test_a_delta_is_tested_and_bounded_by_premise() -> None:
    panel, right = two()
    delta = paired_delta(Bootstrap(panel, 20_000), [1], [0], "ood")
    paired = (right["c"].astype(int) - right["b"]).reshape(120, 12).sum(axis=1)[1::2]
    assert delta.value == pytest.approx(paired.mean() / 12)
    expected = np.array(stats.t.interval(0.95, 59, paired.mean(), stats.sem(paired))) / 12
    assert (delta.low, delta.high) == pytest.approx(expected, abs=0.004)
    assert delta.p == pytest.approx(stats.ttest_1samp(paired, 0).pvalue, abs=0.02)
    rows = (right["c"].astype(int) - right["b"]).sum(axis=1).reshape(120, 3)[1::2].ravel()
    assert stats.sem(paired) / 12 > 1.25 * stats.sem(rows) / 4  # rows taken for independent are too sure here


def test_sign_flips_are_by_premise() -> None:
    panel, right = two(count=22)
    paired = (right["c"].astype(int) - right["b"]).reshape(22, 12).sum(axis=1)[1::2]
    flips = np.array(list(itertools.product((-1, 1), repeat=len(paired))))
    expected = (np.abs(flips @ np.abs(paired)) >= abs(paired.sum())).mean()
    assert paired_delta(Bootstrap(panel, 200), [1], [0], "ood").p == pytest.approx(expected)


def test_subsets_cut_premises_and_weigh_rows() -> None:
    """`few` takes one or none of a premise's rows: figures are shares of its documents."""
    panel, right = two()
    bootstrap = Bootstrap(panel, 500)
    assert estimate(bootstrap, [1], "few").value == pytest.approx(right["c"][::5].mean())
    assert bootstrap.clusters("few") == len({row // 3 for row in range(0, 360, 5)})
    counts = bootstrap.counts
    picked = np.repeat(np.arange(120), counts[:, 7])
    rows = [row for premise in picked for row in range(3 * premise, 3 * premise + 3) if row % 5 == 0]
    assert bootstrap("few")[1][1, 7] == pytest.approx(right["c"][rows].mean(), abs=1e-6)


def test_the_gap_has_the_clusters_of_its_smaller_subset() -> None:
    """Few OOD premises: their number, not that of all premises, widens the gap's interval."""

    def few_ood(target: str, anchor: str) -> dict[str, np.ndarray]:
        return {"id": np.arange(21, 3000), "ood": np.arange(21)}

    right = premises(400, 0.3, 1.0, np.random.default_rng(0))
    results = [result(entry("c"), right, clusters=np.arange(1200) // 3)]
    panels = build_panels(results, membership=few_ood)
    row = make_board(panels, results, draws=20_000).tables[0].rows[0]
    assert row.gap is not None
    counts = Bootstrap(panels[0], 20_000).counts
    by_premise = right.reshape(400, 12).mean(axis=1)
    with np.errstate(invalid="ignore"):
        ood = by_premise[:7] @ counts[:7] / counts[:7].sum(axis=0)
    draws = by_premise[7:] @ counts[7:] / counts[7:].sum(axis=0) - ood
    tail = norm.cdf(stats.t.ppf(0.025, 6) * np.sqrt(7 / 6))  # Hesterberg's, of seven premises
    assert (row.gap.low, row.gap.high) == pytest.approx(np.nanquantile(draws, [tail, 1 - tail]), abs=1e-5)


def test_compare_and_the_gate_count_premises(tmp_path: Path) -> None:
    panel, right = two()
    results = [result(made, right[made.id], clusters=np.arange(360) // 3) for made in panel.entries]
    expected = paired_delta(Bootstrap(panel, 500), [1], [0], "ood").p
    (found,) = compare([panel], results, "b", "c", draws=500)
    line = {line.name: line for line in found.subsets}["ood"]
    assert line.delta.p == pytest.approx(expected)
    reference = tmp_path / "reference.json"
    reference.write_text(render(make_board([panel], results, draws=300), "json"))
    data = json.loads(reference.read_text())
    rows = {row["id"]: row for row in data["tables"][0]["rows"]}
    rows["c"]["rows_right"], name = rows["b"]["rows_right"], "c"
    reference.write_text(json.dumps(data))
    check = check_reference([panel], results, reference)
    changed = {c.subset: c for c in check.changes if c.id == name}
    p_all = paired_delta(Bootstrap(panel, 300), [1], [0], "all").p
    p_values = [st.sign_flip_p(np.zeros(1, int))] * 3 + [
        p_all,
        paired_delta(Bootstrap(panel, 300), [1], [0], "id").p,
        expected,
    ]
    assert changed["ood"].p_holm == pytest.approx(st.holm(p_values)[5])


def test_scores_that_are_no_accuracies_are_ratios_of_sums() -> None:
    """Tag F1: 2·TP over 2·TP + FP + FN, summed over documents before they are divided."""
    rng = np.random.default_rng(1)
    numerator, denominator = rng.integers(0, 9, (90, 4)) * 2.0, rng.integers(9, 30, (90, 4)) * 2.0
    stored = predictions(np.ones((90, 4), bool), clusters=np.arange(90) // 3)
    table = stored.table
    for name, values in (("numerator", numerator), ("denominator", denominator)):
        where = table.schema.get_field_index(name)
        table = table.set_column(where, table.schema.field(name), [values.T.ravel()])
    made = result(entry("f"), np.ones((90, 4), bool))
    scored = type(made)(made.entry, "ok", scores=scores_of(Predictions(table, stored.info)))
    (panel,) = build_panels([scored], membership=halves)
    bootstrap = Bootstrap(panel, 300)
    assert estimate(bootstrap, [0], "all").value == pytest.approx(numerator.sum() / denominator.sum())
    assert estimate(bootstrap, [0], "ood", ("en",)).value == pytest.approx(
        numerator[1::2, 1].sum() / denominator[1::2, 1].sum()
    )
    draw = np.repeat(np.arange(30), bootstrap.counts[:, 4])
    rows = (3 * draw[:, None] + np.arange(3)).ravel()
    assert bootstrap("all")[1][0, 4] == pytest.approx(
        numerator[rows].sum() / denominator[rows].sum(), rel=1e-5
    )


def cover(own: float, repeats: int, seed: int, count: int = 200, draws: int = 1000) -> dict[str, float]:
    """Coverage of intervals by premise and by row, of an accuracy and of a paired delta.

    `own` is the standard deviation of the effect that a premise has for one checkpoint; premises also have
    one of 0.7 for both; a document's noise is 1.
    """
    rng = np.random.default_rng(seed)
    by_premise, by_row = st.draw_counts(count, draws, seed), st.draw_counts(3 * count, draws, seed + 1)
    common = 0.7 * rng.standard_normal((repeats, 1, count, 1, 1))
    ours = own * rng.standard_normal((repeats, 2, count, 1, 1))
    cut = np.array([0.1, 0.25])[None, :, None, None, None]
    right = common + ours + rng.standard_normal((repeats, 2, count, 3, 4)) < cut
    truth = norm.cdf(cut.ravel() / np.sqrt(1 + 0.49 + own**2))
    found = {}
    for name, counts, axis in (("premise", by_premise, (3, 4)), ("row", by_row, (4,))):
        means = right.mean(axis=axis).reshape(repeats, 2, -1)
        for what, values, expected in (
            ("accuracy", means[:, 0], truth[0]),
            ("delta", means[:, 1] - means[:, 0], truth[1] - truth[0]),
        ):
            bounds = st.intervals(st.bootstrap_means(values.T, counts), counts.shape[0])
            found[f"{what} by {name}"] = float(
                ((bounds[:, 0] <= expected) & (expected <= bounds[:, 1])).mean()
            )
    return found


@pytest.mark.parametrize("own", [0.0, 0.5, 1.5])
def test_intervals_by_premise_cover_at_three_strengths(own: float) -> None:
    found = cover(own, 2000, seed=5)
    print(f"\npremise effect {own}:", {name: f"{value:.1%}" for name, value in found.items()})
    for what in ("accuracy", "delta"):
        assert 0.93 <= found[f"{what} by premise"] <= 0.97, what
    if own == 1.5:
        assert found["delta by row"] < 0.88


def test_labels_are_one_of_each_a_premise() -> None:
    """Where a premise has every label once, rows hang together negatively, and premises tell more than rows do."""
    truth = labels(300)
    right = truth[:, None] == np.where(RNG.random((300, 4)) < 0.9, 0, truth[:, None])  # nearly always label 0
    results = [result(entry("c"), right, clusters=np.arange(300) // 3)]
    (panel,) = build_panels(results, membership=thirds)
    bounds = Bootstrap(panel, 2000).bounds("all")[0]
    assert np.ptp(bounds) < 0.5 * 2 * 1.96 * right.mean(axis=1).std() / np.sqrt(300)
