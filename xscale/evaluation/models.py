"""Manifest entries as lm_eval models, and the tasks as lm_eval's."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness_tasks.generate import targets_files, write
from harness_tasks.sources import mirror_folder, resolve_source
from harness_tasks.targets import get_target
from harness_tasks.tasks import group_name, task_name, yaml_folder
from xscale.errors import UserError
from xscale.files import sha256_of_folder, state_of_folder
from xscale.hub import hub_folder
from xscale.manifest import LOCAL_MODEL, Entry, argument_places, checkpoint_folder, commit_of


def data_stamp(target: str, source: str, languages: Sequence[str] = ()) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times of a target's files in a folder, so that what is kept in memory follows changes."""
    folder = mirror_folder(source)
    if folder is None:
        return ()
    files = [folder / "membership.json"]
    for language in {*get_target(target).languages, *languages}:
        for split in ("test", "validation"):
            place, name = get_target(target).place_of(language, split)
            files += (folder / place.dataset / place.config).glob(f"{name}.*")
    stats = [(path, path.stat()) for path in sorted(set(files)) if path.is_file()]
    return tuple((str(path), stat.st_size, stat.st_mtime_ns) for path, stat in stats)


def load_tasks(target: str, languages: tuple[str, ...], source: str, num_fewshot: int = 0) -> Any:
    """lm_eval's task objects of a target, read once in a process, whatever the number of checkpoints.

    lm_eval's index of its own tasks is not built: it takes longer than a small evaluation.
    """
    return _load_tasks(target, languages, source, num_fewshot, data_stamp(target, source, languages))


@lru_cache(maxsize=4)
def _load_tasks(target: str, languages: tuple[str, ...], source: str, num_fewshot: int, stamp: object) -> Any:
    from lm_eval.defaults import DEFAULT_OTHER_SEED
    from lm_eval.tasks import TaskManager

    options = {"data": resolve_source(source)}
    folders = [str(yaml_folder()), *_users_tasks(target)]
    manager = TaskManager(include_path=folders, include_defaults=False, metadata=options)
    loaded = manager.load(_task_names(target, languages))
    for task in loaded["tasks"].values():
        task.set_config(key="num_fewshot", value=num_fewshot)
        task.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)
    return loaded


def _users_tasks(target: str) -> list[str]:
    """Folders with the tasks of the user's files that are about a target, for as long as the process runs."""
    files = dict.fromkeys(place.user for place in get_target(target).places.values() if place.user)
    folders = []
    for name in filter(None, files):
        folder = tempfile.TemporaryDirectory(prefix="xscale-tasks-")
        _folders.append(folder)  # removed at exit
        write(Path(folder.name), targets_files(Path(name), groups=False))
        folders.append(folder.name)
    return folders


_folders: list[tempfile.TemporaryDirectory[str]] = []


def _task_names(target: str, languages: Sequence[str]) -> list[str]:
    """The group where every language is asked for (so that lm_eval gives the group's score too), else the members."""
    if set(languages) == set(get_target(target).languages):
        return [group_name(target)]
    return [task_name(target, language) for language in languages]


def _watch(entry: Entry, manifest: Path, folder: Path) -> Callable[[], None]:
    """A function that raises `UserError` once the folder's files are not those that they are now."""
    before = state_of_folder(folder)

    def check() -> None:
        nonlocal before
        now = state_of_folder(folder)
        if now == before:
            return
        # the last part is the time of a change that may be a new hard link, which leaves the content as it is
        same = [file[:-1] for file in now] == [file[:-1] for file in before]
        if not same or sha256_of_folder(folder) != entry.sha256:
            raise UserError(
                f"{manifest}: entry {entry.id!r}: the files in {folder} changed while they were evaluated, so nothing is "
                "stored; evaluate it again when nobody writes there"
            )
        before = now

    return check


def build_model(entry: Entry, manifest: Path, *, verify: bool = True) -> Any:
    """The entry as an lm_eval model; of encoder checkpoints no weights are read yet.

    Raises `UserError` when its files are not those registered (unless `verify` is off), or lm_eval cannot load it.
    """
    arguments: dict[str, Any] = dict(entry.model_args)
    folder = checkpoint_folder(entry, manifest)
    check_files: Callable[[], None] | None = None
    if folder is not None:
        arguments["pretrained"] = str(folder)
        if entry.model == LOCAL_MODEL:
            arguments.pop("revision", None)  # of the hub, whose files the folder has
        if verify and entry.sha256:
            check_files = _watch(entry, manifest, folder)
        if verify and entry.sha256 and sha256_of_folder(folder) != entry.sha256:
            raise UserError(
                f"{manifest}: entry {entry.id!r}: the files in {folder} are not those that were registered (sha256 "
                "differs); restore them, or remove the entry and add it again"
            )
    commit = commit_of(entry)[1]
    if commit is not None:
        arguments["revision"] = commit  # what the answers are stored by
    for name, place in argument_places(entry, manifest).items():
        arguments[name] = str(place if isinstance(place, Path) else hub_folder(place[0], place[1] or "main"))
    if entry.model == LOCAL_MODEL:
        from xscale.evaluation.encoder_lm import EncoderLM

        try:
            model = EncoderLM(**arguments, description=entry.id)
            model.check_files = check_files
            return model
        except (TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).removeprefix("EncoderLM.__init__() ").split())[:300]
            raise UserError(f"{manifest}: entry {entry.id!r}: model_args: {reason}; mend them") from None
    import lm_eval.models  # noqa: F401  (registers lm_eval's model types)
    import torch
    from lm_eval.api.registry import get_model

    import xscale.evaluation.shared_context  # noqa: F401  (registers hf-shared-context)

    if entry.model.startswith("hf"):
        arguments["use_safetensors"] = True  # transformers would unpickle pytorch_model.bin otherwise
        if not torch.cuda.is_available():  # lm_eval's own default is cuda, whether there is one or not
            arguments.setdefault("device", "cpu")
    batch_size = arguments.pop("batch_size", None) or _default_batch_size(entry.model, arguments)
    try:
        made = get_model(entry.model).create_from_arg_obj(arguments, {"batch_size": batch_size})
        made.check_files = check_files
        return made
    except (OSError, ValueError, KeyError, TypeError, ImportError, AssertionError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"{manifest}: entry {entry.id!r}: lm_eval cannot load model {entry.model!r}: {reason}; check model and model_args"
        ) from None


def _default_batch_size(model: str, arguments: Mapping[str, Any]) -> str | int:
    """`auto` where lm_eval can find out what fits; it tries with the longest input, which takes minutes without a GPU."""
    if model.startswith(("vllm", "sglang")):
        return "auto"
    if not model.startswith("hf"):
        return 1  # servers: `num_concurrent` says how many requests at a time
    import torch

    on_gpu = torch.cuda.is_available() and arguments.get("device") != "cpu"
    return "auto" if on_gpu else 16
