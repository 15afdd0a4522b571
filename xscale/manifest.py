"""The manifest of checkpoints: ours and anyone's, each with what it was trained on and how lm_eval loads it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from harness_tasks.parsing import MAX_BYTES, MAX_INTEGER, explain_defect, parse_model, read_model
from xscale.errors import UserError
from xscale.files import sha256_of_folder, write_text
from xscale.hub import COMMIT, hub_commit, hub_folder, hub_state, is_hub_id, is_repository
from xscale.model_files import check_model_folder
from xscale.progress import say

SCHEMA_VERSION = 1
ID_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
DEVICE_PATTERN = re.compile(r"con|prn|aux|nul|com\d|lpt\d", re.IGNORECASE)
SECRET_PATTERN = re.compile(
    r"(^|[_-])(token|pat|(api|access|secret|private)[_-]?key|pass(word|wd|phrase)|secret|auth|authorization|bearer|cookie|"
    r"credentials?)$",
    re.IGNORECASE,
)
# a password in a URL, and what headers and keys of the common services look like
SECRET_VALUE = re.compile(
    r"://[^/@\s]+:[^/@\s]+@|\bbearer\s|\bsk-\w{16}|\bhf_\w{16}"
    r"|[?&](api[_-]?key|(access_)?token|secret|signature)=",
    re.IGNORECASE,
)
LOCAL_MODEL = "xscale"  # the lm_eval model type of encoder checkpoints (xscale.evaluation.encoder_lm)
# lm_eval's model types whose `pretrained` may be on the hub and which take a `revision`
FOLDERS = ("peft", "delta", "tokenizer", "lora_local_path")  # arguments of lm_eval's models that may name one
_FROM_THE_HUB = ("hf", "hf-auto", "huggingface", "hf-shared-context", "vllm")

_strict = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
Size = Annotated[int, Field(ge=0, le=10**12)]


class EvaluationOptions(BaseModel):
    """How a language model is asked: what lm_eval's flags of these names say."""

    model_config = _strict

    num_fewshot: int = Field(
        0, ge=0, le=100, description="examples of the validation split before each document"
    )
    apply_chat_template: bool = Field(default=False, description="ask through the model's chat template")

    @property
    def words(self) -> str:
        """For tables; empty where nothing differs from the default."""
        shots = f"{self.num_fewshot}-shot" if self.num_fewshot else ""
        return ", ".join(filter(None, (shots, "chat template" if self.apply_chat_template else "")))

    def settings(self) -> dict[str, Any]:
        """What answers count by. `turns`: how a prompt becomes turns of a chat; 2 since none of them is empty."""
        return self.model_dump(exclude_defaults=True) | ({"turns": 2} if self.apply_chat_template else {})


class Entry(BaseModel):
    """One checkpoint: an lm_eval model type with its arguments, and what it was trained on."""

    model_config = _strict

    id: str = Field(
        description="unique name; letters, digits, '.', '_' and '-'; also the name of its results folder"
    )
    model: str = Field(
        min_length=1,
        max_length=200,
        description="lm_eval model type: xscale (an encoder checkpoint), hf, local-completions, ...",
    )
    model_args: dict[str, str | int | float | bool | None] = Field(
        description="arguments of the model type; relative folders (pretrained, peft, delta, tokenizer) count from the manifest's"
    )
    base: str | None = Field(None, description="the public model it started from")
    intermediate: list[str] = Field(
        default_factory=list, description="intermediate tasks, in English unless named"
    )
    size: Size | None = Field(None, description="intermediate-task training examples; 0 is a baseline")
    seed: Annotated[int, Field(le=MAX_INTEGER)] | None = Field(None, description="training seed")
    arm: str | None = Field(
        default=None,
        description="name of the arm, what the intermediate phase is; absent for a baseline of all arms",
    )
    recipe: str | None = Field(
        default=None,
        pattern="^[0-9a-f]{64}$",
        description="SHA-256 of everything in its training but size and seed; checkpoints that differ in it are on "
        "different ladders",
    )
    masked_lm: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None,
        description="share of the intermediate phase's updates that were masked LM, beside its tasks; absent: none",
    )
    targets: dict[str, list[str]] = Field(
        default_factory=dict, description="target task (xnli, xcopa) -> the sets that it was fine-tuned on"
    )
    evaluation: EvaluationOptions | None = Field(
        default=None, description="few-shot examples and chat template, for language models; absent: neither"
    )
    baseline: str | None = Field(
        None, description="id of the size-0 entry with the same base, seed and targets"
    )
    sha256: str | None = Field(
        None,
        pattern="^[0-9a-f]{64}$",
        description="of a local checkpoint's weights, config and tokenizer files",
    )
    makes_line: bool | None = Field(
        default=None,
        description="whether it may make the line that effective robustness is measured from, as baselines do: a "
        "standard model that is not itself under study",
    )
    collapsed: list[str] | None = Field(
        default=None,
        description="targets whose English development score was no better than the commonest label's",
    )
    repeated: dict[str, int] | None = Field(
        default=None,
        description="target -> fine-tuning rows that were among the intermediate phase's, where any were",
    )
    note: str | None = Field(None, max_length=1000, description="a remark that the tables show")

    @field_validator("model_args")
    @classmethod
    def _without_secrets(
        cls, value: dict[str, str | int | float | bool | None]
    ) -> dict[str, str | int | float | bool | None]:
        for name, argument in value.items():
            if isinstance(argument, str) and (SECRET_PATTERN.search(name) or SECRET_VALUE.search(argument)):
                raise ValueError(
                    f"{name!r} is a secret, which does not belong in a manifest or in results; set it in the environment "
                    "(HF_TOKEN, OPENAI_API_KEY)"
                )
        return value

    @model_validator(mode="after")
    def _asked_as_it_can_be(self) -> Entry:
        if self.model == LOCAL_MODEL and self.evaluation is not None and self.evaluation.words:
            raise ValueError(
                "evaluation: an encoder checkpoint is not asked in words: it takes no few-shot examples and no chat "
                "template; leave `evaluation` out"
            )
        return self

    @field_validator("id")
    @classmethod
    def _safe_id(cls, value: str) -> str:
        return check_id(value)


