"""Where rows come from: the Hugging Face hub, the bundled suite, or a mirror folder laid out like the hub.

A mirror has ``<owner>/<name>/<config or default>/<split>.jsonl``, ``.jsonl.gz`` or ``.parquet``, with the
fields and the order of rows of the hub.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness_tasks.errors import UserError
from harness_tasks.parsing import read_bytes

if TYPE_CHECKING:
    import datasets

DataError = UserError  # its former name here
ENVIRONMENT = "XSCALE_DATA"
BUNDLED = Path(__file__).parent / "bundled"
SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")
MAX_BYTES = 16 * 2**30  # of one file of rows
# the hub's name of a set -> where mirrors made for an older name have the same rows
FORMER_NAMES = {"lighteval/siqa": ("allenai/social_i_qa",)}


def resolve_source(source: str | None = None) -> str:
    """``hub``, ``bundled`` or the absolute path of a mirror folder.

    `source` counts first, then the environment variable ``XSCALE_DATA``, then ``hub``. Also takes what
    :func:`source_name` returns. Raises :class:`UserError` when the folder does not exist.
    """
    chosen = str(source or os.environ.get(ENVIRONMENT) or "hub")
    if chosen == "hub":
        return chosen
    place = Path(chosen.removeprefix("mirror:")).expanduser()
    if chosen.startswith("mirror:") and not place.is_absolute():
        raise UserError(
            f"data source {chosen!r}: a mirror folder of another machine; say where its rows are here with XSCALE_DATA: hub, or "
            "the path of a mirror folder"
        )
    folder = BUNDLED if chosen == "bundled" else place.absolute()
    if not folder.is_dir():
        where = "the bundled suite is not installed" if chosen == "bundled" else f"no such folder: {folder}"
        raise UserError(
            f"data source {chosen!r}: {where}; use 'hub', 'bundled' or the path of a mirror folder"
        )
    return chosen if chosen == "bundled" else str(folder)


def source_name(source: str | None = None) -> str:
    """What results record: ``hub``, ``bundled`` or ``mirror:<absolute path>``."""
    resolved = resolve_source(source)
    return resolved if resolved in ("hub", "bundled") else f"mirror:{resolved}"


def portable_source(recorded: str) -> str:
    """A source without a path of this machine: of a mirror the name of its folder, ``mirror:<name>``."""
    if recorded in ("hub", "bundled"):
        return recorded
    parts = [part for part in re.split(r"[/\\]", recorded.removeprefix("mirror:")) if part]
    return f"mirror:{parts[-1] if parts else 'folder'}"


def source_here(recorded: str) -> str:
    """Where data that a result names (`source_name`) can be read here: there, or where that is a mirror folder which is not
    here, what XSCALE_DATA says. Rows are known by their content, so another place changes nothing."""
    if is_elsewhere(recorded) and os.environ.get(ENVIRONMENT):
        return os.environ[ENVIRONMENT]
    return recorded


def same_source(one: str, other: str) -> bool:
    """Whether two recorded sources are one, as far as their names tell: a mirror that is not here may be another of its name."""
    moved = is_elsewhere(one) or is_elsewhere(other)
    return one == other or (moved and portable_source(one) == portable_source(other))


def is_elsewhere(recorded: str) -> bool:
    """Whether it is a mirror folder that is not here."""
    place = Path(recorded.removeprefix("mirror:"))
    return recorded.startswith("mirror:") and not (place.is_absolute() and place.is_dir())


def mirror_folder(source: str | None = None) -> Path | None:
    """The folder that a source's files lie in; None for the hub."""
    resolved = resolve_source(source)
    if resolved == "hub":
        return None
    return BUNDLED if resolved == "bundled" else Path(resolved)


def read_rows(
    dataset: str, config: str, split: str, source: str | None = None, revision: str | None = None
) -> list[dict[str, Any]]:
    """All rows of a split as dictionaries, in the order of the file.

    `dataset` is the hub's ``owner/name``; `config` is ``default`` where the hub has none; `revision` is a commit, a branch
    or ``<branch>@<commit>`` of the hub, by default the pinned one. Raises `UserError` when the set is missing or
    damaged (then with file and line).
    """
    folder = mirror_folder(source)
    if folder is None:
        return _load_from_hub(dataset, config, split, revision).to_list()
    path = mirror_file(folder, dataset, config, split)
    if path is not None:
        return read_file(path)
    name = "the bundled suite" if folder == BUNDLED else f"the mirror {folder}"
    others = [
        "XSCALE_DATA=hub to load it from the Hugging Face hub",
        f"a mirror folder with {dataset}/{config}/{split}.jsonl.gz",
        *(["XSCALE_DATA=bundled for the bundled suite"] if folder != BUNDLED else []),
    ]
    raise UserError(f"{name} has no {dataset} ({config}, {split}); other ways to get it: {'; '.join(others)}")


