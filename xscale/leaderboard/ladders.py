"""Which checkpoints belong together: seeds of one recipe and size, sizes of one recipe, and their baselines."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from xscale.leaderboard.panels import Panel
from xscale.manifest import Entry

_RUN = re.compile(r"(?P<name>.+?)-(?P<size>\d+)-seed(?P<seed>\d+)")  # ids that `xscale run` gives


def recipe_of(entry: Entry) -> str:
    """What tells apart two ways of training with the same base, intermediate tasks and target sets.

    The entry's recipe digest; of an entry without one the experiment's name that its id begins with, or nothing
    where the id was chosen by hand.
    """
    if entry.recipe:
        return entry.recipe
    found = _RUN.fullmatch(entry.id)
    same = found and (int(found["size"]), int(found["seed"])) == (entry.size, entry.seed)
    return found["name"] if found and same else ""


def experiment_of(entry: Entry) -> str:
    """The experiment's name that the id of an entry's baseline begins with; nothing where that was chosen by hand."""
    found = _RUN.fullmatch(entry.baseline or entry.id)
    return found["name"] if found else ""


def ladder_key(entry: Entry, target: str) -> tuple[Any, ...]:
    """What checkpoints share that differ in size and seed only: two recipes are never one ladder."""
    return (
        entry.model,
        entry.base,
        entry.arm,
        tuple(entry.intermediate) if entry.size else (),
        tuple(entry.targets.get(target, ())),
        recipe_of(entry),
    )


def seeds_key(entry: Entry, target: str) -> tuple[Any, ...]:
    """What checkpoints share that differ in their seed only; an entry without size or seed is alone."""
    if entry.size is None or entry.seed is None:
        return (entry.id,)
    return (*ladder_key(entry, target), entry.size)


@dataclass(frozen=True)
class Group:
    """Seeds of one recipe and size: indices of the checkpoints in the panel, with each one's baseline.

    `baselines` holds None where a baseline has no result here; `left_out` are the checkpoints that were left
    out because others of the group have theirs.
    """

    indices: tuple[int, ...]
    baselines: tuple[int | None, ...]
    left_out: tuple[int, ...] = ()

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Checkpoint and baseline, where there is one."""
        return [(i, b) for i, b in zip(self.indices, self.baselines, strict=True) if b is not None]


def group_of(panel: Panel, indices: Sequence[int]) -> Group:
    """The group with complete pairs only: where some seeds have a baseline, those without count nowhere."""
    position = {entry.id: index for index, entry in enumerate(panel.entries)}
    named = [panel.entries[index].baseline for index in indices]
    baselines = [position.get(name) if name else None for name in named]
    if any(base is not None for base in baselines):
        kept = [number for number, base in enumerate(baselines) if base is not None]
    else:
        kept = list(range(len(baselines)))
    return Group(
        tuple(indices[number] for number in kept),
        tuple(baselines[number] for number in kept),
        tuple(index for number, index in enumerate(indices) if number not in kept),
    )


def seed_groups(panel: Panel) -> list[Group]:
    """Every checkpoint of the panel, with the other seeds of its recipe and size.

    Checkpoints of one group with the same seed cannot be told apart, and stand alone.
    """
    grouped: dict[tuple[Any, ...], list[int]] = {}
    for index, entry in enumerate(panel.entries):
        grouped.setdefault(seeds_key(entry, panel.target), []).append(index)
    found = []
    for indices in grouped.values():
        distinct = len({panel.entries[index].seed for index in indices}) == len(indices)
        found += [group_of(panel, part) for part in ([indices] if distinct else [[i] for i in indices])]
    return found


@dataclass(frozen=True)
class Ladder:
    """Checkpoints of a panel that differ in size and seed only; `sizes` maps each to its indices in the
    panel, ascending.
    """

    base: str | None
    arm: str | None
    intermediate: tuple[str, ...]
    tuned_on: tuple[str, ...]
    recipe: str
    sizes: dict[int, tuple[int, ...]]

    @property
    def name(self) -> str:
        """The arm, or the intermediate tasks where arms have no names."""
        return self.arm or "+".join(self.intermediate) or "no intermediate task"


def ladders(panel: Panel) -> list[Ladder]:
    """The panel's ladders: two sizes or more of one recipe; seeds without a baseline are left out.

    A baseline (size 0) belongs to every ladder whose entries name it. A ladder in which a size has the same
    seed twice is none: its recipes cannot be told apart (`twins` names them).
    """
    grouped: dict[tuple[Any, ...], dict[int, list[int]]] = {}
    for index, entry in enumerate(panel.entries):
        if entry.size:
            sizes = grouped.setdefault(ladder_key(entry, panel.target), {})
            sizes.setdefault(entry.size, []).append(index)
    found = []
    for sizes in grouped.values():
        if any(_repeated(panel, indices) for indices in sizes.values()):
            continue
        kept: dict[int, list[int]] = {0: []}
        for size in sorted(sizes):
            group = group_of(panel, sizes[size])
            kept[size] = list(group.indices)
            kept[0] += [base for base in group.baselines if base is not None and base not in kept[0]]
        whole = {size: tuple(sorted(indices)) for size, indices in kept.items() if indices}
        if len(whole) > 1:
            entry = panel.entries[whole[max(whole)][0]]
            found.append(
                Ladder(
                    entry.base,
                    entry.arm,
                    tuple(entry.intermediate),
                    tuple(entry.targets.get(panel.target, ())),
                    recipe_of(entry),
                    whole,
                )
            )
    return found


def twins(panel: Panel) -> list[str]:
    """In words, the checkpoints of one recipe, size and seed, which cannot be told apart."""
    grouped: dict[tuple[Any, ...], list[str]] = {}
    for entry in panel.entries:
        if entry.size is not None and entry.seed is not None:
            grouped.setdefault((*seeds_key(entry, panel.target), entry.seed), []).append(entry.id)
    return [
        f"{' and '.join(names)} have the same recipe, size and seed: they are on no curve and in no mean; "
        "give them different `recipe` in the manifest"
        for names in grouped.values()
        if len(names) > 1
    ]


def _repeated(panel: Panel, indices: Sequence[int]) -> bool:
    seeds = [panel.entries[index].seed for index in indices]
    known = [seed for seed in seeds if seed is not None]
    return len(set(known)) < len(known)
