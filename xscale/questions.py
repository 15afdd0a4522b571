"""The question that the experiments of a workspace ask, as the log of their runs has it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from xscale.journal import journal_of, read_events
from xscale.leaderboard.family import Question


def question_of(manifest: Path, ids: Collection[str]) -> tuple[Question, str | None]:
    """What is asked of the checkpoints: their experiments' question where all of these ask the same, else the default one,
    and then a note that says so. Experiments that are not in the log, and entries of others, ask nothing of their own."""
    last: dict[str, Question] = {}
    for event in read_events(journal_of(manifest)):
        if event["event"] == "planned" and any(recipe[0] in ids for recipe in event["recipes"]):
            asked = _question(event.get("question"))
            if asked is not None:
                last[str(event["experiment"])] = asked
    different = list(dict.fromkeys(last.values()))
    if len(different) == 1:
        return different[0], None
    if not different:
        return Question(), None
    parts = "; ".join(
        f"{name}: {asked.subset} of {', '.join(asked.targets or ())}" for name, asked in last.items()
    )
    return Question(), (
        f"the experiments here ask different questions ({parts}); the board asks for ood of all targets: a manifest of its own "
        "for each experiment has its own family of tests"
    )


def asked_by(experiment: Any) -> Question:
    """The `question` of an experiment file as what is tested."""
    return Question(experiment.subset, tuple(experiment.targets) if experiment.targets else None)


def _question(value: Any) -> Question | None:
    if not isinstance(value, Mapping):
        return None
    subset, targets = value.get("subset"), value.get("targets")
    if not isinstance(subset, str) or not isinstance(targets, list):
        return None
    return Question(subset, tuple(sorted(str(target) for target in targets)))
