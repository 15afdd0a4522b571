"""What is there already: which checkpoints are trained, registered, evaluated. Whoever asks, asks here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from harness_tasks.sources import is_elsewhere
from harness_tasks.targets import get_target
from xscale.capabilities import targets_in
from xscale.errors import UserError
from xscale.evaluation.answers import Selection, carry_over, is_current, result_key
from xscale.experiment import Recipe
from xscale.files import refuse_link, sha256_of_folder, write_text
from xscale.manifest import LOCAL_MODEL, Entry, add_entries, checkpoint_folder, read_manifest_or_empty
from xscale.progress import say

CHECKPOINTS = "checkpoints"
RESULTS = "results"
DROPPED = "dropped after evaluation"


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
    """The recipes without a checkpoint, or without a part of it.

    Raises `UserError` for a folder of the same id that was trained otherwise: nothing is overwritten.
    """
    return [recipe for recipe in recipes if not is_trained(recipe, workspace.checkpoints / recipe.id)]


def unevaluated(
    entries: Sequence[Entry],
    chosen: Selection,
    source: str,
    workspace: Workspace,
    failures: dict[str, str] | None = None,
) -> list[Entry]:
    """The entries whose stored result does not count. Those fine-tuned on none of the targets are named and left out.

    Local ones come with the hash of their files, also where the manifest has none. What is wrong with an entry (a folder that is
    not there) is put into `failures`, by id, where they are given, else raised as `UserError`.
    """
    todo = []
    for listed in entries:
        try:
            entry = _hashed(listed, workspace)
            if not selection_of(entry, chosen):
                say(f"{entry.id}: fine-tuned on none of {', '.join(chosen)}; left out")
            elif not is_evaluated(entry, chosen, source, workspace):
                todo.append(entry)
        except UserError as error:
            if failures is None:
                raise
            failures[listed.id] = str(error)
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
    entries, same = [], {}
    for recipe in recipes:
        record = json.loads((workspace.checkpoints / recipe.id / "recipe.json").read_text(encoding="utf-8"))
        old = known.get(recipe.id)
        if old is not None and record.get("weights") == DROPPED:
            continue  # there is nothing left to hash
        if (
            recipe.id not in trained
            and old is not None
            and old.sha256 is not None
            and old.note == _note(record)
            and (old.arm, old.recipe) == (recipe.arm, _recipe_of(record))
        ):
            continue  # hashing hundreds of megabytes again would make a second run slow
        model, folder = _model_of(recipe)
        place = workspace.manifest.parent / folder
        sha256 = sha256_of_folder(place)
        if old is not None and old.sha256 not in (None, sha256) and _has_only_more_heads(place, recipe, old):
            same[recipe.id] = (old.sha256, sha256)
        entries.append(
            Entry(
                id=recipe.id,
                model=model,
                model_args={"pretrained": folder},
                base=recipe.base,
                intermediate=recipe.intermediate,
                size=recipe.size,
                seed=recipe.seed,
                arm=recipe.arm,
                recipe=_recipe_of(record),
                masked_lm=recipe.masked_lm.ratio if recipe.masked_lm is not None else None,
                targets={target: plan.train for target, plan in recipe.targets.items()},
                baseline=recipe.baseline,
                sha256=sha256,
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
    for identifier, (before, after) in same.items():
        carry_over(workspace.results, identifier, str(before), after)


def _has_only_more_heads(folder: Path, recipe: Recipe, old: Entry) -> bool:
    """Whether a checkpoint's files, but for heads of targets that are new, are those that the old entry was made of; what was
    answered for its targets was answered by these very files."""
    from xscale.training.units import ENCODER

    new = set(recipe.targets) - set(old.targets)
    if not new or not old.targets:
        return False
    # the encoder, which no answer needs where there are heads, may have been left out (`keep: heads`)
    return any(sha256_of_folder(folder, without) == old.sha256 for without in (new, {*new, ENCODER}))


def refuse_foreign(recipes: Sequence[Recipe], present: set[str], workspace: Workspace) -> None:
    """An entry of the manifest that has our id, but no folder of ours, is somebody else's."""
    entries = {entry.id: entry for entry in read_manifest_or_empty(workspace.manifest).entries}
    for recipe in recipes:
        if recipe.id in present and entries[recipe.id].model_args.get("pretrained") != _model_of(recipe)[1]:
            raise UserError(
                f"{workspace.manifest}: entry {recipe.id!r} is not of this experiment; rename one of them"
            )


