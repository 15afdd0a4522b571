"""Two checkpoints side by side."""

import json

import pytest
from synthetic import entry, panels_of, result, two_sizes

from xscale.errors import UserError
from xscale.leaderboard import statistics as st
from xscale.leaderboard.compare import compare, render_comparison
from xscale.leaderboard.panels import Result

ENTRIES, RIGHT = two_sizes()
RESULTS = [result(made, RIGHT[made.id]) for made in ENTRIES]
A, B = (made.id for made in ENTRIES)


def test_deltas_and_flips_are_counts() -> None:
    (found,) = compare(panels_of(RESULTS), RESULTS, A, B, draws=500)
    lines = {line.name: line for line in found.subsets}
    assert list(lines) == ["all", "id", "ood", "few"]
    assert lines["ood"].delta.value == pytest.approx(RIGHT[B][1::2].mean() - RIGHT[A][1::2].mean())
    assert lines["few"].rows == 40
    sw = next(line for line in found.groups if line.name == "sw")
    assert (sw.first, sw.second) == pytest.approx((RIGHT[A][:, 2].mean(), RIGHT[B][:, 2].mean()))
    assert found.gained == (RIGHT[B] & ~RIGHT[A]).sum()
    assert found.lost == (RIGHT[A] & ~RIGHT[B]).sum()
    assert len(found.flips) == (RIGHT[A] != RIGHT[B]).any(axis=1).sum()
    first = found.flips[0]
    assert set(first.gained) == {
        code for code, g in zip(("de", "en", "sw", "tr"), (RIGHT[B] & ~RIGHT[A])[first.row], strict=True) if g
    }
    p = [line.delta for line in (*found.subsets, *found.groups)]
    assert [delta.p_holm for delta in p] == pytest.approx(st.holm([delta.p for delta in p]))


def test_the_other_way_round_changes_the_signs() -> None:
    panels = panels_of(RESULTS)
    (there,), (back,) = (compare(panels, RESULTS, *pair, draws=500) for pair in ((A, B), (B, A)))
    assert there.subsets[0].delta.value == -back.subsets[0].delta.value
    assert there.subsets[0].delta.low == pytest.approx(-back.subsets[0].delta.high)
    assert (there.gained, there.lost) == (back.lost, back.gained)


def test_flips_of_a_subset_only() -> None:
    (found,) = compare(panels_of(RESULTS), RESULTS, A, B, subset="ood", draws=100)
    assert all(flip.row % 2 for flip in found.flips)
    assert found.documents == 800


def test_text_fits_and_json_has_everything() -> None:
    found = compare(panels_of(RESULTS), RESULTS, A, B, draws=200)
    text = render_comparison(found, flips=3)
    assert max(map(len, text.splitlines())) <= 80
    assert "documents flipped" in text and "delta" in text
    assert "|" in render_comparison(found, "github")
    assert len(json.loads(render_comparison(found, "json"))[0]["flips"]) == len(found[0].flips)
    with pytest.raises(UserError, match="unknown format"):
        render_comparison(found, "html")


def test_what_cannot_be_compared_is_refused_with_the_reason() -> None:
    other = [result(entry("short"), RIGHT[A][:100]), Result(entry("none"), "missing", "not evaluated yet")]
    panels = panels_of(RESULTS + other)
    with pytest.raises(UserError, match="400 rows against 100"):
        compare(panels, RESULTS + other, A, "short")
    with pytest.raises(UserError, match="not evaluated yet"):
        compare(panels, RESULTS + other, A, "none")
    with pytest.raises(UserError, match="no checkpoint 'typo'"):
        compare(panels, RESULTS, A, "typo")
    with pytest.raises(UserError, match="twice"):
        compare(panels, RESULTS, A, A)
    with pytest.raises(UserError, match="no subset 'rare'.*few"):
        compare(panels, RESULTS, A, B, subset="rare")
