"""The answer in words, on made-up results of every kind."""

import re
from dataclasses import replace

import numpy as np
import pytest
from synthetic import halves, ladder, result

from xscale.leaderboard.answer import Answer, Finding, answers, with_answer, words
from xscale.leaderboard.bootstrap import Bootstrap, Delta, Estimate
from xscale.leaderboard.family import Question, family
from xscale.leaderboard.panels import Result, build_panels
from xscale.leaderboard.render import render
from xscale.leaderboard.table import make_board

NOISE = np.random.default_rng(21).random((600, 4))


def right(chance: float, seed: int, shift: float = 0.0) -> np.ndarray:
    """Answers of a checkpoint of some accuracy; the same items are easy for all. `shift` is added on OOD rows."""
    own = np.random.default_rng(seed).random((600, 4))
    ood = np.arange(600)[:, None] % 2 == 1
    return 0.85 * NOISE + 0.15 * own < chance + shift * ood


def made_up(
    gains: dict[int, float], seeds: tuple[int, ...] = (0, 1, 2), task: str = "snli", **options
) -> list[Result]:
    """A ladder whose OOD accuracy is `gains` above 50%."""
    return [
        result(one, right(0.5, 100 * one.seed + int(one.size**0.5), gains[one.size]), **options)
        for one in ladder(tuple(gains), seeds=seeds, task=task)
    ]


def answered(results: list[Result], draws: int = 1000) -> tuple[list[Answer], str]:
    bootstraps = [Bootstrap(panel, draws) for panel in build_panels(results, membership=halves)]
    found = answers(bootstraps, Question(), family(bootstraps, Question()))
    return found, " ".join(words(found))


def numbers(text: str) -> list[float]:
    return [float(part.replace("−", "-")) for part in re.findall(r"(?<![\d,])[−-]?\d+\.\d", text)]


def test_a_rise_with_its_interval_the_gap_and_a_doubling() -> None:
    results = made_up({0: 0, 64: 0.02, 256: 0.06, 1024: 0.10, 4096: 0.14})
    (found,), text = answered(results)
    (one,) = found.findings
    assert one.kind == "rise"
    head = re.match(
        r"From 0 to 4,096 examples OOD accuracy on XNLI rises by ([\d.]+) points \(95% interval (.*?)\)", text
    )
    assert head and float(head[1]) == pytest.approx(100 * one.delta.value, abs=0.051)
    assert numbers(head[2]) == pytest.approx([100 * one.delta.low, 100 * one.delta.high], abs=0.051)
    assert "The change is larger out of than in distribution by" in text
    assert "a doubling of the examples is worth" in text
    assert "best" not in text  # one arm


def test_a_fall() -> None:
    (found,), text = answered(made_up({0: 0, 1024: -0.12}))
    assert found.findings[0].kind == "fall"
    assert re.search(
        r"OOD accuracy on XNLI falls by 1\d\.\d points \(95% interval \d+\.\d to 1\d\.\d\)", text
    )


def test_a_change_that_cannot_be_told_says_what_could_have_been_found() -> None:
    (found,), text = answered(made_up({0: 0, 1024: 0.002}))
    assert found.findings[0].kind == "untold"
    assert "no change can be told" in text and "would have been found four times in five" in text
    assert "rises" not in text and "falls" not in text


def test_one_seed_claims_nothing() -> None:
    (found,), text = answered(made_up({0: 0, 1024: 0.2}, seeds=(4,)))
    assert found.findings[0].kind == "one seed"
    assert "over test items only" in text and "3 seeds can" in text
    assert "rises" not in text
    assert "2 training runs cannot tell" in answered(made_up({0: 0, 1024: 0.2}, seeds=(4, 5)))[1]


def test_mixed_sizes_are_told() -> None:
    _, text = answered(made_up({0: 0, 64: 0.12, 1024: -0.12}))
    assert "falls by" in text and "mixed: at 64 it rises by" in text


def test_no_baseline() -> None:
    lone = [result(one.model_copy(update={"baseline": None}), right(0.5, 3)) for one in ladder((64, 1024))]
    _, text = answered(lone)
    assert "nothing can be said" in text and "baseline" in text


