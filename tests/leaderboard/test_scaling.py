"""Fits recover known curves; what cannot be fitted is refused with a reason."""

import math
from dataclasses import replace

import numpy as np
import pytest
from statsmodels.api import GLS
from synthetic import correlated, entry, halves, ladder, result

from xscale.leaderboard import scaling
from xscale.leaderboard.bootstrap import Bootstrap, Delta
from xscale.leaderboard.ladders import ladders
from xscale.leaderboard.panels import build_panels

SIZES = [256, 1024, 4096, 16384, 65536, 262144]


def observe(
    truth: np.ndarray, seeds: int, noise: float, rng: np.random.Generator, common: float = 0.0
) -> scaling.Means:
    """Sizes whose seeds scatter by `noise`, and by `common` all together; items add 0.1 points."""
    values, draws = [], []
    for value in truth:
        shift = common * rng.standard_normal()
        values.append(value + shift + noise * rng.standard_normal(seeds))
        draws.append(values[-1][:, None] + 0.001 * rng.standard_normal((seeds, 600)))
    return scaling.means_of(SIZES[: len(truth)], values, draws, 1000)


def fitted(means: scaling.Means) -> dict[str, scaling.Fit]:
    return {item.model: item for item in scaling.weighed([scaling.fit(m, means) for m in scaling.PARAMETERS])}


def chosen(means: scaling.Means) -> str | None:
    return scaling.choose(list(fitted(means).values()), means)[0]


def test_power_law_is_recovered_and_chosen() -> None:
    means = observe(0.70 - 1.5 * np.array(SIZES, float) ** -0.4, 3, 0.002, np.random.default_rng(0))
    fits = fitted(means)
    assert chosen(means) == "power law"
    for name, value in {"limit": 0.70, "scale": 1.5, "exponent": 0.4}.items():
        found = fits["power law"].parameters[name]
        assert found.low <= value <= found.high
        assert found.value == pytest.approx(value, rel=0.25)
    assert sum(item.weight for item in fits.values()) == pytest.approx(1)


def test_log_linear_is_recovered_and_chosen() -> None:
    means = observe(0.3 + 0.015 * np.log2(SIZES), 3, 0.002, np.random.default_rng(1))
    assert chosen(means) == "log-linear"
    slope = fitted(means)["log-linear"].parameters["per doubling"]
    assert slope.low <= 0.015 <= slope.high and slope.value == pytest.approx(0.015, abs=0.001)


def test_fits_are_generalised_least_squares() -> None:
    """Against statsmodels; sizes that share test items are correlated, and sizes with more seeds weigh more."""
    rng = np.random.default_rng(2)
    item = 0.02 * rng.standard_normal(4000)
    values = [
        v + 0.01 * rng.standard_normal(k) for v, k in zip((0.4, 0.43, 0.47, 0.48), (1, 3, 3, 5), strict=True)
    ]
    draws = [v[:, None] + item + 0.01 * rng.standard_normal((len(v), 4000)) for v in values]
    means = scaling.means_of(SIZES[:4], values, draws, 1000)
    seeds = means.covariance - np.cov(np.stack([d.mean(axis=0) for d in draws]))
    assert np.diag(seeds) * [1, 3, 3, 5] == pytest.approx(np.diag(seeds)[0])
    design = np.stack([np.ones(4), np.log2(SIZES[:4])], axis=1)
    oracle = GLS([v.mean() for v in values], design, sigma=means.covariance).fit()
    parameters = [item.value for item in fitted(means)["log-linear"].parameters.values()]
    assert parameters == pytest.approx(oracle.params, rel=1e-3)


SHAPES = {"flat": np.full(5, 0.5), "rise of 8 points": 0.5 + 0.02 * np.arange(5)}


def called(truth: np.ndarray, repeats: int, **noise: float) -> dict[str | None, float]:
    """How often each model is named, None for "cannot be told"."""
    rng = np.random.default_rng(12)
    names = [chosen(observe(truth, rng=rng, **noise)) for _ in range(repeats)]  # type: ignore[arg-type]
    return {name: names.count(name) / repeats for name in (None, *scaling.PARAMETERS)}


@pytest.mark.parametrize("common", [0.0, 0.005, 0.01])
def test_a_flat_truth_is_not_called_a_rise(common: float) -> None:
    """With noise that the five seeds of a size share, and 0.5 points of their own."""
    found = called(SHAPES["flat"], 300, seeds=5, noise=0.005, common=common)
    print(f"\nflat, {common:.1%} common: {found}")
    assert found["log-linear"] + found["power law"] <= 0.10
    if common == 0:
        assert found["flat"] >= 0.7


