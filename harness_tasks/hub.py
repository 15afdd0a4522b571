"""Sets of the Hugging Face hub: the revision each is read at, and how its rows are loaded."""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from harness_tasks.errors import UserError

if TYPE_CHECKING:
    import datasets

    from harness_tasks.targets import Place

CONVERTED = "refs/convert/parquet"  # the hub's own conversion of a set, also of one that is a script
REVISIONS = Path(__file__).parent / "hub_revisions.tsv"
_BUSY = {429, 500, 502, 503, 504}
_PAUSES = (1.0, 3.0)  # seconds before a busy hub is asked again
_COMMIT = re.compile(r"[0-9a-f]{40}")

# set -> commit that its rows were last loaded at, in this process
_loaded: dict[str, str] = {}


@lru_cache(maxsize=1)
def pinned_revisions() -> dict[str, str]:
    """Set -> revision, of ``hub_revisions.tsv``."""
    lines = REVISIONS.read_text(encoding="utf-8").splitlines()
    return dict(line.split("\t") for line in lines if line and not line.startswith("#"))  # type: ignore[misc]


def revision_of(dataset: str, given: str | None = None) -> tuple[str, str | None]:
    """Branch and commit of a set: `given` (a commit, a branch or ``<branch>@<commit>``), else the pinned one, else main.

    The commit is None where only the branch is known.
    """
    revision = given or pinned_revisions().get(dataset, "main")
    branch, at, commit = revision.rpartition("@")
    if at:
        return branch, commit
    return ("main", revision) if _COMMIT.fullmatch(revision) else (revision, None)


def unconfirmed(place: Place) -> str:
    """What nobody could look up about a place, in words; also that its set is pinned to no commit, so that rows may change."""
    if place.user is not None:
        return ""
    pinned = revision_of(place.dataset, place.revision)[1] is not None
    return "; ".join(filter(None, (place.unconfirmed, "" if pinned else "commit (none is pinned)")))


def loaded_commits() -> dict[str, str]:
    """Set -> commit, of everything that this process loaded from the hub."""
    return dict(_loaded)


def load(dataset: str, config: str, split: str, revision: str | None = None) -> datasets.Dataset:
    """All rows of a split at the set's revision; `config` is ``default`` where the set has none.

    Raises `UserError` when the set, its revision, config or split is not there, when it is a script (nothing of a set is
    ever run), when the hub does not answer, and when only another revision is in the cache.
    """
    where = f"cannot load {dataset} ({config}, {split}) from the Hugging Face hub"
    branch, commit = revision_of(dataset, revision)
    load_rows = _converted if branch == CONVERTED else _published
    unanswered = None
    try:
        commit = commit_on_hub(dataset, commit or branch)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error.__cause__
    except ConnectionError as error:  # the cache may have it
        unanswered = str(error)
    try:
        with _offline() if unanswered else contextlib.nullcontext():
            rows, found = load_rows(dataset, config, split, commit or branch)
    except Exception as error:  # datasets raises a dozen unrelated types when a set cannot be had
        raise UserError(f"{where}: {unanswered or _reason(error)}") from error
    if commit is not None and found != commit:
        raise UserError(f"{where}: {unanswered}, and its cache has revision {found}, not {commit}")
    _loaded[dataset] = found
    return rows


