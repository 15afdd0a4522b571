"""Models on the Hugging Face hub, pinned to a commit."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from harness_tasks.hub import refuse_damaged
from xscale.errors import UserError

# what an encoder checkpoint is read from; pickles and code are not even downloaded
_FILES = ("*.safetensors", "*.json", "*.txt", "*.model")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_BASE = re.compile(
    r"([A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*", re.ASCII
)  # old models of the hub have no owner
COMMIT = re.compile("[0-9a-f]{40}")
_REVISION = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)*", re.ASCII)


def is_repository(name: str) -> bool:
    """Whether it can be the name of a hub repository, `owner/name`."""
    return _REPOSITORY.fullmatch(name) is not None


def is_hub_id(name: str) -> bool:
    """Whether it can be a model of the hub: `owner/name`, or one of the old names without an owner."""
    return is_repository(name) or (is_repository(f"owner/{name}") and "/" not in name)


def hub_folder(repository: str, revision: str) -> Path:
    """The repository's files at a revision, from the hub's cache or downloaded into it; the folder is named by the commit.

    Raises `UserError` when the repository or revision does not exist, or the hub cannot be reached and the files are not in
    its cache, and when a file in the cache is not what the hub sent.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    if not _BASE.fullmatch(repository):
        raise UserError(
            f"hub model {repository!r}: not a repository; write owner/name, or a folder as ./path"
        )
    if not _REVISION.fullmatch(revision) or ".." in revision:
        raise UserError(f"hub model {repository}: {revision!r} is no revision; write a commit, branch or tag")
    try:
        folder = Path(snapshot_download(repository, revision=revision, allow_patterns=list(_FILES)))
        refuse_damaged(repository, folder.name)
        return folder
    except LocalEntryNotFoundError:
        reason = "the hub cannot be reached, and its cache has no such model"
    except (OSError, ValueError, HfHubHTTPError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
    raise UserError(
        f"hub model {repository} at {revision}: {reason}; check name, revision and network, or write a folder as "
        f"./{repository}"
    )


def hub_commit(repository: str, revision: str) -> str | None:
    """The commit that a model's branch, tag or commit is: as the hub says, or its cache where the hub does not answer.

    None when neither knows. Raises `UserError` when the hub says that there is no such model or revision.
    """
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.constants import HF_HUB_DOWNLOAD_TIMEOUT
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        return str(HfApi().model_info(repository, revision=revision, timeout=HF_HUB_DOWNLOAD_TIMEOUT).sha)
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        what = "revision" if isinstance(error, RevisionNotFoundError) else "model"
        raise UserError(
            f"hub model {repository} at {revision}: there is no such {what}, or it is private (then set HF_TOKEN); check the "
            f"name, or write a folder as ./{repository}"
        ) from None
    except Exception:  # http libraries have many kinds of it
        found = try_to_load_from_cache(repository, "config.json", revision=revision)
        return Path(found).parent.name if isinstance(found, str) else None


@lru_cache(maxsize=256)
def hub_state(repository: str, revision: str) -> str | None:
    """As `hub_commit`, asked once in a process, so that all that is computed in it is of one state of the repository; a
    commit is what it is, and nobody is asked."""
    return revision if COMMIT.fullmatch(revision) else hub_commit(repository, revision)
