"""What is there already: which checkpoints are trained, registered, evaluated. Whoever asks, asks here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xscale.errors import UserError
from xscale.evaluation.runner import Selection, is_current, result_key
from xscale.experiment import Recipe
from xscale.files import sha256_of_folder
from xscale.manifest import LOCAL_MODEL, Entry, add_entries, checkpoint_folder, read_manifest_or_empty
from xscale.progress import say

CHECKPOINTS = "checkpoints"
RESULTS = "results"


@dataclass(frozen=True)
class Workspace:
    """The manifest, and the folders beside it."""

    manifest: Path

    @property
    def checkpoints(self) -> Path:
        return self.manifest.parent / CHECKPOINTS

    @property
    def results(self) -> Path:
        return self.manifest.parent / RESULTS


def untrained(recipes: Sequence[Recipe], workspace: Workspace) -> list[Recipe]:
    """The recipes without a checkpoint.

    Raises `UserError` for a folder of the same id that was trained otherwise: nothing is overwritten.
    """
    return [recipe for recipe in recipes if not is_trained(recipe, workspace.checkpoints / recipe.id)]


def unevaluated(
    entries: Sequence[Entry], chosen: Selection, source: str, workspace: Workspace
) -> list[Entry]:
    """The entries whose stored result does not count. Those fine-tuned on none of the targets are named and left out.

    Local ones come with the hash of their files, also where the manifest has none.
    """
    todo = []
    for entry in (_hashed(entry, workspace) for entry in entries):
        if not selection_of(entry, chosen):
            say(f"{entry.id}: fine-tuned on none of {', '.join(chosen)}; left out")
        elif not is_evaluated(entry, chosen, source, workspace):
            todo.append(entry)
    return todo


def registered(recipes: Sequence[Recipe], workspace: Workspace) -> list[Entry]:
    """The manifest's entries of these recipes."""
    ids = {recipe.id for recipe in recipes}
    return [entry for entry in read_manifest_or_empty(workspace.manifest).entries if entry.id in ids]


def register(recipes: Sequence[Recipe], workspace: Workspace, trained: set[str]) -> None:
    """Make the manifest's entries of recipes whose checkpoints are there.

    Files are hashed where they were `trained` just now or have no entry yet.
    """
    known = {entry.id: entry for entry in read_manifest_or_empty(workspace.manifest).entries}
    entries = []
    for recipe in recipes:
        record = json.loads((workspace.checkpoints / recipe.id / "recipe.json").read_text(encoding="utf-8"))
        old = known.get(recipe.id)
        if (
            recipe.id not in trained
            and old is not None
            and old.sha256 is not None
            and old.note == _note(record)
        ):
            continue  # hashing hundreds of megabytes again would make a second run slow
        model, folder = _model_of(recipe)
        entries.append(
            Entry(
                id=recipe.id,
                model=model,
                model_args={"pretrained": folder},
                base=recipe.base,
                intermediate=recipe.intermediate,
                size=recipe.size,
                seed=recipe.seed,
                targets={target: plan.train for target, plan in recipe.targets.items()},
                baseline=recipe.baseline,
                sha256=sha256_of_folder(workspace.manifest.parent / folder),
                collapsed=[
                    name for name, looks in record.get("development", {}).items() if looks.get("collapsed")
                ]
                or None,
                repeated=_repeated(record) or None,
                note=_note(record),
            )
        )
    if entries:
        add_entries(workspace.manifest, entries, replace=True)


def refuse_foreign(recipes: Sequence[Recipe], present: set[str], workspace: Workspace) -> None:
    """An entry of the manifest that has our id, but no folder of ours, is somebody else's."""
    entries = {entry.id: entry for entry in read_manifest_or_empty(workspace.manifest).entries}
    for recipe in recipes:
        if recipe.id in present and entries[recipe.id].model_args.get("pretrained") != _model_of(recipe)[1]:
            raise UserError(
                f"{workspace.manifest}: entry {recipe.id!r} is not of this experiment; rename one of them"
            )


def is_trained(recipe: Recipe, folder: Path) -> bool:
    if not folder.is_dir():
        return False
    try:
        record = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
        digest, stored = record["digest"], record["recipe"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"{folder}: not a checkpoint of xscale, or damaged (no usable recipe.json); move it away"
        ) from None
    if digest != recipe.digest():
        now = recipe.model_dump()
        changed = [name for name in now if now[name] != stored.get(name)]
        raise UserError(
            f"{folder}: trained with another recipe ({', '.join(changed) or 'of another version'} differ); give the "
            "experiment a new name, or delete that folder to train it again"
        )
    return True


def is_evaluated(entry: Entry, chosen: Selection, source: str, workspace: Workspace) -> bool:
    return is_current(workspace.results / entry.id, result_key(entry, selection_of(entry, chosen), source))


def selection_of(entry: Entry, chosen: Selection) -> Selection:
    return {target: rows for target, rows in chosen.items() if not entry.targets or target in entry.targets}


def _hashed(entry: Entry, workspace: Workspace) -> Entry:
    """With the hash of its files where the manifest has none, so that changed weights never keep an old result."""
    if entry.sha256 is None:
        folder = checkpoint_folder(entry, workspace.manifest)
        if folder is not None:
            return entry.model_copy(update={"sha256": sha256_of_folder(folder)})
    return entry


def _model_of(recipe: Recipe) -> tuple[str, str]:
    """lm_eval's model type for a checkpoint, and its folder as the manifest has it."""
    if recipe.objective == "causal_lm":
        return "hf", f"{CHECKPOINTS}/{recipe.id}/model"
    return LOCAL_MODEL, f"{CHECKPOINTS}/{recipe.id}"


def _note(record: dict[str, Any]) -> str:
    """What the manifest says of a checkpoint of ours: its recipe, its intermediate rows, how updates were counted, which
    step of a target's training was kept (none: the last, unscored)."""
    phases = [phase for phase in record["phases"] if phase["phase"] == "intermediate"]
    rows = "+".join(phase["rows_sha256"][:12] for phase in phases)
    recipe = record["recipe"]
    how = f"updates: {recipe['phases']['intermediate']['updates']}, step: {recipe['development']['choose']}"
    return f"recipe {record['digest'][:12]}{f', rows {rows}' if rows else ''}, {how}"


def _repeated(record: dict[str, Any]) -> dict[str, int]:
    """Target -> its fine-tuning rows that the intermediate phase had, too."""
    found: dict[str, int] = {}
    for phase in record["phases"]:
        if count := phase.get("rows_also_intermediate", 0):
            found[phase["phase"]] = found.get(phase["phase"], 0) + count
    return found
