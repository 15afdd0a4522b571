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
from xscale.files import open_own, refuse_link

MAX_LOG = 2**30  # bytes

SECRET_NAME = re.compile(r"token|key|secret|password|credential", re.IGNORECASE)
_TEXTS = ("kind", "id", "experiment", "what", "command", "problem", "part", "unit")
_NEEDED = {"planned": ("experiment", "recipes"), "progress": ("what", "done", "total")}
_AMOUNTS, _MOST = ("done", "total", "seconds"), 1e12
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
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
    refuse_link(journal.parent)
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
        if isinstance(event, dict) and isinstance(event.get("event"), str) and _is_ours(event):
            events.append(event)
    return events


def _is_ours(event: dict[str, Any]) -> bool:
    """Whether the fields are there and of the kinds that we write."""
    recipes = event.get("recipes", [])
    return (
        all(name in event for name in _NEEDED.get(event["event"], ()))
        and all(isinstance(event.get(name, ""), str) for name in _TEXTS)
        and all(_is_amount(event.get(name, 0)) for name in _AMOUNTS)
        and isinstance(recipes, list)
        and all(
            isinstance(recipe, list)
            and len(recipe) == 2
            and isinstance(recipe[0], str)
            and _ID.fullmatch(recipe[0]) is not None
            and isinstance(recipe[1], int)
            and _is_amount(recipe[1])
            for recipe in recipes
        )
    )


def _is_amount(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MOST


def without_secrets(text: str) -> str:
    """`text` with the values of environment variables that hold tokens, keys or passwords blotted out."""
    for name, value in os.environ.items():
        if SECRET_NAME.search(name) and len(value) >= _MIN_SECRET and value in text:
            text = text.replace(value, "***")
    return text
