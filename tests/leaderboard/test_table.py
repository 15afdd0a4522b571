"""The board's figures against counts by hand."""

import json

import numpy as np
import pytest
from scipy import stats
from synthetic import correlated, entry, halves, ladder, result

from xscale.errors import UserError
from xscale.leaderboard.panels import Result, build_panels
from xscale.leaderboard.table import Board, Filter, make_board, to_json

RNG = np.random.default_rng(7)
ITEM = RNG.standard_normal((600, 1))
ENTRIES = ladder((0, 512, 2048), seeds=(0, 1, 2))
TRUTH = {0: 0.45, 512: 0.50, 2048: 0.60}
RIGHT = {made.id: correlated(600, 4, TRUTH[made.size] + 0.01 * made.seed, 0.5, RNG, ITEM) for made in ENTRIES}
RESULTS = [result(made, RIGHT[made.id]) for made in ENTRIES]


def build(results: list[Result] = RESULTS, **options: object) -> Board:
    panels = build_panels(results, membership=halves)
    return make_board(panels, results, **({"draws": 800} | options))


def test_accuracies_are_counts() -> None:
    for row in build(subsets=("id", "ood", "few")).tables[0].rows:
        right = RIGHT[row.id]
        assert row.acc["all"].value == pytest.approx(right.mean())
        assert row.acc["id"].value == pytest.approx(right[::2].mean())
        assert row.acc["ood"].value == pytest.approx(right[1::2].mean())
        assert row.acc["few"].value == pytest.approx(right[::10].mean())
        assert row.gap is not None and row.gap.value == pytest.approx(right[::2].mean() - right[1::2].mean())
        assert all(item.low < item.value < item.high for item in row.acc.values())


def test_delta_is_paired_and_its_interval_is_that_of_paired_rows() -> None:
    row = next(row for row in build(draws=8000).tables[0].rows if row.id == "snli-2048-s1")
    paired = (RIGHT["snli-2048-s1"] - RIGHT["snli-0-s1"].astype(int)).mean(axis=1)[1::2]
    delta = row.deltas["ood"]
    expected = stats.t.interval(0.95, 299, paired.mean(), stats.sem(paired))
    assert delta.value == pytest.approx(paired.mean())
    assert (delta.low, delta.high) == pytest.approx(expected, abs=0.003)
    assert delta.p == pytest.approx(stats.ttest_1samp(paired, 0).pvalue, abs=1e-4)
    assert delta.baseline == "snli-0-s1"


def test_holm_counts_what_is_shown() -> None:
    rows = [row for row in build().tables[0].rows if row.size]
    smallest = min(row.deltas["ood"].p for row in rows)
    assert min(row.deltas["ood"].p_holm for row in rows) == pytest.approx(min(1, 6 * smallest))
    one = build(show=Filter(ids=("snli-512-s0",))).tables[0].rows
    assert [row.id for row in one] == ["snli-512-s0"]
    assert one[0].deltas["ood"].p_holm == one[0].deltas["ood"].p


def test_mean_over_seeds() -> None:
    rows = build(seeds="mean").tables[0].rows
    assert [(row.size, row.seeds) for row in rows] == [(size, (0, 1, 2)) for size in (0, 512, 2048)]
    values = [RIGHT[f"snli-512-s{seed}"].mean() for seed in range(3)]
    assert rows[1].acc["all"].value == pytest.approx(np.mean(values))
    assert rows[1].seed_spread["all"] == pytest.approx(np.std(values, ddof=1))
    single = next(row for row in build().tables[0].rows if row.id == "snli-512-s0")

    def width(row: object) -> float:
        return row.acc["all"].high - row.acc["all"].low  # type: ignore[attr-defined]

    assert width(rows[1]) > stats.t.ppf(0.975, 2) * 2 * np.std(values, ddof=1) / 3**0.5 * 0.9
    assert single.seeds == (0,)
    deltas = [RIGHT[f"snli-2048-s{s}"][1::2].mean() - RIGHT[f"snli-0-s{s}"][1::2].mean() for s in range(3)]
    assert rows[2].deltas["ood"].value == pytest.approx(np.mean(deltas))


