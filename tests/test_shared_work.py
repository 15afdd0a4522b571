"""Runs that share a folder, and processes that train and evaluate together: everything once, one failure stops no other."""

import json
import os
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from filelock import FileLock

pytest.importorskip("torch")

from tiny_model import call, make_base, make_head, write_experiment

from xscale import pipeline
from xscale.evaluation.predictions import read_predictions
from xscale.journal import journal_of, read_events
from xscale.locks import entry_lock
from xscale.manifest import Entry, Manifest, add_entries, read_manifest, write_manifest
from xscale.training.units import unlinked_units
from xscale.workspace import Workspace

ROOT = Path(__file__).resolve().parent.parent
IDS = ["tiny-0-seed1", "tiny-32-seed1", "tiny-64-seed1"]
MAIN = "from xscale.cli.main import main; main()"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    code, out, err = run(folder, base)
    assert code == 0, err
    (folder / "printed").write_text(out)
    return folder


def run(folder: Path, base: Path, *options: object) -> tuple[int, str, str]:
    path = folder / "tiny.yaml" if (folder / "tiny.yaml").exists() else write_experiment(folder, base)
    return call("run", path, "--manifest", folder / "checkpoints_manifest.json", *options)


def predictions(folder: Path) -> dict[str, object]:
    return {
        name: read_predictions(folder / "results" / name / "predictions.parquet").table.drop(["logprobs"])
        for name in IDS
    }


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"} | more


def launched(folder: Path, code: str = MAIN) -> list[tuple[int, str, str]]:
    """`xscale run` in two processes, as `accelerate launch --num_processes 2 --cpu` starts it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    command = [sys.executable, "-c", code, "run", str(folder / "tiny.yaml")]
    processes = [
        subprocess.Popen(
            [*command, "--manifest", str(folder / "checkpoints_manifest.json")],
            env=environment(**shared, RANK=str(rank), LOCAL_RANK=str(rank)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    try:
        outputs = [process.communicate(timeout=240) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(p.returncode, *output) for p, output in zip(processes, outputs, strict=True)]


@pytest.mark.slow
def test_two_processes_do_all_of_a_run_and_print_the_board_once(
    finished: Path, base: Path, tmp_path: Path
) -> None:
    write_experiment(tmp_path, base)
    (code, out, err), (other, quiet, errors) = launched(tmp_path)
    assert (code, other) == (0, 0), err + errors
    assert out == (finished / "printed").read_text() and quiet == ""
    assert [entry.id for entry in read_manifest(tmp_path / "checkpoints_manifest.json").entries] == IDS
    for name, table in predictions(tmp_path).items():
        assert table.num_rows == 24, name
    events = read_events(journal_of(tmp_path / "checkpoints_manifest.json"))
    done = [(event["kind"], event["id"]) for event in events if event["event"] == "done"]
    assert sorted(done) == sorted((kind, name) for kind in ("train", "evaluate") for name in IDS)
    assert {event["pid"] for event in events if event["event"] == "done"} == {events[0]["pid"]}


FAILS = """
import os
from xscale.training import phases
def fail(*arguments, **options):
    from xscale.errors import UserError
    if os.environ["RANK"] == "1":
        raise UserError("the second process has had enough")
    return original(*arguments, **options)
original, phases.train_steps = phases.train_steps, fail
from xscale.cli.main import main
main()
"""


@pytest.mark.slow
def test_an_exception_in_one_process_ends_all_with_its_message(base: Path, tmp_path: Path) -> None:
    write_experiment(tmp_path, base)
    ended = launched(tmp_path, FAILS)
    assert all(code == 2 for code, _, _ in ended), ended
    for _, _, errors in ended:
        assert "error: the second process has had enough" in " ".join(errors.split()), errors
        assert "Traceback" not in errors
    assert not (tmp_path / "checkpoints" / "tiny-0-seed1").exists()


FAILS_IN_EVALUATION = """
import os
from xscale.evaluation import encoder_lm
def fail(*arguments, **options):
    from xscale.errors import UserError
    if os.environ["RANK"] == "1":
        raise UserError("the second process has had enough")
    return original(*arguments, **options)
