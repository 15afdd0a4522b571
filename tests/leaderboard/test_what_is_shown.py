"""What is displayed changes nothing of what is tested; what few training runs say is said so."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from synthetic import arms_of, correlated, halves, result, store
from synthetic import predictions as made_of
from tiny_model import call

from xscale.evaluation.predictions import Predictions
from xscale.leaderboard.answer import answers, words
from xscale.leaderboard.arms import compare_arms
from xscale.leaderboard.bootstrap import Bootstrap
from xscale.leaderboard.family import Question, family
from xscale.leaderboard.panels import Result, build_panels
from xscale.leaderboard.report import write_report
from xscale.leaderboard.table import make_board
from xscale.manifest import Entry, Manifest, write_manifest

ROWS, SEEDS = 300, (1, 2, 3)
ACCURACY = {"mnli": 0.60, "rte": 0.54}


def entries(seeds: tuple[int, ...] = SEEDS) -> list[Entry]:
    return arms_of({arm: [arm] for arm in ACCURACY}, seeds)


def rights(made: list[Entry], seed: int, spread: float = 0.0) -> dict[str, np.ndarray]:
    """Answers on the same items; `spread` is that of the accuracy over training runs."""
    rng = np.random.default_rng(seed)
    item = rng.standard_normal((ROWS, 1))
    shares = {one.id: ACCURACY.get(str(one.arm), 0.5) + spread * rng.standard_normal() for one in made}
    return {name: correlated(ROWS, 4, share, 0.5, rng, item) for name, share in shares.items()}


MADE = entries()
RIGHT = {target: rights(MADE, number) for number, target in enumerate(("xnli", "xcopa"))}


def two_targets() -> list[Result]:
    found = []
    for one in MADE:
        parts = [
            result(one, RIGHT[target][one.id], target=target, choices=choices)
            for target, choices in (("xnli", 3), ("xcopa", 2))
        ]
        found.append(replace(parts[0], scores=parts[0].scores | parts[1].scores))
    return found


def stored(folder: Path) -> Path:
    """The same as files, both targets in one."""
    for one in MADE:
        parts = [
            made_of(RIGHT[target][one.id], identity=one.id, target=target, choices=choices)
            for target, choices in (("xnli", 3), ("xcopa", 2))
        ]
        both = replace(parts[0], table=pa.concat_tables([part.table for part in parts]), info=_merged(parts))
        store(folder / "results", one, both)
    manifest = folder / "checkpoints_manifest.json"
    write_manifest(manifest, Manifest(entries=MADE))
    return manifest


def _merged(parts: list[Predictions]) -> dict[str, Any]:
    first, second = (part.info for part in parts)
    return {name: value | second[name] if isinstance(value, dict) else value for name, value in first.items()}


def paired_t(target: str, subset: slice) -> float:
    """Rows and seeds as samples, by hand: p of mnli less rte at 64."""
    each = [
        (RIGHT[target][f"x-mnli-64-seed{s}"].astype(int) - RIGHT[target][f"x-rte-64-seed{s}"].astype(int))[
            subset
        ].mean(axis=1)
        for s in SEEDS
    ]
    rows = np.mean(each, axis=0)
    values = np.array([part.mean() for part in each])
    n = len(rows)
    of_rows = rows.var() / n
    inner = np.mean([np.var([part[i] for part in each], ddof=1) for i in range(n)]) / n
    inner -= np.var(values, ddof=1) / n
    between = values.var(ddof=1)
    total = of_rows + max(0.0, between - inner) / 3
    freedom = max(2.0, 2 * total / (between / 3))
    return float(2 * stats.t.sf(abs(values.mean()) / np.sqrt(total), freedom))


def test_two_arms_are_tested_on_the_questions_targets_and_its_subset_of_each() -> None:
    results = two_targets()
    # some answered other rows, of which none is OOD: a further table of the same target
    other = entries()
    extra = [
        one.model_copy(update={"id": f"y{one.id[1:]}", "baseline": one.baseline and f"y{one.baseline[1:]}"})
        for one in other
    ]
    even = np.arange(0, 2 * ROWS, 2)
    results += [
        result(new, RIGHT["xnli"][old.id], rows=even, fingerprints={"xnli": {}})
        for new, old in zip(extra, other, strict=True)
    ]
    drawn = [Bootstrap(panel, 4000) for panel in build_panels(results, membership=halves)]
    assert [part.panel.target for part in drawn] == ["xnli", "xnli", "xcopa"]
    found = compare_arms(drawn, 64, "rte", "mnli", Question())
    whole, further, copa = found
    expected = [paired_t(target, slice(1, None, 2)) for target in ("xnli", "xcopa")]
    assert [whole.lines["ood"].p, copa.lines["ood"].p] == pytest.approx(expected, rel=0.25)
    least = min(whole.lines["ood"].p, copa.lines["ood"].p)
    assert min(whole.lines["ood"].p_holm, copa.lines["ood"].p_holm) == pytest.approx(2 * least)
    assert all(np.isnan(line.p_holm) for line in further.lines.values())  # no row of the question there
    assert np.isnan(whole.lines["all"].p_holm)
    only = compare_arms(drawn, 64, "rte", "mnli", Question(targets=("xnli",)))
    assert only[0].lines["ood"].p_holm == pytest.approx(whole.lines["ood"].p)
    assert all(np.isnan(line.p_holm) for line in only[2].lines.values())
    explored = compare_arms(drawn, 64, "rte", "mnli", Question(), explore=True)
    assert all(np.isnan(line.p_holm) for item in explored for line in item.lines.values())


def test_a_comparison_of_arms_is_corrected_for_targets_that_are_not_shown(tmp_path: Path) -> None:
    manifest = stored(tmp_path)

    def shown(*options: object) -> list[dict]:
        code, out, err = call(
            *("compare", "rte", "mnli", "--size", "64", "--format", "json", "--draws", "500"),
            *("--manifest", manifest, *options),
        )
        assert code == 0, err
        return json.loads(out)

    both, one = shown(), shown("--target", "xnli")
    assert [item["target"] for item in both] == ["xnli", "xcopa"] and len(one) == 1
    assert one[0] == both[0] and both[0]["lines"]["all"]["p_holm"] > both[0]["lines"]["all"]["p"]
    some = shown("--language", "sw", "--language", "tr")
    assert all(line["p_holm"] is None for item in some for line in item["lines"].values())
    code, _, err = call("compare", "rte", "mnli", "--size", "64", "--target", "xq", "--manifest", manifest)
    assert code == 2 and "no result has the target 'xq'" in err


def test_a_report_of_one_target_tests_what_a_report_of_all_does(tmp_path: Path) -> None:
    results = two_targets()
    panels = build_panels(results, membership=halves)

    def deltas(name: str, **options: Any) -> dict[Any, Any]:
        write_report(panels, results, tmp_path / name, draws=300, examples=False, **options)
        board = json.loads((tmp_path / name / "board.json").read_text())
        curves = json.loads((tmp_path / name / "curves.json").read_text())
        tested = {
            (curve["target"], curve["arm"], curve["subset"]): point["delta"]["p_holm"]
            for curve in curves
            if curve["group"] == "all languages"
            for point in curve["points"]
            if point["size"]
        }
        return tested | {"comparisons": board["settings"]["comparisons"]}

    whole = deltas("whole")
    part = deltas("part", targets=("xnli",))
    assert whole["comparisons"] == part["comparisons"] == 4
    assert {key[0] for key in part if key != "comparisons"} == {"xnli"}
    assert all(whole[key] == value for key, value in part.items())
    # first sizes: corrected over the curves of both targets, not of each alone
    curves = [key for key in whole if key != "comparisons"]
    assert len(curves) == 16
    written = json.loads((tmp_path / "whole" / "curves.json").read_text())
    raw = [
        point["delta"]["p"]
        for curve in written
        if curve["group"] == "all languages"
        for point in curve["points"]
        if point["size"]
    ]
    assert min(whole[key] for key in curves) == pytest.approx(min(1.0, 16 * min(raw)), abs=2e-6)
    text = (tmp_path / "part" / "index.html").read_text()
    assert "XCOPA" not in text.partition('id="method"')[0]
    some = deltas("some", explore=True)
    assert some["comparisons"] == 0
    page = (tmp_path / "some" / "index.html").read_text()
    assert "nothing is tested here" in page


@pytest.mark.parametrize(("seeds", "said"), [((1,), "one training run"), ((1, 2), "2 training runs")])
def test_the_best_arm_of_few_training_runs_is_no_claim(seeds: tuple[int, ...], said: str) -> None:
    made = entries(seeds)
    right = rights(made, 5)
    for name in right:
        if "mnli" in name:
            right[name][:] = True
            right[name][:6] = False
    (panel,) = build_panels([result(one, right[one.id]) for one in made], membership=halves)
    drawn = [Bootstrap(panel, 1000)]
    (text,) = words(answers(drawn, Question(), family(drawn, Question())))
    assert "mnli is ahead of the other arms" in text and said in text and "best arm" not in text


def test_what_could_have_been_found_is_said_of_three_seeds_and_never_beyond_all_points() -> None:
    """Two training runs far apart: t has one degree of freedom, and the least change to be found is hundreds of points."""

    def notes(seeds: tuple[int, ...]) -> tuple[str, str]:
        made = entries(seeds)
        results = [result(one, right) for one, right in zip(made, _apart(made), strict=True)]
        panels = build_panels(results, membership=halves)
        drawn = [Bootstrap(panel, 500) for panel in panels]
        board = make_board(panels, results, seeds="mean", bootstraps=drawn)
        found = [note for note in board.tables[0].notes if "4 of 5" in note]
        answer = " ".join(words(answers(drawn, Question(), family(drawn, Question()))))
        return " ".join(found), answer

    assert notes((1, 2))[0] == ""
    note, answer = notes((1, 2, 3))
    assert "not told from 0: 2; " in note and "more than there are (rte, N 64)" in note and "0 (" not in note
    assert "no change could have been found" in answer and "found four times" not in answer


def _apart(made: list[Entry]) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    item = rng.standard_normal((ROWS, 1))
    shares = {1: 0.05, 2: 0.95, 3: 0.5}
    return [
        correlated(ROWS, 4, shares[int(one.seed or 0)] if one.size else 0.5, 0.5, rng, item) for one in made
    ]
