"""The board's figures against counts by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from synthetic import correlated, entry, halves, ladder, result

from xscale.errors import UserError
from xscale.leaderboard.ladders import ladders
from xscale.leaderboard.panels import Result, build_panels
from xscale.leaderboard.table import Board, Filter, make_board, to_json
from xscale.manifest import Entry

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


def family_p(board: Board) -> dict[tuple[str, int | None], float]:
    """Corrected p-values of the rows that have one."""
    return {
        (table.target, row.size): row.deltas["ood"].p_holm
        for table in board.tables
        for row in table.rows
        if "ood" in row.deltas and not np.isnan(row.deltas["ood"].p_holm)
    }


def two_targets() -> list[Result]:
    rng = np.random.default_rng(1)
    copa = [
        result(made, correlated(300, 4, 0.6 + (made.size or 0) / 4e4, 0.5, rng), target="xcopa", choices=2)
        for made in ENTRIES
    ]
    return [
        Result(first.entry, "ok", scores=first.scores | second.scores, info=first.info)
        for first, second in zip(RESULTS, copa, strict=True)
    ]


def test_the_family_is_the_questions_whatever_is_shown() -> None:
    """All arms, sizes and targets on OOD: four means over seeds here. Display filters change no p-value."""
    results = two_targets()
    whole = family_p(build(results, seeds="mean"))
    assert set(whole) == {("xnli", 512), ("xnli", 2048), ("xcopa", 512), ("xcopa", 2048)}
    tables = build(results, seeds="mean").tables
    raw = [row.deltas["ood"].p for table in tables for row in table.rows if row.size]
    assert sorted(whole.values()) == pytest.approx(sorted(holm(raw)))
    for options in (
        {"show": Filter(sizes=(512,))},
        {"show": Filter(targets=("xcopa",))},
        {"subsets": ("few",), "deltas": ("all", "id", "ood", "few"), "sort": "acc"},
    ):
        shown = family_p(build(results, seeds="mean", **options))
        assert shown and all(whole[key] == p for key, p in shown.items())
    few = build(results, seeds="mean", deltas=("few", "ood")).tables[0].rows[1]
    assert (
        np.isnan(few.deltas["few"].p_holm) and not few.deltas["few"].significant
    )  # exploratory: an interval
    assert few.deltas["few"].low < few.deltas["few"].value


def holm(p: list[float]) -> list[float]:
    """Holm 1979, by the book: the smallest times n, the next times n − 1, never falling."""
    steps, last = {}, 0.0
    for position, index in enumerate(np.argsort(p)):
        last = steps[index] = max(last, min(1.0, (len(p) - position) * p[index]))
    return [steps[index] for index in range(len(p))]


def test_no_star_below_three_seeds() -> None:
    def stars(chosen_seeds: tuple[int, ...], **options: object) -> list[bool]:
        chosen = [r for r in RESULTS if r.entry.seed in chosen_seeds]
        rows = [row for row in build(chosen, **options).tables[0].rows if row.size == 2048]
        assert len(chosen_seeds) == 2 or all(row.deltas["ood"].p < 0.05 for row in rows)
        return [row.deltas["ood"].significant for row in rows]

    assert stars((0, 1, 2), seeds="mean") == [True]
    assert stars((0, 1), seeds="mean") == [False]
    assert stars((0,)) == [False]
    assert stars((0, 1, 2)) == [False] * 3  # each is one training run


def test_the_difference_of_deltas() -> None:
    """ΔOOD − ΔID with its interval and p, against a t-test of what premises gain."""
    row = next(row for row in build(draws=8000).tables[0].rows if row.id == "snli-2048-s1")
    gained = (RIGHT["snli-2048-s1"] - RIGHT["snli-0-s1"].astype(int)).mean(axis=1)
    found, expected = row.delta_difference, stats.ttest_ind(gained[1::2], gained[::2], equal_var=False)
    assert found is not None
    assert found.value == pytest.approx(gained[1::2].mean() - gained[::2].mean())
    assert found.p == pytest.approx(expected.pvalue, abs=0.01)
    interval = expected.confidence_interval()
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=0.005)
    mean = next(row for row in build(seeds="mean").tables[0].rows if row.size == 2048)
    differences = [
        (RIGHT[f"snli-2048-s{s}"] - RIGHT[f"snli-0-s{s}"].astype(int))[1::2].mean()
        - (RIGHT[f"snli-2048-s{s}"] - RIGHT[f"snli-0-s{s}"].astype(int))[::2].mean()
        for s in range(3)
    ]
    assert mean.delta_difference is not None
    assert mean.delta_difference.value == pytest.approx(np.mean(differences))
    assert next(row for row in build().tables[0].rows if row.size == 0).delta_difference is None


def test_a_seed_without_its_baseline_counts_in_no_figure_of_the_row() -> None:
    """Seed 2 is much worse, and its baseline has no result yet."""
    worse = np.random.default_rng(0).random((600, 4)) < 0.3
    chosen = [
        replace(r, status="missing", scores={}) if r.entry.id == "snli-0-s2" else r
        for r in [*RESULTS[:-1], result(ENTRIES[-1], worse)]
    ]
    table = build(chosen, seeds="mean").tables[0]
    row = next(row for row in table.rows if row.size == 2048)
    assert row.seeds == (0, 1)
    both = [RIGHT[f"snli-2048-s{s}"] for s in (0, 1)]
    assert row.acc["ood"].value == pytest.approx(np.mean([right[1::2].mean() for right in both]))
    assert row.deltas["ood"].value == pytest.approx(
        np.mean([RIGHT[f"snli-2048-s{s}"][1::2].mean() - RIGHT[f"snli-0-s{s}"][1::2].mean() for s in (0, 1)])
    )
    assert any("snli-2048-s2 is left out" in note and "snli-0-s2" in note for note in table.notes)
    (ladder_,) = ladders(build_panels(chosen, membership=halves)[0])
    assert [len(indices) for indices in ladder_.sizes.values()] == [2, 2, 2]


def test_two_recipes_are_never_one_ladder_and_no_mean() -> None:
    """Two experiments that differ in what the manifest's columns do not say, such as how updates are counted."""
    made = [
        entry(
            f"{name}-{size}-seed{seed}",
            size=size,
            seed=seed,
            intermediate=["snli"] if size else [],
            baseline=f"{name}-0-seed{seed}" if size else None,
        )
        for name, seeds in (("epochs", (1,)), ("fixed", (2,)))
        for seed in seeds
        for size in (0, 512, 2048)
    ]
    results = [result(one, RIGHT[f"snli-{one.size}-s{one.seed}"]) for one in made]
    panels = build_panels(results, membership=halves)
    assert [list(found.sizes) for found in ladders(panels[0])] == [[0, 512, 2048]] * 2
    assert all(len(row.seeds) == 1 for row in build(results, seeds="mean").tables[0].rows)


