"""Answers grow: a view takes what is there, computes what is missing, and destroys nothing."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_checkpoints import make_checkpoint

from harness_tasks.sources import BUNDLED
from xscale.errors import UserError
from xscale.evaluation import answers
from xscale.evaluation.answers import evaluate_entry, is_current, result_key
from xscale.evaluation.batches import Section, batch_plan, blocks, needed_blocks
from xscale.evaluation.encoder_lm import EncoderLM
from xscale.evaluation.predictions import (
    PREDICTIONS,
    SCHEMA,
    prediction_files,
    read_predictions,
    write_predictions,
)
from xscale.manifest import Entry
from xscale.pipeline import Workspace
from xscale.pipeline import evaluate as evaluate_workspace

FULL = {"xnli": (("en", "sw"), None), "xcopa": (("en", "qu"), None)}


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The token ids of every batch that a model computes."""
    real, computed = EncoderLM._call, []

    def call(self: EncoderLM, function: object, batch: dict) -> object:
        computed.append(batch["input_ids"].numpy().tobytes())
        return real(self, function, batch)

    monkeypatch.setattr(EncoderLM, "_call", call)
    return computed


def small(entry: Entry) -> Entry:
    """With batches of few documents, so that there are many."""
    return entry.model_copy(update={"model_args": {**entry.model_args, "tokens_a_batch": 150}})


def evaluate(entry: Entry, selection: dict, folder: Path, source: str = "bundled") -> list[dict]:
    evaluate_entry(entry, selection, source, folder / "m.json", folder)
    return read_predictions(folder / entry.id / PREDICTIONS).table.to_pylist()


def limited(limit: int) -> dict:
    return {target: (languages, limit) for target, (languages, _) in FULL.items()}


