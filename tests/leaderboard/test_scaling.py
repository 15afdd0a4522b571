"""Fits recover known curves; what cannot be fitted is refused with a reason."""

import math

import numpy as np
import pytest
from synthetic import correlated, entry, halves, ladder, result

from xscale.leaderboard import scaling
from xscale.leaderboard.bootstrap import Bootstrap
from xscale.leaderboard.ladders import ladders
from xscale.leaderboard.panels import build_panels

SIZES = [256, 1024, 4096, 16384, 65536, 262144]


def observe(
    truth: np.ndarray, seeds: int, noise: float, rng: np.random.Generator
) -> tuple[list[np.ndarray], np.ndarray]:
    """Values by seed for each size, and draws of their mean."""
    observed = [value + noise * rng.standard_normal(seeds) for value in truth]
    means = np.array([part.mean() for part in observed])
    return observed, means[:, None] + noise / math.sqrt(seeds) * rng.standard_normal((len(truth), 1500))


def test_power_law_is_recovered_and_chosen() -> None:
    rng = np.random.default_rng(0)
    truth = 0.70 - 1.5 * np.array(SIZES, float) ** -0.4
    observed, draws = observe(truth, 3, 0.002, rng)
    fits = {model: scaling.fit(model, SIZES, observed, draws, 3000) for model in scaling.PARAMETERS}
    assert scaling.choose(list(fits.values()), SIZES, 18) == ("power law", None)
    for name, value in {"limit": 0.70, "scale": 1.5, "exponent": 0.4}.items():
        found = fits["power law"].parameters[name]
        assert found.low <= value <= found.high
        assert found.value == pytest.approx(value, rel=0.25)


def test_log_linear_is_recovered_and_chosen() -> None:
    observed, draws = observe(0.3 + 0.015 * np.log2(SIZES), 3, 0.002, np.random.default_rng(1))
    fits = [scaling.fit(model, SIZES, observed, draws, 3000) for model in scaling.PARAMETERS]
    assert scaling.choose(fits, SIZES, 18)[0] == "log-linear"
    slope = fits[1].parameters["per doubling"]
    assert slope.low <= 0.015 <= slope.high and slope.value == pytest.approx(0.015, abs=0.001)
    assert fits[1].error == pytest.approx(0.002, rel=0.5)


def test_flat_is_chosen_where_nothing_grows() -> None:
    chosen = []
    for seed in range(20):
        observed, draws = observe(np.full(6, 0.5), 2, 0.01, np.random.default_rng(seed))
        fits = [scaling.fit(model, SIZES, observed, draws, 3000) for model in scaling.PARAMETERS]
        chosen.append(scaling.choose(fits, SIZES, 12)[0])
    assert chosen.count("flat") >= 14


def test_aicc_by_hand() -> None:
    values = np.array([0.40, 0.45, 0.47, 0.52, 0.55, 0.56])
    fit = scaling.fit("log-linear", SIZES, [np.array([v]) for v in values], values[:, None].repeat(3, 1), 100)
    line = np.polyfit(np.log2(SIZES), values, 1)
    loss = ((values - np.polyval(line, np.log2(SIZES))) ** 2).sum()
    assert fit.aicc == pytest.approx(6 * math.log(loss / 6) + 2 * 3 + 2 * 3 * 4 / (6 - 3 - 1))
    assert fit.parameters["per doubling"].value == pytest.approx(line[0])


def test_too_few_sizes_are_refused_with_a_reason() -> None:
    observed, draws = observe(np.array([0.4, 0.5]), 1, 0.01, np.random.default_rng(0))
    fits = [scaling.fit(model, SIZES[:2], observed, draws, 300) for model in scaling.PARAMETERS]
    assert [bool(fit.refused) for fit in fits] == [False, True, True]
    assert "needs 3 sizes above 0, there are 2" in (fits[1].refused or "")
    chosen, why = scaling.choose(fits, SIZES[:2], 2)
    assert chosen is None and "needs 5" in (why or "")


def panel_of(
    truth: dict[int, tuple[float, float]], rows: int = 3000, seeds: int = 1, noise: float = 0.0
) -> Bootstrap:
    """A panel with known accuracies on ID (even rows) and OOD (odd rows) at every size."""
    rng = np.random.default_rng(11)
    item = rng.standard_normal((rows, 1))
    results = []
    for made in ladder(tuple(truth), seeds=tuple(range(seeds))):
        shift = noise * rng.standard_normal()
        accuracy = np.where(np.arange(rows) % 2 == 0, truth[made.size][0], truth[made.size][1]) + shift
        results.append(result(made, correlated(rows, 4, accuracy, 0.5, rng, item)))
    (panel,) = build_panels(results, membership=halves)
    return Bootstrap(panel, 2000)


