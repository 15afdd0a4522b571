"""Languages that others added stand in tables of their own; the headline is what it was."""

import numpy as np
import pyarrow as pa
from synthetic import entry, halves, info, labels, table

from harness_tasks.targets import get_target
from xscale.evaluation.predictions import Predictions
from xscale.leaderboard.panels import Panel, Result, build_panels, scores_of
from xscale.leaderboard.table import language_groups, make_board

ROWS = 60


def stored(identity: str, right: float, languages: dict[str, np.ndarray]) -> Result:
    """A result with those rows of XNLI in each language; `right` of them right, the same in all."""
    rng = np.random.default_rng(1)
    good = rng.random(ROWS) < right
    parts = []
    for code, rows in languages.items():
        truth = labels(ROWS)[rows]
        answer = np.where(good[rows], truth, (truth + 1) % 3)[:, None].astype(np.int8)
        parts.append(table({"xnli": ((code,), rows, truth, answer)}))
    predictions = Predictions(pa.concat_tables(parts), info(identity, {"xnli": list(languages)}))
    made = entry(
        identity,
        size=int(right * 100) if identity != "base" else 0,
        baseline=None if identity == "base" else "base",
    )
    return Result(made, "ok", scores=scores_of(predictions), info=predictions.info)


ALL, PART = np.arange(ROWS), np.arange(0, ROWS, 4)
BOTH = {"de": ALL, "en": ALL, "eu": ALL, "yor": PART, "zul": PART, "eu_native": np.arange(10)}


def panels(languages: dict[str, np.ndarray]) -> list[Panel]:
    results = [stored("base", 0.5, languages), stored("more", 0.7, languages)]
    return build_panels(results, membership=lambda t, a: {} if a.startswith("own-") else halves(t, a))


def test_the_headline_is_over_the_official_languages_and_all_their_rows() -> None:
    alone, among = panels({"de": ALL, "en": ALL})[0], panels(BOTH)[0]
    assert among.languages == alone.languages == ("de", "en") and len(among.rows) == ROWS
    assert among.key == alone.key and not among.further
    assert (among.predictions == alone.predictions).all()


def test_further_ones_are_compared_on_their_own_rows() -> None:
    others = {panel.languages: panel for panel in panels(BOTH)[1:]}
    assert set(others) == {("eu",), ("yor", "zul"), ("eu_native",)}
    assert others["yor", "zul"].rows.tolist() == PART.tolist() and set(others["yor", "zul"].masks) >= {
        "id",
        "all",
    }
    assert set(others["eu_native",].masks) == {"all"}  # no English rows, no subsets
    assert "further languages (yor, zul)" in others["yor", "zul"].title
    assert all(panel.further for panel in others.values())


def test_only_the_official_languages_are_of_the_question() -> None:
    found = panels(BOTH)
    results = [stored("base", 0.5, BOTH), stored("more", 0.7, BOTH)]
    board = make_board(found, results, draws=200)
    alone = make_board(panels({"de": ALL, "en": ALL}), results, draws=200)
    assert board.settings["comparisons"] == alone.settings["comparisons"] == 1
    assert len(board.tables) == 4
    assert board.tables[0].rows[1].acc["all"].value == alone.tables[0].rows[1].acc["all"].value


def test_breakdowns_know_further_languages() -> None:
    mixed = {code: ALL for code in ("eu", "ca", "ko")}
    panel = panels(mixed)[0]
    assert language_groups(panel, "script") == {"script:Hangul": ("ko",), "script:Latin": ("eu", "ca")}
    assert set(language_groups(panel, "seen")["seen"]) == {"ca", "eu", "ko"}
    assert language_groups(panel, "source") == {}  # all by people: nothing to tell apart
    assert get_target("xnli").places["gu"].origin == "machine translation"
