"""Killed, crowded, full and damaged: what is left must be whole, and a second run must mend it.

The short form runs with the other tests. XSCALE_FAULTS=long runs the long one: 50 kills, 8 x 100 registrations.
"""

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch")

import harness
from tiny_model import call, make_base, write_experiment

from xscale.errors import UserError
from xscale.manifest import Entry, add_entries, read_manifest

LONG = os.environ.get("XSCALE_FAULTS") == "long"
KILLS = 50 if LONG else 5
PROCESSES, REGISTRATIONS = 8, 100 if LONG else 12


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Forked children must not wait for threads that only their parent has."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, base: Path) -> tuple[Path, float]:
    """A workspace in which the experiment ran undisturbed, and the seconds that it took in a child."""
    top = tmp_path_factory.mktemp("finished")
    first = top / "first"
    first.mkdir()
    write_experiment(first, base)
    code, _, errors = call("run", first / "tiny.yaml", "--manifest", first / "checkpoints_manifest.json")
    assert code == 0, errors  # loads what the children then have
    folder = top / "w"
    folder.mkdir()
    write_experiment(folder, base)
    start = time.monotonic()
    code, said = harness.run(folder)
    assert code == 0, said
    seconds = time.monotonic() - start
    assert harness.table(folder) == harness.table(first)
    return folder, seconds


@pytest.fixture
def copy(finished: tuple[Path, float], tmp_path: Path) -> Path:
    """A finished workspace of one's own."""
    return Path(shutil.copytree(finished[0], tmp_path / "w"))


