"""What leaves this machine: records, results and entries without the paths of the machine that they were made on."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from harness_tasks.parsing import read_json, read_text
from harness_tasks.sources import portable_source

# of a checkpoint folder: the records in which paths are; weights and configurations have none
PUBLISHED = ("recipe.json", "README.md")
_LOCAL = re.compile(
    r"(?<![\w/.<])(?!(?<=:)//)(?:~|[A-Za-z]:)?[/\\](?:[^\s/\\'\",;:]+[/\\])+(?=[^\s/\\'\",;:]+)"
)
_PATH = re.compile(r"(?:~[^/\\]*[/\\]|/|\\\\|[A-Za-z]:[/\\])[^\n]*")


def published(text: str) -> str:
    """Text for others to read: of a local path only its last part is left."""
    return _LOCAL.sub("", text)


def portable(value: Any, field: str = "") -> Any:
    """JSON whose texts that are an absolute path are its last part. Below `model_args` that begins with `./`, so that it is no
    hub model's name; a field `data` and what begins with `mirror:` name a mirror (`portable_source`)."""
    if isinstance(value, dict):
        inside = field if field == "model_args" else ""
        return {name: portable(item, inside or str(name)) for name, item in value.items()}
    if isinstance(value, list):
        return [portable(item, field) for item in value]
    if not isinstance(value, str):
        return value
    if value.startswith("mirror:") or (field == "data" and _PATH.fullmatch(value)):
        return portable_source(value)
    if not _PATH.fullmatch(value):
        return value
    name = re.split(r"[/\\]", value.rstrip("/\\"))[-1] or "."
    return f"./{name}" if field == "model_args" else name


def portable_text(path: Path) -> str | None:
    """The text of a JSON record or a card without paths of this machine; None where there are none in it, or it is neither."""
    if path.suffix == ".json":
        record = read_json(path)
        changed = portable(record)
        return None if changed == record else json.dumps(changed, indent=2, ensure_ascii=False) + "\n"
    text = read_text(path) if path.suffix == ".md" else ""
    return None if published(text) == text else published(text)
