"""Figures that are ratios of sums (F1): nothing takes them for shares of right answers, and intervals cover."""

import json

import numpy as np
import pyarrow as pa
import pytest
from synthetic import COLUMNS, entry, info

from xscale.evaluation.predictions import Predictions
from xscale.leaderboard.answer import with_answer
from xscale.leaderboard.bootstrap import Bootstrap, estimate, paired_delta
from xscale.leaderboard.panels import Panel, Result, build_panels, scores_of
from xscale.leaderboard.render import render
from xscale.leaderboard.table import make_board

LANGUAGES = ("de", "en", "th")
TARGET = "xquad"  # rows are parallel, the figure is F1


def loaded(identity: str, above: np.ndarray, below: np.ndarray, cluster: int = 4, **fields: object) -> Result:
    """A result with these numerators and denominators, (rows, languages); `cluster` rows are a cluster."""
    rows = np.repeat(np.arange(len(above)), len(LANGUAGES))
    codes = list(LANGUAGES) * len(above)
    columns = {
        "target": [TARGET] * len(rows),
        "task": codes,
        "language": codes,
        "row": rows,
        "label": np.ones(len(rows), int),
        "prediction": (above == below).astype(int).ravel(),
        "logprobs": [[] for _ in rows],
        "cluster": rows // cluster * cluster,
        "numerator": above.ravel(),
        "denominator": below.ravel(),
    }
    stored = Predictions(pa.table(columns, schema=COLUMNS), info(identity, {TARGET: LANGUAGES}))
    return Result(entry(identity, **fields), "ok", scores=scores_of(stored), info=stored.info)


def spans(
    rng: np.random.Generator, clusters: int, quality: float, item: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """2 x true positives and predicted + gold spans, (4 x clusters, languages); a cluster's rows hang together by `item`,
    and long rows are harder."""
    gold = rng.integers(1, 9, (4 * clusters, 1)) + np.zeros((1, len(LANGUAGES)), int)
    chance = 1 / (1 + np.exp(-(quality + np.repeat(item, 4)[:, None] - 0.15 * gold)))
    found = rng.binomial(gold, chance)
    predicted = found + rng.binomial(gold, 0.3)
    return 2.0 * found, (predicted + gold).astype(float)


def panel_of(results: list[Result]) -> Panel:
    (panel,) = build_panels(results, membership=lambda target, anchor: {})
    return panel


def truth_of(quality: float) -> float:
    above, below = spans(
        np.random.default_rng(1), 60_000, quality, np.random.default_rng(2).standard_normal(60_000)
    )
    return float(above.sum() / below.sum())


def test_intervals_of_f1_and_of_its_change_cover() -> None:
    """95%, with denominators that differ by row and by checkpoint; rows taken for independent would be too sure."""
    rng = np.random.default_rng(5)
    old, new = truth_of(0.2), truth_of(0.5)
    repeats, inside = 300, np.zeros(3)
    for _ in range(repeats):
        item = rng.standard_normal(60)
        before, after = (spans(rng, 60, quality, item) for quality in (0.2, 0.5))
        panel = panel_of(
            [loaded("b", *before, size=0), loaded("c", *after, size=8, intermediate=["t"], baseline="b")]
        )
        bootstrap = Bootstrap(panel, 400, seed=int(rng.integers(1 << 30)))
        f1 = estimate(bootstrap, [0], "all")
        delta = paired_delta(bootstrap, [1], [0], "all")
        alone = estimate(Bootstrap(panel_of([loaded("b", *before, cluster=1)]), 400, seed=1), [0], "all")
        held = (
            f1.low <= old <= f1.high,
            delta.low <= new - old <= delta.high,
            alone.low <= old <= alone.high,
        )
        inside += held
    coverage = inside / repeats
    assert 0.915 <= coverage[0] <= 0.98 and 0.915 <= coverage[1] <= 0.98, coverage
    assert coverage[2] < 0.9


def two() -> list[Result]:
    """A baseline, and a checkpoint with other answers that are entirely right just where the baseline's are."""
    below = np.full((40, 3), 4.0)
    before = np.where(np.arange(120).reshape(40, 3) % 3, 1.0, 4.0)
    after = np.where(before == 1.0, 2.0, 4.0)
    return [
        loaded("b", before, below, size=0),
        loaded("c", after, below, size=8, intermediate=["t"], baseline="b"),
    ]


def test_other_answers_that_are_not_right_either_are_a_change() -> None:
    panel = panel_of(two())
    assert (panel.predictions[0] == panel.predictions[1]).all()
    delta = paired_delta(Bootstrap(panel, 200), [1], [0], "all")
    assert not delta.same and delta.value == pytest.approx(1 / 4 * 2 / 3)
    assert paired_delta(Bootstrap(panel, 200), [0], [0], "all").same


def test_board_and_answer_say_what_the_figure_is() -> None:
    results = two()
    made = [panel_of(results)]
    board = make_board(made, results, draws=200)
    text = render(board, "simple")
    assert "XQuAD (F1): 3 languages" in text
    (row, other) = json.loads(render(board, "json"))["tables"][0]["rows"]
    figures = sorted((row["acc"]["all"]["value"], other["acc"]["all"]["value"]))
    assert figures == pytest.approx([1 / 2, 2 / 3], abs=1e-6)
    assert not row["rows_right"] and not other["rows_right"]  # counts of right answers would be no F1
    sentence = with_answer(board, [Bootstrap(made[0], 200)]).answer[0]
    assert "all-row F1 on XQuAD" in sentence and "accuracy" not in sentence