def test_two_entries_of_one_seed_are_not_merged() -> None:
    twin = entry("twin", size=512, seed=0, intermediate=["snli"], baseline="snli-0-s0")
    rows = build([*RESULTS, result(twin, RIGHT["snli-512-s0"])], seeds="mean").tables[0].rows
    assert sorted(row.id for row in rows if row.size == 512) == [
        "snli-512-s0",
        "snli-512-s1",
        "snli-512-s2",
        "twin",
    ]


@pytest.mark.parametrize(
    ("baseline", "why"),
    [
        (None, "no baseline in the manifest"),
        ("lost", "not in the manifest"),
        ("later", "later: missing"),
        ("short", "answered other data (600 rows against 100)"),
        ("xcopa-only", "has no xnli result"),
    ],
)
def test_a_missing_delta_says_why(baseline: str | None, why: str) -> None:
    results = [
        result(entry("mine", size=4, baseline=baseline), RIGHT["snli-0-s0"]),
        Result(entry("later"), "missing", "not evaluated yet"),
        result(entry("short"), RIGHT["snli-0-s0"][:100]),
        result(entry("xcopa-only"), RIGHT["snli-0-s0"], target="xcopa", choices=2),
    ]
    rows = [row for table in build(results).tables for row in table.rows if row.id == "mine"]
    assert why in (rows[0].deltas["ood"].reason or "")
    assert np.isnan(rows[0].deltas["ood"].p)


def test_breakdown_by_language_and_by_a_table_of_groups() -> None:
    def groups(target: str) -> dict[str, tuple[str, ...]]:
        return {"seen": ("de", "en", "tr"), "unseen": ("sw", "qu"), "script:Latin": ("de", "en")}

    row = build(by="language", group_subset="ood").tables[0].rows[0]
    assert row.groups["sw"].value == pytest.approx(RIGHT[row.id][1::2, 2].mean())
    row = build(by="seen", groups=groups).tables[0].rows[0]
    assert set(row.groups) == {"seen", "unseen"}
    assert row.groups["seen"].value == pytest.approx(RIGHT[row.id][:, [0, 1, 3]].mean())
    assert set(build(by="script", groups=groups).tables[0].rows[0].groups) == {"script:Latin"}


def test_orders() -> None:
    assert [row.size for row in build(sort="acc").tables[0].rows][:3] == [2048] * 3
    by_name = [row.id for row in build(sort="name").tables[0].rows]
    assert by_name == sorted(by_name)
    deltas = [row.deltas["ood"].value for row in build(sort="delta").tables[0].rows]
    assert deltas[:6] == sorted(deltas[:6], reverse=True) and np.isnan(deltas[6:]).all()


def test_filters_keep_the_baseline_for_deltas() -> None:
    rows = (
        build(show=Filter(sizes=(2048,), seeds=(1,), bases=("e5",), intermediates=("snli",))).tables[0].rows
    )
    assert [row.id for row in rows] == ["snli-2048-s1"]
    assert not np.isnan(rows[0].deltas["ood"].value)
    assert build(show=Filter(bases=("other",))).tables == []


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UserError, match="subset 'odd'.*few"):
        build(subsets=("odd",))
    with pytest.raises(UserError, match="unknown order"):
        build(sort="luck")
    with pytest.raises(UserError, match="unknown breakdown"):
        build(by="colour")


def test_same_seed_same_board_and_json_is_strict() -> None:
    first, again, other = (json.dumps(to_json(build(seed=seed)), allow_nan=False) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_best_ranks_belong_to_the_largest_size() -> None:
    rows = {row.id: row for row in build().tables[0].rows}
    assert all(rows[f"snli-2048-s{seed}"].rank[0] == 1 for seed in range(3))  # type: ignore[index]
    assert all(rows[f"snli-0-s{seed}"].rank[0] >= 4 for seed in range(3))  # type: ignore[index]
