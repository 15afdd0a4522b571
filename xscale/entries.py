"""Changes to a manifest that people ask for: entries removed, renamed, and many made from one pattern."""

from __future__ import annotations

import csv
import glob
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from xscale.errors import UserError
from xscale.files import SET_ASIDE, move_aside
from xscale.hub import is_repository
from xscale.manifest import Entry, change_manifest, check_id, make_entry
from xscale.progress import say
from xscale.workspace import Workspace

FIELDS = {"size": r"\d+", "seed": r"\d+", "arm": r"[A-Za-z0-9._+-]+"}  # what a pattern may ask for
COLUMNS = ("id", "model", "model_args", "pretrained", "base", "intermediate", "size", "seed", "arm", "note")
_MAX_ROWS = 100_000


def remove_entries(workspace: Workspace, ids: Sequence[str]) -> list[str]:
    """Take entries out of the manifest; returns one line for a person about each thing that is kept.

    No file is deleted: checkpoint folders stay where they are, results are moved to `results/.set-aside/`. Raises
    `UserError` for an id that is not there, and where an entry that stays has a removed one as its baseline.
    """

    def change(present: list[Entry]) -> list[Entry]:
        _all_there(ids, present, workspace)
        for entry in present:
            if entry.baseline in ids and entry.id not in ids:
                raise UserError(
                    f"{workspace.manifest}: {entry.baseline!r} is the baseline of {entry.id!r}, which would stay; name "
                    "both, or change its `baseline` first"
                )
        return [entry for entry in present if entry.id not in ids]

    change_manifest(workspace.manifest, change)
    kept = []
    for name in dict.fromkeys(ids):
        results = workspace.results / name
        if results.is_dir() and not results.is_symlink():
            place = move_aside(results, workspace.results / SET_ASIDE / name)
            kept.append(f"results of {name}: moved to {place}")
        checkpoint = workspace.checkpoints / name
        if checkpoint.is_dir():
            kept.append(f"checkpoint of {name}: still in {checkpoint}; delete it if it is not needed")
    return kept


def rename_entry(workspace: Workspace, old: str, new: str) -> None:
    """Give an entry another id: in the manifest, where it is a baseline, and for its results.

    A checkpoint folder keeps its name. Raises `UserError` when `old` is not there, `new` is taken (by an entry or by a
    folder of results) or is not fit to be an id; nothing is changed then.
    """
    try:
        check_id(new)
    except ValueError as error:
        raise UserError(f"{new!r}: {error}") from None
    before, after = workspace.results / old, workspace.results / new

    def change(present: list[Entry]) -> list[Entry]:
        _all_there([old], present, workspace)
        if new.lower() in {entry.id.lower() for entry in present if entry.id != old}:
            raise UserError(f"{workspace.manifest}: an entry {new!r} is there already; choose another id")
        if os.path.lexists(after):
            raise UserError(
                f"{after}: results of that name are there already; move them, or choose another id"
            )
        if before.is_dir() and not before.is_symlink():
            os.replace(before, after)
        return [
            entry.model_copy(
                update={
                    "id": new if entry.id == old else entry.id,
                    "baseline": new if entry.baseline == old else entry.baseline,
                }
            )
            for entry in present
        ]

    change_manifest(workspace.manifest, change)


def entries_from(manifest: Path, where: str, common: Mapping[str, Any]) -> list[Entry]:
    """Entries from one description of many checkpoints; `common` has what all of them share (keywords of `make_entry`).

    `where` is one of

    * a .csv file with a header; columns as `COLUMNS`, each but `pretrained` (or `model_args`) may be absent;
    * a pattern of folders: `runs/{arm}-{size}-seed{seed}`, where `*` matches anything;
    * a pattern of a hub repository's branches and tags: `owner/name@step{size}`, or `owner/name@*` for all.

    A size-0 entry is the baseline of those with the same base and seed, and of the same arm where arms have their own.
    Raises `UserError` (file, line, column) for what is not one of these, or matches nothing.
    """
    repository, at, pattern = where.partition("@")
    if where.endswith(".csv"):
        rows = _csv_rows(Path(where))
    elif at and is_repository(repository):
        rows = _revision_rows(repository, pattern)
    else:
        rows = _folder_rows(where)
    made = [_entry(manifest, origin, dict(common) | row) for origin, row in rows]
    zeros = [entry for entry in made if entry.size == 0]
    return [
        entry.model_copy(update={"baseline": _baseline_of(entry, zeros)})
        if entry.size and entry.baseline is None
        else entry
        for entry in made
    ]


def _baseline_of(entry: Entry, zeros: Sequence[Entry]) -> str | None:
    """The size-0 entry of the same base and seed, that of its own arm where arms have their own; None where there is none, and
    where several could be it, which is said."""
    same = [zero for zero in zeros if (zero.base, zero.seed) == (entry.base, entry.seed)]
    own = [zero for zero in same if zero.arm == entry.arm] or same
    if len(own) > 1:
        say(
            f"{entry.id}: {' and '.join(zero.id for zero in own)} have its base and seed, so none is taken for its baseline; "
            "write `baseline` into the manifest"
        )
    return own[0].id if len(own) == 1 else None