def test_a_full_evaluation_after_limited_ones_is_one_full_evaluation(
    entry: Entry, tmp_path: Path, counted: list[bytes]
) -> None:
    entry = small(entry)
    whole = evaluate(entry, FULL, tmp_path / "whole")
    batches = sorted(counted)
    counted.clear()
    assert len(batches) > 60
    sizes = []
    for limit in (3, 17, 18, 40):
        rows = evaluate(entry, limited(limit), tmp_path / "grown")
        assert limit != 3 or len(counted) < len(batches) / 4  # a first look is cheap
        sizes.append(len(rows))
        assert rows == [row for row in whole if row in rows]  # to the last bit, in the same order
    assert sizes == [limit * 4 for limit in (3, 17, 18, 40)]
    assert evaluate(entry, FULL, tmp_path / "grown") == whole
    assert sorted(counted) == batches  # each batch once
    name = f"{entry.id}/{PREDICTIONS}"
    assert (tmp_path / "grown" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    scores = [json.loads((tmp_path / f / entry.id / "results.json").read_text()) for f in ("whole", "grown")]
    assert scores[0]["results"] == scores[1]["results"]
    assert sorted(path.name for path in (tmp_path / "grown" / entry.id).iterdir()) == [
        PREDICTIONS,
        "results.json",
    ]


@pytest.mark.parametrize(
    "selection",
    [
        {"xnli": (("en",), None)},
        {"xnli": (("sw", "en"), 4), "xcopa": (("qu",), 4)},
        {"xcopa": (("en", "qu"), 10**6)},
    ],
    ids=["fewer languages", "fewer documents", "a limit beyond the end"],
)
def test_a_smaller_view_needs_nothing_and_changes_nothing(
    entry: Entry, tmp_path: Path, counted: list[bytes], selection: dict
) -> None:
    evaluate(entry, FULL, tmp_path)
    before = {path: path.read_bytes() for path in (tmp_path / entry.id).iterdir()}
    counted.clear()
    assert is_current(tmp_path / entry.id, result_key(entry, selection, "bundled", tmp_path / "m.json"))
    evaluate(entry, selection, tmp_path)
    assert counted == []
    assert {path: path.read_bytes() for path in (tmp_path / entry.id).iterdir()} == before


def test_languages_and_targets_are_added(entry: Entry, tmp_path: Path, counted: list[bytes]) -> None:
    whole = evaluate(entry, FULL, tmp_path / "whole")
    batches = len(counted)
    counted.clear()
    evaluate(entry, {"xnli": (("en",), None)}, tmp_path)
    evaluate(entry, {"xcopa": (("en", "qu"), None)}, tmp_path)
    rows = evaluate(entry, {"xnli": (("sw",), None)}, tmp_path)
    assert len(counted) == batches

    def key(row: dict) -> tuple:
        return row["task"], row["row"]

    assert sorted(rows, key=key) == sorted(whole, key=key)
    results = json.loads((tmp_path / entry.id / "results.json").read_text())["results"]
    assert {"xnli_ood_en", "xnli_ood_sw", "xcopa_ood_en", "xcopa_ood_qu"} <= results.keys()
    assert len(prediction_files(tmp_path / entry.id)) == 1


def test_views_that_do_not_contain_each_other_stand_side_by_side(
    entry: Entry, tmp_path: Path, counted: list[bytes]
) -> None:
    """All documents of one language, then a few of three: both are kept, the common ones computed once."""
    all_of_one, few_of_three = {"xnli": (("en",), None)}, {"xnli": (("en", "de", "sw"), 16)}
    evaluate(entry, all_of_one, tmp_path)
    before = (tmp_path / entry.id / PREDICTIONS).read_bytes()
    counted.clear()
    evaluate(entry, few_of_three, tmp_path)
    once = len(counted)
    files = prediction_files(tmp_path / entry.id)
    assert [path.name for path in files] == [PREDICTIONS, "predictions-2.parquet"]
    assert files[1].read_bytes() == before
    assert read_predictions(files[0]).table.num_rows == 48
    assert (tmp_path / entry.id / "results-2.json").exists()
    for selection in (all_of_one, few_of_three):
        assert is_current(tmp_path / entry.id, result_key(entry, selection, "bundled", tmp_path / "m.json"))
    counted.clear()
    evaluate(entry, few_of_three, tmp_path / "alone")
    assert len(counted) > once  # the English ones, too


def test_data_that_was_moved_is_the_same_data(entry: Entry, tmp_path: Path, counted: list[bytes]) -> None:
    evaluate(entry, limited(10), tmp_path)
    shutil.copytree(BUNDLED, tmp_path / "mirror")
    counted.clear()
    moved = str(tmp_path / "mirror")
    assert is_current(tmp_path / entry.id, result_key(entry, limited(10), moved, tmp_path / "m.json"))
    evaluate(entry, limited(10), tmp_path, moved)
    assert counted == []


def test_other_data_is_kept_beside(entry: Entry, tmp_path: Path, real_data: Path) -> None:
    selection = {"xcopa": (("en", "qu"), 8)}
    bundled = evaluate(entry, selection, tmp_path)
    real = evaluate(entry, selection, tmp_path, str(real_data))
    assert real != bundled and len(real) == len(bundled) == 16
    files = prediction_files(tmp_path / entry.id)
    assert read_predictions(files[1]).table.to_pylist() == bundled
    for source in ("bundled", str(real_data)):
        assert is_current(tmp_path / entry.id, result_key(entry, selection, source, tmp_path / "m.json"))
    assert (
        evaluate(entry, {"xcopa": (("en", "qu"), 9)}, tmp_path) == real
    )  # of the bundled data: the other file grew
    assert read_predictions(files[1]).table.num_rows == 18


def test_other_settings_do_not_count_and_destroy_nothing(
    entry: Entry, tmp_path: Path, counted: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {"xnli": (("en",), 16)}
    first = evaluate(entry, few, tmp_path)
    counted.clear()
    monkeypatch.setattr(answers, "_precision", lambda entry: "bf16")
    assert not is_current(tmp_path / entry.id, result_key(entry, few, "bundled", tmp_path / "m.json"))
    evaluate(entry, few, tmp_path)
    assert counted
    monkeypatch.undo()
    (new, old) = prediction_files(tmp_path / entry.id)
    assert [read_predictions(path).info["precision"] for path in (new, old)] == ["bf16", "fp32"]
    assert read_predictions(old).table.to_pylist() == first
    assert is_current(tmp_path / entry.id, result_key(entry, few, "bundled", tmp_path / "m.json"))
    monkeypatch.setattr(answers, "ENCODING_VERSION", 99)
    assert not is_current(tmp_path / entry.id, result_key(entry, few, "bundled", tmp_path / "m.json"))


def test_the_command_keeps_a_full_result(checkpoint: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "m.json")
    entry = Entry(id="x", model="xscale", model_args={"pretrained": str(checkpoint)})
    assert evaluate_workspace([entry], FULL, "bundled", workspace) == ["x"]
    path = workspace.results / "x" / PREDICTIONS
    before = path.read_bytes()
    assert evaluate_workspace([entry], limited(4), "bundled", workspace) == []
    assert path.read_bytes() == before


def test_members_of_a_shared_computation_grow(tiny_base: Path, tmp_path: Path, counted: list[bytes]) -> None:
    """What two checkpoints with the same lower layers have answered already is not computed again."""
    from xscale.evaluation.sweep import evaluate_entries

    entries = []
    for name in "ab":
        folder = make_checkpoint(tmp_path / name, tiny_base, seed=1)
        entries.append(Entry(id=name, model="xscale", model_args={"pretrained": str(folder)}))

    def sweep(selection: dict, results: Path) -> list[list[dict]]:
        evaluate_entries(
            [(e, selection) for e in map(small, entries)], "bundled", tmp_path / "m.json", results
        )
        return [read_predictions(results / e.id / PREDICTIONS).table.to_pylist() for e in entries]

    whole = sweep(FULL, tmp_path / "whole")
    batches = len(counted)
    counted.clear()
    sweep(limited(5), tmp_path / "grown")
    assert sweep(FULL, tmp_path / "grown") == whole
    assert len(counted) == batches


def test_results_of_the_version_before_are_read_and_count(
    entry: Entry, tmp_path: Path, counted: list[bytes]
) -> None:
    """Files without clusters, numerators, precision and encoding version, as xscale 0.1 wrote them."""
    few = {"xnli": (("en",), 16)}
    rows = evaluate(entry, few, tmp_path)
    path = tmp_path / entry.id / PREDICTIONS
    as_version_0_1(path)
    stored = read_predictions(path)
    assert stored.table.to_pylist() == rows and "precision" not in stored.info
    counted.clear()
    grown = evaluate(entry, {"xnli": (("en",), 64)}, tmp_path)
    assert grown[:16] == rows
    assert len(counted) < len(grown) / 16
    assert read_predictions(path).info["precision"] == "fp32"
    as_version_0_1(path)
    results = path.with_name("results.json")
    results.write_text(results.read_text().replace('"float32"', '"bfloat16 autocast"'))
    assert not is_current(path.parent, result_key(entry, few, "bundled", tmp_path / "m.json"))


def as_version_0_1(path: Path) -> None:
    from xscale.evaluation.predictions import _checksum

    stored = read_predictions(path)
    old = stored.table.drop_columns(["cluster", "numerator", "denominator"])
    info = {k: v for k, v in stored.info.items() if k not in ("precision", "encoding_version", "evaluation")}
    metadata = {b"xscale": json.dumps(info, sort_keys=True).encode(), b"xscale content": _checksum(old)}
    pq.write_table(old.replace_schema_metadata(metadata), path)


def test_columns_that_are_not_in_a_file_follow_from_it(tmp_path: Path) -> None:
    rows = [
        {"target": "xnli", "row": 7, "label": 2, "prediction": 2},
        {"target": "xnli", "row": 8, "label": 1, "prediction": 0},
        {"target": "xcopa", "row": 7, "label": 0, "prediction": 0},
        {"target": "somebody's", "row": 7, "label": 0, "prediction": 1},
    ]
    table = pa.Table.from_pylist(
        [row | {"task": "t", "language": "en", "logprobs": [-1.0, -2.0]} for row in rows]
    )
    write_predictions(tmp_path / "p.parquet", table, {"a": 1})
    found = read_predictions(tmp_path / "p.parquet").table
    assert found.schema.equals(SCHEMA)
    assert found.column("cluster").to_pylist() == [2, 2, 7, 7]
    assert found.column("numerator").to_pylist() == [1.0, 0.0, 1.0, 0.0]
    assert found.column("denominator").to_pylist() == [1.0] * 4


def test_no_byte_of_a_file_can_change_unnoticed(entry: Entry, tmp_path: Path) -> None:
    """Rows and their description, whichever byte it is."""
    evaluate(entry, {"xcopa": (("en",), 4)}, tmp_path)
    path = tmp_path / entry.id / PREDICTIONS
    whole = path.read_bytes()
    stored = read_predictions(path)
    expected = (stored.table.to_pylist(), stored.info)
    unnoticed = []
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            now = read_predictions(path)
        except UserError:
            continue
        if (now.table.to_pylist(), now.info) != expected:
            unnoticed.append(place)
    assert unnoticed == []


@pytest.mark.parametrize(
    ("total", "options", "ends"),
    [
        (500, {"first": 16}, [16, 64, 256, 500]),
        (300, {"first": 16}, [16, 64, 300]),  # 44 more would be batches of many lengths
        (10, {"first": 16}, [10]),
        (5010, {"first": 64, "growth": 8}, [64, 512, 5010]),
        (400, {"first": 16, "largest": 128}, [16, 64, 192, 320, 400]),
        (0, {"first": 16}, []),
    ],
)
def test_blocks(total: int, options: dict, ends: list[int]) -> None:
    found = blocks(total, **options)
    assert [block.stop for block in found] == ends
    assert [position for block in found for position in block] == list(range(total))
    section = Section([{}] * total, [position for position in (16, 63, 399) if position < total])
    expected = [block for block in found if any(position in block for position in section.needed)]
    assert needed_blocks(section, found) == expected


def test_blocks_cost_little() -> None:
    """Padded tokens of a language of XNLI's size, in blocks, against its tokens."""
    generator = np.random.default_rng(1)
    lengths = np.clip(generator.lognormal(3.5, 0.45, 5010), 8, 128).astype(int)
    for budget, first, growth, most in ((1024, 16, 4, 1.03), (8192, 64, 8, 1.12)):
        parts = [lengths[block.start : block.stop] for block in blocks(len(lengths), first, growth)]
        tokens = sum(part[batch].max() * len(batch) for part in parts for batch in batch_plan(part, budget))
        assert tokens < most * lengths.sum()


def test_what_the_board_calls_damaged_is_evaluated_anew(entry: Entry, tmp_path: Path) -> None:
    """Else nobody could mend it: the board would send people to `xscale eval`, which would find nothing to do."""
    few = {"xnli": (("en",), 12)}
    rows = evaluate(entry, few, tmp_path)
    path = tmp_path / entry.id / PREDICTIONS
    stored = read_predictions(path)
    best = pa.array([(row["prediction"] + 1) % 3 for row in rows], pa.int8())
    number = stored.table.schema.get_field_index("prediction")
    field = stored.table.schema.field(number)
    write_predictions(path, stored.table.set_column(number, field, best), stored.info)
    assert not is_current(path.parent, result_key(entry, few, "bundled", tmp_path / "m.json"))
    assert evaluate(entry, few, tmp_path) == rows
    assert is_current(path.parent, result_key(entry, few, "bundled", tmp_path / "m.json"))


def test_check_looks_at_every_file(entry: Entry, tmp_path: Path) -> None:
    """A defect in one of several files is found, and only that file is set aside."""
    from xscale.check import check_workspace
    from xscale.manifest import Manifest, write_manifest

    manifest = tmp_path / "m.json"
    write_manifest(manifest, Manifest(entries=[entry]))
    workspace = Workspace(manifest)
    for selection in ({"xnli": (("en",), None)}, {"xnli": (("en", "de"), 16)}):
        evaluate_workspace([entry], selection, "bundled", workspace)
    assert check_workspace(workspace) == []
    first, second = prediction_files(workspace.results / entry.id)
    stored = read_predictions(second)
    write_predictions(second, stored.table.slice(1), stored.info)
    (finding,) = check_workspace(workspace)
    assert "predictions-2.parquet" in finding and "239 rows where 240 were asked for" in finding
    assert check_workspace(workspace, fix=True) == []
    assert prediction_files(workspace.results / entry.id) == [first]
    assert (workspace.results / ".set-aside" / entry.id / second.name).exists()


@pytest.mark.parametrize(
    ("precision", "difference", "differs"),
    [("fp32", 4e-3, True), ("fp32", 1e-4, False), ("bf16", 4.2e-3, False), ("bf16", 0.3, True)],
)
def test_scores_again_are_judged_by_the_recorded_precision(
    entry: Entry, tmp_path: Path, precision: str, difference: float, differs: bool
) -> None:
    """As a GPU's bf16 gives them in other batches (7 of 50 rows differed by up to 4.2e-3); fp32 is not so forgiving."""
    from xscale.check import check_workspace
    from xscale.manifest import Manifest, write_manifest

    manifest = tmp_path / "m.json"
    write_manifest(manifest, Manifest(entries=[entry]))
    workspace = Workspace(manifest)
    evaluate_workspace([entry], {"xcopa": (("en",), 5)}, "bundled", workspace)
    path = workspace.results / entry.id / PREDICTIONS
    stored = read_predictions(path)
    scores = [[value - difference for value in row] for row in stored.table.column("logprobs").to_pylist()]
    number = stored.table.schema.get_field_index("logprobs")
    moved = stored.table.set_column(
        number, SCHEMA.field("logprobs"), pa.array(scores, SCHEMA.field("logprobs").type)
    )
    write_predictions(path, moved, stored.info | {"precision": precision})
    assert bool(check_workspace(workspace, deep=True)) is differs


@pytest.mark.parametrize("how", ["in place", "by another file", "there and back"])
def test_weights_that_change_while_they_are_evaluated_store_nothing(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "c"))
    weights = folder / "xnli/model.safetensors"
    old = weights.read_bytes()
    new = old[:-4] + bytes(4)
    real, calls = EncoderLM.work, []

    def work(self: EncoderLM, *args: object, **kwargs: object) -> object:
        if not calls:
            calls.append(1)
            if how == "by another file":
                (tmp_path / "new").write_bytes(new)
                (tmp_path / "new").rename(weights)
            else:
                weights.write_bytes(new)
            if how == "there and back":
                weights.write_bytes(old)
        return real(self, *args, **kwargs)

    monkeypatch.setattr(EncoderLM, "work", work)
    entry = Entry(id="x", model="xscale", model_args={"pretrained": str(folder)})
    workspace = Workspace(tmp_path / "m.json")
    with pytest.raises(UserError, match="changed while they were evaluated, so nothing is stored"):
        evaluate_workspace([entry], {"xnli": (("en",), 4)}, "bundled", workspace)
    assert not (workspace.results / "x" / PREDICTIONS).exists()
    weights.write_bytes(old)
    evaluate_workspace([entry], {"xnli": (("en",), 4)}, "bundled", workspace)
    rows = read_predictions(workspace.results / "x" / PREDICTIONS).table.to_pylist()
    assert rows == evaluate(
        Entry(id="y", model="xscale", model_args={"pretrained": str(checkpoint)}),
        {"xnli": (("en",), 4)},
        tmp_path / "reference",
    )


def test_a_new_hard_link_changes_nothing(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another training that shares frozen weights links to them meanwhile."""
    folder = Path(shutil.copytree(checkpoint, tmp_path / "c"))
    real = EncoderLM.work

    def work(self: EncoderLM, *args: object, **kwargs: object) -> object:
        if not (tmp_path / "link").exists():
            (tmp_path / "link").hardlink_to(folder / "xnli/model.safetensors")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(EncoderLM, "work", work)
    entry = Entry(id="x", model="xscale", model_args={"pretrained": str(folder)})
    assert evaluate_workspace([entry], {"xnli": (("en",), 4)}, "bundled", Workspace(tmp_path / "m.json")) == [
        "x"
    ]


@pytest.mark.parametrize("argument", ["peft", "delta", "tokenizer", "lora_local_path"])
def test_folders_that_arguments_name_count_by_their_content(tmp_path: Path, argument: str) -> None:
    """A retrained adapter keeps no old result."""
    folder = tmp_path / "other"
    folder.mkdir()
    entry = Entry(id="x", model="hf", model_args={"pretrained": "a/b", argument: str(folder)})
    few = {"xcopa": (("en",), 3)}
    keys = []
    for name in ("adapter_model.safetensors", "config.json", "vocab.txt", "merges.txt", "spiece.model"):
        (folder / name).write_text(name)
        keys.append(json.dumps(result_key(entry, few, "bundled", tmp_path / "m.json")))
    assert len(set(keys)) == 5
