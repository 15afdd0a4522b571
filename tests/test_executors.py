"""Jobs from a plan, and a sweep on a Ray cluster of two nodes on this machine, one of which loses its workers."""

import contextlib
import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")

from tiny_model import call, make_base, write_experiment

from xscale.errors import UserError
from xscale.evaluation.predictions import read_predictions
from xscale.executors import Resources
from xscale.executors.jobs import make_jobs
from xscale.experiment import plan, read_experiment
from xscale.manifest import read_manifest
from xscale.pipeline import selection
from xscale.workspace import Workspace

ROOT = Path(__file__).resolve().parent.parent


def test_jobs_of_a_plan(tmp_path: Path) -> None:
    experiment = read_experiment(write_experiment(tmp_path, tmp_path / "base"))
    recipes = plan(experiment, "bundled")
    workspace = Workspace(tmp_path / "checkpoints_manifest.json")
    wanted = {"train": Resources(cpus=2, gpus=0.5, memory_gib=4)}
    jobs = make_jobs(recipes, selection(experiment), "bundled", workspace, wanted)
    assert [job.id.split()[0] for job in jobs] == ["train"] * 3 + ["evaluate"] * 3
    names = [job.id for job in jobs]
    for position, job in enumerate(jobs):
        assert all(names.index(needed) < position for needed in job.needs)
        assert job.resources == (wanted["train"] if job.id.startswith("train") else Resources())
        json.dumps(job.arguments)  # plain values only
    assert jobs[4].needs == ("train tiny-0-seed1", "train tiny-32-seed1")


def test_unknown_executor(tmp_path: Path) -> None:
    code, _, errors = call("run", write_experiment(tmp_path, tmp_path), "--executor", "slurm")
    assert code == 2 and "'--executor'" in errors and "'slurm' is not one of 'local', 'ray'" in errors


@pytest.mark.parametrize("wrong", ["cpus: 0", "gpus: -1", "memory_gib: .inf", "nodes: 2"])
def test_wrong_resources(tmp_path: Path, wrong: str) -> None:
    path = write_experiment(tmp_path, tmp_path)
    path.write_text(path.read_text() + f"resources:\n  train: {{{wrong}}}\n")
    with pytest.raises(UserError, match=rf"{path}:\d+: resources.train.{wrong.partition(':')[0]}"):
        read_experiment(path)


def _workers_of(node: object) -> list[int]:
    """Process ids of the Ray workers that a node's raylet started and that work on a job."""
    psutil = pytest.importorskip("psutil")
    raylet = node.all_processes["raylet"][0].process.pid  # type: ignore[attr-defined]
    found = []
    for process in psutil.Process(raylet).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if " ".join(process.cmdline()).startswith(("ray::train", "ray::evaluate")):
                found.append(process.pid)
    return found


@pytest.mark.slow
def test_a_sweep_on_two_nodes_survives_the_loss_of_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    base = make_base(tmp_path / "base")
    sizes = "[0, 32, 48, 64, 80, 96]"
    local, swept = tmp_path / "local", tmp_path / "swept"
    for folder in (local, swept):
        folder.mkdir()
        write_experiment(folder, base, sizes)
    code, _, errors = call("run", local / "tiny.yaml", "--manifest", local / "checkpoints_manifest.json")
    assert code == 0, errors

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("RAY_DISABLE_IMPORT_WARNING", "1")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False})
    killed: list[int] = []
    finished = threading.Event()
    try:
        second = cluster.add_node(**node)

        def kill_in_the_middle() -> None:
            while not finished.is_set():
                started = list((swept / "checkpoints").glob(".*.lock"))
                workers = _workers_of(second)
                if len(started) >= 2 and workers:
                    for pid in workers:
                        os.kill(pid, signal.SIGKILL)
                        killed.append(pid)
                    return
                time.sleep(0.02)

        killer = threading.Thread(target=kill_in_the_middle)
        killer.start()
        code, _, errors = call(
            "run",
            swept / "tiny.yaml",
            "--executor",
            "ray",
            "--address",
            cluster.address,
            "--manifest",
            swept / "checkpoints_manifest.json",
        )
        finished.set()
        killer.join()
        nodes = len(cluster.list_all_nodes())
    finally:
        finished.set()
        ray.shutdown()
        cluster.shutdown()
    assert code == 0, errors
    assert nodes == 2 and killed
    print(f"12 jobs on {nodes} nodes; workers killed: {len(killed)}")

    def table(folder: Path) -> list[object]:
        manifest = folder / "checkpoints_manifest.json"
        code, output, errors = call("board", "--format", "csv", "--manifest", manifest)
        assert code == 0, errors
        return sorted(output.splitlines())

    assert table(swept) == table(local)
    assert call("check", "--fix", "--manifest", swept / "checkpoints_manifest.json")[0] == 0
    assert call("check", "--manifest", swept / "checkpoints_manifest.json")[0] == 0


@pytest.mark.slow
def test_only_predictions_are_kept_on_ray_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same results as without a cluster."""
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    base, local = make_base(tmp_path / "base"), tmp_path / "local"
    local.mkdir()
    write_experiment(local, base, "[0, 32]")
    code, _, errors = call("run", local / "tiny.yaml", "--manifest", local / "checkpoints_manifest.json")
    assert code == 0, errors
    path, manifest = write_experiment(tmp_path, base, "[0, 32]"), tmp_path / "checkpoints_manifest.json"
    path.write_text(path.read_text() + "keep: predictions\n")
    try:
        code, out, errors = call("run", path, "--executor", "ray", "--manifest", manifest)
        assert code == 0, errors
        left = [f for f in (tmp_path / "checkpoints").rglob("*.safetensors") if ".shared" not in f.parts]
        assert left == []
        names = [entry.id for entry in read_manifest(manifest).entries]
        for name in names:
            mine, other = (
                read_predictions(folder / "results" / name / "predictions.parquet").table
                for folder in (tmp_path, local)
            )
            assert mine.drop(["logprobs"]) == other.drop(["logprobs"])
        code, again, errors = call("run", path, "--executor", "ray", "--manifest", manifest)
        assert code == 0 and again == out, errors
    finally:
        ray.shutdown()


@pytest.mark.slow
def test_errors_of_ray_are_early_and_clear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    path = write_experiment(tmp_path, make_base(tmp_path / "base"))
    arguments = ("run", path, "--manifest", tmp_path / "checkpoints_manifest.json", "--executor", "ray")
    code, _, errors = call(*arguments, "--address", "127.0.0.1:1")
    assert code == 2 and "no Ray cluster can be reached" in errors.splitlines()[-1], errors
    path.write_text(path.read_text() + "resources:\n  train: {cpus: 10000}\n")
    code, _, errors = call(*arguments)
    assert code == 2 and "asks for 10000 CPUs" in errors


@pytest.mark.slow
def test_one_training_by_two_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a job with two GPUs does, on two CPU processes."""
    from xscale.executors.jobs import train_job

    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    experiment = read_experiment(write_experiment(tmp_path, make_base(tmp_path / "base")))
    recipe = plan(experiment, "bundled")[1]
    train_job(recipe.model_dump_json(), str(tmp_path / "checkpoints_manifest.json"), processes=2)
    record = json.loads((tmp_path / "checkpoints" / recipe.id / "recipe.json").read_text(encoding="utf-8"))
    assert [made["hardware"]["processes"] for made in record["made"].values()] == [2, 2]