def _entry(manifest: Path, origin: str, fields: dict[str, Any]) -> Entry:
    arm = fields.pop("arm", None)
    pretrained = fields.pop("pretrained", None)
    if pretrained is not None:
        given = fields.get("model_args") or ""
        fields["model_args"] = ",".join(filter(None, (f"pretrained={pretrained}", given)))
    try:
        entry = make_entry(manifest, **fields)
    except UserError as error:
        raise UserError(f"{origin}: {error}") from None
    return entry if arm is None else entry.model_copy(update={"arm": arm})


def _csv_rows(path: Path) -> Iterable[tuple[str, dict[str, Any]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    reader = csv.DictReader(text.splitlines(), strict=True)
    unknown = [name for name in reader.fieldnames or [] if name not in COLUMNS]
    if unknown or not {"pretrained", "model_args"} & set(reader.fieldnames or []):
        raise UserError(
            f"{path}, line 1: a header with the columns {', '.join(COLUMNS)} is expected (`pretrained` or `model_args` at "
            f"least){', not ' + unknown[0] if unknown else ''}"
        )
    try:
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if reader.line_num > _MAX_ROWS:
                raise UserError(f"{path}: more than {_MAX_ROWS:,} lines")
            if None in row or None in row.values():
                raise UserError(f"{where}: not as many columns as the header has")
            yield where, {name: _typed(name, value, where) for name, value in row.items() if value}
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: not CSV ({error})") from None


def _typed(name: str, value: str, where: str) -> Any:
    if name == "intermediate":
        return value.split("+")
    if name not in ("size", "seed"):
        return value
    if not re.fullmatch(r"\d{1,15}", value):
        raise UserError(f"{where}: column {name}: {value!r} is not a whole number")
    return int(value)


def _pattern(text: str, where: str) -> re.Pattern[str]:
    """`{size}`, `{seed}`, `{arm}` and `*` of a pattern as a regular expression."""
    parts = re.split(r"(\{[^{}]*\}|\*)", text)
    expression = ""
    for part in parts:
        name = part[1:-1]
        if part == "*":
            expression += "[^/]*"
        elif part.startswith("{") and part.endswith("}"):
            if name not in FIELDS:
                raise UserError(f"{where}: {part} is unknown; known are: {{size}}, {{seed}}, {{arm}}")
            if f"(?P<{name}>" in expression:
                raise UserError(f"{where}: {part} is there twice; keep one")
            expression += f"(?P<{name}>{FIELDS[name]})"
        else:
            expression += re.escape(part)
    return re.compile(expression)


def _matched(found: re.Match[str], where: str) -> dict[str, Any]:
    return {name: _typed(name, value, where) for name, value in found.groupdict().items()}


def _folder_rows(where: str) -> list[tuple[str, dict[str, Any]]]:
    wanted = _pattern(where, f"--from {where}")
    names = sorted(glob.glob(re.sub(r"\{[^{}]*\}", "*", where)))
    rows = []
    for name in names:
        found = wanted.fullmatch(name)
        if found and Path(name).is_dir():
            made = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(name).name).strip("-._")
            rows.append((name, {"id": made, "pretrained": f"./{name}", **_matched(found, name)}))
            if name.startswith(("/", ".", "~")):
                rows[-1][1]["pretrained"] = name
    if not rows:
        raise UserError(f"--from {where}: no folder matches; check the pattern from the folder you are in")
    return rows


def _revision_rows(repository: str, pattern: str) -> list[tuple[str, dict[str, Any]]]:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    wanted = _pattern(pattern, f"--from {repository}@{pattern}")
    try:
        refs = HfApi().list_repo_refs(repository)
    except (OSError, ValueError, HfHubHTTPError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"--from {repository}@{pattern}: the hub does not answer ({reason})") from None
    commits = {ref.name: ref.target_commit for ref in (*refs.tags, *refs.branches)}
    rows = []
    for name in sorted(commits, key=_natural):
        found = wanted.fullmatch(name)
        if found:
            made = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{repository.split('/')[1]}-{name}").strip("-._")
            row = {"id": made, "pretrained": repository, "model_args": f"revision={commits[name]}"}
            rows.append((f"{repository}@{name}", row | _matched(found, name)))
    if not rows:
        known = ", ".join(sorted(commits, key=_natural)[:10])
        raise UserError(
            f"--from {repository}@{pattern}: no branch or tag matches; there are: {known or 'none'}"
        )
    return rows


def _natural(name: str) -> list[tuple[int, str]]:
    """step2 before step10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]


def _all_there(ids: Sequence[str], present: Sequence[Entry], workspace: Workspace) -> None:
    known = {entry.id for entry in present}
    for name in ids:
        if name not in known:
            raise UserError(f"{workspace.manifest}: no entry {name!r}; `xscale ls` lists them")