def commit_on_hub(dataset: str, revision: str) -> str:
    """The commit that a branch, tag or commit of a set is on the hub.

    Raises `UserError` when the hub says that there is no such set or revision, `ConnectionError` when it says nothing
    within ``HF_HUB_DOWNLOAD_TIMEOUT`` seconds.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.constants import HF_HUB_DOWNLOAD_TIMEOUT
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    pauses = iter(_PAUSES)
    while True:
        try:
            info = HfApi().dataset_info(dataset, revision=revision, timeout=HF_HUB_DOWNLOAD_TIMEOUT)
            return str(info.sha)
        except RevisionNotFoundError as error:
            raise UserError(
                f"it has no revision {revision}; name another: a commit or a branch such as main"
            ) from error
        except GatedRepoError as error:
            raise UserError("access has to be asked for on its page there; then set HF_TOKEN") from error
        except RepositoryNotFoundError as error:
            raise UserError("there is no such set, or it is private (then set HF_TOKEN)") from error
        except Exception as error:  # http libraries have many kinds of it
            busy = isinstance(error, HfHubHTTPError) and error.response.status_code in _BUSY
            pause = next(pauses, None) if busy else None
            if pause is None:
                raise ConnectionError(f"it does not answer ({_reason(error)})") from error
            time.sleep(pause)


_commit_once = lru_cache(maxsize=None)(commit_on_hub)


def first_rows(
    dataset: str, config: str, split: str, revision: str | None = None, count: int = 3
) -> list[dict[str, object]]:
    """The first rows of a split, read without downloading the rest; raises the errors of :func:`load`."""
    import datasets

    branch, commit = revision_of(dataset, revision)
    name = None if config == "default" or branch == CONVERTED else config
    files = {split: f"{config}/{split}/*.parquet"} if branch == CONVERTED else None
    try:
        commit = _commit_once(dataset, commit or branch)
        rows = datasets.load_dataset(
            f"hf://datasets/{dataset}", name, split=split, revision=commit, data_files=files, streaming=True
        )
        return list(rows.take(count))
    except Exception as error:  # as above
        raise UserError(
            f"cannot load {dataset} ({config}, {split}) from the Hugging Face hub: {_reason(error)}"
        ) from error


def damaged_files(snapshot: Path) -> list[str]:
    """The files of a snapshot in the hub's cache whose content is not what the hub sent.

    The cache keeps a file under its etag: the SHA-256 of a large file, git's SHA-1 of a small one. Files that are not links
    into the cache's blobs say nothing of what they should be, and are left out.
    """
    damaged = []
    for file in sorted(snapshot.rglob("*")):
        blob = file.resolve()
        if not file.is_symlink() or blob.parent.name != "blobs":
            continue
        if not blob.is_file() or _content_name(blob, blob.stat().st_mtime_ns) not in (blob.name, None):
            damaged.append(file.relative_to(snapshot).as_posix())
    return damaged


def refuse_damaged(repository: str, commit: str, kind: str = "model") -> None:
    """Raise `UserError` when the hub's cache has damaged files of this repository's commit; `kind`: model or dataset."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"{kind}s--{repository.replace('/', '--')}"
    damaged = damaged_files(folder / "snapshots" / commit)
    if damaged:
        raise UserError(
            f"{folder}: damaged, {damaged[0]} is not what the hub has under that name; delete this folder, and it is "
            "downloaded again"
        )


@cache
def _content_name(blob: Path, changed: int) -> str | None:
    """What the cache would call a file with this content; None where the name is not made from the content.

    `changed`: when the file was last written, so that it is read again after that.
    """
    if re.fullmatch("[0-9a-f]{64}", blob.name):
        digest = hashlib.sha256()
    elif re.fullmatch("[0-9a-f]{40}", blob.name):
        digest = hashlib.sha1(b"blob %d\0" % blob.stat().st_size, usedforsecurity=False)
    else:
        return None
    with blob.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Spare the libraries their minutes of retries with a hub that has just not answered; what is in the cache is found."""
    import datasets.config
    from huggingface_hub import constants

    before = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before


def _published(dataset: str, config: str, split: str, revision: str) -> tuple[datasets.Dataset, str]:
    import datasets

    builder = datasets.load_dataset_builder(
        f"hf://datasets/{dataset}", None if config == "default" else config, revision=revision
    )
    builder.download_and_prepare()
    return builder.as_dataset(split=split), str(builder.hash)


def _converted(dataset: str, config: str, split: str, revision: str) -> tuple[datasets.Dataset, str]:
    import datasets
    from huggingface_hub import snapshot_download

    folder = Path(
        snapshot_download(
            dataset,
            repo_type="dataset",
            revision=revision,
            allow_patterns=f"{config}/{split}/*.parquet",
        )
    )
    files = sorted(str(file) for file in (folder / config / split).glob("*.parquet"))
    if not files:
        raise FileNotFoundError(f"no {config}/{split}/*.parquet at {revision}")
    return datasets.concatenate_datasets([datasets.Dataset.from_parquet(file) for file in files]), folder.name


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    if "scripts are no longer supported" in text:
        text += f"; the hub's conversion of it may be there: revision {CONVERTED}"
    return text[:300]
