"""A whole experiment on the bundled suite with a tiny base: outcome, second run, interruption, other people's checkpoints."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from tiny_model import call, make_base, write_experiment  # noqa: E402

from xscale.evaluation.predictions import read_predictions  # noqa: E402
from xscale.manifest import read_manifest  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory, base) -> Path:
    """A folder in which the tiny experiment has run, with what it printed."""
    folder = tmp_path_factory.mktemp("finished")
    write_experiment(folder, base)
    code, out, err = call("run", folder / "tiny.yaml", "--manifest", folder / "checkpoints_manifest.json")
    assert code == 0, err
    (folder / "printed").write_text(out)
    return folder


def board(folder: Path) -> dict:
    code, out, err = call("board", "--format", "json", "--manifest", folder / "checkpoints_manifest.json")
    assert code == 0, err
    return json.loads(out)


def test_the_run_trains_registers_evaluates_and_prints(finished):
    entries = read_manifest(finished / "checkpoints_manifest.json").entries
    assert [(entry.id, entry.size, entry.baseline) for entry in entries] == [
        ("tiny-0-seed1", 0, None),
        ("tiny-32-seed1", 32, "tiny-0-seed1"),
        ("tiny-64-seed1", 64, "tiny-0-seed1"),
    ]
    for entry in entries:
        assert (finished / "checkpoints" / entry.id / "xnli" / "config.json").is_file()
        table = read_predictions(finished / "results" / entry.id / "predictions.parquet").table
        assert table.num_rows == 2 * 12
    printed = (finished / "printed").read_text()
    assert "BUNDLED SUITE" in printed
    assert max(map(len, printed.splitlines())) <= 80


def test_checkpoints_load_in_plain_transformers(finished):
    from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

    folder = finished / "checkpoints" / "tiny-64-seed1"
    model, report = AutoModelForSequenceClassification.from_pretrained(
        folder / "xnli", output_loading_info=True
    )
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert list(model.config.id2label.values()) == ["entailment", "neutral", "contradiction"]
    assert AutoTokenizer.from_pretrained(folder / "xnli")("a b")["input_ids"]
    AutoModel.from_pretrained(folder / "encoder")


def test_metrics_of_lm_eval_equal_a_count_by_hand(finished):
    """`acc`, `acc_id`, `acc_ood` of lm_eval's results JSON from the stored predictions and the suite's own membership file."""
    membership = json.loads((ROOT / "harness_tasks" / "bundled" / "membership.json").read_text())["xnli"][
        "test"
    ]
    for identifier in ("tiny-0-seed1", "tiny-64-seed1"):
        folder = finished / "results" / identifier
        rows = read_predictions(folder / "predictions.parquet").table.to_pylist()
        scores = json.loads((folder / "results.json").read_text())["results"]
        for language in ("en", "de"):
            mine = [row for row in rows if row["language"] == language]
            assert scores[f"xnli_ood_{language}"]["acc,none"] == sum(
                r["label"] == r["prediction"] for r in mine
            ) / len(mine)
            for subset in ("id", "ood"):
                members = [r["label"] == r["prediction"] for r in mine if r["row"] in set(membership[subset])]
                assert len(members) == 6  # any --limit is half ID, half OOD here
                assert scores[f"xnli_ood_{language}"][f"acc_{subset},none"] == sum(members) / len(members)


def test_the_same_rows_in_every_language(finished):
    rows = read_predictions(finished / "results" / "tiny-0-seed1" / "predictions.parquet").table.to_pylist()
    by_language = {
        code: [(r["row"], r["label"]) for r in rows if r["language"] == code] for code in ("en", "de")
    }
    assert by_language["en"] == by_language["de"]


def test_a_second_run_does_nothing_again(finished):
    before = {
        path: path.stat().st_mtime_ns
        for path in finished.rglob("*")
        if path.is_file() and ".lock" not in path.name
    }
    code, out, err = call("run", finished / "tiny.yaml", "--manifest", finished / "checkpoints_manifest.json")
    assert code == 0 and out == (finished / "printed").read_text()
    assert "train tiny" not in err and "evaluate tiny" not in err
    after = {path: path.stat().st_mtime_ns for path in before}
    assert after == before
    code, out, _ = call(
        "run", finished / "tiny.yaml", "--dry-run", "--manifest", finished / "checkpoints_manifest.json"
    )
    assert code == 0 and "nothing is left to do" in out


def test_a_changed_recipe_is_refused_not_overwritten(finished, tmp_path):
    changed = tmp_path / "tiny.yaml"
    changed.write_text((finished / "tiny.yaml").read_text().replace("max_length: 32", "max_length: 24"))
    code, _, err = call("run", changed, "--manifest", finished / "checkpoints_manifest.json")
    assert code == 2 and "tiny-0-seed1" in err and "another recipe (phases differ)" in err


def start_run(folder: Path, base: Path, **streams) -> subprocess.Popen:
    """`xscale run` of the tiny experiment in a process of its own."""
    experiment, manifest = write_experiment(folder, base), folder / "checkpoints_manifest.json"
    code = "from xscale.cli.main import main; main()"
    command = [sys.executable, "-c", code, "run", str(experiment), "--manifest", str(manifest)]
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # tests in the background ignore it, as would the child
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, cwd=folder, **streams)


@pytest.mark.parametrize(
    "moment", ["checkpoints/tiny-0-seed1", "checkpoints/tiny-32-seed1", "results/tiny-0-seed1"]
)
def test_an_interrupted_run_ends_with_the_same_table(finished, base, tmp_path, moment):
    """kill -9 as soon as `moment` exists; the next run ends as the uninterrupted one."""
    process = start_run(tmp_path, base, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not (tmp_path / moment).exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    manifest = tmp_path / "checkpoints_manifest.json"
    code, out, err = call("run", tmp_path / "tiny.yaml", "--manifest", manifest)
    assert code == 0, err
    assert out == (finished / "printed").read_text()
    for identifier in ("tiny-0-seed1", "tiny-32-seed1", "tiny-64-seed1"):
        ours, theirs = (
            read_predictions(folder / "results" / identifier / "predictions.parquet").table
            for folder in (tmp_path, finished)
        )
        assert ours.drop(["logprobs"]).equals(theirs.drop(["logprobs"]))


def test_a_strangers_checkpoint_joins_the_same_leaderboard(finished, tmp_path):
    """A causal LM made on the spot, scored by lm_eval's own `hf`, beside the ladder."""
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    folder = tmp_path / "work"
    shutil.copytree(finished, folder, ignore=shutil.ignore_patterns("*.lock"))
    tokenizer = AutoTokenizer.from_pretrained(finished / "checkpoints" / "tiny-0-seed1" / "xnli")
    tokenizer.add_special_tokens({"eos_token": "[SEP]", "bos_token": "[CLS]"})
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(tokenizer),
            n_embd=16,
            n_layer=1,
            n_head=2,
            n_positions=256,
            bos_token_id=2,
            eos_token_id=3,
        )
    )
    model.save_pretrained(folder / "my-lm")
    tokenizer.model_max_length = 256
    tokenizer.save_pretrained(folder / "my-lm")
    manifest = folder / "checkpoints_manifest.json"
    code, _, err = call(
        "add",
        "--id",
        "my-lm",
        "--model",
        "hf",
        "--model-args",
        f"pretrained={folder / 'my-lm'},dtype=float32,device=cpu,batch_size=8",
        "--manifest",
        manifest,
    )
    assert code == 0, err
    added = read_manifest(manifest).entries[-1]
    assert added.model_args["pretrained"] == "./my-lm" and added.sha256
    code, _, err = call("eval", "my-lm", "--experiment", folder / "tiny.yaml", "--manifest", manifest)
    assert code == 0, err
    (table,) = [table for table in board(folder)["tables"] if table["target"] == "xnli"]
    assert [row["id"] for row in table["rows"]] == ["tiny-0-seed1", "tiny-32-seed1", "tiny-64-seed1", "my-lm"]


def test_every_command_has_help_with_an_example():
    for command in ("run", "train", "eval", "board", "add", "ls", "check"):
        code, out, _ = call(command, "--help")
        assert code == 0 and f"Example: xscale {command}" in out


def test_ctrl_c_is_one_line(base, tmp_path):
    process = start_run(tmp_path, base, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "checkpoints").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130 and "Traceback" not in err and err.splitlines()[-1].startswith("stopped")
    assert not list(tmp_path.rglob("*.part"))