def check_id(value: str) -> str:
    """Return `value` when it is fit to be a folder's name; raise ValueError otherwise."""
    if not ID_PATTERN.fullmatch(value) or value.endswith("."):
        raise ValueError(
            "an id is 1 to 128 letters, digits, '.', '_' or '-', begins with a letter or digit and "
            f"does not end with a dot, not {value[:60]!r}"
        )
    if DEVICE_PATTERN.fullmatch(value.partition(".")[0]):
        raise ValueError(
            f"an id must not be the name of a device on Windows, as {value!r} is; choose another"
        )
    return value


class Manifest(BaseModel):
    """The file `checkpoints_manifest.json`."""

    model_config = ConfigDict(extra="forbid", strict=True, populate_by_name=True)

    schema_: str | None = Field(None, alias="$schema")
    version: int = SCHEMA_VERSION
    entries: list[Entry] = Field(default_factory=list)

    @field_validator("version")
    @classmethod
    def _known_version(cls, value: int) -> int:
        if value != SCHEMA_VERSION:
            raise ValueError(f"manifest version {SCHEMA_VERSION} is expected, not {value}; update xscale")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        ids = {entry.id for entry in self.entries}
        seen: dict[str, tuple[int, str]] = {}
        for position, entry in enumerate(self.entries):
            earlier, name = seen.setdefault(entry.id.lower(), (position, entry.id))
            if earlier != position and name == entry.id:
                raise ValueError(
                    f"entries.{position}.id: {name!r} is the id of entry {earlier} too; rename one"
                )
            if earlier != position:
                raise ValueError(
                    f"entries.{position}.id: {entry.id!r} and {name!r} differ in case only, which some file "
                    "systems do not see; rename one"
                )
            if entry.baseline is not None and entry.baseline not in ids:
                raise ValueError(
                    f"entries.{position}.baseline: there is no entry {entry.baseline!r}, the baseline of "
                    f"{entry.id!r}; add it or mend the name"
                )
            if entry.baseline == entry.id:
                raise ValueError(
                    f"entries.{position}.baseline: {entry.id!r} cannot be its own baseline; leave `baseline` out"
                )
        return self


def chosen(entries: Sequence[Entry], ids: Sequence[str] | None, manifest: Path) -> list[Entry]:
    """The entries of those ids, all when there are none. Raises `UserError` for an id that is not there."""
    known = {entry.id for entry in entries}
    for wanted in ids or ():
        if wanted not in known:
            raise UserError(f"{manifest}: no entry {wanted!r}; `xscale ls` lists them")
    return [entry for entry in entries if not ids or entry.id in ids]