def test_a_curve_from_predictions() -> None:
    doublings = np.log2(SIZES)
    bootstrap = panel_of(
        {0: (0.40, 0.40)}
        | {size: (0.25 + 0.022 * x, 0.30 + 0.011 * x) for size, x in zip(SIZES, doublings, strict=True)},
        seeds=3,
    )
    (found,) = ladders(bootstrap.panel)
    assert list(found.sizes) == [0, *SIZES]
    curve = scaling.curve(bootstrap, found, "ood")
    assert curve.chosen == "log-linear"
    assert curve.growth is not None and curve.growth.low <= 0.011 <= curve.growth.high
    assert curve.points[0].delta.reason == "baseline"
    assert curve.significant_from == 4096  # 0.30 + 0.011·12 = 0.432; 1024 is at 0.41, within the noise
    assert curve.holdout is not None and curve.holdout.size == SIZES[-1]
    assert curve.holdout.error.low <= 0 <= curve.holdout.error.high
    assert [item.model for item in curve.holdouts] == ["flat", "log-linear", "power law"]
    assert curve.holdouts[0].error.low > 0  # growth that the flat model does not foresee
    assert curve.more_data is not None and curve.more_data.low <= 2 ** (0.01 / 0.011) <= curve.more_data.high
    assert len(curve.fit.line) == 33  # type: ignore[union-attr]
    slower = scaling.growth_difference(bootstrap, found)
    assert slower is not None and slower.low > 0 and slower.low <= 0.011 <= slower.high


def test_seeds_widen_a_curve_and_count_as_observations() -> None:
    truth = {size: (0.5, 0.5) for size in (0, 256, 1024, 4096)}
    one = panel_of(truth)
    several = panel_of(truth, seeds=3, noise=0.03)
    single = scaling.curve(one, ladders(one.panel)[0], "ood")
    curve = scaling.curve(several, ladders(several.panel)[0], "ood")
    assert single.refused is not None and single.chosen is None
    assert curve.refused is None and len(curve.points[1].values) == 3
    widths = [c.points[1].acc.high - c.points[1].acc.low for c in (single, curve)]
    assert widths[1] > widths[0]


def test_more_data_does_not_help_where_nothing_grows() -> None:
    bootstrap = panel_of({size: (0.5, 0.5 - 0.01 * i) for i, size in enumerate((0, 256, 1024, 4096))})
    curve = scaling.curve(bootstrap, ladders(bootstrap.panel)[0], "ood")
    assert curve.more_data is not None and math.isinf(curve.more_data.value)
    assert curve.significant_from is None


def test_factor_for_a_point_inverts_the_power_law() -> None:
    parameters = np.array([[0.7], [1.5], [0.4]])
    factor = scaling._factor("power law", parameters, 4096)
    before, after = (scaling.predict("power law", parameters, [4096 * f])[0, 0] for f in (1, factor[0]))
    assert after - before == pytest.approx(0.01)
    assert math.isinf(
        scaling._factor("power law", parameters, 10**9)[0]
    )  # nearer to the limit than one point


def test_a_group_of_languages_has_its_own_curve() -> None:
    bootstrap = panel_of({size: (0.5, 0.5) for size in (0, 256)}, rows=400)
    curve = scaling.curve(bootstrap, ladders(bootstrap.panel)[0], "all", "unseen", ("sw",))
    right = bootstrap.panel.correct[1, :, 2]
    assert curve.points[1].acc.value == pytest.approx(right.mean())
    assert curve.languages == ("sw",)


def test_effective_robustness_finds_the_checkpoint_above_the_line() -> None:
    rng = np.random.default_rng(4)
    rows, results = 4000, []
    for index, x in enumerate(np.linspace(-0.6, 1.2, 7)):
        ood = 1 / (1 + math.exp(-(-0.3 + 0.8 * x))) + (0.08 if index == 3 else 0)
        right = np.where(
            np.arange(rows)[:, None] % 2 == 0,
            rng.random((rows, 4)) < 1 / (1 + math.exp(-x)),
            rng.random((rows, 4)) < ood,
        )
        results.append(result(entry(f"c{index}"), right))
    results.append(result(entry("alone", base="other"), right))
    (panel,) = build_panels(results, membership=halves)
    line, other = scaling.effective_robustness(Bootstrap(panel, 1000))
    assert line.slope is not None and line.slope.value == pytest.approx(0.8, abs=0.08)
    best = max(line.residuals, key=lambda name: line.residuals[name].value)
    assert best == "c3" and line.residuals["c3"].low > 0
    assert other.refused == "needs 4 checkpoints, there are 1"


def test_one_baseline_serves_several_ladders() -> None:
    entries = [entry("b", size=0)] + [
        entry(f"{task}{size}", size=size, intermediate=[task], baseline="b")
        for task in ("snli", "qa")
        for size in (8, 64)
    ]
    rng = np.random.default_rng(0)
    (panel,) = build_panels([result(made, rng.random((50, 4)) < 0.5) for made in entries], membership=halves)
    found = ladders(panel)
    assert [(item.intermediate, list(item.sizes)) for item in found] == [
        (("snli",), [0, 8, 64]),
        (("qa",), [0, 8, 64]),
    ]