def is_trained(recipe: Recipe, folder: Path) -> bool:
    """Whether `folder` is the recipe's checkpoint, by the content of its units; False where it, or a target's head, is not there.

    A phase whose precision is `auto` may have been trained on another kind of device. Raises `UserError` for a folder that is
    something else.
    """
    from xscale.training.units import ENCODER, checkpoint_record, digests_of

    if not folder.is_dir():
        return False
    record = checkpoint_record(folder)
    if record is None or not isinstance(record.get("recipe"), dict):
        raise UserError(
            f"{folder}: not a checkpoint of xscale, or damaged (no usable recipe.json); move it away"
        )
    made = record.get("units")
    if not isinstance(made, dict):
        _refuse_other_fields(recipe, record, folder)
        return True  # of version 0.1
    for precision in _precisions():
        wanted = digests_of(recipe, precision)
        heads = [part for part in wanted if part != ENCODER]
        if all(made.get(part, wanted[part]) == wanted[part] for part in wanted):
            return (
                all(part in made and (folder / part).is_dir() for part in heads)
                or record.get("weights") == DROPPED
            )
    raise UserError(_trained_otherwise(recipe, record, folder))


def is_dropped(folder: Path) -> bool:
    """Whether the weights of a checkpoint were dropped after its evaluation (`keep: predictions`)."""
    from xscale.training.units import checkpoint_record

    return (checkpoint_record(folder) or {}).get("weights") == DROPPED


def drop_weights(folder: Path) -> None:
    """Leave of a checkpoint its record and card, and remove the units that no other checkpoint links to."""
    from xscale.training.units import UNITS, checkpoint_record, drop_unit

    with FileLock(folder.with_name(f".{folder.name}.lock")):
        record = checkpoint_record(folder)
        if record is None or not isinstance(record.get("units"), dict) or record.get("weights") == DROPPED:
            return
        text = json.dumps(record | {"weights": DROPPED}, indent=2, ensure_ascii=False)
        write_text(folder / "recipe.json", text + "\n")
        for part, digest in record["units"].items():
            if (folder / part).is_dir():
                refuse_link(folder / part)
                shutil.rmtree(folder / part)
            if (folder.parent / UNITS / digest).is_dir():
                drop_unit(folder.parent, digest)


def _precisions() -> list[Callable[[str], str]]:
    """This device's, where it can be told, then the others, for phases that do not ask for one."""

    def other(precision: str) -> Callable[[str], str]:
        return lambda asked: precision if asked == "auto" else asked

    from xscale.training.phases import precision_here

    here = precision_here()

    def careful(asked: str) -> str:
        try:
            return here(asked)
        except UserError:  # asked for what this device has no units for
            return asked

    return [careful, *map(other, ("fp32", "bf16", "fp16"))]


def _trained_otherwise(recipe: Recipe, record: Mapping[str, Any], folder: Path) -> str:
    now, then = recipe.model_dump(mode="json"), record["recipe"]
    apart = {"id", "arm", "data", "baseline", "own_files"}
    changed = [name for name in now if name not in apart and now[name] != then.get(name)]
    what = ", ".join(changed) or "the base or the rows of its data"
    return (
        f"{folder}: trained with another recipe ({what} differ); give the experiment a new name (what is equal is not "
        "trained again), or delete that folder to train it again"
    )


def _refuse_other_fields(recipe: Recipe, record: Mapping[str, Any], folder: Path) -> None:
    """Version 0.1 had no units: its fields count, as far as it had them."""
    now, then = recipe.model_dump(mode="json"), dict(record["recipe"])
    for name in ("id", "data", "baseline", *(() if recipe.size else ("intermediate", "mixing", "masked_lm"))):
        then.pop(name, None)
    phases = then.pop("phases", {})
    same = all(now.get(name) == value for name, value in then.items())
    for name, phase in now["phases"].items():
        same = same and all(phase.get(field) == value for field, value in phases.get(name, {}).items())
    if not same:
        raise UserError(_trained_otherwise(recipe, record, folder))


