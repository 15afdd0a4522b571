"""What leaves this machine: records, results and entries without the paths of the machine that they were made on."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from harness_tasks.parsing import read_json, read_text
from harness_tasks.sources import portable_source
from xscale.errors import UserError
from xscale.evaluation.predictions import read_predictions, write_predictions
from xscale.files import sha256_of_file

PUBLISHED = (
    "recipe.json",
    "README.md",
)  # of a checkpoint folder: records in which paths are; weights and configs have none
_LOCAL = re.compile(r"(?<![\w:/.<])(?:~|[A-Za-z]:)?[/\\](?:[^\s/\\'\",;:]+[/\\])+(?=[^\s/\\'\",;:]+)")
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


def copy_portable(path: Path, to: Path) -> None:
    """Copy a file of a workspace; predictions, JSON records and cards without paths of this machine. What cannot be read is
    copied as it is."""
    try:
        if path.suffix == ".parquet":
            stored = read_predictions(path)
            if (info := portable(stored.info)) != stored.info:
                write_predictions(to, stored.table, info)
                return
        elif (text := portable_text(path)) is not None:
            to.write_text(text, encoding="utf-8")
            return
    except UserError:
        pass
    shutil.copyfile(path, to)


def same_content(one: Path, other: Path) -> bool:
    """Whether two files are the same but for paths of the machines that they were made on."""
    return sha256_of_file(one) == sha256_of_file(other) or (
        one.suffix in (".parquet", ".json") and _content(one) is not None and _content(one) == _content(other)
    )


def _content(path: Path) -> Any:
    """What a file says without paths; None where it cannot be read."""
    try:
        if path.suffix == ".json":
            return portable(read_json(path))
        stored = read_predictions(path)
    except UserError:
        return None
    return portable(stored.info), pq.read_metadata(path).metadata[b"xscale content"]
