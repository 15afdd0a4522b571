"""Units: pieces of training, each stored once under the hash of all that determines it.

checkpoints/.units/<digest>/model/      an encoder, or an encoder with its fine-tuned head, as transformers has it
checkpoints/.units/<digest>/unit.json   what determines it, and what was done
checkpoints/.units/.<digest>.training/  while it is made: the state that a killed run goes on from

A checkpoint is hard links to units, and a recipe.json that lists them. No path, id or name is part of a digest: the base counts
by its content or hub commit, rows and texts by theirs, and of all settings only those that differ from their defaults.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict

from harness_tasks.parsing import read_json
from harness_tasks.rows import Options, build_documents
from harness_tasks.targets import get_target
from xscale.base_models import base_content
from xscale.errors import UserError
from xscale.experiment import LoRA, Phase, Recipe
from xscale.files import refuse_link
from xscale.locks import is_taken
from xscale.training.labels import target_answers
from xscale.training.samples import (
    Sample,
    intermediate_samples,
    rows_of,
    set_of,
    target_samples,
    texts_sample,
)

_PART, _DIGEST = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*"), re.compile(r"[0-9a-f]{64}")  # they become paths
UNITS, UNIT, MODEL = ".units", "unit.json", "model"
CAUSAL, ENCODER = "model", "encoder"  # parts of a checkpoint; the others are named after targets

PrecisionOf = Callable[[str], str]  # what a phase asks for -> what it is trained in


class Rows(BaseModel):
    """Rows of one set in the order in which they were drawn, by content. `group`: sets of one group share a head."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    head: str
    labels: tuple[str, ...]
    rows: str
    group: int = 0


class EncoderUnit(BaseModel):
    """The base after the intermediate phase. A default here stands for what was done before the field existed, so it never
    changes. `masked_lm`: the share of updates on the texts that are the last of `sets`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["encoder", "causal_lm"]
    base: str
    seed: int = 0
    sets: tuple[Rows, ...] = ()
    phase: dict[str, Any] = {}
    masked_lm: float | None = None
    lora: LoRA | None = None


class HeadUnit(BaseModel):
    """An encoder under the head of a target, fine-tuned. `encoder`: the digest of its unit, or the base. `looked_at`: the English
    development rows, where they choose the step."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoder: str
    target: str
    seed: int
    sets: tuple[Rows, ...]
    phase: dict[str, Any]
    development: dict[str, Any] = {}
    looked_at: str | None = None
    lora: LoRA | None = None


Unit = EncoderUnit | HeadUnit


def digest_of(unit: Unit) -> str:
    """SHA-256 in hex over the kind and the fields that differ from their defaults."""
    return _sha([type(unit).__name__, unit.model_dump(mode="json", exclude_defaults=True)])


def units_of(recipe: Recipe, precision: PrecisionOf) -> dict[str, Unit]:
    """Part of the checkpoint -> its unit, in the order of training. At size 0 there is no encoder: it is the base.

    Reads the data. Raises `UserError` when it, or the base, is not there or does not fit.
    """
    base = base_content(recipe.base)
    if recipe.objective == "causal_lm":
        return {CAUSAL: _encoder_unit(recipe, base, precision)}
    units: dict[str, Unit] = {}
    encoder = f"base {base}"
    if recipe.size:
        units[ENCODER] = _encoder_unit(recipe, base, precision)
        encoder = digest_of(units[ENCODER])
    for target in recipe.targets:
        if get_target(target).is_trained:
            units[target] = _head_unit(recipe, target, encoder, precision)
        else:
            units[target] = units.get(ENCODER) or EncoderUnit(kind="encoder", base=base)
    return units


def digests_of(recipe: Recipe, precision: PrecisionOf) -> dict[str, str]:
    """Part of the checkpoint -> digest of its unit."""
    return {part: digest_of(unit) for part, unit in units_of(recipe, precision).items()}


