"""The gate against a reference: what fails it, what passes, and what it refuses to read."""

import json
from pathlib import Path

import numpy as np
import pytest
from synthetic import entry, ladder, panels_of, result, two_sizes

from xscale.errors import UserError
from xscale.leaderboard import statistics as st
from xscale.leaderboard.panels import Result
from xscale.leaderboard.reference import changed_figures, check_reference, render_check
from xscale.leaderboard.render import render
from xscale.leaderboard.table import make_board, to_json

ENTRIES, RIGHT = two_sizes()
RESULTS = [result(made, RIGHT[made.id]) for made in ENTRIES]
A, B = (made.id for made in ENTRIES)


def reference(tmp_path: Path, results: list[Result] = RESULTS, **options: object) -> Path:
    path = tmp_path / "reference.json"
    path.write_text(render(make_board(panels_of(results), results, draws=100, **options), "json"))
    return path


def test_the_same_results_pass(tmp_path: Path) -> None:
    check = check_reference(panels_of(RESULTS), RESULTS, reference(tmp_path))
    assert not check.failed
    assert len(check.changes) == 6 and {change.verdict for change in check.changes} == {"same"}
    assert "check passed: 6 of 6" in render_check(check)


def test_a_worse_checkpoint_fails_and_a_better_one_does_not(tmp_path: Path) -> None:
    path = reference(tmp_path)
    worse = [RESULTS[0], result(ENTRIES[1], RIGHT[B] & (np.arange(400) % 6 > 0)[:, None])]
    check = check_reference(panels_of(worse), worse, path)
    assert check.failed
    assert {(c.id, c.subset) for c in check.changes if c.verdict == "worse"} >= {(B, "all")}
    assert "FAILED" in render_check(check) and "worse" in render_check(check)
    better = [RESULTS[0], result(ENTRIES[1], RIGHT[B] | (np.arange(400) % 6 == 0)[:, None])]
    check = check_reference(panels_of(better), better, path)
    assert not check.failed and any(change.verdict == "better" for change in check.changes)


def test_a_change_within_the_noise_passes(tmp_path: Path) -> None:
    path = reference(tmp_path)
    nearly = RIGHT[B].copy()
    nearly[:3] = False
    changed = [RESULTS[0], result(ENTRIES[1], nearly)]
    assert not check_reference(panels_of(changed), changed, path).failed


@pytest.mark.parametrize(
    ("now", "why"),
    [
        ([RESULTS[0]], "not in the manifest any more"),
        ([RESULTS[0], Result(ENTRIES[1], "missing", "not evaluated yet")], "not evaluated yet"),
        ([RESULTS[0], result(ENTRIES[1], RIGHT[B][:200])], "other data"),
    ],
)
def test_what_cannot_be_checked_closes_the_gate(tmp_path: Path, now: list[Result], why: str) -> None:
    check = check_reference(panels_of(now), now, reference(tmp_path))
    assert check.failed
    assert why in render_check(check)


def test_a_new_checkpoint_is_only_mentioned(tmp_path: Path) -> None:
    path = reference(tmp_path)
    more = [*RESULTS, result(entry("newcomer"), RIGHT[A])]
    check = check_reference(panels_of(more), more, path)
    assert not check.failed and check.new == ("newcomer",)


def test_a_reference_of_seed_means_cannot_be_used(tmp_path: Path) -> None:
    results = [result(made, RIGHT[A]) for made in ladder((0,), seeds=(0, 1))]
    check = check_reference(panels_of(results), results, reference(tmp_path, results, seeds="mean"))
    assert check.failed and "--seeds each" in render_check(check)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 1}', '{"format": 99, "tables": []}', "\x00"])
def test_a_file_that_is_no_board_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "reference.json"
    path.write_text(content)
    with pytest.raises(UserError, match="reference.json"):
        check_reference([], [], path)
    with pytest.raises(UserError, match="nowhere.json"):
        check_reference([], [], tmp_path / "nowhere.json")


def test_a_tampered_reference_is_refused(tmp_path: Path) -> None:
    path = reference(tmp_path)
    data = json.loads(path.read_text())
    data["tables"][0]["rows"][0]["rows_right"] = "AAAA"
    path.write_text(json.dumps(data))
    with pytest.raises(UserError, match="rows_right"):
        check_reference(panels_of(RESULTS), RESULTS, path)


def test_counts_survive_packing_and_bombs_do_not_unpack() -> None:
    right = np.random.default_rng(9).integers(0, 16, 5010)
    packed = st.pack_counts(right)
    assert (st.unpack_counts(packed, 5010) == right).all()
    with pytest.raises(ValueError, match="not 10"):
        st.unpack_counts(st.pack_counts(np.zeros(1_000_000)), 10)


def test_changed_figures_names_the_place_and_both_values() -> None:
    old = to_json(make_board(panels_of(RESULTS), RESULTS, draws=100))
    new = json.loads(json.dumps(old))
    new["tables"][0]["rows"][1]["acc"]["id"]["value"] += 0.01
    new["tables"][0]["rows"][0]["base"] = "other"
    found = changed_figures(old, new)
    assert len(found) == 2
    assert found[0] == f"tables[xnli].rows[{A}].base: 'e5' -> 'other'"
    assert f"rows[{B}].acc.id.value" in found[1]
    assert changed_figures(old, json.loads(json.dumps(old))) == []