original, encoder_lm.EncoderLM.answers = encoder_lm.EncoderLM.answers, fail
from xscale.cli.main import main
main()
"""


@pytest.mark.slow
def test_an_exception_in_one_process_of_an_evaluation_ends_all_with_its_message(
    finished: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "w", ignore=shutil.ignore_patterns("*.lock")))
    shutil.rmtree(folder / "results")
    ended = launched(folder, FAILS_IN_EVALUATION)
    assert all(code == 2 for code, _, _ in ended), ended
    for _, _, errors in ended:
        assert "error: the second process has had enough" in " ".join(errors.split()), errors
        assert "Traceback" not in errors
    assert not list((folder / "results").rglob("predictions.parquet"))
    assert [code for code, _, _ in launched(folder)] == [0, 0]  # and then goes on
    assert predictions(folder) == predictions(finished)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_runs_on_one_folder_share_training_and_evaluation(
    finished: Path, base: Path, tmp_path: Path, count: int
) -> None:
    path, manifest = write_experiment(tmp_path, base), tmp_path / "checkpoints_manifest.json"
    command = [sys.executable, "-c", MAIN, "run", str(path), "--manifest", str(manifest)]
    runs = [
        subprocess.Popen(
            command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(count)
    ]
    outputs = [process.communicate(timeout=150 * count) for process in runs]
    assert [process.returncode for process in runs] == [0] * count, outputs
    assert [output for output, _ in outputs] == [(finished / "printed").read_text()] * count
    events = read_events(journal_of(manifest))
    begun = [(e["id"], e["part"]) for e in events if e["event"] == "started" and e["kind"] == "train"]
    assert len(begun) == len(set(begun)) == 5
    assert predictions(tmp_path) == predictions(finished)
    assert unlinked_units(tmp_path / "checkpoints") == []
    assert not (tmp_path / "results" / ".runs").exists()


@pytest.mark.parametrize("gone", ["deleted", "put back as it was"])
def test_a_manifest_that_vanishes_between_training_and_evaluation_is_written_again_and_it_is_said(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "w", ignore=shutil.ignore_patterns("*.lock")))
    shutil.rmtree(folder / "results")
    manifest, real = folder / "checkpoints_manifest.json", pipeline.train
    entries = read_manifest(manifest).entries

    def train(*arguments: object, **options: object) -> None:
        real(*arguments, **options)
        if gone == "deleted":
            manifest.unlink()
        else:
            write_manifest(manifest, Manifest(entries=entries[:1]))

    monkeypatch.setattr(pipeline, "train", train)
    code, out, err = call("run", folder / "tiny.yaml", "--manifest", manifest)
    assert code == 0 and out == (finished / "printed").read_text()
    assert "has lost" in err and "written again" in err
    assert read_manifest(manifest).entries == entries


def test_a_refused_evaluation_leaves_no_empty_folders(tmp_path: Path) -> None:
    manifest = tmp_path / "m.json"
    entry = Entry(id="x", model="no-such-model-type", model_args={"pretrained": "a/b"})
    add_entries(manifest, [entry])
    code, _, err = call("eval", "--data", "bundled", "--limit", "2", "--manifest", manifest)
    assert code == 2 and "Traceback" not in err
    assert not (tmp_path / "results" / ".runs").exists()


CTRL_C = """
import os, signal, sys, threading, time
def twice():
    # the second one comes while the first is being dealt with, as an impatient person's does
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGINT)
def begin(original):
    def first(*arguments, **options):
        threading.Thread(target=twice, daemon=True).start()
        time.sleep(0.02)
        return original(*arguments, **options)
    return first
if sys.argv[1] == "train":
    from xscale.training import phases as module
    module.train_steps = begin(module.train_steps)
else:
    from xscale.evaluation.encoder_lm import EncoderLM
    EncoderLM.answers = begin(EncoderLM.answers)
