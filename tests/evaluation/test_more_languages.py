"""Languages that others added are evaluated like the official ones, where the data source has them."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness_tasks.rows import Options, anchor_of, build_documents
from xscale.cli.main import app
from xscale.errors import UserError
from xscale.evaluation.answers import evaluate_entry, result_key
from xscale.evaluation.predictions import PREDICTIONS, read_predictions
from xscale.manifest import Entry
from xscale.pipeline import default_selection


def test_what_is_evaluated_by_default_is_what_the_source_has(real_data: Path) -> None:
    chosen = default_selection("bundled")
    assert list(chosen)[:2] == ["xnli", "xcopa"] and len(chosen["xnli"][0]) == 15
    assert default_selection(str(real_data), ["yor", "mk"]) == {
        "xnli": (("yor",), None),
        "xcopa": (("mk",), None),
    }
    assert default_selection(str(real_data), ["eu", "de"])["xnli"] == (("eu", "de"), None)
    with pytest.raises(UserError, match="has no test set in 'ibo' of xnli"):
        default_selection(str(real_data), ["ibo"])
    with pytest.raises(UserError, match="no target has 'qqq'"):
        default_selection(str(real_data), ["de", "qqq"])


def test_a_part_of_the_rows_and_rows_of_their_own(entry: Entry, real_data: Path, tmp_path: Path) -> None:
    selection = {"xnli": (("yor", "eu", "eu_native"), 8)}
    evaluate_entry(entry, selection, str(real_data), tmp_path / "manifest.json", tmp_path)
    rows = read_predictions(tmp_path / "both" / PREDICTIONS).table.to_pylist()
    for language in ("yor", "eu", "eu_native"):
        expected = [
            doc["row"] for doc in build_documents("xnli", language, options=Options(str(real_data)))[:8]
        ]
        assert sorted(row["row"] for row in rows if row["language"] == language) == sorted(expected)


def test_the_anchor_is_that_of_the_english_rows(entry: Entry, real_data: Path) -> None:
    """Else the board would find no subsets of a target that was evaluated on a native set, too."""
    key = result_key(entry, {"xnli": (("eu_native", "de"), 8)}, str(real_data), Path("m.json"))
    assert key["anchors"]["xnli"] == anchor_of("xnli", Options(str(real_data)), "de")


def test_experiment_and_languages_do_not_go_together() -> None:
    result = CliRunner().invoke(app, ["eval", "--experiment", "first-run", "--languages", "ko"])
    assert isinstance(result.exception, UserError) and "leave one of the two out" in str(result.exception)