def test_collapsed_runs_are_named() -> None:
    results = made_up({0: 0, 1024: 0.1})
    truth = np.arange(600)[:, None] % 3
    last = results[-1].entry
    results[-1] = result(last, np.repeat(truth == 0, 4, axis=1))
    scores = results[-1].scores["xnli"]
    results[-1] = replace(
        results[-1], scores={"xnli": replace(scores, predictions=np.zeros_like(scores.predictions))}
    )
    (found,), text = answered(results)
    assert found.collapsed == (last.id,)
    assert "1 checkpoint collapsed and counts in these figures" in text
    assert last.id not in text  # the table's notes name it, once
    (panel,) = build_panels(results, membership=halves)
    (table,) = make_board([panel], results, draws=100).tables
    assert [note for note in table.notes if "collapsed" in note] == [
        "collapsed, nearly always the same answer or no better than the commonest label in English: "
        + last.id
    ]


def test_the_bundled_suite_is_named() -> None:
    assert "bundled suite (not XNLI)" in answered(made_up({0: 0, 1024: 0.1}, source="bundled"))[1]


def test_several_arms_and_which_is_best() -> None:
    better = made_up({0: 0, 1024: 0.15}, task="snli")
    worse = made_up({0: 0, 1024: 0.02}, task="rte")
    _, text = answered(better + worse)
    assert "(snli)" in text and "(rte)" in text
    assert "At 1,024 examples snli is the best arm." in text
    again = made_up({0: 0, 1024: 0.15}, task="also")
    _, text = answered(better + again)
    assert "Which arm is best at 1,024 examples cannot be told: snli, also" in text


def test_the_same_answers_as_the_baseline() -> None:
    entries = ladder((0, 64), seeds=(0, 1, 2))
    _, text = answered([result(one, right(0.5, one.seed)) for one in entries])
    assert "every answer is the baseline's" in text


DELTA = Delta(0.002, -0.004, 0.008, 0.5, 1.0, "b", seeds=3, se=0.003, freedom=20, detectable=0.01)


def test_flat_is_said_only_of_an_interval_within_a_point() -> None:
    flat = Answer(
        "XNLI", False, "OOD", (Finding("a", 64, "flat", DELTA, growth=Estimate(0.001, -0.001, 0.002)),)
    )
    (text,) = words([flat])
    assert "does not change by more than a point: 0.2 (−0.4 to 0.8)" in text
    assert "hat a doubling is worth cannot be told: 0.1 (−0.1 to 0.2)" in text


def test_many_arms_are_counted() -> None:
    kinds = ("rise", "rise", "fall", "untold", "one seed")
    found = Answer("XNLI", False, "OOD", tuple(Finding(f"t{i}", 64, k, DELTA) for i, k in enumerate(kinds)))
    (text,) = words([found])
    assert text.startswith(
        "OOD accuracy on XNLI: it rises in 2 of 5 arms: t0 by 0.2 points (95% interval −0.4 to 0.8) at 64, t1 by 0.2"
    )
    assert "It falls in 1: t2 by 0.2 points (−0.4 to 0.8) at 64." in text
    assert "In 1 no change can be told: t3 0.2 (−0.4 to 0.8) at 64." in text


def test_of_several_arms_those_that_changed_are_told_more_of() -> None:
    more = {"in_difference": Estimate(0.001, -0.02, 0.022), "growth": Estimate(0.012, 0.004, 0.02)}
    findings = (Finding("a", 64, "rise", DELTA, **more), Finding("b", 64, "untold", DELTA, **more))
    (text,) = words([Answer("XNLI", False, "OOD", findings)])
    assert (
        "With a: whether it changes more out of distribution than in it cannot be told: 0.1 (−2.0 to 2.2); "
        "a doubling of the examples is worth 1.2 (0.4 to 2.0)."
    ) in text
    assert "With b" not in text


def test_the_answer_stands_above_the_tables() -> None:
    results = made_up({0: 0, 1024: 0.15})
    panels = build_panels(results, membership=halves)
    bootstraps = [Bootstrap(panel, 500) for panel in panels]
    board = with_answer(make_board(panels, results, bootstraps=bootstraps), bootstraps)
    for kind in ("simple", "github", "html"):
        text = render(board, kind)
        assert text.index("OOD accuracy") < text.index("commonest")
