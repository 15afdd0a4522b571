"""Files and folders that appear whole or not at all, and their fingerprints."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from xscale.errors import UserError

# endings of what is written but not there yet, and of what is about to be replaced: nobody else's files are called so
HALF_WRITTEN, REPLACED = ".xscale-part", ".xscale-old"
SET_ASIDE = ".set-aside"  # below results/ and checkpoints/: what commands took away, since they delete nothing of a user's
_MAX_FILES = 100_000
# the last one is torch's, which does not pass the system's reason on
_SIGNS_OF_A_FULL_DISK = ("No space left", "File too large", "PytorchStreamWriter")


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """A full disk as a `UserError`; libraries say it in an OSError or in the text of an exception of their own."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        if not full and not any(sign in str(error) for sign in _SIGNS_OF_A_FULL_DISK):
            raise
        raise UserError(
            f"{path}: cannot be written, the disk is full ({str(error).splitlines()[0]}); make room and start again: "
            "what was there before is whole, training goes on from its last state"
        ) from None


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; move it over `path` when the block ends without an exception.

    Readers see the old file or the new one, also when the process is killed or the disk is full.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=HALF_WRITTEN, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        with disk_errors(path):
            yield temporary
        temporary.chmod(0o666 & ~_umask())
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path`; rename it to `path` when the block ends without an exception.

    An older folder at `path` is replaced; one that was about to be, when a process was killed, is put back first. What a
    killed process left half-written is removed by the next one that writes the same path, so at most one process may write
    a path at a time (hold a lock). Raises `UserError` where a link stands in the place of a folder of ours.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = path.with_name(f".{path.name}{HALF_WRITTEN}"), path.with_name(f".{path.name}{REPLACED}")
    for own in (path, temporary, old):
        refuse_link(own)
    restore(path)
    shutil.rmtree(temporary, ignore_errors=True)
    with disk_errors(path):
        temporary.mkdir()
    try:
        with disk_errors(path):
            yield temporary
        mode = 0o666 & ~_umask()
        for file in temporary.rglob("*"):
            if file.is_file():
                if file.stat().st_nlink == 1:
                    file.chmod(mode)  # safetensors writes 0600
                with file.open("rb") as written:
                    os.fsync(written.fileno())
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
            os.replace(path, old)
            os.replace(temporary, path)
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def restore(path: Path) -> bool:
    """Put back the folder that was about to be replaced where a process was killed before the new one was there."""
    old = path.with_name(f".{path.name}{REPLACED}")
    if path.exists() or not old.is_dir() or old.is_symlink():
        return False
    os.replace(old, path)
    return True


def move_aside(path: Path, place: Path) -> Path:
    """Move a file or folder to `place`, or beside it under the first number that is free; returns where it is now."""
    stem, suffix = (place.name, "") if path.is_dir() else (place.stem, place.suffix)
    target, number = place, 1
    while os.path.lexists(target):
        number += 1
        target = place.with_name(f"{stem}.{number}{suffix}")
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(path, target)
    return target


def refuse_link(path: Path) -> None:
    """Raise `UserError` where `path` is a symbolic link: what is written there would land elsewhere."""
    if path.is_symlink():
        raise UserError(
            f"{path}: a symbolic link, which is never followed for writing; remove it, or move what it points to here"
        )


def open_own(path: Path, flags: int) -> int:
    """Open a file that we write (as `os.open`): a plain file that no other name leads to, made when it is absent.

    Raises `UserError` for a link, a hard link, a folder or a special file, OSError as `os.open`.
    """
    refuse_link(path)
    try:
        handle = os.open(path, flags | os.O_CREAT | os.O_NONBLOCK | getattr(os, "O_NOFOLLOW", 0), 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise UserError(f"{path}: not a plain file; move it away") from None
        raise
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        os.close(handle)
        raise UserError(f"{path}: not a plain file of its own (a special file, or a hard link); move it away")
    return handle


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sha256_of_file(path: Path) -> str:
    """The SHA-256 in hex of a plain file. Raises `UserError` for a pipe, device or folder, which is never waited for."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise UserError(f"{path}: not a plain file; remove it")
    with os.fdopen(handle, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_folder(folder: Path, without: Collection[str] = ()) -> str:
    """SHA-256 in hex over the relative path and content of every weight, config and tokenizer file below `folder`.

    Whatever transformers reads counts: `*.safetensors`, `*.json`, `*.model`, and a tokenizer's `vocab.txt`, `merges.txt` and
    the like where there is no tokenizer.json, which holds them; not `recipe.json`, which holds timings. Sorted by path, so
    the order on disk plays no part. `without` names folders in it that do not count. Raises `UserError` for links that lead out
    of the folder (but for the hub's cache, whose files are links to its blobs), special files, and more files than a checkpoint
    has.
    """
    digest = hashlib.sha256()
    for file in sorted(_checkpoint_files(folder)):
        name = file.relative_to(folder)
        if name.parts[0] not in without:
            digest.update(f"{name.as_posix()}\0{sha256_of_file(file)}\n".encode())
    return digest.hexdigest()


def state_of_folder(folder: Path) -> tuple[tuple[Any, ...], ...]:
    """What the system says of the files that `sha256_of_folder` hashes: while it is the same, so is their content."""
    found = []
    for file in sorted(_checkpoint_files(folder)):
        stat = file.stat()
        found.append((str(file), stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
    return tuple(found)


def _checkpoint_files(folder: Path) -> Iterator[Path]:
    blobs = (folder.parent.parent / "blobs").resolve()  # of the hub's cache: <repository>/snapshots/<commit>
    with_tokenizer = {path.parent for path in folder.rglob("tokenizer.json")}
    for number, file in enumerate(folder.rglob("*")):
        if number > _MAX_FILES:
            raise UserError(
                f"{folder}: more than {_MAX_FILES:,} files; that is no checkpoint, check the path"
            )
        counts = file.suffix in {".safetensors", ".json", ".model"} and file.name != "recipe.json"
        if not counts and not (file.suffix == ".txt" and file.parent not in with_tokenizer):
            continue
        if file.is_symlink() and not _leads_into(file, folder, blobs):
            raise UserError(
                f"{file}: a link out of the checkpoint, whose content can change unseen; put the file itself there"
            )
        if not file.is_dir():
            yield file


def _leads_into(link: Path, *folders: Path) -> bool:
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError):
        raise UserError(f"{link}: a link that leads nowhere; remove it") from None
    return any(target.is_relative_to(folder.resolve()) for folder in folders)


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask
