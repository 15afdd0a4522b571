"""Boards as text: widths, escapes, marks."""

import csv
import io
import json
import re

import numpy as np
import pytest
from synthetic import correlated, entry, halves, ladder, result

from xscale.errors import UserError
from xscale.leaderboard.panels import Result, build_panels
from xscale.leaderboard.render import FORMATS, render, visible
from xscale.leaderboard.table import Board, Filter, make_board

RNG = np.random.default_rng(3)
ITEM = RNG.standard_normal((240, 1))
HOSTILE = "<script>alert(1)</script>|`x`\u202e&\"'\x1b[31m" + "long " * 1000


def board(results: list[Result] | None = None, **options: object) -> Board:
    if results is None:
        results = [
            result(made, correlated(240, 4, 0.45 + made.size / 1e4, 0.5, RNG, ITEM))
            for made in ladder((0, 512, 2048), seeds=(0, 1))
        ]
        results += [
            result(made, correlated(240, 4, 0.5, 0.5, RNG, ITEM), target="xcopa", choices=2)
            for made in ladder((0, 512))
        ]
    return make_board(build_panels(results, membership=halves), results, **({"draws": 300} | options))


def hostile_results() -> list[Result]:
    made = entry(
        "x", base=HOSTILE, intermediate=[HOSTILE], size=1, note=HOSTILE[:900], targets={"xnli": [HOSTILE]}
    )
    return [
        result(made, correlated(240, 4, 0.5, 0.5, RNG)),
        result(entry("y"), correlated(240, 4, 0.5, 0.5, RNG)),
    ]


@pytest.mark.parametrize(
    "options", [{}, {"subsets": ("id", "ood", "few"), "by": "language"}, {"seeds": "mean"}]
)
def test_the_terminal_form_fits_80_columns(options: dict) -> None:
    for shown in (board(**options), board(hostile_results(), **options)):
        lines = render(shown).splitlines()
        assert max(map(len, lines)) <= 80
        assert max(map(len, render(shown, wide=True).splitlines())) > 80


def test_every_format_says_where_the_rows_are_from_and_how_many() -> None:
    results = [result(made, correlated(240, 4, 0.5, 0.5, RNG), source="bundled") for made in ladder((0, 512))]
    for kind in ("simple", "github", "latex_booktabs", "html"):
        text = render(board(results), kind)
        assert "BUNDLED SUITE (not XNLI)" in text
        assert "240" in text and "120" in text and "commonest" in text and "33.3" in text
    assert "bundled" in render(board(results), "csv")
    assert json.loads(render(board(results), "json"))["tables"][0]["bundled"] is True


def test_a_model_without_intermediate_task_is_not_given_the_others() -> None:
    """One line above the table names what all rows share; a baseline shares it, somebody's plain model does not."""
    ours = [result(made, correlated(240, 4, 0.5, 0.5, RNG)) for made in ladder((0, 512))]
    assert "intermediate snli, tuned on" in render(board(ours))
    theirs = result(entry("their-model", targets={}), correlated(240, 4, 0.5, 0.5, RNG))
    assert "intermediate snli where N is given" in render(board([*ours, theirs]))


def test_intervals_deltas_and_stars_are_there() -> None:
    results = [
        result(made, correlated(240, 4, 0.45 + made.size / 1e4, 0.5, RNG, ITEM))
        for made in ladder((0, 512, 2048), seeds=(0, 1, 2))
    ]
    text = render(board(results, seeds="mean"))
    assert "baseline" in text and "ΔOOD" in text and "* " in text and "ΔOOD - ΔID" in text
    assert "[+" in text or "[-" in text
    assert "over the 2 deltas of the question" in text
    assert "* " not in render(board(results))


def test_csv_has_a_line_a_checkpoint_and_table_with_shares() -> None:
    shown = board()
    lines = list(csv.DictReader(io.StringIO(render(shown, "csv"))))
    assert len(lines) == 6 + 2
    first = shown.tables[0].rows[0]
    assert float(lines[0]["acc_ood"]) == pytest.approx(first.acc["ood"].value, abs=1e-6)
    assert float(lines[0]["acc_ood_low"]) == pytest.approx(first.acc["ood"].low, abs=1e-6)
    assert lines[0]["acc_ood_rows"] == "120"
    assert lines[0]["delta_ood_reason"] == "baseline"


def test_json_and_csv_agree() -> None:
    shown = board()
    data = json.loads(render(shown, "json"))
    lines = list(csv.DictReader(io.StringIO(render(shown, "csv"))))
    rows = [row for table in data["tables"] for row in table["rows"]]
    assert [row["acc"]["id"]["value"] for row in rows] == [float(line["acc_id"]) for line in lines]


def test_hostile_names_are_text_in_every_format() -> None:
    shown = board(hostile_results())
    for kind in FORMATS:
        text = render(shown, kind, wide=True)
        assert "\x1b" not in text
        if kind != "json":
            assert "\u202e" not in text
    assert "<script" not in render(shown, "html", wide=True)
    assert "&lt;script&gt;" in render(shown, "html", wide=True)
    assert "\\|" in render(shown, "github", wide=True) and "\\<script" in render(shown, "github", wide=True)
    latex = render(shown, "latex_booktabs", wide=True)
    assert "\\textless{}script" in latex
    assert latex.count("{") == latex.count("}")


def test_a_formula_stays_text_in_a_spreadsheet() -> None:
    made = entry("x", base="=cmd()", size=None)
    (line,) = csv.DictReader(
        io.StringIO(render(board([result(made, correlated(240, 4, 0.5, 0.5, RNG))]), "csv"))
    )
    assert line["base"] == "'=cmd()"


def test_what_could_not_be_shown_is_listed() -> None:
    results = [Result(entry("a"), "missing", "not evaluated yet; run `xscale eval`")]
    text = render(board(results))
    assert "No results" in text and "a (missing)" in text
    assert next(csv.DictReader(io.StringIO(render(board(results), "csv"))))["status"] == "missing"


def test_footnotes_say_why_a_delta_is_missing() -> None:
    results = [
        result(entry("a", baseline="b", size=3), correlated(240, 4, 0.5, 0.5, RNG)),
        result(entry("b", size=0), correlated(60, 4, 0.5, 0.5, RNG)),
    ]
    assert "[1] baseline b answered other data (240 rows against 60)" in render(board(results), width=200)


def test_unknown_format_is_refused() -> None:
    with pytest.raises(UserError, match="unknown format 'xml'.*simple"):
        render(board(), "xml")


def test_visible_cuts_in_the_middle() -> None:
    assert visible("a" * 10 + "b" * 10, 7) == "aaa…bbb"
    assert visible("a\nb\x07") == "a\\u000ab\\u0007"


def test_a_breakdown_is_one_table_in_which_indonesian_is_a_figure_too() -> None:
    """A column a language where all fit, else a line a language; `id` is a language's code, not an entry's name."""
    codes = ("en", "et", "ht", "id", "it", "qu", "sw", "ta", "th", "tr", "vi", "zh")
    results = [
        result(made, correlated(60, 12, 0.5, 0.5, RNG), target="xcopa", choices=2, languages=codes)
        for made in ladder((0, 512))
    ]
    text = render(board(results, by="language"))
    assert text.count("Accuracy by language group") == 1 and max(map(len, text.splitlines())) <= 80
    shown = text.partition("Accuracy by language group")[2].splitlines()[2:]
    assert shown[0].split() == ["N", "0", "512"]
    (line,) = [line for line in shown if line.startswith("id Indonesian")]
    figures = [
        f"{100 * (r.scores['xcopa'].predictions == r.scores['xcopa'].labels)[:, 3].mean():.1f}"
        for r in results
    ]
    assert line.split()[2:] == figures
    assert "languages" not in "".join(shown[:14]).replace("language group", "")  # a row of ones says nothing
    few = render(board(results, by="language"), width=140)
    head = next(line for line in few.splitlines() if " et " in line and " id " in line)
    below = few.splitlines()[few.splitlines().index(head) + 1]
    end = head.index(" id ") + 3
    assert below[:end].endswith("-") and below[end : end + 1] in ("", " ")  # it ends where its figures end


def test_latex_has_labels_minus_signs_and_notes_as_text() -> None:
    text = render(board(by="language"), "latex_booktabs")
    assert "\\label{tab:xscale-xnli}" in text and "\\label{tab:xscale-xcopa}" in text
    assert not [line for line in text.splitlines() if line.startswith("%")]
    assert "in/out of distribution" in text and "\\footnotesize" in text
    assert not re.search(r"[\[ ]-\d", text) and "$-$" in text
    assert text.count("{") == text.count("}")


def test_models_of_other_people_are_named_once_under_a_heading_that_says_so() -> None:
    results = [
        result(entry(name, base=None, targets={}), correlated(240, 4, 0.5, 0.5, RNG))
        for name in ("mine", "theirs")
    ]
    text = render(board(results))
    (head,) = [line for line in text.splitlines() if line.startswith("base or id")]
    assert "id" not in head.replace("base or id", "").split() and "Δ" not in head
    assert text.count("theirs") == 1 and "no deltas: no baseline in the manifest" in text


def test_notes_are_about_tables_that_are_shown() -> None:
    results = [
        *[result(made, correlated(240, 4, 0.5, 0.5, RNG)) for made in ladder((0, 512))],
        result(entry("few"), correlated(120, 4, 0.5, 0.5, RNG)),
    ]
    assert "240 rows against 120" in " ".join(render(board(results)).split())
    assert "against" not in render(board(results, show=Filter(ids=("few",))))