def test_kill_at_random_moments(finished: tuple[Path, float], base: Path, tmp_path: Path) -> None:
    undisturbed, latest = finished
    expected = harness.table(undisturbed)
    seed = int(os.environ.get("XSCALE_FAULT_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
    chance = random.Random(seed)
    killed = same = started = 0
    while killed < KILLS:
        started += 1
        folder = tmp_path / str(started) / "w"
        folder.mkdir(parents=True)
        write_experiment(folder, base)
        moment = chance.uniform(0, latest)
        if harness.kill_after(folder, moment):
            killed += 1
        else:  # it had finished: a run takes less long than that now
            latest = moment
        code, said = harness.run(folder)
        assert code == 0, f"seed {seed}, killed after {moment:.2f} s: {said}"
        same += harness.table(folder) == expected
        assert harness.locked(folder) == []
        harness.findings(folder, "--fix")
        assert harness.findings(folder) == [], f"seed {seed}, killed after {moment:.2f} s"
        shutil.rmtree(folder)
    print(f"killed {killed} of {started} runs (seed {seed}); the table was the same {same} times")
    assert same == started


REGISTER = """
import sys
from pathlib import Path
from xscale.manifest import Entry, add_entries
process, count = int(sys.argv[2]), int(sys.argv[3])
for number in range(count):
    name = f"p{process}-{number}"
    add_entries(Path(sys.argv[1]), [Entry(id=name, model="hf", model_args={"pretrained": f"someone/{name}"})])
"""


def test_concurrent_registrations_with_a_reader(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints_manifest.json"
    root = Path(__file__).resolve().parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
    children = [
        subprocess.Popen(
            [sys.executable, "-c", REGISTER, path, str(process), str(REGISTRATIONS)], env=environment
        )
        for process in range(PROCESSES)
    ]
    reads, sizes = 0, [0]
    while any(child.poll() is None for child in children):
        if path.exists():
            sizes.append(len(read_manifest(path).entries))  # raises unless valid at this moment
            reads += 1
        time.sleep(0.005)
    assert [child.returncode for child in children] == [0] * PROCESSES
    entries = read_manifest(path).entries
    print(f"{len(entries)} entries of {PROCESSES} processes; {reads} reads in between, all valid")
    assert sizes == sorted(sizes)
    assert len(entries) == len({entry.id for entry in entries}) == PROCESSES * REGISTRATIONS
    for process in range(PROCESSES):
        mine = [entry.id for entry in entries if entry.id.startswith(f"p{process}-")]
        assert mine == [f"p{process}-{number}" for number in range(REGISTRATIONS)]
    assert {file.name for file in tmp_path.iterdir()} == {path.name, f"{path.name}.lock"}


def test_two_runs_at_once(finished: tuple[Path, float], base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "w"
    folder.mkdir()
    write_experiment(folder, base)
    children = [harness.start(folder, "run", folder / "tiny.yaml") for _ in range(2)]
    assert [harness.wait(pid) for pid in children] == [0, 0]
    assert harness.table(folder) == harness.table(finished[0])
    assert harness.findings(folder) == []
    said = "".join(harness.said(pid) for pid in children)
    trained = [line for line in said.splitlines() if "] train " in line and ": xnli on" in line]
    print(f"{len(trained)} trainings of 3 checkpoints by two runs at once")
    assert len([line for line in trained if "done in" in line]) == 3


def test_full_disk_while_a_manifest_is_written(tmp_path: Path) -> None:
    with harness.small_disk(tmp_path / "disk", "64k") as disk:
        path = disk / "checkpoints_manifest.json"
        note = "n" * 1000
        with pytest.raises(UserError, match="the disk is full") as caught:
            for number in range(200):
                add_entries(path, [Entry(id=f"e{number}", model="hf", model_args={}, note=note)])
        whole = read_manifest(path).entries
        print(f"{len(whole)} entries before the disk was full: {caught.value}")
        assert [entry.id for entry in whole] == [f"e{number}" for number in range(len(whole))] != []
        assert not list(disk.glob(".*.part"))


def test_full_disk_during_a_run(finished: tuple[Path, float], base: Path, tmp_path: Path) -> None:
    """The disk is made larger step by step, so that it fills while a checkpoint, the manifest and a result are written."""
    expected = harness.table(finished[0])
    used = sum(path.stat().st_blocks * 512 for path in finished[0].rglob("*") if path.is_file())
    with harness.small_disk(tmp_path / "disk", "64k") as disk:
        folder = disk / "w"
        folder.mkdir()
        write_experiment(folder, base)
        failures = []
        for share in (0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 3.0):
            size = max(96 * 1024, int(used * share))
            subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)
            pid = harness.start(folder, "run", folder / "tiny.yaml")
            code = harness.wait(pid)
            text = harness.said(pid)
            if code == 0:
                break
            assert "Traceback" not in text and "disk is full" in text, (code, text)
            assert code == 2, (code, text)
            failures.append(text.splitlines()[-1].replace(str(folder), "."))
            manifest = folder / "checkpoints_manifest.json"
            if manifest.exists():
                read_manifest(manifest)
        print("\n".join(["the disk was full:", *failures]))
        assert failures and code == 0, text
        assert harness.table(folder) == expected
        harness.findings(folder, "--fix")
        assert harness.findings(folder) == []


@pytest.mark.parametrize("left", [1, 3, 5, 9])
def test_full_disk_while_results_are_written(
    finished: tuple[Path, float], base: Path, tmp_path: Path, left: int
) -> None:
    """`left`: pages of 4 KiB that are free when the evaluation begins."""
    with harness.small_disk(tmp_path / "disk", "16m") as disk:
        folder = disk / "w"
        folder.mkdir()
        write_experiment(folder, base)
        assert harness.wait(harness.start(folder, "train", folder / "tiny.yaml")) == 0
        filler = disk / "filler"
        with filler.open("wb") as file:
            file.truncate(0)
            free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
            file.write(bytes(free - left * 4096))
        code, _, errors = call(
            "run", folder / "tiny.yaml", "--manifest", folder / "checkpoints_manifest.json"
        )
        assert code == 2 and "disk is full" in errors.splitlines()[-1], (code, errors)
        print(f"{left * 4} KiB left: {errors.splitlines()[-1]}")
        filler.unlink()
        assert harness.run(folder)[0] == 0
        assert harness.table(folder) == harness.table(finished[0])
        harness.findings(folder, "--fix")
        assert harness.findings(folder) == []


def test_a_checkpoint_folder_vanishes(copy: Path, finished: tuple[Path, float]) -> None:
    shutil.rmtree(copy / "checkpoints" / "tiny-32-seed1")
    assert any("tiny-32-seed1" in line and "no folder" in line for line in harness.findings(copy))
    code, said = harness.run(copy)
    assert code == 0, said
    assert harness.table(copy) == harness.table(finished[0])
    assert harness.findings(copy) == []


def test_predictions_are_cut_short(copy: Path, finished: tuple[Path, float]) -> None:
    path = copy / "results" / "tiny-32-seed1" / "predictions.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    assert any(str(path) in line for line in harness.findings(copy))
    board, _ = call("board", "--format", "csv", "--manifest", copy / "checkpoints_manifest.json")[1:]
    assert not [line for line in board.splitlines() if "tiny-32-seed1" in line and "0." in line]
    code, said = harness.run(copy)
    assert code == 0, said
    assert harness.table(copy) == harness.table(finished[0])
    kept = harness.findings(
        copy
    )  # the damaged file is not thrown away: it stands beside the new one until --fix
    assert len(kept) == 1 and "predictions-2.parquet" in kept[0]
    harness.findings(copy, "--fix")
    assert harness.findings(copy) == []
    assert harness.table(copy) == harness.table(finished[0])


@pytest.mark.parametrize("position", [0.2, 0.5, 0.8])
def test_a_flipped_byte_in_predictions_never_gives_a_number(
    copy: Path, finished: tuple[Path, float], position: float
) -> None:
    path = copy / "results" / "tiny-32-seed1" / "predictions.parquet"
    data = bytearray(path.read_bytes())
    data[int(len(data) * position)] ^= 0x01
    path.write_bytes(data)
    try:
        changed = harness.table(copy) != harness.table(finished[0])
    except Exception:
        changed = True
    if changed:
        assert any("tiny-32-seed1" in line for line in harness.findings(copy))
    code, said = harness.run(copy)
    assert code == 0, said
    harness.findings(copy, "--fix")
    assert harness.run(copy)[0] == 0
    assert harness.table(copy) == harness.table(finished[0])


def test_a_flipped_byte_in_weights_is_refused(copy: Path) -> None:
    path = next((copy / "checkpoints" / "tiny-32-seed1" / "xnli").glob("*.safetensors"))
    data = bytearray(path.read_bytes())
    data[-7] ^= 0x20
    path.unlink()  # hard links would carry the damage on
    path.write_bytes(data)
    assert any("tiny-32-seed1" in line and "sha256" in line for line in harness.findings(copy))
    shutil.rmtree(copy / "results" / "tiny-32-seed1")
    code, said = harness.run(copy)
    assert code == 2 and "sha256" in said and "Traceback" not in said


def test_the_clock_jumps(
    base: Path, finished: tuple[Path, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "w"
    folder.mkdir()
    write_experiment(folder, base)
    chance, real = random.Random(1), time.time
    monkeypatch.setattr(time, "time", lambda: real() + chance.choice([-1e9, -3600, 0, 3600, 1e9]))
    code, _, errors = call("run", folder / "tiny.yaml", "--manifest", folder / "checkpoints_manifest.json")
    assert code == 0, errors
    assert harness.table(folder) == harness.table(finished[0])
    assert harness.findings(folder) == []


def test_check_deep_finds_nothing_in_a_sound_workspace(copy: Path) -> None:
    code, output, errors = call("check", "--deep", "--manifest", copy / "checkpoints_manifest.json")
    assert code == 0, (output, errors)
    assert errors.count("rows evaluated again, 0 differ") == 3
