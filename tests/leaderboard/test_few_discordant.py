"""A difference of two checkpoints that answer nearly alike has an interval that holds the truth."""

import numpy as np
import pytest
from scipy import stats
from synthetic import entry, halves, result

from xscale.leaderboard import statistics as st
from xscale.leaderboard.bootstrap import Bootstrap, paired_delta
from xscale.leaderboard.panels import build_panels


def coverage(items: int, better: float, worse: float) -> tuple[float, float]:
    """Probability that the interval holds better − worse, ours and the plain bootstrap's: summed over all outcomes."""
    counts = st.draw_counts(items, 4000)
    ours = plain = total = 0.0
    for up in range(items + 1):
        for down in range(items + 1 - up):
            weight = stats.multinomial.pmf(
                [up, down, items - up - down], items, [better, worse, 1 - better - worse]
            )
            if weight < 1e-4:
                continue
            signs = np.zeros(items)
            signs[:up], signs[up : up + down] = 1, -1
            draws = st.bootstrap_means(signs[:, None], counts)[0]
            low, high = st.intervals(st.widened(draws, st.few_discordant(signs[None], items)), items)
            ours += weight * (low <= better - worse <= high)
            low, high = st.intervals(draws, items)
            plain += weight * (low <= better - worse <= high)
            total += weight
    return ours / total, plain / total


@pytest.mark.parametrize("items", [30, 60])
@pytest.mark.parametrize(("better", "worse"), [(0.03, 0.01), (0.05, 0.01), (0.10, 0.0), (0.15, 0.05)])
def test_coverage_at_few_items(items: int, better: float, worse: float) -> None:
    ours, plain = coverage(items, better, worse)
    assert ours >= 0.93
    if (better, worse) == (0.03, 0.01):
        assert plain < 0.85  # what resampling alone gives: 59% and 83%


@pytest.mark.slow
@pytest.mark.parametrize("items", [30, 60, 150])
def test_coverage_on_a_grid(items: int) -> None:
    for better in (0.01, 0.02, 0.03, 0.05, 0.08, 0.1, 0.15, 0.2, 0.3):
        for worse in (0.0, 0.01, 0.03, 0.05, 0.1, 0.15):
            ours, plain = coverage(items, better, worse)
            print(
                f"{items} items, better {better:.0%}, worse {worse:.0%}: {ours:.1%}, resampling {plain:.1%}"
            )
            assert ours >= 0.93, (better, worse)


def test_two_that_answer_alike_are_not_known_to_be_equal() -> None:
    right = np.repeat(np.arange(60)[:, None] % 2 == 0, 4, axis=1)
    made = [entry("b", size=0), entry("c", size=8, intermediate=["t"], baseline="b")]
    (panel,) = build_panels([result(one, right) for one in made], membership=halves)
    delta = paired_delta(Bootstrap(panel, 2000), [1], [0], "ood")
    assert delta.same and delta.value == 0 and delta.p == 1
    assert (
        -0.12 < delta.low < -0.06 and 0.06 < delta.high < 0.12
    )  # 30 items: Tango's score interval has ±11.4


def test_many_that_differ_are_left_alone() -> None:
    differences = np.zeros((1, 400))
    differences[0, :40] = 0.5
    assert st.few_discordant(differences, 400) == st.MANY
