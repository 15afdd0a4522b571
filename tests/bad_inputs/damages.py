"""What can be wrong with a mirror, predictions or a checkpoint: each function spoils a good workspace in one way.

The workspace: checkpoints_manifest.json (one entry `model`), model/xnli/ (checkpoint), results/model/, mirror/ (English
and German rows of the bundled suite), one.yaml (an experiment that evaluates those), subset.yaml.
"""

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from xscale.evaluation.predictions import SCHEMA, read_predictions, write_predictions

TEST = "mirror/facebook/xnli/de/test.jsonl"
WEIGHTS = "model/xnli/model.safetensors"
PREDICTIONS = "results/model/predictions.parquet"


def _entry(folder: Path, *, hashed: bool = False, **changes: Any) -> None:
    """Change the manifest's entry; without `hashed` its sha256 is left out, so that loading itself is tried."""
    path = folder / "checkpoints_manifest.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    entry = data["entries"][0]
    if not hashed:
        entry.pop("sha256", None)
    entry.update(changes)
    path.write_text(json.dumps(data, indent=1), encoding="utf-8")


def _row(folder: Path, number: int, **changes: Any) -> None:
    path = folder / TEST
    lines = path.read_text(encoding="utf-8").splitlines()
    row = json.loads(lines[number]) | changes
    lines[number] = json.dumps({key: value for key, value in row.items() if value != "(gone)"})
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


# --- mirrors


def mirror_is_absent(folder: Path) -> None:
    shutil.rmtree(folder / "mirror")


def mirror_lacks_language(folder: Path) -> None:
    shutil.rmtree((folder / TEST).parent)


def mirror_lacks_english(folder: Path) -> None:
    shutil.rmtree(folder / "mirror/facebook/xnli/en")


def row_is_not_json(folder: Path) -> None:
    path = folder / TEST
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[4] = lines[4][:20]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def row_is_a_list(folder: Path) -> None:
    path = folder / TEST
    path.write_text("[1, 2]\n" + path.read_text(encoding="utf-8"), encoding="utf-8")


def rows_are_cut(folder: Path) -> None:
    path = folder / TEST
    path.write_text(
        "".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[:10]), encoding="utf-8"
    )


def rows_are_swapped(folder: Path) -> None:
    path = folder / TEST
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join([*lines[1:], lines[0]]), encoding="utf-8")


def file_is_empty(folder: Path) -> None:
    (folder / TEST).write_text("", encoding="utf-8")


def file_is_latin1(folder: Path) -> None:
    (folder / TEST).write_bytes('{"premise": "Grüße", "hypothesis": "x", "label": 1}\n'.encode("latin-1"))


