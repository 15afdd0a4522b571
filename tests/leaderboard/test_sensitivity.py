"""What one language decides, and what is left out of an interval or a plot, is said."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic import LANGUAGES, halves, ladder, result
from test_scaling import SIZES, observe

from xscale.leaderboard import plots, scaling
from xscale.leaderboard.bootstrap import Bootstrap, Estimate
from xscale.leaderboard.ladders import ladders
from xscale.leaderboard.panels import Panel, build_panels
from xscale.leaderboard.sensitivity import one_language_left_out
from xscale.leaderboard.table import make_board


def made_up(gains: dict[str, int], languages: tuple[str, ...] = LANGUAGES) -> tuple[Panel, list]:
    """100 rows, of which the baseline has the first 40 right in every language and the other one `gains` more, half of them
    on odd rows, which are OOD."""
    entries = ladder((0, 512))
    base = np.repeat((np.arange(100) < 40)[:, None], len(languages), axis=1)
    better = np.stack([np.arange(100) < 40 + gains.get(code, 0) for code in languages], axis=1)
    results = [result(entries[0], base, languages=languages), result(entries[1], better, languages=languages)]
    (panel,) = build_panels(results, membership=halves)
    return panel, results


def test_the_language_that_decides_a_delta_is_named() -> None:
    """Swahili has 40 points more, the others 4: of all 13, 4 without Swahili."""
    panel, results = made_up({"de": 4, "en": 4, "sw": 40, "tr": 4})
    found = one_language_left_out(panel, [(1, 0)], "ood")
    assert found is not None and found.language == "sw"
    assert (found.delta, found.without) == (pytest.approx(0.13), pytest.approx(0.04))
    (table,) = make_board([panel], results, draws=100).tables
    assert [note for note in table.notes if "language left out" in note] == [
        "one language left out, a delta moves by 9.0 points at most: snli-512-s0 from +13.0 to +4.0 without sw"
    ]


def test_of_three_languages_none_is_left_out() -> None:
    panel, results = made_up({"de": 4, "en": 40}, LANGUAGES[:3])
    assert one_language_left_out(panel, [(1, 0)]) is None
    assert not any("left out" in note for note in make_board([panel], results, draws=100).tables[0].notes)


def test_scores_that_are_ratios_are_left_out_as_ratios() -> None:
    panel, _ = made_up({"sw": 20})
    above = panel.correct.astype(float) * np.array([1, 1, 3, 1])
    below = np.broadcast_to(np.array([1.0, 1, 3, 1]), above.shape)
    found = one_language_left_out(replace(panel, scores=(above, below)), [(1, 0)])
    assert found is not None and found.language == "sw"
    assert (found.delta, found.without) == (pytest.approx(0.2 * 3 / 6), 0)


def test_draws_that_a_curve_does_not_fit_are_counted() -> None:
    means = observe(0.70 - 1.5 * np.array(SIZES, float) ** -0.4, 3, 0.0005, np.random.default_rng(0))
    assert scaling.fit("power law", means).left_out == 0
    bad = means.draws.copy()
    bad[:, :7] = np.linspace(1.05, 1.15, len(SIZES))[:, None]  # of a limit above 100%
    found = scaling.fit("power law", replace(means, draws=bad))
    assert found.left_out == 7
    assert found.parameters["limit"].high < 1


def test_no_band_of_a_plot_is_cut() -> None:
    panel, _ = made_up({"sw": 4})
    curve = scaling.curve(Bootstrap(panel, 200), ladders(panel)[0])
    wide = replace(
        curve, points=(*curve.points[:-1], replace(curve.points[-1], acc=Estimate(0.4, 0.05, 0.9)))
    )
    low, high = plots.value_limits([wide])
    assert low < 0.05 and high > 0.9
