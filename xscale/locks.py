"""Who is at work: locks that are held, and how many runs share a folder."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout


def is_taken(lock: Path) -> bool:
    """Whether some process holds the lock."""
    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except (Timeout, OSError):
        return True


def entry_lock(results: Path, entry: str) -> BaseFileLock:
    """The lock of an entry's results. A run that has it may take it again, further in."""
    return FileLock(results / f".{entry}.lock", is_singleton=True)


@contextlib.contextmanager
def runs_at_work(folder: Path) -> Iterator[Callable[[], int]]:
    """Be counted as a run that works on `folder` for the length of the block; yields what counts such runs, with this one."""
    place, was_there = folder / ".runs", folder.exists()
    place.mkdir(parents=True, exist_ok=True)
    mine = place / f"{socket.gethostname()}-{os.getpid()}.lock"

    def count() -> int:
        others = [path for path in place.glob("*.lock") if path != mine]
        for path in others:
            if not is_taken(path):
                path.unlink(missing_ok=True)  # of a run that ended
        return 1 + sum(is_taken(path) for path in others)

    try:
        with FileLock(mine):
            yield count
    finally:  # nothing stays of a run that ended, or was refused
        mine.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            place.rmdir()
            if not was_there:
                folder.rmdir()