def gzip_is_cut(folder: Path) -> None:
    path = folder / TEST
    data = gzip.compress(path.read_bytes())
    path.unlink()
    path.with_name("test.jsonl.gz").write_bytes(data[: len(data) // 2])


def gzip_is_none(folder: Path) -> None:
    path = folder / TEST
    path.rename(path.with_name("test.jsonl.gz"))


def parquet_is_none(folder: Path) -> None:
    path = folder / TEST
    path.rename(path.with_name("test.parquet"))


def row_lacks_field(folder: Path) -> None:
    _row(folder, 3, hypothesis="(gone)")


def row_has_number_as_text(folder: Path) -> None:
    _row(folder, 3, premise=7)


def row_is_blank(folder: Path) -> None:
    _row(folder, 3, premise="  ")


def label_is_unknown(folder: Path) -> None:
    _row(folder, 3, label=3)


def label_is_hidden(folder: Path) -> None:
    _row(folder, 3, label=-1)


def label_is_a_word(folder: Path) -> None:
    _row(folder, 3, label="neutral")


# --- checkpoints


def no_damage(folder: Path) -> None:
    pass


def checkpoint_is_absent(folder: Path) -> None:
    shutil.rmtree(folder / "model")


def checkpoint_is_a_file(folder: Path) -> None:
    shutil.rmtree(folder / "model")
    (folder / "model").write_text("weights", encoding="utf-8")


def path_leaves_folder(folder: Path) -> None:
    outside = folder.parent / f"{folder.name}-outside"
    outside.mkdir()
    _entry(folder, model_args={"pretrained": f"../{outside.name}"})


def path_is_a_link_outwards(folder: Path) -> None:
    shutil.rmtree(folder / "model")
    (folder / "model").symlink_to("/")
    _entry(folder)


def path_has_control_characters(folder: Path) -> None:
    _entry(folder, model_args={"pretrained": "./mo\x1b[2Jdel"})


def path_is_a_device(folder: Path) -> None:
    _entry(folder, model_args={"pretrained": "/dev/zero"})


def remote_code(folder: Path) -> None:
    _entry(folder, model_args={"pretrained": "./model", "trust_remote_code": True})


def remote_code_as_text(folder: Path) -> None:
    _entry(folder, model="hf", model_args={"pretrained": "nobody/nothing", "trust_remote_code": "True"})


def weights_are_pickled(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / "model/xnli/pytorch_model.bin").write_bytes(b"\x80\x04.")
    _entry(folder)


def byte_is_flipped(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-5] ^= 0x10
    (folder / WEIGHTS).write_bytes(data)


def weights_are_cut(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: len(data) // 2])
    _entry(folder)


def weights_are_empty(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(b"")
    _entry(folder)


def weights_have_huge_header(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((2**62).to_bytes(8, "little") + b"{}")
    _entry(folder)


def weights_are_absent(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    _entry(folder)


def weights_are_not_numbers(folder: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    state = load_file(folder / WEIGHTS)
    save_file({name: torch.full_like(value, float("nan")) for name, value in state.items()}, folder / WEIGHTS)
    _entry(folder)


def weights_are_of_another_shape(folder: Path) -> None:
    _config(folder, hidden_size=32)


def weights_lack_head(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = {name: value for name, value in load_file(folder / WEIGHTS).items() if "classifier" not in name}
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
    _entry(folder)


def head_is_absent(folder: Path) -> None:
    (folder / "model/xnli").rename(folder / "model/xcopa")
    _entry(folder)


def config_is_not_json(folder: Path) -> None:
    (folder / "model/xnli/config.json").write_text("{", encoding="utf-8")
    _entry(folder)


def config_is_of_an_unknown_model(folder: Path) -> None:
    _config(folder, model_type="no-such-model")


def config_brings_code(folder: Path) -> None:
    _config(
        folder,
        model_type="no-such-model",
        auto_map={"AutoConfig": "evil.Config", "AutoModelForSequenceClassification": "evil.Model"},
    )
    (folder / "model/xnli/evil.py").write_text("raise SystemExit('code of the checkpoint ran')\n")


def labels_have_no_names(folder: Path) -> None:
    _config(folder, id2label={"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"})


def tokenizer_is_absent(folder: Path) -> None:
    for file in (folder / "model/xnli").glob("tokenizer*"):
        file.unlink()
    _entry(folder)


def tokenizer_is_damaged(folder: Path) -> None:
    (folder / "model/xnli/tokenizer.json").write_text('{"version": "1.0"}', encoding="utf-8")
    _entry(folder)


def model_type_is_unknown(folder: Path) -> None:
    _entry(folder, model="no-such-type", model_args={})


def argument_is_unknown(folder: Path) -> None:
    _entry(folder, model_args={"pretrained": "./model", "colour": "red"})


def device_is_unknown(folder: Path) -> None:
    _entry(folder, model_args={"pretrained": "./model", "device": "abacus"})


def results_folder_is_a_link(folder: Path) -> None:
    shutil.rmtree(folder / "results/model")
    (folder / "results/model").symlink_to(folder.parent)


def _config(folder: Path, **changes: Any) -> None:
    path = folder / "model/xnli/config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")
    _entry(folder)


# --- predictions


def predictions_are_cut(folder: Path) -> None:
    data = (folder / PREDICTIONS).read_bytes()
    (folder / PREDICTIONS).write_bytes(data[: len(data) // 2])


def predictions_are_empty(folder: Path) -> None:
    (folder / PREDICTIONS).write_bytes(b"")


def predictions_are_text(folder: Path) -> None:
    (folder / PREDICTIONS).write_text("0.91\n", encoding="utf-8")


def predictions_have_byte_flipped(folder: Path) -> None:
    data = bytearray((folder / PREDICTIONS).read_bytes())
    data[30] ^= 0xFF
    (folder / PREDICTIONS).write_bytes(data)


def _predictions(folder: Path, change: Any) -> None:
    """As if xscale itself had written them so, where the columns allow it."""
    stored = read_predictions(folder / PREDICTIONS)
    changed = change(stored.table)
    if changed.schema.names == SCHEMA.names and not any(column.null_count for column in changed.columns):
        write_predictions(folder / PREDICTIONS, changed, stored.info)
    else:
        pq.write_table(changed.replace_schema_metadata(stored.table.schema.metadata), folder / PREDICTIONS)


def predictions_were_edited(folder: Path) -> None:
    table = pq.read_table(folder / PREDICTIONS)
    edited = _with(table, "prediction", lambda v: [(v[0] + 1) % 3, *v[1:]])
    pq.write_table(edited.replace_schema_metadata(table.schema.metadata), folder / PREDICTIONS)


def _with(table: pa.Table, name: str, change: Any) -> pa.Table:
    number = table.schema.get_field_index(name)
    values = change(table.column(name).to_pylist())
    return table.set_column(
        number, table.schema.field(number), pa.array(values, table.schema.field(number).type)
    )


def predictions_lack_a_column(folder: Path) -> None:
    _predictions(folder, lambda table: table.drop_columns(["label"]))


def predictions_have_no_rows(folder: Path) -> None:
    _predictions(folder, lambda table: table.slice(0, 0))


def predictions_have_nulls(folder: Path) -> None:
    _predictions(folder, lambda table: _with(table, "prediction", lambda v: [None, *v[1:]]))


def predictions_lack_description(folder: Path) -> None:
    pq.write_table(pq.read_table(folder / PREDICTIONS).replace_schema_metadata({}), folder / PREDICTIONS)


def predictions_were_embellished(folder: Path) -> None:
    _predictions(
        folder, lambda table: table.set_column(5, table.schema.field("prediction"), table.column("label"))
    )


def predictions_have_rows_twice(folder: Path) -> None:
    _predictions(folder, lambda table: pa.concat_tables([table, table.slice(0, 2)]))


def predictions_lost_rows(folder: Path) -> None:
    _predictions(folder, lambda table: table.slice(2))


def labels_were_changed(folder: Path) -> None:
    _predictions(folder, lambda table: _with(table, "label", lambda v: [(x + 1) % 3 for x in v]))


def logprobs_are_positive(folder: Path) -> None:
    _predictions(folder, lambda table: _with(table, "logprobs", lambda v: [[1.0, 2.0, 3.0] for _ in v]))


def results_are_cut(folder: Path) -> None:
    path = folder / "results/model/results.json"
    path.write_text(path.read_text(encoding="utf-8")[:300], encoding="utf-8")


def results_are_absent(folder: Path) -> None:
    (folder / "results/model/results.json").unlink()


def results_were_embellished(folder: Path) -> None:
    path = folder / "results/model/results.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    data["results"]["xnli_ood_de"]["acc,none"] = 0.99
    path.write_text(json.dumps(data), encoding="utf-8")


def weights_were_replaced(folder: Path) -> None:
    _entry(folder, hashed=True, sha256="0" * 64)


def results_are_of_nobody(folder: Path) -> None:
    (folder / "results/model").rename(folder / "results/other")


# --- the good workspace


def make_workspace(folder: Path, base: Path) -> Path:
    """The workspace that is then spoiled: registered and evaluated by the commands that people use."""
    from tiny_model import call, make_head

    from harness_tasks.sources import BUNDLED

    make_head(folder / "model", base)
    for language in ("en", "de"):
        (folder / "mirror/facebook/xnli" / language).mkdir(parents=True)
        shutil.copy(
            BUNDLED / "facebook/xnli" / language / "test.jsonl", folder / "mirror/facebook/xnli" / language
        )
    (folder / "one.yaml").write_text(
        "name: one\ndata: bundled\nbase: ./nowhere\nintermediate: bundled_nli\nsizes: [0]\n"
        "targets:\n  xnli: {train: [bundled_nli_target]}\nevaluation:\n  xnli: {languages: [en, de]}\n",
        encoding="utf-8",
    )
    manifest = ("--manifest", folder / "checkpoints_manifest.json")
    for arguments in (
        ("add", "--model", "xscale", "--model-args", f"pretrained={folder / 'model'}", "--id", "model"),
        ("eval", "--experiment", folder / "one.yaml"),
    ):
        code, _, error = call(*arguments, *manifest)
        assert code == 0, error
    for lock in folder.rglob("*.lock"):
        lock.unlink()
    return folder
