"""The log of long runs: one JSON object a line in `logs/runs.jsonl` beside the manifest, appended by any number of processes."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import socket
from pathlib import Path
from typing import Any

from harness_tasks.errors import UserError
from harness_tasks.parsing import read_bytes
from xscale.files import open_own

MAX_LOG = 2**30  # bytes

SECRET_NAME = re.compile(r"token|key|secret|password|credential", re.IGNORECASE)
_MIN_SECRET = 6  # characters; shorter values are words that occur anyway


def journal_of(manifest: Path) -> Path:
    """The log that belongs to a manifest."""
    return manifest.parent / "logs" / "runs.jsonl"


def write_event(journal: Path, event: str, **fields: Any) -> None:
    """Append one line: time (UTC), host, process, event and the fields, without secrets.

    One `write` of a line to a file opened for appending, so lines of several processes do not mix. A log that cannot be
    written (a full disk) never stops the work. Raises `UserError` where the log is a link to somewhere else.
    """
    record = {
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds"),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "event": event,
        **fields,
    }
    line = without_secrets(json.dumps(record, ensure_ascii=False, default=str)) + "\n"
    with contextlib.suppress(OSError):
        journal.parent.mkdir(parents=True, exist_ok=True)
        handle = open_own(journal, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)


def read_events(journal: Path) -> list[dict[str, Any]]:
    """All events, oldest first; lines that a full disk cut short are left out, and a log that is no plain file is empty."""
    try:
        lines = read_bytes(journal, MAX_LOG).decode("utf-8", errors="replace").split("\n")
    except UserError:
        return []
    events = []
    for line in lines:
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict) and isinstance(event.get("event"), str):
            events.append(event)
    return events


def without_secrets(text: str) -> str:
    """`text` with the values of environment variables that hold tokens, keys or passwords blotted out."""
    for name, value in os.environ.items():
        if SECRET_NAME.search(name) and len(value) >= _MIN_SECRET and value in text:
            text = text.replace(value, "***")
    return text