def recipe_digest(recipe: Recipe, precision: PrecisionOf) -> str:
    """SHA-256 in hex of everything in the training but size and seed: checkpoints on one ladder have the same one.

    Sets count by the content of all their rows. A baseline's has no intermediate phase in it, so that it is the same for all
    arms.
    """
    parts: dict[str, Any] = {
        "base": base_content(recipe.base),
        "objective": recipe.objective,
        "lora": recipe.lora and recipe.lora.model_dump(exclude_defaults=True),
        "targets": {
            target: {
                "sets": [set_of(recipe, name, target_answers(target)) for name in plan.train],
                "size": plan.size,
                "phase": _phase(recipe.phases[target], precision),
            }
            for target, plan in recipe.targets.items()
        },
        "development": recipe.development.model_dump(exclude_defaults=True),
    }
    if recipe.objective == "causal_lm":
        parts["targets"] = sorted(recipe.targets)
    if recipe.size:
        parts |= {
            "intermediate": [set_of(recipe, name) for name in recipe.intermediate],
            "phase": _phase(recipe.phases["intermediate"], precision),
        }
        if recipe.mixing is not None and len(recipe.intermediate) > 1:
            parts["mixing"] = recipe.mixing.model_dump()
        if recipe.masked_lm is not None:
            sample = texts_sample(recipe.masked_lm, recipe)
            parts["masked_lm"] = [recipe.masked_lm.ratio, _rows(recipe, sample).rows]
    return _sha(parts)


def _encoder_unit(recipe: Recipe, base: str, precision: PrecisionOf) -> EncoderUnit:
    kind: Literal["encoder", "causal_lm"] = "causal_lm" if recipe.objective == "causal_lm" else "encoder"
    if not recipe.size:
        return EncoderUnit(kind=kind, base=base)
    samples = intermediate_samples(recipe)
    families = list(dict.fromkeys(sample.task.family for sample in samples))
    sets = [_rows(recipe, sample, families.index(sample.task.family)) for sample in samples]
    if recipe.masked_lm is not None:
        sets.append(_rows(recipe, texts_sample(recipe.masked_lm, recipe)))
    return EncoderUnit(
        kind=kind,
        base=base,
        seed=recipe.seed,
        sets=tuple(sets),
        phase=_phase(recipe.phases["intermediate"], precision),
        masked_lm=recipe.masked_lm.ratio if recipe.masked_lm is not None else None,
        lora=recipe.lora,
    )


def _head_unit(recipe: Recipe, target: str, encoder: str, precision: PrecisionOf) -> HeadUnit:
    wanted = recipe.development
    if get_target(target).place_of("en", "validation")[1] is None:  # nothing to score, the last step is kept
        wanted = wanted.model_copy(update={"choose": "none"})
    chooses = wanted.choose == "best"
    answers = target_answers(target)
    scored_by = {"metric": get_target(target).metrics[0]} if get_target(target).second else {}
    return HeadUnit(
        encoder=encoder,
        target=target,
        seed=recipe.seed,
        sets=tuple(_rows(recipe, sample, 0, answers) for sample in target_samples(recipe, target)),
        phase=_phase(recipe.phases[target], precision),
        development={}
        if wanted.choose == "none"
        else wanted.model_dump(exclude_defaults=True) | scored_by,  # the one of two
        looked_at=_development_rows(recipe, target) if chooses else None,
        lora=recipe.lora,
    )


def _development_rows(recipe: Recipe, target: str) -> str:
    documents = build_documents(target, "en", "validation", Options(data=recipe.data))
    return _sha([sorted(document.items()) for document in documents[: recipe.development.rows]])


def _phase(phase: Phase, precision: PrecisionOf) -> dict[str, Any]:
    return phase.model_dump(exclude_defaults=True) | {"precision": precision(phase.precision)}


def _rows(recipe: Recipe, sample: Sample, group: int = 0, answers: tuple[str, ...] | None = None) -> Rows:
    return Rows(
        head=sample.task.head,
        labels=sample.labels,
        rows=rows_of(sample, recipe, answers),
        group=group,
    )


