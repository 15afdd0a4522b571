"""Jobs on a Ray cluster: Ray places them, waits for what they need, and repeats those whose worker died."""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from xscale.errors import UserError
from xscale.executors import Job
from xscale.progress import progress, say

RETRIES = 3
_PASSED_ON = ("XSCALE_", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_HOME", "TOKENIZERS_PARALLELISM")


def run_jobs(jobs: Sequence[Job], folder: Path, address: str | None) -> dict[str, str]:
    """Run the jobs; returns the failed ones' ids with the reason. What a job needs comes before it in `jobs`.

    `folder` is the workspace, which every node must see under the same path; `address` an existing cluster's (else
    RAY_ADDRESS, else Ray on this machine alone). Raises `UserError` without Ray, without a cluster at that address, when
    a node does not see the folder, and when a job asks for more than any node has.
    """
    try:
        import ray
    except ImportError:
        raise UserError('--executor ray: Ray is not installed; pip install "xscale[ray]"') from None
    with _connected(address):
        _check_nodes(jobs, folder)
        call = ray.remote(_call)
        waiting: dict[Any, str] = {}
        by_id: dict[str, Any] = {}
        for job in jobs:
            needs = job.resources
            options: dict[str, Any] = {"num_cpus": needs.cpus, "num_gpus": needs.gpus, "name": job.id}
            if needs.memory_gib is not None:
                options["memory"] = int(needs.memory_gib * 2**30)
            task = call.options(max_retries=RETRIES, **options)
            by_id[job.id] = task.remote(
                job.function, job.arguments, os.getcwd(), *(by_id[name] for name in job.needs)
            )
            waiting[by_id[job.id]] = job.id
        failures: dict[str, str] = {}
        with progress(f"jobs on {len(_alive())} nodes", len(jobs)) as advance:
            while waiting:
                (reference,), _ = ray.wait(list(waiting), num_returns=1)
                name = waiting.pop(reference)
                try:
                    problem = ray.get(reference)
                except ray.exceptions.RayError as error:  # its worker died again and again
                    problem = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
                if problem:
                    failures[name] = problem
                    say(f"{name}: failed: {problem}")
                advance(1)
    return failures


def _call(function: str, arguments: dict[str, Any], cwd: str, *needed: str | None) -> str | None:
    """In a worker: the job's function. Returns why it failed, or None."""
    problem = next((problem for problem in needed if problem), None)
    if problem:
        return f"not done, it needs what failed: {problem}"
    with contextlib.suppress(OSError):
        os.chdir(cwd)  # relative paths of base models mean what they mean to the user
    module, _, name = function.partition(":")
    try:
        getattr(importlib.import_module(module), name)(**arguments)
    except Exception as error:
        text = " ".join(str(error).split())
        return text if isinstance(error, UserError) else f"{type(error).__name__}: {text[:300]}"
    return None


@contextlib.contextmanager
def _connected(address: str | None) -> Iterator[None]:
    import ray

    if ray.is_initialized():
        yield
        return
    if address:
        _check_reachable(address)
    passed = {k: v for k, v in os.environ.items() if k.startswith(_PASSED_ON)}
    try:
        ray.init(
            address=address,
            include_dashboard=None if address or "RAY_ADDRESS" in os.environ else False,
            log_to_driver=False,
            logging_level="error",
            runtime_env={"env_vars": passed},
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"--address {address}: no Ray cluster can be reached ({reason}); start one with `ray start --head`"
        ) from None
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Ray itself tries an address where nobody listens for minutes, and ends the process then."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return  # "auto", "local"
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise UserError(
            f"--address {address}: no Ray cluster can be reached ({error}); start one with `ray start --head`"
        ) from None


def _alive() -> list[dict[str, Any]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def _check_nodes(jobs: Sequence[Job], folder: Path) -> None:
    """Every node sees the workspace; some node is large enough for each job."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = _alive()
    for job in jobs:
        wanted = {"CPU": job.resources.cpus, "GPU": job.resources.gpus}
        if not any(all(node["Resources"].get(k, 0) >= v for k, v in wanted.items()) for node in nodes):
            raise UserError(
                f"{job.id}: asks for {job.resources.cpus:g} CPUs and {job.resources.gpus:g} GPUs, which no node of "
                "the cluster has; change `resources` in the experiment"
            )
    folder.mkdir(parents=True, exist_ok=True)
    marker = folder / f".seen-{uuid.uuid4().hex}"
    marker.write_text("", encoding="utf-8")
    try:
        look = ray.remote(num_cpus=0)(_sees)
        seen = [
            look.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote(str(marker))
            for node in nodes
        ]
        for sees, host in ray.get(seen):
            if not sees:
                raise UserError(
                    f"node {host} does not see {folder}; put the manifest on a folder that all nodes share, under one path"
                )
    finally:
        marker.unlink(missing_ok=True)


def _sees(path: str) -> tuple[bool, str]:
    return Path(path).exists(), socket.gethostname()
