"""Workspaces that travel: an archive of some entries, and joining another workspace (a folder or such an archive) to this one."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from harness_tasks.parsing import read_json
from xscale.errors import UserError
from xscale.evaluation.predictions import read_predictions, write_predictions
from xscale.files import sha256_of_file, whole_file, whole_folder
from xscale.manifest import Entry, Manifest, change_manifest, read_manifest, write_manifest
from xscale.portable import PUBLISHED, portable, portable_text
from xscale.workspace import CHECKPOINTS, RESULTS, Workspace

MANIFEST = "checkpoints_manifest.json"
ARCHIVE_ENDINGS = (".tar.gz", ".tgz")


@dataclass(frozen=True)
class Merged:
    """What joining did: ids that came with results, without, were there already, and one line for each conflict."""

    added: tuple[str, ...]
    without_results: tuple[str, ...]
    unchanged: tuple[str, ...]
    conflicts: tuple[str, ...]


def export_entries(workspace: Workspace, ids: Sequence[str], archive: Path, *, weights: bool = False) -> int:
    """Write entries with their results (and `weights`, where they lie in `checkpoints/`) into a .tar.gz; returns its bytes.

    Baselines of the entries come along. Files that are hard links of each other are stored once. Paths of this machine are not
    in it: a mirror or a folder has its name only (`portable`). Raises `UserError` for an unknown id, an archive that is there
    already, a link or special file in what would be packed.
    """
    if not archive.name.endswith(ARCHIVE_ENDINGS):
        raise UserError(f"{archive}: the name of an archive ends in .tar.gz")
    if os.path.lexists(archive):
        raise UserError(f"{archive}: is there already; nothing is overwritten, choose another name")
    entries = {entry.id: entry for entry in read_manifest(workspace.manifest).entries}
    for name in ids:
        if name not in entries:
            raise UserError(f"{workspace.manifest}: no entry {name!r}; `xscale ls` lists them")
    wanted = set(ids) | {entries[name].baseline for name in ids}
    chosen = [entry for entry in entries.values() if entry.id in wanted]
    folders = [(workspace.results / entry.id, f"{RESULTS}/{entry.id}") for entry in chosen]
    if weights:
        folders += [(workspace.checkpoints / entry.id, f"{CHECKPOINTS}/{entry.id}") for entry in chosen]
    with whole_file(archive) as temporary, tempfile.TemporaryDirectory() as scratch:
        listed, copy = Path(scratch) / MANIFEST, Path(scratch) / "copy"
        entries_there = [portable(entry.model_dump()) for entry in chosen]
        write_manifest(listed, Manifest.model_validate({"entries": entries_there}))
        with tarfile.open(temporary, "w:gz", compresslevel=6) as packed:
            packed.add(listed, MANIFEST, filter=_nobodys)
            for folder, name in folders:
                for path in _files(folder):
                    inside = path.relative_to(folder).as_posix()
                    if name.startswith(RESULTS) or inside in PUBLISHED:
                        _copy_portable(path, copy)
                        shutil.copystat(path, copy)
                        packed.add(copy, f"{name}/{inside}", recursive=False, filter=_nobodys)
                    else:
                        packed.add(path, f"{name}/{inside}", recursive=False, filter=_nobodys)
    return archive.stat().st_size


def _nobodys(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """A member of an archive without its owner's name and number."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def merge(workspace: Workspace, other: Path, *, weights: bool = False) -> Merged:
    """Join another workspace (its folder, its manifest, or an archive of `export_entries`) to this one.

    An entry that is new here comes with its results, and with `weights` its checkpoint folder. What is here is never
    overwritten: an entry of the same id that is another checkpoint, or results that differ, is a conflict and stays out.
    Raises `UserError` when the other has no valid manifest, or has links or special files in what would be copied.
    """
    with _opened(other) as root_manifest:
        theirs = Workspace(root_manifest)
        incoming = read_manifest(root_manifest).entries
        new, same, conflicts = _sorted_out(incoming, _present(workspace))
        unchanged: list[str] = []
        with_results, without = [], []
        for entry in (*new, *same):
            outcome = _copy(theirs.results / entry.id, workspace.results / entry.id)
            if outcome == "differs":
                conflicts.append(f"{entry.id}: other results are here; they stay, theirs were not taken")
            elif outcome == "copied":
                with_results.append(entry.id)
            elif entry in same:
                unchanged.append(entry.id)
            else:
                without.append(entry.id)
            if (
                weights
                and _copy(theirs.checkpoints / entry.id, workspace.checkpoints / entry.id) == "differs"
            ):
                conflicts.append(f"{entry.id}: another checkpoint folder is here; it stays")
        if new:
            change_manifest(workspace.manifest, lambda present: [*present, *_still_new(new, present)])
    return Merged(tuple(with_results), tuple(without), tuple(unchanged), tuple(conflicts))