def mirror_file(folder: Path, dataset: str, config: str, split: str) -> Path | None:
    """The file of a mirror folder with a split's rows, also where an older mirror has it; None when there is none."""
    for name in (dataset, *FORMER_NAMES.get(dataset, ())):
        stem = folder / name / config / split
        for suffix in SUFFIXES:
            path = stem.with_name(stem.name + suffix)
            if path.is_file():
                return path
    return None


def has_split(dataset: str, config: str, split: str, source: str | None = None) -> bool:
    """Whether a folder has a set's split; of the hub it is assumed, as nothing is asked of it here."""
    folder = mirror_folder(source)
    return folder is None or mirror_file(folder, dataset, config, split) is not None


def read_file(path: Path) -> list[dict[str, Any]]:
    """All rows of one ``.jsonl``, ``.jsonl.gz`` or ``.parquet`` file; raises :class:`UserError` when it is damaged."""
    return _read_parquet(path) if path.suffix == ".parquet" else _read_json_lines(path)


def load_split(
    dataset: str, config: str, split: str, source: str | None = None, revision: str | None = None
) -> datasets.Dataset:
    """The rows of :func:`read_rows` as a `datasets.Dataset`; raises the same errors."""
    if resolve_source(source) == "hub":
        return _load_from_hub(dataset, config, split, revision)
    import datasets

    return datasets.Dataset.from_list(read_rows(dataset, config, split, source))


def fingerprint(rows: Iterable[Mapping[str, Any]], fields: Sequence[str]) -> str:
    """SHA-256 (hex) of the JSON list of every row's `fields`; the order of rows and fields matters."""
    values = [[row[field] for field in fields] for row in rows]
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":"), default=int)
    return hashlib.sha256(text.encode()).hexdigest()


def _load_from_hub(dataset: str, config: str, split: str, revision: str | None) -> datasets.Dataset:
    from harness_tasks import hub

    try:
        return hub.load(dataset, config, split, revision)
    except UserError as error:
        raise UserError(
            f"{error}; other ways to get it: XSCALE_DATA=<mirror folder> with {dataset}/{config}/{split}.jsonl.gz, "
            "or XSCALE_DATA=bundled for the bundled suite"
        ) from error


def _read_parquet(path: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_table(path).to_pylist()
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise UserError(
            f"{path}: not a readable parquet file ({str(error).splitlines()[0]}); copy it again"
        ) from error


def _read_json_lines(path: Path) -> list[dict[str, Any]]:
    data = read_bytes(path, MAX_BYTES)
    try:
        data = _decompressed(data, path) if path.suffix == ".gz" else data
    except (EOFError, OSError, zlib.error) as error:
        line = _lines_before_damage(path)
        raise UserError(f"{path}: damaged after line {line} ({error}); copy the file again") from error
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line}: not UTF-8; copy the file again") from error
    rows: list[dict[str, Any]] = []
    for number, line_text in enumerate(text.split("\n"), start=1):  # splitlines() also splits within texts
        if not line_text.strip():
            continue
        try:
            row = json.loads(line_text)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}, line {number}: not JSON ({error}); copy the file again") from error
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {number}: not a JSON object; every line must be one row")
        rows.append(row)
    return rows


def _decompressed(data: bytes, path: Path) -> bytes:
    """Text shrinks to a tenth or so; what grows a hundredfold beyond a gigabyte would only fill the memory."""
    most = max(2**30, 100 * len(data))
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        text = file.read(most + 1)
    if len(text) > most:
        raise UserError(
            f"{path}: unpacks to more than {most // 2**20:,} MiB; that is no data set, check the file"
        )
    return text


def _lines_before_damage(path: Path) -> int:
    """How many whole lines of a damaged gzip file can still be read."""
    lines = 0
    try:
        with gzip.open(path, "rb") as file:
            for _ in file:
                lines += 1
    except (EOFError, OSError, zlib.error):
        pass
    return lines
