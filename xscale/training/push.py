"""Upload of a checkpoint folder to the Hugging Face hub, or a list of what would go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from xscale.errors import UserError


def files_to_push(folder: Path) -> list[tuple[str, int]]:
    """(path within the repository, bytes) of every file of a checkpoint, sorted.

    Raises `UserError` when the folder is not a finished checkpoint: no recipe.json, model card or head.
    """
    for needed in ("recipe.json", "README.md"):
        if not (folder / needed).is_file():
            raise UserError(
                f"{folder}: not a checkpoint of xscale (no {needed}); `xscale ls` lists checkpoints"
            )
    for path in (folder, *sorted(folder.rglob("*"))):
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise UserError(
                f"{path}: a link or special file, whose content is not the checkpoint's; remove it"
            )
    files = [
        (path.relative_to(folder).as_posix(), path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if not any(name.endswith("/config.json") for name, _ in files):
        raise UserError(f"{folder}: no model in it; train the checkpoint again")
    return files


def push(
    folder: Path,
    repository: str,
    private: bool,
    more: Mapping[str, str] | None = None,
    upload: Callable[[Path, str, bool, Mapping[str, str]], str] | None = None,
) -> str:
    """Upload the checkpoint to the hub repository (made if absent), in one commit; returns its address.

    `more` has texts by their path in the repository, in place of the folder's files of that name or beside them. The hub's
    token is that of `hf auth login` or HF_TOKEN. Raises `UserError` when the folder is not a checkpoint, or the hub refuses
    or cannot be reached.
    """
    files_to_push(folder)
    try:
        return (upload or _upload)(folder, repository, private, more or {})
    except UserError:
        raise
    except Exception as error:  # the hub's client raises a dozen unrelated types
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"push to {repository}: {reason}; log in with `hf auth login` and check name and network"
        ) from None


def _upload(folder: Path, repository: str, private: bool, more: Mapping[str, str]) -> str:
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi()
    address = str(api.create_repo(repository, private=private, exist_ok=True))
    content: dict[str, Path | bytes] = {name: folder / name for name, _ in files_to_push(folder)}
    content |= {name: text.encode() for name, text in more.items()}
    api.create_commit(
        repo_id=repository,
        operations=[CommitOperationAdd(name, what) for name, what in content.items()],
        commit_message=f"Checkpoint {folder.name}",
    )
    return address
