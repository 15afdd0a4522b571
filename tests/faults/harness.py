"""Runs of xscale in forked processes, which have torch and lm_eval loaded already, so that a run takes seconds."""

import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
from tiny_model import call

SAID = Path(tempfile.mkdtemp())  # not in the workspace's folder, whose disk may be full


def fork(work: Callable[[], int]) -> int:
    """Start `work` in a child of its own process group; returns its process id."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 99
        with contextlib.suppress(BaseException):
            os.setpgid(0, 0)
            code = work()
        os._exit(code)
    with contextlib.suppress(PermissionError, ProcessLookupError):
        os.setpgid(pid, pid)  # in both, whichever comes first: it may be killed before it has begun
    return pid


def start(folder: Path, *arguments: object) -> int:
    """`xscale <arguments>` on the folder's manifest in a child; `said` has what it printed."""

    def work() -> int:
        code, output, errors = call(*arguments, "--manifest", folder / "checkpoints_manifest.json")
        (SAID / str(os.getpid())).write_text(output + errors, encoding="utf-8")
        return code

    return fork(work)


def wait(pid: int) -> int:
    """The exit code of a child; negative for the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def run(folder: Path) -> tuple[int, str]:
    """`xscale run tiny.yaml` to its end in a child: exit code and what it said."""
    pid = start(folder, "run", folder / "tiny.yaml")
    code = wait(pid)
    return code, said(pid)


def said(pid: int) -> str:
    """What a child printed."""
    path = SAID / str(pid)
    return path.read_text(encoding="utf-8") if path.exists() else ""


def kill_after(folder: Path, seconds: float) -> bool:
    """Start a run and kill it with signal 9; False when it had finished before."""
    pid = start(folder, "run", folder / "tiny.yaml")
    time.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    return wait(pid) == -signal.SIGKILL


def table(folder: Path) -> object:
    """The leaderboard, as numbers, and every stored prediction with its log-probabilities."""
    code, output, errors = call(
        "board", "--format", "json", "--manifest", folder / "checkpoints_manifest.json"
    )
    assert code == 0, errors
    predictions = {
        path.parent.name: pq.read_table(path).to_pylist()
        for path in sorted(folder.glob("results/*/predictions.parquet"))
    }
    return json.loads(output), predictions


def findings(folder: Path, *options: str) -> list[str]:
    """What `xscale check` finds."""
    code, output, errors = call("check", *options, "--manifest", folder / "checkpoints_manifest.json")
    assert code == 0 or (code == 2 and output), errors
    return output.splitlines() if code else []


def locked(folder: Path) -> list[Path]:
    """Lock files that some process still holds."""
    from filelock import FileLock, Timeout

    held = []
    for path in folder.rglob("*.lock"):
        try:
            with FileLock(path, timeout=0):
                pass
        except Timeout:
            held.append(path)
    return held


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A tmpfs of that size at `folder`; skips the test where mounting is not allowed."""
    import subprocess

    import pytest

    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
