"""A mirror folder made from the hub: what an experiment, a target or a task reads, so that a machine without network can run.

`fetched.json` in the folder says of every file which set it is of, at which commit, and its SHA-256. A stopped fetch goes on
where it was: files that are whole are kept, and so is what the hub's own cache has.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from harness_tasks import hub
from harness_tasks.sources import FORMER_NAMES, SUFFIXES
from xscale.errors import UserError
from xscale.files import sha256_of_file, whole_file, whole_folder, write_text
from xscale.progress import progress, say
from xscale.splits import Split

RECORD = "fetched.json"
MODELS = "models"
_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*", re.ASCII)


def fetch(splits: Sequence[Split], folder: Path, base: str | None = None) -> list[str]:
    """Copy the splits, and a base model of the hub, into a mirror folder; returns one line about each file.

    A split becomes `<set>/<config>/<split>.parquet`, a model a folder below `models/`. Files that are there but not in the
    folder's record are somebody's own: they are left as they are. Files of the record whose content is another are set
    aside under another name. Raises `UserError` when a set cannot be had; what was copied before stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    with FileLock(folder / f".{RECORD}.lock"), progress("fetch", len(splits) + (base is not None)) as advance:
        record = _read_record(folder / RECORD)
        for split in splits:
            lines.append(_fetch_split(split, folder, record))
            advance(1)
        if base is not None:
            lines.append(_fetch_model(base, folder, record))
            advance(1)
    return lines


def _fetch_split(split: Split, folder: Path, record: dict[str, dict[str, Any]]) -> str:
    name = _path_in_mirror(split)
    path = folder / name
    wanted = hub.revision_of(split.dataset, split.revision)[1]
    had = record.get(name)
    if had is not None and had["commit"] == (wanted or had["commit"]) and _is_whole(path, had):
        return f"kept     {name}"
    own = _somebodys_own(split, folder, name)
    if own is not None and (had is None or own != path):
        return f"not ours {own.relative_to(folder)}: left as it is"
    rows = hub.load(*split.place, split.revision)
    hub.refuse_damaged(split.dataset, hub.loaded_commits()[split.dataset], "dataset")
    split.fits(rows.select(range(min(3, len(rows)))).to_list())
    if path.exists():
        aside = _set_aside(path)
        say(f"{path}: not what was fetched; it is now {aside.name}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        rows.to_parquet(temporary)
        record[name] = {
            "set": split.dataset,
            "commit": hub.loaded_commits()[split.dataset],
            "rows": len(rows),
            "bytes": temporary.stat().st_size,
            "sha256": sha256_of_file(temporary),
        }
        _write_record(
            folder / RECORD, record
        )  # before the file is there: a stopped fetch knows it as its own
    return f"fetched  {name}: {len(rows):,} rows"


def _fetch_model(base: str, folder: Path, record: dict[str, dict[str, Any]]) -> str:
    import shutil

    from xscale.hub import hub_folder

    repository, _, revision = base.partition("@")
    name = f"{MODELS}/{repository}"
    had = record.get(name)
    if (
        had is not None
        and had.get("revision") == revision
        and all(_is_whole(folder / name / file, of) for file, of in had["files"].items())
    ):
        return f"kept     {name}"
    if had is None and (folder / name).exists():
        return f"not ours {name}: left as it is"
    snapshot = hub_folder(repository, revision or "main")
    files = sorted(file for file in snapshot.rglob("*") if file.is_file())
    if not any(file.suffix == ".safetensors" for file in files):
        raise UserError(f"hub model {base}: it has no safetensors; pickled weights are not fetched")
    if (folder / name).exists():
        say(f"{folder / name}: not what was fetched; it is now {_set_aside(folder / name).name}")
    with whole_folder(folder / name) as temporary:
        for file in files:
            target = temporary / file.relative_to(snapshot)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    whole = {
        file.relative_to(snapshot).as_posix(): folder / name / file.relative_to(snapshot) for file in files
    }
    record[name] = {
        "set": repository,
        "revision": revision,
        "commit": snapshot.name,
        "files": {
            inner: {"bytes": path.stat().st_size, "sha256": sha256_of_file(path)}
            for inner, path in whole.items()
        },
    }
    _write_record(folder / RECORD, record)
    return f"fetched  {name}: write `base: {folder.resolve() / name}` in the experiment"


def _path_in_mirror(split: Split) -> str:
    parts = [*split.dataset.split("/"), split.config, split.split]
    if len(parts) != 4 or not all(_NAME.fullmatch(part) and ".." not in part for part in parts):
        raise UserError(f"{split}: not a name of a set, config and split; nothing is written for it")
    return f"{'/'.join(parts)}.parquet"


def _somebodys_own(split: Split, folder: Path, name: str) -> Path | None:
    """The file that the mirror has for this split, whoever put it there."""
    for dataset in (split.dataset, *FORMER_NAMES.get(split.dataset, ())):
        for suffix in SUFFIXES:
            path = folder / dataset / split.config / f"{split.split}{suffix}"
            if path.exists() or path.is_symlink():
                return path
    return None


def _is_whole(path: Path, of: dict[str, Any]) -> bool:
    return (
        path.is_file()
        and not path.is_symlink()
        and path.stat().st_size == of["bytes"]
        and sha256_of_file(path) == of["sha256"]
    )


def _set_aside(path: Path) -> Path:
    number = 1
    while (aside := path.with_name(f"{path.name}.set-aside-{number}")).exists():
        number += 1
    return path.rename(aside)


def _read_record(path: Path) -> dict[str, dict[str, Any]]:
    if not path.exists():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        for of in record.values():
            for file in of["files"].values() if "files" in of else [of]:
                if not isinstance(file["bytes"], int) or not isinstance(file["sha256"], str):
                    raise TypeError("bytes and sha256")
            if not isinstance(of["commit"], str):
                raise TypeError("commit")
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path}: not the record of a fetched mirror ({str(error) or type(error).__name__}); move it aside and fetch "
            "into an empty folder"
        ) from None
    return record


def _write_record(path: Path, record: dict[str, dict[str, Any]]) -> None:
    write_text(path, json.dumps(dict(sorted(record.items())), indent=1) + "\n")