def _sha(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


# --- the store ---


def unit_record(store: Path, digest: str) -> dict[str, Any] | None:
    """What a finished unit says of itself; None where it is not there, or not whole."""
    try:
        record = json.loads((store / digest / UNIT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = isinstance(record, dict) and record.get("digest") == digest and (store / digest / MODEL).is_dir()
    return record if whole else None


def lock_of(store: Path, digest: str) -> Path:
    """The lock that is held while the unit is made."""
    return store / f".{digest}.lock"


def work_of_unit(store: Path, digest: str) -> Path:
    """Where a unit grows."""
    return store / f".{digest}.training"


def link_unit(store: Path, digest: str, folder: Path) -> None:
    """Put a unit's model files into `folder`: hard links, or copies where the file system has none."""
    source = store / digest / MODEL
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(source.iterdir()):
        try:
            os.link(file, folder / file.name)
        except OSError:
            shutil.copyfile(file, folder / file.name)


def checkpoint_record(folder: Path) -> dict[str, Any] | None:
    """A checkpoint's recipe.json; None where there is none that can be read, or its units are not named as ours are."""
    try:
        record = read_json(folder / "recipe.json")
    except UserError:
        return None
    units = record.get("units", {})
    ours = isinstance(units, dict) and all(
        _PART.fullmatch(part) and isinstance(digest, str) and _DIGEST.fullmatch(digest)
        for part, digest in units.items()
    )
    return record if ours else None


def linked_units(checkpoints: Path) -> set[str]:
    """Digests of the units that a checkpoint's recipe.json lists as kept there."""
    linked: set[str] = set()
    for folder in checkpoints.glob("[!.]*") if checkpoints.is_dir() else ():
        record = checkpoint_record(folder) or {}
        units = record.get("units")
        if isinstance(units, Mapping):
            linked |= {str(digest) for part, digest in units.items() if (folder / str(part)).is_dir()}
    return linked


def unlinked_units(checkpoints: Path) -> list[tuple[Path, int, str]]:
    """Units, finished or begun, that no checkpoint links to and nobody is making: (folder, bytes that removing it frees, what it
    is). Only folders that are named as units are."""
    store = checkpoints / UNITS
    if not store.is_dir() or store.is_symlink():
        return []
    linked = linked_units(checkpoints)
    found = []
    for folder in sorted(store.iterdir()):
        digest = folder.name.removeprefix(".").removesuffix(".training")
        named_so = folder.name in (digest, f".{digest}.training") and _is_digest(digest)
        if not named_so or digest in linked or folder.is_symlink() or not folder.is_dir():
            continue
        if not is_taken(lock_of(store, digest)):
            found.append((folder, _bytes_only_here(folder), _words(store, digest, folder)))
    return found


def remove_unit(folder: Path) -> bool:
    """Remove a unit's folder and its lock; False where somebody is making it."""
    digest = folder.name.removeprefix(".").removesuffix(".training")
    refuse_link(folder)
    lock = FileLock(lock_of(folder.parent, digest))
    try:
        with lock.acquire(timeout=0):
            shutil.rmtree(folder)
    except Timeout:
        return False
    return True


def drop_unit(checkpoints: Path, digest: str) -> None:
    """Remove a finished unit unless a checkpoint links to it."""
    folder = checkpoints / UNITS / digest
    if folder.is_dir() and digest not in linked_units(checkpoints):
        remove_unit(folder)


def _words(store: Path, digest: str, folder: Path) -> str:
    if folder.name.startswith("."):
        return "a training that was stopped"
    record = unit_record(store, digest) or {}
    return f"{record.get('part', 'a unit')} made for {record.get('made_for', 'a checkpoint')}"


def _bytes_only_here(folder: Path) -> int:
    inside: dict[int, tuple[int, int, int]] = {}
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink():
            status = file.stat()
            inside[status.st_ino] = (
                inside.get(status.st_ino, (0, 0, 0))[0] + 1,
                status.st_nlink,
                status.st_size,
            )
    return sum(size for here, links, size in inside.values() if here >= links)


def _is_digest(name: str) -> bool:
    return len(name) == 64 and set(name) <= set("0123456789abcdef")


def same_libraries(made: Mapping[str, Any], here: Mapping[str, str]) -> list[str]:
    """What differs between the library versions of a unit and those here, in words."""
    versions = made.get("libraries")
    if not isinstance(versions, Mapping):
        return []
    return [
        f"{name} {versions.get(name)}, here {now}" for name, now in here.items() if versions.get(name) != now
    ]