def _sorted_out(
    incoming: Sequence[Entry], present: Sequence[Entry]
) -> tuple[list[Entry], list[Entry], list[str]]:
    """Entries that are new here, those that are here already, and a line for each that cannot come."""
    ours = {entry.id.lower(): entry for entry in present}
    new, same, conflicts = [], [], {}
    for entry in incoming:
        mine = ours.get(entry.id.lower())
        if mine is not None and not _same_checkpoint(mine, entry):
            conflicts[entry.id] = (
                f"another checkpoint has this id here; `xscale rename {entry.id} NEW` in one of the two"
            )
        elif mine is not None:
            same.append(entry)
        else:
            new.append(entry)
    for entry in list(new):
        if entry.baseline in conflicts:
            new.remove(entry)
            conflicts[entry.id] = f"its baseline {entry.baseline} is in conflict"
    return new, same, [f"{name}: {why}" for name, why in conflicts.items()]


def _present(workspace: Workspace) -> list[Entry]:
    return list(read_manifest(workspace.manifest).entries) if workspace.manifest.exists() else []


def _still_new(new: Sequence[Entry], present: Sequence[Entry]) -> list[Entry]:
    taken = {entry.id.lower() for entry in present}
    return [entry for entry in new if entry.id.lower() not in taken]


def _same_checkpoint(mine: Entry, other: Entry) -> bool:
    if mine.id != other.id or mine.model != other.model:
        return False
    if mine.sha256 and other.sha256:
        return mine.sha256 == other.sha256
    return bool(portable(mine.model_args, "model_args") == portable(other.model_args, "model_args"))


@contextlib.contextmanager
def _opened(other: Path) -> Iterator[Path]:
    """The manifest of a workspace that is a folder, a manifest file or an archive; what is unpacked goes at the end."""
    if other.is_dir():
        yield other / MANIFEST
    elif not other.is_file():
        raise UserError(f"{other}: no such workspace; give its folder, its manifest or an archive")
    elif not other.name.endswith(ARCHIVE_ENDINGS):
        yield other
    else:
        with tempfile.TemporaryDirectory(prefix="xscale-merge-") as scratch:
            try:
                with tarfile.open(other, "r:gz") as packed:
                    packed.extractall(scratch, filter="data")
            except (OSError, EOFError, tarfile.TarError) as error:
                reason = " ".join(str(error).split())[:200]
                raise UserError(f"{other}: not an archive that can be unpacked safely ({reason})") from None
            yield Path(scratch) / MANIFEST


def _files(folder: Path) -> Iterator[Path]:
    """Regular files below a folder that are not half-written. Raises `UserError` for links and special files."""
    if folder.is_symlink():
        raise UserError(f"{folder}: is a link; only folders of the workspace itself are copied")
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode) or any(
            part.startswith(".") for part in path.relative_to(folder).parts
        ):  # what a run under way keeps
            continue
        if not stat.S_ISREG(mode):
            raise UserError(f"{path}: is a link or special file; only plain files are copied")
        yield path


def _copy(theirs: Path, ours: Path) -> str:
    """Copy a folder that is not here: "copied", "absent" (they have none), "same" or "differs"."""
    names = {path.relative_to(theirs): path for path in _files(theirs)}
    if not names:
        return "absent"
    if os.path.lexists(ours):
        here = {path.relative_to(ours): path for path in _files(ours)}
        alike = here.keys() == names.keys() and all(
            _same_content(here[name], path) for name, path in names.items()
        )
        return "same" if alike else "differs"
    with whole_folder(ours) as temporary:
        for name, path in names.items():
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, temporary / name)
    return "copied"


def _copy_portable(path: Path, to: Path) -> None:
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


def _same_content(one: Path, other: Path) -> bool:
    """Whether two files are the same but for paths of the machines that they were made on."""
    return sha256_of_file(one) == sha256_of_file(other) or (
        one.suffix in (".parquet", ".json") and _said(one) is not None and _said(one) == _said(other)
    )


def _said(path: Path) -> Any:
    """What a file says without paths; None where it cannot be read."""
    try:
        if path.suffix == ".json":
            return portable(read_json(path))
        stored = read_predictions(path)
    except UserError:
        return None
    return portable(stored.info), pq.read_metadata(path).metadata[b"xscale content"]
