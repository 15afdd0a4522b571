"""Whole commands, as a user starts them: the first run against another version's, and lm_eval's tasks with and without ours.

``XSCALE_OTHER=<environment>/bin/xscale XSCALE_INSTALLED=<environment>/bin/xscale pytest benchmarks/test_first_run.py``: two
environments in which two versions of xscale are installed from their wheels. Each run has a folder and a cache of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval")

ROOT = Path(__file__).resolve().parent.parent
LIST = "from lm_eval.tasks import TaskManager; print(len(TaskManager().all_tasks))"


def seconds_of(command: list[str], folder: Path, **environment: str) -> float:
    """What the command takes, in an empty folder."""
    folder.mkdir(parents=True)
    start = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "XSCALE_CACHE": str(folder / "cache"), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return time.perf_counter() - start


@pytest.mark.benchmark(group="first run")
def test_first_run_against_another_version(benchmark: Any, goal: Callable[..., None], tmp_path: Path) -> None:
    """Goal: at most 0.45 of the time of version 0.1.0's, which has one arm, with two."""
    commands = {name: os.environ.get(name, "") for name in ("XSCALE_OTHER", "XSCALE_INSTALLED")}
    if not all(commands.values()):
        pytest.skip("XSCALE_OTHER and XSCALE_INSTALLED name two installed versions' commands")
    path = {"PYTHONPATH": ""}
    other = seconds_of([commands["XSCALE_OTHER"], "run"], tmp_path / "other", **path)
    benchmark.pedantic(
        seconds_of, args=([commands["XSCALE_INSTALLED"], "run"], tmp_path / "new"), kwargs=path, rounds=1
    )
    goal("first run: of version 0.1.0's time", benchmark.stats.stats.min / other, at_most=0.45)
    benchmark.extra_info["seconds of version 0.1.0"] = other


@pytest.mark.benchmark(group="first run")
def test_lm_eval_lists_its_tasks(benchmark: Any, goal: Callable[..., None], tmp_path: Path) -> None:
    """Goal: at most 1.1 times what it takes where xscale's tasks are not there; taken in turns, the median of the ratios."""
    with_ours = [sys.executable, "-c", f"import harness_tasks.lm_eval_discovery; {LIST}"]
    without = [
        sys.executable,
        "-c",
        f"import sys; sys.meta_path = [f for f in sys.meta_path if type(f).__name__ != '_Finder']; {LIST}",
    ]
    path = {"PYTHONPATH": str(ROOT)}
    ratios = []
    for number in range(5):
        alone = seconds_of(without, tmp_path / f"without{number}", **path)
        ratios.append(seconds_of(with_ours, tmp_path / f"with{number}", **path) / alone)
    benchmark.pedantic(seconds_of, args=(with_ours, tmp_path / "last"), kwargs=path, rounds=1)
    goal("lm_eval ls tasks: times what it takes without ours", sorted(ratios)[2], at_most=1.1)
    benchmark.extra_info["smallest and largest ratio"] = f"{min(ratios):.3g}, {max(ratios):.3g}"
