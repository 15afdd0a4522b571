"""Targets whose languages have rows of their own: every language counts whole, and a figure is the mean over languages."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from synthetic import COLUMNS, entry, info

from xscale.cli.leaderboard import _english_texts
from xscale.evaluation.predictions import Predictions
from xscale.leaderboard import panels
from xscale.leaderboard.bootstrap import Bootstrap, cluster_differences, estimate, paired_delta
from xscale.leaderboard.compare import compare
from xscale.leaderboard.panels import Result, build_panels, scores_of
from xscale.leaderboard.render import render
from xscale.leaderboard.table import make_board

SIZES = {"de": 40, "en": 300, "tl": 12}
TARGET = "tagged"


@pytest.fixture(autouse=True)
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panels, "have_own_rows", lambda target, languages: len(languages) > 1)


def documents(
    rng: np.random.Generator, quality: float, words: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """By language (rows, 2): right words and words of each sentence."""
    return {code: np.stack([rng.binomial(w, quality), w], axis=1) for code, w in words.items()}


def loaded(identity: str, found: dict[str, np.ndarray], cluster: int = 1, **fields: object) -> Result:
    columns: dict[str, list[object]] = {name: [] for name in COLUMNS.names}
    for code, scores in found.items():
        for row, (above, below) in enumerate(scores.tolist()):
            values = {
                "target": TARGET,
                "task": code,
                "language": code,
                "row": row,
                "label": 1,
                "logprobs": [],
            }
            values |= {"prediction": int(above == below), "cluster": row // cluster * cluster}
            values |= {"numerator": float(above), "denominator": float(below)}
            for name, value in values.items():
                columns[name].append(value)
    stored = Predictions(pa.table(columns, schema=COLUMNS), info(identity, {TARGET: list(found)}))
    return Result(entry(identity, **fields), "ok", scores=scores_of(stored), info=stored.info)


def words_of(rng: np.random.Generator, sizes: dict[str, int] = SIZES) -> dict[str, np.ndarray]:
    return {code: rng.integers(1, 30, size) for code, size in sizes.items()}


def two(cluster: int = 1, sizes: dict[str, int] = SIZES) -> tuple[list[Result], list[dict[str, np.ndarray]]]:
    rng = np.random.default_rng(3)
    words = words_of(rng, sizes)
    found = [documents(rng, quality, words) for quality in (0.6, 0.8)]
    results = [
        loaded("a", found[0], cluster, size=0),
        loaded("b", found[1], cluster, size=512, baseline="a"),
    ]
    return results, found


def mean(found: dict[str, np.ndarray]) -> float:
    return float(np.mean([scores[:, 0].sum() / scores[:, 1].sum() for scores in found.values()]))


def test_no_row_is_left_out_and_languages_weigh_alike() -> None:
    results, found = two()
    (panel,) = build_panels(results)
    assert panel.row_count() == sum(SIZES.values()) and "3 languages, 352 rows" in panel.title
    bootstrap = Bootstrap(panel, 200)
    for index, scores in enumerate(found):
        assert bootstrap("all")[0][index] == pytest.approx(mean(scores))
        for code in SIZES:
            assert bootstrap("all", (code,))[0][index] == pytest.approx(mean({code: scores[code]}))
        assert panel.figures_by_language()[index] == pytest.approx([mean({c: scores[c]}) for c in SIZES])
    assert np.isnan(panel.commonest_label())
    (english,) = build_panels(results, languages=["en"])
    assert english.row_count() == 300


def test_draws_are_of_each_languages_own_clusters() -> None:
    results, found = two(cluster=3)
    (panel,) = build_panels(results)
    bootstrap = Bootstrap(panel, 300)
    assert panel.cluster_count == 100
    draws = []
    for scores in found[1].values():
        times = bootstrap.counts[:, 5].repeat(3)[: len(scores)]
        draws.append((scores[:, 0] * times).sum() / (scores[:, 1] * times).sum())
    assert bootstrap("all")[1][1, 5] == pytest.approx(np.mean(draws), rel=1e-5)
    # a mean of means of 14, 100 and 4 clusters that are alike
    assert bootstrap.clusters("all") == int(9 / (1 / 14 + 1 / 100 + 1 / 4))
    assert bootstrap.clusters("all", languages=("tl",)) == 4


def test_the_linear_part_of_a_difference_has_the_variance_of_the_draws() -> None:
    results, found = two(sizes={"de": 150, "en": 400, "tl": 90})
    (panel,) = build_panels(results)
    bootstrap = Bootstrap(panel, 4000)
    parts, size = cluster_differences(bootstrap, [1], [0], "all", ())
    assert parts.shape == (1, 640) and size == 1
    draws = bootstrap("all")[1][1] - bootstrap("all")[1][0]
    assert np.sqrt((parts**2).sum()) / 640 == pytest.approx(draws.std(), rel=0.08)
    delta = paired_delta(bootstrap, [1], [0], "all")
    assert delta.value == pytest.approx(mean(found[1]) - mean(found[0]))
    assert delta.low < delta.value < delta.high and delta.p < 0.001


def test_other_rows_are_not_compared() -> None:
    rng = np.random.default_rng(0)
    words = words_of(rng)
    fewer = words | {"de": words["de"][:30]}
    results = [loaded("a", documents(rng, 0.5, words)), loaded("b", documents(rng, 0.5, fewer))]
    assert len(build_panels(results)) == 2


def test_board_and_comparison_show_each_checkpoints_own_figure() -> None:
    """Also where the two that are compared are not the first two of their table."""
    rng = np.random.default_rng(5)
    words = words_of(rng)
    found = {
        name: documents(rng, quality, words) for name, quality in zip("xyz", (0.2, 0.5, 0.9), strict=True)
    }
    results = [loaded(name, scores) for name, scores in found.items()]
    made = build_panels(results)
    (comparison,) = compare(made, results, "z", "y", draws=200)
    line = comparison.subsets[0]
    assert (line.first, line.second) == pytest.approx((mean(found["z"]), mean(found["y"])))
    assert line.rows == comparison.documents == 352
    board = json.loads(render(make_board(made, results, draws=200), "json"))
    figures = {row["id"]: row["acc"]["all"]["value"] for row in board["tables"][0]["rows"]}
    assert figures == pytest.approx({name: mean(scores) for name, scores in found.items()}, abs=1e-6)
    assert "means over languages" in render(make_board(made, results, draws=200), "simple")


def test_rows_of_one_number_are_not_taken_for_one_another() -> None:
    """A flipped row is of one language, and no English text stands for it."""
    results, found = two()
    made = build_panels(results)
    (comparison,) = compare(made, results, "a", "b", draws=100)
    right = [{code: scores[:, 0] == scores[:, 1] for code, scores in each.items()} for each in found]
    expected = {
        (row, code, bool(right[1][code][row]))
        for code in SIZES
        for row in range(SIZES[code])
        if right[0][code][row] != right[1][code][row]
    }
    flips = [(flip.row, *(flip.gained or flip.lost), bool(flip.gained)) for flip in comparison.flips]
    assert all(len(flip) == 3 for flip in flips) and len(flips) == len(expected) > 20
    assert set(flips) == expected
    assert _english_texts(made, results) == {}


def test_intervals_hold_what_they_promise() -> None:
    """Coverage at 95% of a mean over languages of ratios of sums: right words over words, sentences of varying quality."""
    rng = np.random.default_rng(11)
    sizes, truth, inside, repeats = (
        {"de": 60, "en": 150, "tl": 40},
        {"de": 0.5, "en": 0.8, "tl": 0.65},
        0,
        300,
    )
    for _ in range(repeats):
        found = {}
        for code, size in sizes.items():
            words = rng.integers(1, 40, size)
            quality = rng.beta(5 * truth[code], 5 * (1 - truth[code]), size)
            found[code] = np.stack([rng.binomial(words, quality), words], axis=1)
        (panel,) = build_panels([loaded("a", found)])
        interval = estimate(Bootstrap(panel, 400, seed=int(rng.integers(1 << 30))), [0], "all")
        inside += interval.low <= np.mean(list(truth.values())) <= interval.high
    assert 0.915 <= inside / repeats <= 0.98
