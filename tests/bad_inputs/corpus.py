"""The corpus as objects: what lies in the folder, what is called, and the line that it must give."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import damages
import yaml

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Case:
    """`prepare` writes the folder's content; `arguments` are xscale's, {folder} standing for the folder."""

    kind: str
    name: str
    prepare: Callable[[Path], None]
    arguments: tuple[str, ...]
    message: str


def text_cases(kind: str, file: str, arguments: tuple[str, ...]) -> list[Case]:
    """The cases of a YAML file here: texts of one input file each."""
    described = yaml.safe_load((HERE / f"{kind}.yaml").read_text(encoding="utf-8"))
    cases = []
    for entry in described["cases"]:
        text = _text(described["good"], entry)
        cases.append(
            Case(
                kind,
                entry["name"],
                lambda folder, text=text: _write(folder / file, text),  # type: ignore[misc]
                arguments,
                entry.get("message", ""),
            )
        )
    return cases


def _text(good: str, entry: dict[str, Any]) -> str:
    if "deep" in entry:
        return "[" * entry["deep"] + "]" * entry["deep"]
    text: str = entry.get("content", good)
    for old, new in entry.get("replace", {}).items():
        assert old in text, (entry["name"], old)
        text = text.replace(old, new)
    if "deep_rule" in entry:
        text = text.replace("{field:", "{not: " * entry["deep_rule"] + "{field:")
        text = text.replace("5}", "5}" + "}" * entry["deep_rule"])
    return text.replace("{long}", "n" * entry.get("note_of", 0)).replace("{digits}", "9" * 5000)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def folder_cases(workspace: Path) -> list[Case]:
    """Cases that begin with a copy of a good workspace: a manifest of one entry, its checkpoint, its results."""
    listed = yaml.safe_load((HERE / "folders.yaml").read_text(encoding="utf-8"))
    cases = []
    for kind, entries in listed.items():
        for entry in entries:
            damage = getattr(damages, entry["damage"])
            arguments = tuple(entry["call"].split()) + (
                () if "--manifest" in entry["call"] else ("--manifest", "{folder}/checkpoints_manifest.json")
            )

            def prepare(
                folder: Path,
                damage: Callable[[Path], None] = damage,
                computes: bool = "--limit" in arguments,
            ) -> None:
                shutil.copytree(workspace, folder, dirs_exist_ok=True)
                if computes:  # where all answers are there, eval needs no checkpoint
                    for path in (folder / "results/model").iterdir():
                        path.unlink()
                damage(folder)

            cases.append(Case(kind, entry["name"], prepare, arguments, entry.get("message", "")))
    return cases


def all_cases(workspace: Path) -> list[Case]:
    """The whole corpus; `workspace` is the good one of `damages.make_workspace`."""
    manifest = ("--manifest", "{folder}/checkpoints_manifest.json")
    return [
        *text_cases("experiments", "input.yaml", ("run", "{folder}/input.yaml", *manifest)),
        *text_cases(
            "targets", "targets.yaml", ("eval", "--targets-file", "{folder}/targets.yaml", *manifest)
        ),
        *text_cases("manifests", "input.json", ("ls", "--manifest", "{folder}/input.json")),
        *(
            Case(
                case.kind,
                case.name,
                lambda folder, case=case: (  # type: ignore[misc]
                    shutil.copytree(workspace, folder, dirs_exist_ok=True),
                    case.prepare(folder),
                ),
                case.arguments,
                case.message,
            )
            for case in text_cases("subsets", "subset.yaml", ("board", *manifest))
        ),
        *folder_cases(workspace),
    ]


def snapshot(folder: Path) -> dict[str, bytes | str]:
    """Every path below the folder with its content. Locks, the log and journals of evaluations do not count."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
        if not path.is_symlink() and path.suffix != ".lock" and not {".partial", "logs"} & set(path.parts)
    }