@pytest.mark.parametrize("seeds", [1, 3, 5])
def test_a_rise_is_not_called_flat(seeds: int) -> None:
    """Eight points over five sizes with one point of noise."""
    found = called(SHAPES["rise of 8 points"], 200, seeds=seeds, noise=0.01)
    print(f"\nrise of 8 points, {seeds} seeds: {found}")
    assert found["flat"] <= 0.10
    assert (found[None] == 1) == (seeds == 1)  # one seed says nothing about the noise of training


def test_growth_covers_where_the_seeds_of_a_size_share_noise() -> None:
    rng = np.random.default_rng(4)
    covered = []
    for _ in range(200):
        slope = fitted(observe(SHAPES["rise of 8 points"], 3, 0.005, rng, common=0.01))["log-linear"]
        found = slope.parameters["per doubling"]
        covered.append(found.low <= 0.01 <= found.high)
    assert np.mean(covered) >= 0.92


def test_never_flat_where_the_growth_excludes_0() -> None:
    """A saturating curve of one seed, which used to be called flat."""
    truth = np.array([0.400, 0.485, 0.534, 0.562, 0.578])
    means = observe(truth, 1, 0.0, np.random.default_rng(0))
    name, why = scaling.choose(list(fitted(means).values()), means)
    assert name is None and "three seeds" in (why or "")
    assert fitted(means)["log-linear"].parameters["per doubling"].low > 0
    assert not fitted(means)["power law"].seed_noise  # its interval is labelled


def test_too_few_sizes_are_refused_with_a_reason() -> None:
    means = observe(np.array([0.4, 0.5]), 3, 0.01, np.random.default_rng(0))
    fits = list(fitted(means).values())
    assert [bool(item.refused) for item in fits] == [False, True, True]
    assert "needs 3 sizes above 0, there are 2" in (fits[1].refused or "")
    name, why = scaling.choose(fits, means)
    assert name is None and "needs 4 sizes above 0" in (why or "")


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
    assert curve.significant_from is None  # claimed only after the correction over all curves printed
    (corrected,) = scaling.correct_curves([curve])
    assert corrected.significant_from == 4096  # 0.30 + 0.011·12 = 0.432; 1024 is at 0.41, within the noise
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
    assert single.refused is not None and single.chosen is None and not single.seed_noise
    assert curve.seed_noise and len(curve.points[1].values) == 3
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


def test_first_sizes_are_corrected_over_all_curves() -> None:
    """Forty subsets without any effect: with each curve corrected alone, one of them claims a size."""
    rng = np.random.default_rng(2)
    estimate = scaling.Estimate(0.5, 0.4, 0.6)

    def some(p: tuple[float, ...]) -> scaling.Curve:
        points = [
            scaling.Point(size, (), (), (), estimate, Delta(0.02, 0.01, 0.03, p=value, seeds=3))
            for size, value in zip((64, 256, 1024), p, strict=True)
        ]
        return replace(CURVE, points=tuple(points))

    nulls = [some(tuple(rng.random(3))) for _ in range(40)]
    assert any(scaling.correct_curves([one])[0].significant_from for one in nulls)
    assert not any(one.significant_from for one in scaling.correct_curves(nulls))
    real, *_ = scaling.correct_curves([some((0.2, 1e-6, 1e-7)), *nulls])
    assert real.significant_from == 256
    assert real.points[1].delta.p_holm == pytest.approx(1e-6 * 122, rel=0.01)  # the second of 123
    gap, *_ = scaling.correct_curves([some((1e-6, 0.2, 1e-7)), *nulls])
    assert gap.significant_from == 1024  # none below one that cannot be told from 0


CURVE = scaling.Curve(
    "xnli",
    1,
    None,
    None,
    (),
    (),
    "",
    "ood",
    "all languages",
    (),
    1,
    0.3,
    (),
    (),
    None,
    None,
    (),
    None,
    None,
    None,
    True,
)


def test_data_for_a_point_is_a_95_percent_interval() -> None:
    means = observe(0.3 + 0.010 * np.log2(SIZES), 5, 0.01, np.random.default_rng(3))
    found = scaling._more_data(None, means)
    slopes = scaling.solve("log-linear", means.sizes, means.whitener, means.draws)[1]
    assert found is not None
    assert (found.low, found.high) == pytest.approx(
        tuple(np.quantile(2 ** (0.01 / slopes), [0.025, 0.975])), rel=0.02
    )


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