def test_numbers_of_different_precision_are_told() -> None:
    results = [
        result(made, RIGHT[made.id], precision="bf16" if made.size else "fp32") for made in ENTRIES[:3]
    ]
    notes = " ".join(build(results).tables[0].notes)
    assert "precision" in notes and "bf16: snli-512-s0, snli-2048-s0" in notes and "fp32: snli-0-s0" in notes
    assert "precision" not in " ".join(build().tables[0].notes)


def test_what_would_have_been_found_stands_by_what_was_not() -> None:
    same = [
        result(made, RIGHT["snli-0-s0"] ^ (np.random.default_rng(i).random((600, 4)) < 0.1))
        for i, made in enumerate(ENTRIES)
    ]
    table = build(same, seeds="mean").tables[0]
    row = next(row for row in table.rows if row.size == 512)
    delta = row.deltas["ood"]
    expected = (stats.t.isf(0.025 / 2, delta.freedom) + stats.t.ppf(0.8, delta.freedom)) * delta.se
    assert delta.detectable == pytest.approx(expected)
    assert any(f"{100 * expected:.1f} (snli, N 512)" in note for note in table.notes)


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
    with pytest.raises(
        UserError, match="these of xnli have: all, .*negation is a subset of xnli.*eval --data hub.*bundled"
    ):
        build(subsets=("negation",))
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


def test_ranks_are_on_the_questions_subset_and_know_seeds() -> None:
    """The better one on OOD rows is the worse one on all; and a mean over seeds far apart is not told from another."""
    rng = np.random.default_rng(2)
    ood = np.arange(600)[:, None] % 2 == 1
    first = result(entry("first"), rng.random((600, 4)) < np.where(ood, 0.7, 0.2))
    second = result(entry("second"), rng.random((600, 4)) < np.where(ood, 0.4, 0.9))
    table = build([first, second]).tables[0]
    assert table.rank_subset == "ood"
    assert {row.id: row.rank for row in table.rows} == {"first": (1, 1), "second": (2, 2)}
    made = ladder((512, 2048), seeds=(0, 1, 2))
    accuracy = {0: 0.3, 1: 0.5, 2: 0.7}
    close = [
        result(replace_baseline(one), rng.random((600, 4)) < accuracy[one.seed] + (one.size > 512) * 0.15)
        for one in made
    ]
    rows = build(close, seeds="mean").tables[0].rows
    assert [row.rank for row in rows] == [(1, 2), (1, 2)]


def replace_baseline(made: Entry) -> Entry:
    """The entry without a baseline."""
    return made.model_copy(update={"baseline": None})