del sys.argv[1]
from xscale.cli.main import main
main()
"""


@pytest.mark.parametrize("moment", ["train", "evaluate"])
def test_ctrl_c_twice_leaves_nothing_half_written_and_ends_at_once(
    finished: Path, base: Path, tmp_path: Path, moment: str
) -> None:
    folder = tmp_path / "w"
    if moment == "train":
        folder.mkdir()
        write_experiment(folder, base)
    else:
        shutil.copytree(finished, folder, ignore=shutil.ignore_patterns("*.lock"))
        shutil.rmtree(folder / "results")
    manifest = folder / "checkpoints_manifest.json"
    command = [sys.executable, "-c", CTRL_C, moment, "run", str(folder / "tiny.yaml")]
    ended = subprocess.run(
        [*command, "--manifest", str(manifest)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ended.returncode == 130, ended.stderr
    assert "Traceback" not in ended.stderr and "stopped; what was finished is kept" in ended.stderr
    assert not [
        path for path in folder.rglob("*") if ".xscale-part" in path.name or ".xscale-old" in path.name
    ]
    assert not list((folder / "results").rglob("predictions.parquet"))
    if manifest.exists():
        read_manifest(manifest)
    code, out, err = call("run", folder / "tiny.yaml", "--manifest", manifest)
    assert code == 0 and out == (finished / "printed").read_text(), err


def test_one_bad_entry_stops_no_other(finished: Path, base: Path, tmp_path: Path) -> None:
    """A deleted folder, and weights that cannot be loaded, in the middle of entries that are well."""
    folder = Path(shutil.copytree(finished, tmp_path / "w", ignore=shutil.ignore_patterns("*.lock")))
    manifest = folder / "checkpoints_manifest.json"
    shutil.rmtree(folder / "results")
    shutil.rmtree(folder / "checkpoints" / "tiny-0-seed1")
    make_head(folder / "broken", base)
    (weights,) = (folder / "broken" / "xnli").glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-100])
    entry = Entry(id="broken", model="xscale", model_args={"pretrained": "./broken"}, targets={"xnli": []})
    add_entries(manifest, [entry])
    code, _, err = call("eval", "--experiment", folder / "tiny.yaml", "--manifest", manifest)
    said = " ".join(err.split())
    assert code == 2 and "Traceback" not in err
    assert "2 of 4 jobs failed" in said and "tiny-0-seed1: " in said and "broken: " in said
    for name in IDS[1:]:
        assert (folder / "results" / name / "predictions.parquet").is_file()
    code, out, _ = call("status", "--manifest", manifest)
    assert code == 0
    assert [out.count(f"failed: evaluate {name}: ") for name in ("tiny-0-seed1", "broken")] == [1, 1]
    assert out.count("failed: ") == 2


def test_weights_are_dropped_when_only_predictions_are_kept(
    finished: Path, base: Path, tmp_path: Path
) -> None:
    path, manifest = write_experiment(tmp_path, base), tmp_path / "checkpoints_manifest.json"
    path.write_text(path.read_text() + "keep: predictions\n")
    code, out, err = run(tmp_path, base)
    assert code == 0, err
    assert out == (finished / "printed").read_text()
    left = [file for file in (tmp_path / "checkpoints").rglob("*.safetensors") if ".shared" not in file.parts]
    assert left == []
    assert json.loads((tmp_path / "checkpoints" / IDS[2] / "recipe.json").read_text())["phases"]
    code, again, err = run(tmp_path, base)
    assert code == 0 and again == out and "train tiny" not in err and "evaluate tiny" not in err
    code, out, err = call("check", "--manifest", manifest)
    assert code == 0, out
    path.write_text(path.read_text().replace("[en, de]", "[en, de, fr]"))
    code, out, err = run(tmp_path, base)  # more is asked for: it is trained again, to the same weights
    assert code == 0, err
    tables = {
        name: read_predictions(tmp_path / "results" / name / "predictions.parquet").table for name in IDS
    }
    assert {table.num_rows for table in tables.values()} == {36}


def test_gc_says_what_it_removes_and_asks(finished: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "w", ignore=shutil.ignore_patterns("*.lock")))
    manifest = folder / "checkpoints_manifest.json"
    code, out, _ = call("gc", "--manifest", manifest, "--yes")
    assert code == 0 and "nothing to remove" in out
    shutil.rmtree(folder / "checkpoints" / IDS[2])
    code, out, _ = call("gc", "--manifest", manifest, "--dry-run")
    assert code == 0 and "encoder made for tiny-64-seed1" in out and "2 units" in out
    assert len(unlinked_units(folder / "checkpoints")) == 2
    with FileLock(folder / "checkpoints" / ".units" / f".{'0' * 64}.lock"):
        code, _, err = call("gc", "--manifest", manifest, "--yes")
        assert code == 2 and "a run is training here" in " ".join(err.split())
    code, out, _ = call("gc", "--manifest", manifest, "--yes")
    assert code == 0 and "removed 2 of 2 units" in out
    assert unlinked_units(folder / "checkpoints") == []


def test_a_part_of_an_experiment(base: Path, tmp_path: Path) -> None:
    code, out, err = run(tmp_path, base, "--size", 32, "--dry-run")
    assert code == 0, err
    named = [line.split(":")[0] for line in out.splitlines()[:-1]]
    assert named == [f"{what} {name}" for name in IDS[:2] for what in ("train", "evaluate")]
    code, _, err = run(tmp_path, base, "--arm", "rte")
    assert code == 2 and "--arm: tiny has no arm 'rte'; it has: bundled_nli" in " ".join(err.split())
    assert not (tmp_path / "checkpoints").exists()


def test_arms_from_the_file_to_the_board(base: Path, tmp_path: Path) -> None:
    """Two arms, one baseline: entries, arms and curves; a second run has nothing to do."""
    path, manifest = write_experiment(tmp_path, base), tmp_path / "checkpoints_manifest.json"
    arms = "arms:\n  nli: {intermediate: bundled_nli}\n  fast: {intermediate: bundled_nli, training: {learning_rate: 0.01}}"
    text = path.read_text().replace("intermediate: bundled_nli", arms, 1).replace("[0, 32, 64]", "[0, 32]")
    path.write_text(text)
    code, out, err = run(tmp_path, base)
    assert code == 0, err
    entries = read_manifest(manifest).entries
    assert [(entry.id, entry.arm, entry.baseline) for entry in entries] == [
        ("tiny-0-seed1", None, None),
        ("tiny-nli-32-seed1", "nli", "tiny-0-seed1"),
        ("tiny-fast-32-seed1", "fast", "tiny-0-seed1"),
    ]
    code, out, err = call("board", "--arms", "--manifest", manifest)
    assert code == 0, err
    assert "nli" in out and "fast" in out
    code, out, err = run(tmp_path, base, "--dry-run")
    assert code == 0 and "nothing is left to do" in out


def test_runs_that_begin_to_evaluate_at_the_same_moment_take_different_entries(tmp_path: Path) -> None:
    """What one run has is its own until it has evaluated it; the other does the rest, and does not wait."""
    workspace = Workspace(tmp_path / "checkpoints_manifest.json")
    workspace.results.mkdir()
    entries = [Entry(id=f"e{number}", model="hf", model_args={"pretrained": "x"}) for number in range(5)]

    def theirs() -> list[str]:
        with pipeline._share(entries, workspace, runs=2) as share:
            return [entry.id for entry in share]

    with pipeline._share(entries, workspace, runs=2) as mine, ThreadPoolExecutor(1) as other:
        assert [entry.id for entry in mine] == ["e0", "e1", "e2"]
        assert other.submit(theirs).result() == ["e3", "e4"]
        with entry_lock(workspace.results, "e0"):  # taken again where it is evaluated
            pass
        assert other.submit(theirs).result() == ["e3", "e4"]
    assert theirs() == ["e0", "e1", "e2"]