def read_manifest(path: Path) -> Manifest:
    """Read and check a manifest.

    Raises `UserError` (file, line, field, expectation) for anything but a valid manifest: not JSON, unknown or wrong
    fields, duplicate ids, a baseline that is not there. Folders of local checkpoints are checked by `checkpoint_folder`.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file; `xscale run` or `xscale add` makes one, else check the path")
    return read_model(Manifest, path)


def read_manifest_or_empty(path: Path) -> Manifest:
    """As `read_manifest`, but an absent file is an empty manifest."""
    return read_manifest(path) if path.exists() else Manifest.model_validate({})


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write the manifest, whole or not at all, fields in a fixed order, one a line; through a link where it is one.

    Raises `UserError` when it would be too large to be read again."""
    data: dict[str, Any] = {"version": manifest.version}
    if manifest.schema_:
        data = {"$schema": manifest.schema_} | data
    data["entries"] = [entry.model_dump(exclude_none=True) for entry in manifest.entries]
    text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    if not path.name.endswith(".json"):  # JSON's numbers (1e-05) and control characters are not YAML's
        escaped = "\x85" in text  # a line end to YAML, which PyYAML would not escape
        text = yaml.safe_dump(data, sort_keys=False, allow_unicode=not escaped, width=110)
    if len(text.encode()) > MAX_BYTES:
        raise UserError(
            f"{path}: {len(manifest.entries):,} entries are more than the {MAX_BYTES // 2**20} MiB that a manifest may have; "
            "start another one with --manifest"
        )
    if parse_model(Manifest, text, str(path)) != manifest:
        raise UserError(
            f"{path}: cannot hold these entries: they would be read back as others; mend odd texts in them"
        )
    write_text(_behind_links(path), text)


def _behind_links(path: Path) -> Path:
    """The file itself where the manifest is a link to a shared one, so that it is written through."""
    try:
        return path.resolve(strict=True) if path.is_symlink() else path
    except (OSError, RuntimeError):
        raise UserError(f"{path}: a link that leads nowhere; mend or remove it") from None


def change_manifest(path: Path, change: Callable[[list[Entry]], list[Entry]]) -> Manifest:
    """Read, change and write the manifest under a lock, so that several processes may add entries at once.

    `change` takes the present entries and returns the new ones. Raises `UserError` when the present or the changed
    manifest is not valid; the file is then as it was.
    """
    path = _behind_links(path)
    lock = Path(f"{path}.lock")
    if not lock.exists():
        read_manifest_or_empty(
            path
        )  # before there is a lock, so that a refused file leaves nothing beside it
    path.parent.mkdir(parents=True, exist_ok=True)
    was_there = lock.exists()
    with FileLock(lock):
        if was_there and not path.exists():
            say(
                f"{path}: is gone (its lock is still there); it begins anew, put a copy of the old one back to keep its entries"
            )
        present = read_manifest_or_empty(path)
        changed = change(list(present.entries))
        try:
            manifest = Manifest.model_validate(
                {
                    "$schema": present.schema_,
                    "version": present.version,
                    "entries": [e.model_dump() for e in changed],
                }
            )
        except ValueError as error:
            raise UserError(f"{path}: {_first_message(error)}") from None
        if changed != present.entries or not path.exists():
            write_manifest(path, manifest)
    return manifest


def add_entries(path: Path, entries: list[Entry], *, replace: bool = False) -> Manifest:
    """Add entries, in order. With `replace`, an entry of the same id is replaced in place; without, it is refused."""

    def change(present: list[Entry]) -> list[Entry]:
        positions = {entry.id: position for position, entry in enumerate(present)}
        for entry in entries:
            if entry.id not in positions:
                positions[entry.id] = len(present)
                present.append(entry)
            elif replace:
                present[positions[entry.id]] = entry
            else:
                raise UserError(
                    f"{path}: an entry with id {entry.id!r} is there already; choose another --id"
                )
        return present

    return change_manifest(path, change)


