"""From stored predictions to panels: what is compared, and what is only marked."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic import (
    ANCHOR,
    LANGUAGES,
    answers,
    entry,
    halves,
    info,
    labels,
    predictions,
    result,
    store,
    table,
)

from harness_tasks.rows import Options, anchor_of
from harness_tasks.sources import BUNDLED, DataError
from harness_tasks.subsets.membership import facts_by_row, shipped
from xscale.errors import UserError
from xscale.evaluation.predictions import Predictions, with_scores, write_predictions
from xscale.leaderboard.panels import build_panels, differences, load_results, scores_of
from xscale.manifest import Entry, Manifest

RIGHT = np.random.default_rng(0).random((60, 4)) < 0.6


def test_scores_are_what_was_stored_in_any_order_of_documents() -> None:
    stored = predictions(RIGHT)
    shuffled = stored.table.take(pa.array(np.random.default_rng(1).permutation(stored.table.num_rows)))
    scores = scores_of(Predictions(shuffled, stored.info))["xnli"]
    assert scores.languages == LANGUAGES
    assert ((scores.predictions == scores.labels) == RIGHT).all()
    assert scores.note is None


def test_rows_that_a_language_lacks_do_not_count_and_are_told() -> None:
    stored = predictions(RIGHT)
    keep = np.ones(stored.table.num_rows, bool)
    keep[130:135] = False  # sw, rows 10 to 14
    scores = scores_of(Predictions(stored.table.filter(pa.array(keep)), stored.info))["xnli"]
    assert len(scores.rows) == 55
    assert scores.note is not None and "sw" in scores.note and "55 of 60" in scores.note


def test_a_document_twice_is_refused() -> None:
    stored = predictions(RIGHT)
    twice = pa.concat_tables([stored.table, stored.table.slice(0, 1)])
    with pytest.raises(ValueError, match="twice in de"):
        scores_of(Predictions(twice, stored.info))


def test_missing_stale_and_damaged_results_are_marked(tmp_path: Path) -> None:
    entries = [entry("good"), entry("none"), entry("stale", sha256="1" * 64), entry("bad"), entry("odd")]
    for made in (entries[0], entries[2]):
        store(tmp_path, made, predictions(RIGHT, identity=made.id, weights="2" * 64))
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "predictions.parquet").write_bytes(b"PAR1 nothing")
    truth = labels(60)
    twice = table({"xnli": (("de", "de"), np.arange(60), truth, answers(RIGHT, truth))})
    store(tmp_path, entries[4], Predictions(twice, info("odd", {"xnli": ["de"]})))
    results = load_results(Manifest(entries=entries), tmp_path)
    assert [found.status for found in results] == ["ok", "missing", "stale", "damaged", "damaged"]
    assert "xscale eval" in (results[1].problem or "") and "other weights" in (results[2].problem or "")
    assert all("\n" not in (found.problem or "") for found in results)


@pytest.mark.parametrize("column", ["label", "prediction", "row"])
def test_rows_that_another_tool_changed_give_no_number(tmp_path: Path, column: str) -> None:
    made = entry("edited")
    store(tmp_path, made, predictions(RIGHT))
    path = tmp_path / "edited" / "predictions.parquet"
    written = pq.read_table(path)
    number = written.schema.get_field_index(column)
    values = written.column(column).to_numpy().copy()
    values[[0, 1]] = values[[1, 0]] if column == "row" else (values[[0, 1]] + 1) % 3
    changed = written.set_column(
        number, written.schema.field(number), pa.array(values, written.schema.field(number).type)
    )
    pq.write_table(changed, path)  # with what xscale had written about them
    (found,) = load_results(Manifest(entries=[made]), tmp_path)
    assert found.status == "damaged" and not found.scores
    assert "changed since it was written" in (found.problem or "")


def official(limit: int | None = None) -> Predictions:
    """Answers to the official English rows, all of them right; their numbers and labels are those that ship."""
    facts = facts_by_row("xnli", "test")
    truth = np.array(facts["label"])
    rows = np.arange(len(truth))[:limit]
    made = with_scores(table({"xnli": (("en",), rows, truth[rows], truth[rows][:, None])}))
    number = made.schema.get_field_index("cluster")
    made = made.set_column(number, made.schema.field(number), pa.array(rows // 3, pa.int32()))
    described = {"anchors": {"xnli": shipped("xnli")["test"]["anchor"]}, "limit": {"xnli": limit}}
    return Predictions(made, info("x", {"xnli": ["en"]}, **described))


def changed(stored: Predictions, column: str, position: int, value: object) -> pa.Table:
    values = stored.table.column(column).to_pylist()
    values[position] = value
    number = stored.table.schema.get_field_index(column)
    field = stored.table.schema.field(number)
    return stored.table.set_column(number, field, pa.array(values, field.type))


@pytest.mark.parametrize(
    ("column", "value", "why"),
    [
        ("label", 3, "is no choice of xnli"),
        ("label", None, "has label"),
        ("prediction", 3, "is no choice of xnli"),
        ("row", 5010, "row 5010, of which the data has 5,010"),
        ("cluster", 7, "is in cluster 7, its target says 0"),
        ("logprobs", [-1.0, -1.0], "2 scores are not 3 log-probabilities"),
        ("logprobs", [-0.1, float("nan"), -2.0], "are not 3 log-probabilities"),
        ("numerator", 0.5, "its score is not that of its label and prediction"),
    ],
)
def test_answers_that_cannot_be_to_the_rows_they_name_give_no_number(
    tmp_path: Path, column: str, value: object, why: str
) -> None:
    """The file is as it was written, checksums and all: what it says is what cannot be."""
    stored, made = official(), entry("x")
    store(tmp_path / "good", made, stored)
    assert load_results(Manifest(entries=[made]), tmp_path / "good")[0].status == "ok"
    if column == "label" and value is None:  # another label that is one, right as the answer is
        value = (stored.table.column("label")[0].as_py() + 1) % 3
        bad = changed(Predictions(changed(stored, "label", 0, value), stored.info), "prediction", 0, value)
    else:
        bad = changed(stored, column, 0, value)
    path = tmp_path / "x" / "predictions.parquet"
    write_predictions(path, bad, stored.info)
    (found,) = load_results(Manifest(entries=[made]), tmp_path)
    assert found.status == "damaged" and not found.scores
    assert why in (found.problem or "") and "\n" not in (found.problem or "")


def test_fewer_rows_than_were_asked_for_and_targets_without_description_give_no_number(
    tmp_path: Path,
) -> None:
    made = entry("x")
    for change, why in (
        ({"limit": {"xnli": None}}, "40 rows where 5,010 were asked for"),
        ({"limit": {"xnli": 50}}, "40 rows where 50 were asked for"),
        ({"fingerprints": {"xcopa": {"en": "f"}}}, "xnli is not in its description"),
        ({"fingerprints": {"xnli": {"de": "f"}}}, "en is not in its description"),
    ):
        stored = official(40)
        store_all(tmp_path, made, Predictions(stored.table, stored.info | change))
        (found,) = load_results(Manifest(entries=[made]), tmp_path)
        assert found.status == "damaged" and why in (found.problem or "")
    store_all(tmp_path, made, official(40))
    assert load_results(Manifest(entries=[made]), tmp_path)[0].status == "ok"


def store_all(folder: Path, made: Entry, stored: Predictions) -> None:
    write_predictions(folder / made.id / "predictions.parquet", stored.table, stored.info)


def test_a_copy_of_the_bundled_suite_is_named_as_such_wherever_it_lies(tmp_path: Path) -> None:
    """By its content: a folder that a user copied it into is no published test set."""
    copy = tmp_path / "mirror"
    shutil.copytree(BUNDLED, copy)
    anchors = {target: anchor_of(target, Options(data=str(copy))) for target in ("xnli", "xcopa")}
    assert anchors["xnli"] != shipped("xnli")["test"]["anchor"]
    titles = []
    for target, anchor in anchors.items():
        found = result(entry("a"), RIGHT, target=target, anchors={target: anchor}, source=f"mirror:{copy}")
        (panel,) = build_panels([found], membership=halves)
        assert panel.bundled
        titles.append(panel.title)
    assert all("BUNDLED SUITE (not " in title for title in titles)
    real = result(entry("a"), RIGHT, anchors={"xnli": shipped("xnli")["test"]["anchor"]}, source="mirror:/d")
    assert not build_panels([real], membership=halves)[0].bundled


def test_another_pinned_revision_is_stale(tmp_path: Path) -> None:
    made = entry("hub", model="hf", model_args={"pretrained": "a/b", "revision": "c" * 40})
    store(tmp_path, made, predictions(RIGHT, weights="d" * 40))
    assert load_results(Manifest(entries=[made]), tmp_path)[0].status == "stale"


def test_same_data_is_one_panel_whatever_the_source_is_called() -> None:
    results = [result(entry("a"), RIGHT), result(entry("b"), RIGHT, source="mirror:/data")]
    (panel,) = build_panels(results, membership=halves)
    assert panel.ids == ["a", "b"]
    assert panel.sources == ("hub", "mirror:/data")
    assert panel.right().tolist() == [RIGHT.sum(axis=1).tolist()] * 2


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"anchors": {"xnli": "b" * 64}}, "other English labels"),
        ({"fingerprints": {"xnli": {"de": "x"}}}, "other texts"),
        ({"task_versions": {"xnli": "2.0"}}, "task version 1.0 against 2.0"),
    ],
)
def test_other_data_is_another_panel_and_says_why(other: dict, why: str) -> None:
    results = [result(entry("a"), RIGHT), result(entry("b"), RIGHT), result(entry("c"), RIGHT, **other)]
    first, second = build_panels(results, membership=halves)
    assert (first.ids, second.ids) == (["a", "b"], ["c"])
    assert why in differences(first, second)


def test_limits_and_languages_make_panels_and_languages_can_be_chosen() -> None:
    results = [
        result(entry("a"), RIGHT),
        result(entry("b"), RIGHT[:40]),
        result(entry("c"), RIGHT[:, :2], languages=LANGUAGES[:2]),
    ]
    panels = build_panels(results, membership=halves)
    assert [panel.ids for panel in panels] == [["a"], ["b"], ["c"]]
    assert differences(panels[0], panels[1]) == "60 rows against 40"
    assert "languages de en sw tr against de en" in differences(panels[0], panels[2])
    panels = build_panels(results, languages=["de"], membership=halves)
    assert [panel.ids for panel in panels] == [["a", "c"], ["b"]]


def test_same_number_of_other_rows_is_another_panel() -> None:
    results = [result(entry("a"), RIGHT), result(entry("b"), RIGHT, rows=np.arange(60) * 3)]
    first, second = build_panels(results, membership=halves)
    assert differences(first, second) == "other rows"


def test_unknown_target_and_language_are_refused() -> None:
    with pytest.raises(UserError, match="target 'xnil'.*xnli"):
        build_panels([result(entry("a"), RIGHT)], targets=["xnil"], membership=halves)
    with pytest.raises(UserError, match="language 'xx'.*de, en"):
        build_panels([result(entry("a"), RIGHT)], languages=["xx"], membership=halves)


def test_bundled_is_never_called_by_the_published_name() -> None:
    (panel,) = build_panels([result(entry("a"), RIGHT, source="bundled")], membership=halves)
    assert "BUNDLED SUITE (not XNLI)" in panel.title


def test_commonest_label_is_counted_on_the_subset() -> None:
    def thirds(target: str, anchor: str) -> dict:
        return {"odd": np.array([0, 3, 6, 1])}  # labels 0, 0, 0, 1

    (panel,) = build_panels([result(entry("a"), RIGHT)], membership=thirds)
    assert panel.commonest_label("odd") == 0.75
    assert panel.masks["odd"].sum() == 4


def test_unknown_rows_have_no_subsets_but_a_note() -> None:
    def unknown(target: str, anchor: str) -> dict:
        raise DataError(f"no subsets for {anchor[:4]}")

    (panel,) = build_panels([result(entry("a"), RIGHT)], membership=unknown)
    assert list(panel.masks) == ["all"]
    assert ANCHOR[:4] in panel.notes[0]


def test_labels_that_differ_between_languages_are_told() -> None:
    made = result(entry("a"), RIGHT)
    scores = made.scores["xnli"]
    changed = scores.labels.copy()
    changed[0, 1] = (changed[0, 0] + 1) % 3
    (panel,) = build_panels(
        [replace(made, scores={"xnli": replace(scores, labels=changed)})], membership=halves
    )
    assert "labels differ" in panel.notes[0]