def refuse_mixing(recipes: Sequence[Recipe], todo: Sequence[Recipe], workspace: Workspace) -> None:
    """Raise `UserError` where what is to be trained would not be comparable with what is there: another precision (`auto` on
    another kind of device), or rows drawn as version 0.1 drew them."""
    from xscale.training.phases import precision_here
    from xscale.training.units import checkpoint_record

    if not todo:
        return
    here = precision_here()
    missing = {recipe.id for recipe in todo}
    for recipe in recipes:
        record = checkpoint_record(workspace.checkpoints / recipe.id)
        if recipe.id in missing or record is None:
            continue
        if "units" not in record:
            raise UserError(
                f"{workspace.checkpoints / recipe.id}: trained by xscale 0.1, which drew other rows; what is missing would not "
                f"be comparable with it: give the experiment a new name, or evaluate what is there: xscale eval {recipe.id}"
            )
        for phase in record.get("phases", []):
            asked = recipe.phases[phase["phase"]].precision if phase.get("phase") in recipe.phases else "fp32"
            if asked == "auto" and phase.get("precision") != here("auto"):
                raise UserError(
                    f"{workspace.checkpoints / recipe.id}: trained in {phase.get('precision')}, this device trains in "
                    f"{here('auto')}; one ladder would have both: go on with the same kind of device, or set `precision` in "
                    "`training` under a new name"
                )


def is_evaluated(entry: Entry, chosen: Selection, source: str, workspace: Workspace) -> bool:
    key = result_key(entry, selection_of(entry, chosen), source, workspace.manifest)
    return is_current(workspace.results / entry.id, key)


def selection_of(entry: Entry, chosen: Selection) -> Selection:
    """Of what is chosen the targets that the entry is for: those that it names, else all that have choices."""
    return {
        target: rows
        for target, rows in chosen.items()
        if (target in entry.targets if entry.targets else get_target(target).has_choices)
    }


def _hashed(entry: Entry, workspace: Workspace) -> Entry:
    """With the hash of its files where the manifest has none, so that changed weights never keep an old result."""
    if entry.model == LOCAL_MODEL and not entry.targets:
        place = checkpoint_folder(entry, workspace.manifest)
        if place is not None:
            label = str(entry.model_args.get("label") or "") or None
            entry = entry.model_copy(update={"targets": {name: [] for name in targets_in(place, label)}})
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


def _recipe_of(record: Mapping[str, Any]) -> str | None:
    """The digest of everything but size and seed; version 0.1 had none."""
    return str(record["digest"]) if "units" in record else None


def _note(record: dict[str, Any]) -> str:
    """What the manifest says of a checkpoint of ours: its recipe, its intermediate rows, how updates were counted, which
    step of a target's training was kept (none: the last, unscored)."""
    phases = [phase for phase in record["phases"] if phase["phase"] == "intermediate"]
    rows = "+".join(phase["rows_sha256"][:12] for phase in phases)
    recipe = record["recipe"]
    phase = recipe["phases"].get("intermediate")
    updates = f"updates: {phase['updates']}, " if phase else ""
    how = f"{updates}step: {recipe['development']['choose']}"
    return f"recipe {record['digest'][:12]}{f', rows {rows}' if rows else ''}, {how}"


def _repeated(record: dict[str, Any]) -> dict[str, int]:
    """Target -> its fine-tuning rows that the intermediate phase had, too."""
    found: dict[str, int] = {}
    for phase in record["phases"]:
        if count := phase.get("rows_also_intermediate", 0):
            found[phase["phase"]] = found.get(phase["phase"], 0) + count
    return found


def data_in_use(workspace: Workspace) -> str | None:
    """The data source of the result that was written last, as `--data` takes it; None where there is no result."""
    from xscale.evaluation.predictions import PREDICTIONS, read_info

    files = workspace.results.glob(f"[!.]*/{PREDICTIONS}") if workspace.results.is_dir() else ()
    for path in sorted(files, key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            source = str(read_info(path)["source"])
        except (UserError, KeyError):
            continue
        if not is_elsewhere(source):
            return source.removeprefix("mirror:")
    return None