def make_entry(
    manifest: Path,
    *,
    model: str,
    model_args: str,
    id: str | None,
    base: str | None,
    intermediate: list[str],
    size: int | None,
    seed: int | None,
    baseline: str | None,
    note: str | None,
) -> Entry:
    """An entry from what a command line gives; `model_args` is lm_eval's `name=value,name=value`.

    A local folder is recorded with its hash; a path is stored relative to the manifest where it lies below it, else
    absolute. A model of the hub is pinned to its commit; an encoder checkpoint (model type `xscale`,
    `pretrained=owner/name`) is downloaded too. Raises `UserError` for malformed arguments, an absent folder or an unusable id.
    """
    arguments: dict[str, str | int | float | bool | None] = {}
    for part in filter(None, model_args.split(",")):
        name, equals, value = part.partition("=")
        if not equals or not name.strip():
            raise UserError(f"--model-args: {part!r} is not name=value; write them as name=value,name=value")
        if name.strip() in arguments:
            raise UserError(f"--model-args: {name.strip()!r} is given twice; keep one")
        arguments[name.strip()] = value.strip() if name.strip() == "revision" else _plain_value(value)
    sha256 = None
    pretrained = arguments.get("pretrained")
    local = isinstance(pretrained, str) and Path(pretrained).expanduser().is_dir()
    if model == LOCAL_MODEL and isinstance(pretrained, str) and not local and is_repository(pretrained):
        folder = hub_folder(pretrained, str(arguments.get("revision") or "main"))
        arguments["revision"] = folder.name
        check_model_folder(folder, "--model-args: pretrained")
        sha256 = sha256_of_folder(folder)
    elif isinstance(pretrained, str) and (
        local or pretrained.startswith((".", "/", "~")) or model == LOCAL_MODEL
    ):
        folder = Path(pretrained).expanduser().resolve()
        if not folder.is_dir():
            raise UserError(f"--model-args: pretrained: no folder {pretrained!r}; check the path")
        arguments["pretrained"] = _beside(folder, manifest)
        check_model_folder(folder, "--model-args: pretrained")
        sha256 = sha256_of_folder(folder)
    elif isinstance(pretrained, str) and model in _FROM_THE_HUB and is_hub_id(pretrained):
        commit = hub_commit(pretrained, str(arguments.get("revision") or "main"))
        if commit is not None:
            arguments["revision"] = commit
        else:
            say(
                f"{pretrained}: the hub does not answer, so this entry is not pinned to a commit; what the model is may change"
                " unnoticed (add it again later, or give revision=<commit>)"
            )
    for argument in FOLDERS:
        named = arguments.get(argument)
        if isinstance(named, str) and _is_folder(_expanded(named)):
            arguments[argument] = _beside(_expanded(named).resolve(), manifest)
    name = id or re.sub(r"[^A-Za-z0-9._-]+", "-", str(pretrained or model)).strip("-._")[-128:]
    try:
        return Entry(
            id=name,
            model=model,
            model_args=arguments,
            base=base,
            intermediate=intermediate,
            size=size,
            seed=seed,
            baseline=baseline,
            sha256=sha256,
            note=note,
        )
    except ValueError as error:
        raise UserError(f"entry {name!r}: {_first_message(error)}") from None


def _beside(folder: Path, manifest: Path) -> str:
    """A folder as the manifest has it: relative to its own where it lies below it, else absolute."""
    beside = manifest.parent.resolve()
    return f"./{folder.relative_to(beside).as_posix()}" if folder.is_relative_to(beside) else str(folder)


def with_evaluation(entry: Entry, options: dict[str, Any]) -> Entry:
    """The entry with few-shot examples or chat template. Raises `UserError` for an encoder checkpoint."""
    try:
        return Entry.model_validate(entry.model_dump() | {"evaluation": options})
    except ValueError as error:
        raise UserError(f"entry {entry.id!r}: {_first_message(error)}") from None


def _plain_value(text: str) -> str | int | float | bool | None:
    """As lm_eval reads them: true / false, whole numbers and decimals, else text."""
    lowered = text.strip().lower()
    if lowered in ("true", "false"):
        return lowered == "true"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text.strip()


def checkpoint_folder(entry: Entry, manifest_path: Path) -> Path | None:
    """The folder of a local checkpoint, or None where `pretrained` is absent or a hub id that lm_eval's model type loads.

    A `pretrained` that starts with `.`, `/` or `~`, or whose model type is `xscale`, means a folder; with a `revision`,
    the model type `xscale` has a hub id, which is downloaded (`hub_folder`). Raises `UserError` when that folder is not
    there, when a relative one leaves the manifest's folder (by `..` or a symbolic link), and when it has pickled weights
    where safetensors are needed.
    """
    pretrained = entry.model_args.get("pretrained")
    if not isinstance(pretrained, str):
        return None
    where = f"{manifest_path}: entry {entry.id!r}: model_args.pretrained"
    if not pretrained.isprintable():
        raise UserError(f"{where}: {pretrained!r} has control characters; mend the path")
    revision = entry.model_args.get("revision")
    if entry.model == LOCAL_MODEL and revision is not None:
        folder = hub_folder(pretrained, str(revision))
        check_model_folder(folder, where)
        return folder
    given = Path(pretrained).expanduser()
    folder = manifest_path.parent / given
    try:
        is_folder = folder.is_dir()
    except OSError:  # a name that no file system takes
        is_folder = False
    if is_folder:
        beside = manifest_path.parent.resolve()
        if not given.is_absolute() and not folder.resolve().is_relative_to(beside):
            raise UserError(
                f"{where}: {pretrained!r} leaves the manifest's folder (it is {str(folder.resolve())!r}); if that is "
                "meant, write the absolute path"
            )
        check_model_folder(folder, where)
        return folder
    if entry.model == LOCAL_MODEL or pretrained.startswith((".", "/", "~")):
        raise UserError(
            f"{where}: no folder {str(folder)!r}; mend the path, or run `xscale run` again to train it anew"
        )
    return None


