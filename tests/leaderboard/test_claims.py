"""The paper's claims beside results with a known truth: each verdict from gains that were put in."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from synthetic import arms_of, correlated, predictions, store
from typer.testing import CliRunner

from harness_tasks.targets import get_target
from xscale.cli.main import app
from xscale.leaderboard import claims
from xscale.leaderboard.bootstrap import Bootstrap
from xscale.leaderboard.panels import Result, build_panels, scores_of
from xscale.leaderboard.xtreme import COLUMNS
from xscale.manifest import Entry, Manifest, write_manifest

TARGETS = {f"t{number}": column for number, column in enumerate(COLUMNS)}
LANGUAGES = ("de", "en")
SEEDS = (1, 2, 3)
ROWS = 500
ARMS = {
    "mnli": ["mnli"],
    "rte": ["rte"],
    "mnli-mlm": ["mnli"],
    "mnli-de": ["mnli@de"],
    "two": ["mnli", "rte"],
}
Gains = dict[str, dict[str, float]]


@pytest.fixture
def nine(monkeypatch: pytest.MonkeyPatch) -> None:
    base = get_target("xnli")
    places = {code: base.places[code] for code in LANGUAGES}
    made = {
        name: replace(base, name=name, places=places, benchmark=(COLUMNS[column], column))
        for name, column in TARGETS.items()
    }
    monkeypatch.setattr(claims, "targets", lambda: made)
    monkeypatch.setattr(claims, "get_target", made.__getitem__)


def entries(seeds: tuple[int, ...] = SEEDS) -> list[Entry]:
    return [
        made.model_copy(update={"masked_lm": 0.3}) if (made.arm or "").endswith("mlm") else made
        for made in arms_of(ARMS, seeds)
    ]


def verdicts(
    gains: dict[str, float | dict[str, float]],
    *,
    left_out: tuple[str, ...] = (),
    seeds: tuple[int, ...] = SEEDS,
    **options: object,
) -> dict[str, claims.Verdict]:
    """Verdicts where each arm is right more often by its gain, on all columns or by column."""
    generator = np.random.default_rng(1)
    items = {name: generator.standard_normal((ROWS, 1)) for name in TARGETS}
    results = []
    for made in entries(seeds):
        scores = {}
        for name, column in TARGETS.items():
            if column in left_out:
                continue
            gain = gains.get(made.arm or "", 0.0)
            share = 0.5 + (gain.get(column, 0.0) if isinstance(gain, dict) else gain)
            right = correlated(ROWS, 2, share, 0.9, generator, items[name])
            stored = predictions(right, identity=made.id, target=name, languages=LANGUAGES, **options)
            scores |= scores_of(stored)
        results.append(Result(made, "ok", scores=scores))
    found = claims.decide(
        [Bootstrap(panel, 500) for panel in build_panels(results, membership=lambda *_: {})]
    )
    if not found:
        return {}
    ((name, made_verdicts),) = found.items()
    assert name == "x: base e5"
    return {verdict.claim.name: verdict for verdict in made_verdicts}


EVERY = dict.fromkeys(ARMS, 0.2)


def said(found: dict[str, claims.Verdict]) -> dict[str, str]:
    return {name: verdict.said for name, verdict in found.items()}


@pytest.mark.usefixtures("nine")
def test_claims_that_results_support() -> None:
    found = verdicts({"mnli": 0.25, "rte": 0.1, "two": 0.4, "mnli-mlm": 0.25, "mnli-de": 0.1})
    assert said(found) == dict.fromkeys(found, "supported") | {"masked LM": "cannot be told"}
    delta = found["best tasks"].delta
    assert delta is not None and delta.low < 0.15 < delta.high
    assert "mnli 64 less rte 64" in found["best tasks"].comparison
    average = found["average"]
    assert average.delta is not None and average.delta.value == pytest.approx(0.4, abs=0.03)
    assert "5.4 is not in the interval" in average.note
    text = claims.render_claims({"x": list(found.values())})
    assert max(map(len, text.splitlines())) <= 80 and "supported" in text


@pytest.mark.usefixtures("nine")
def test_claims_without_a_comparison_are_named_in_one_line() -> None:
    found = verdicts(EVERY, left_out=("BUCC", "Tatoeba"))
    text = claims.render_claims({"x": list(found.values())}, "github")
    (line,) = [line for line in text.splitlines() if line.startswith("no comparison here")]
    assert "retrieval (no arm has results on BUCC and Tatoeba)" in line and "multi-task" not in line
    assert found["retrieval"].claim.quote not in text and found["multi-task"].claim.quote in text


@pytest.mark.usefixtures("nine")
def test_claims_that_results_contradict() -> None:
    found = verdicts({"mnli": -0.25, "rte": -0.1, "two": -0.4, "mnli-mlm": 0.0, "mnli-de": 0.0})
    assert said(found) == dict.fromkeys(found, "contradicted")
    assert found["masked LM"].note.startswith("a gain on every task")


@pytest.mark.usefixtures("nine")
def test_no_gain_at_all_contradicts_a_gain_only_where_a_point_is_excluded() -> None:
    found = verdicts({})
    assert set(said(found).values()) == {"cannot be told"}
    for verdict in found.values():
        assert verdict.delta is not None and verdict.delta.low < 0 < verdict.delta.high


@pytest.mark.usefixtures("nine")
def test_one_task_without_a_gain_is_enough_for_not_consistently() -> None:
    gains = dict.fromkeys(COLUMNS, 0.3)
    found = verdicts({"mnli-mlm": gains | {"XNLI": -0.3}, "mnli-de": gains})
    assert found["masked LM"].said == "supported" and "on XNLI" in found["masked LM"].note
    assert found["translated"].said == "contradicted"


@pytest.mark.parametrize("seeds", [(1,), (1, 2)])
@pytest.mark.usefixtures("nine")
def test_below_three_training_runs_nothing_is_told(seeds: tuple[int, ...]) -> None:
    found = verdicts(EVERY, seeds=seeds)
    assert set(said(found).values()) == {"cannot be told"}
    assert f"{len(seeds)} training run" in found["retrieval"].note


@pytest.mark.usefixtures("nine")
def test_what_is_missing_is_named_and_decides_nothing() -> None:
    found = verdicts(EVERY, left_out=("BUCC", "MLQA"))
    assert found["retrieval"].said == found["average"].said == "cannot be told"
    assert "no BUCC" in found["retrieval"].note and "no MLQA, BUCC" in found["average"].note
    found = verdicts(EVERY, left_out=("BUCC", "Tatoeba"))
    assert found["retrieval"].delta is None and "BUCC and Tatoeba" in found["retrieval"].note


@pytest.mark.usefixtures("nine")
def test_the_bundled_suite_says_nothing_of_the_paper() -> None:
    assert verdicts(EVERY, source="bundled") == {}


@pytest.mark.usefixtures("nine")
def test_intervals_are_of_all_comparisons_together() -> None:
    found = verdicts({"mnli": 0.2})
    comparisons = 5 + 2 * (1 + 9)  # five means, and two claims with a mean and nine tasks
    delta = found["retrieval"].delta
    assert delta is not None
    reach = stats.t.ppf(1 - 0.025 / comparisons, delta.freedom) * delta.se
    assert (delta.low, delta.high) == pytest.approx((delta.value - reach, delta.value + reach))


def test_the_best_arm_is_chosen_without_the_seed_that_it_is_measured_on() -> None:
    """An arm that is lucky in one seed is not credited with its luck."""
    draws = np.zeros((3, 2))
    options = {
        "lucky": ([1, 2, 3], {"XNLI": (np.array([0.9, 0.0, 0.0]), draws)}),
        "steady": ([1, 2, 3], {"XNLI": (np.array([0.2, 0.2, 0.2]), draws)}),
    }
    made, name = claims._chosen(options, ["XNLI"])
    assert name == "lucky" and made["XNLI"][0].tolist() == [0.2, 0.0, 0.0]


def test_claims_are_the_abstracts() -> None:
    found = claims.read_claims()
    assert [claim.name for claim in found] == [
        "retrieval",
        "questions",
        "best tasks",
        "multi-task",
        "average",
        "masked LM",
        "translated",
    ]
    assert found[0].columns == ("BUCC", "Tatoeba") and len(found[4].columns) == 9


def test_the_board_ends_with_them(tmp_path: Path) -> None:
    """Of the shipped targets: no claim can be decided without the other tasks, and the board says so."""
    made = entries()
    write_manifest(tmp_path / "checkpoints_manifest.json", Manifest(entries=made))
    generator = np.random.default_rng(1)
    for one in made:
        right = correlated(60, 2, 0.5, 0.9, generator)
        store(tmp_path / "results", one, predictions(right, identity=one.id, languages=LANGUAGES))
    command = ["board", "--draws", "200", "--manifest", str(tmp_path / "checkpoints_manifest.json")]
    text = " ".join(CliRunner().invoke(app, command).output.split())
    assert "Claims of Phang et al. 2020" in text and "no arm has results on BUCC and Tatoeba" in text
    assert "XNLI over 2 of 15 languages" in text
    assert "Claims" not in CliRunner().invoke(app, [*command, "--target", "xnli"]).output
    report = ["report", "--no-examples", "--out", str(tmp_path / "report"), *command[1:]]
    assert CliRunner().invoke(app, report).exit_code == 0
    page = (tmp_path / "report/index.html").read_text(encoding="utf-8")
    assert page.count('href="#claims"') == 1
    section = page.partition('<section id="claims"')[2].partition("</section>")[0]
    assert section.count("<tr><th") == 8 and "cannot be told" in section
    assert "XNLI over 2 of 15 languages" in section and "5.4 point improvement" in section
