"""Effective robustness is measured from a line that others drew."""

import math

import numpy as np
import pytest
from synthetic import entry, halves, result

from xscale.leaderboard.bootstrap import Bootstrap
from xscale.leaderboard.panels import build_panels
from xscale.leaderboard.robustness import Robustness, effective_robustness

ROWS = 4000
RNG = np.random.default_rng(4)


def answers(id_logit: float, ood_logit: float) -> np.ndarray:
    chance = np.where(np.arange(ROWS)[:, None] % 2 == 0, id_logit, ood_logit)
    return RNG.random((ROWS, 4)) < 1 / (1 + np.exp(-chance))


def found(points: dict[str, tuple[float, float]], **fields: dict) -> tuple[Robustness, dict[str, np.ndarray]]:
    """By id, logits of ID and OOD; `fields` of an entry by id."""
    right = {name: answers(*point) for name, point in points.items()}
    results = [result(entry(name, **fields.get(name, {})), right[name]) for name in points]
    (panel,) = build_panels(results, membership=halves)
    line = effective_robustness(Bootstrap(panel, 1000))
    assert line is not None
    return line, right


def logit(values: np.ndarray) -> float:
    return math.log(values.mean() / (1 - values.mean()))


def line_through(right: dict[str, np.ndarray], names: list[str]) -> np.ndarray:
    x, y = ([logit(right[name][half::2]) for name in names] for half in (0, 1))
    return np.polyfit(x, y, 1)


STANDARD = {f"m{i}": (x, -0.3 + 0.8 * x) for i, x in enumerate(np.linspace(-0.6, 1.2, 6))}


def test_the_line_is_drawn_by_baselines_and_marked_entries_only() -> None:
    """A ladder all of which is above the others' line is more robust; a line through itself would show nothing."""
    ladder = {f"l{i}": (x, -0.3 + 0.8 * x + 0.4) for i, x in enumerate((0.0, 0.3, 0.6, 0.9))}
    marked = {name: {"makes_line": True} for name in STANDARD} | {"m0": {"size": 0}}
    line, right = found(STANDARD | ladder, **marked)
    assert not line.leave_one_out and set(line.makers) == set(STANDARD)
    assert set(line.residuals) == set(ladder)
    slope, intercept = line_through(right, list(STANDARD))
    for name in ladder:
        item = line.residuals[name]
        expected = right[name][1::2].mean() - 1 / (
            1 + math.exp(-(intercept + slope * logit(right[name][::2])))
        )
        assert item.value == pytest.approx(expected, abs=1e-6)
        assert 0 < item.low < item.value < item.high
    assert line.slope is not None and line.slope.value == pytest.approx(slope)


def test_without_others_each_is_left_out_and_it_is_said() -> None:
    points = STANDARD | {"odd": (0.3, -0.3 + 0.8 * 0.3 + 0.08)}
    line, right = found(points)
    assert line.leave_one_out
    slope, intercept = line_through(right, list(STANDARD))
    expected = right["odd"][1::2].mean() - 1 / (1 + math.exp(-(intercept + slope * logit(right["odd"][::2]))))
    assert line.residuals["odd"].value == pytest.approx(expected, abs=1e-6)  # its own point draws no line


def test_a_curved_relation_has_no_line() -> None:
    points = {f"v{i}": (x, abs(x)) for i, x in enumerate(np.linspace(-1, 1, 9))}
    line, _ = found(points, **{name: {"makes_line": True} for name in points})
    assert line.slope is None and not line.residuals
    assert "curved" in (line.refused or "")


def test_too_few_or_too_alike() -> None:
    few, _ = found({"a": (0, 0), "b": (1, 1)})
    assert few.refused == "needs 4 checkpoints, there are 2"
    alike, _ = found({f"a{i}": (0.3, 0.2) for i in range(4)}, **{"a0": {"size": 0}})
    assert alike.refused is None or "differ" in alike.refused