def commit_of(entry: Entry) -> tuple[bool, str | None]:
    """Whether a model of the hub is loaded, whose files the manifest has no hash of, and which commit of it that is now
    (None: neither the hub nor its cache says). Raises `UserError` when the hub says that there is no such model."""
    pretrained = entry.model_args.get("pretrained")
    if entry.sha256 is not None or entry.model not in _FROM_THE_HUB or not isinstance(pretrained, str):
        return False, None
    if not is_hub_id(pretrained):
        return False, None
    return True, hub_state(pretrained, str(entry.model_args.get("revision") or "main"))


def argument_places(entry: Entry, manifest_path: Path) -> dict[str, Path | tuple[str, str | None]]:
    """What other arguments than `pretrained` name (adapters, deltas, tokenizers): a folder, or a repository of the hub with
    its commit (None: neither the hub nor its cache says).

    A relative path counts from the manifest's folder. Raises `UserError` for a folder that is not there or leaves the
    manifest's folder, and for one that is there only from the current folder.
    """
    found: dict[str, Path | tuple[str, str | None]] = {}
    for name in FOLDERS:
        value = entry.model_args.get(name)
        if not isinstance(value, str):
            continue
        where = f"{manifest_path}: entry {entry.id!r}: model_args.{name}"
        if not value.isprintable():
            raise UserError(f"{where}: {value!r} has control characters; mend the path")
        given = _expanded(value)
        folder = manifest_path.parent / given
        if _is_folder(folder):
            beside = manifest_path.parent.resolve()
            if not given.is_absolute() and not folder.resolve().is_relative_to(beside):
                raise UserError(
                    f"{where}: {value!r} leaves the manifest's folder (it is {str(folder.resolve())!r}); if that is "
                    "meant, write the absolute path"
                )
            found[name] = folder
        elif value.startswith((".", "/", "~")) or _is_folder(given) or not is_hub_id(value):
            raise UserError(
                f"{where}: no folder {str(folder)!r}; a relative path counts from the manifest's folder: mend it, or write "
                "the absolute path"
            )
        elif entry.model in _FROM_THE_HUB:  # to a server's model type it may be a name of its own
            # lm_eval gives them the model's own revision, which is of another repository where it is a commit
            revision = str(entry.model_args.get("revision") or "main")
            local = checkpoint_folder(entry, manifest_path) is not None
            commit = hub_state(value, "main" if COMMIT.fullmatch(revision) and not local else revision)
            found[name] = (value, commit)
    return found


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:  # ~nobody
        return Path(path)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that no file system takes
        return False


def refuse_remote_code(entries: Sequence[Entry], manifest_path: Path) -> None:
    """Raise `UserError` for the first entry whose model arguments let the checkpoint's own code run."""
    for entry in entries:
        for name, value in entry.model_args.items():
            if name.endswith("trust_remote_code") and str(value).lower() not in ("false", "none", "0", ""):
                raise UserError(
                    f"{manifest_path}: entry {entry.id!r}: model_args.{name}: this runs code that comes with the "
                    "checkpoint; read that code, then give --trust-remote-code on the command line, or take it out"
                )


def manifest_schema() -> str:
    """The JSON Schema of the manifest, for editors (shipped as `xscale/manifest.schema.json`)."""
    return json.dumps(Manifest.model_json_schema(), indent=2) + "\n"


def _first_message(error: ValueError) -> str:
    errors = getattr(error, "errors", None)
    if not errors:
        return str(error)
    first = errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part not in ("str", "int", "float", "bool"))
    what = explain_defect(errors())
    return what if first["type"] == "value_error" or not place else f"{place}: {what}"
