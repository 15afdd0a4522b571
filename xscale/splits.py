"""Which splits of which sets there are: of all training tasks and targets, of some, or those that an experiment needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from harness_tasks.targets import get_target, targets
from harness_tasks.targets.reading import checked_rows
from xscale.errors import UserError
from xscale.experiment import Experiment, plan
from xscale.training.tasks import Part, TrainingTask, known_tasks, training_task

Rows = Sequence[dict[str, Any]]
ELSEWHERE = (
    "xscale/",
    "ccgbank/",
    "bucc/",
)  # sets of the bundled suite, one that everybody has a licence of their own for, and one that the hub has not


@dataclass(frozen=True)
class Split:
    """One split that something reads.

    `what`: the training task, or target and language, for people. `fits`: raises `UserError` for rows that are not what
    the task or target expects.
    """

    what: str
    dataset: str
    config: str
    split: str
    revision: str | None
    fits: Callable[[Rows], None]

    @property
    def place(self) -> tuple[str, str, str]:
        """Set, config and split: what a mirror folder has one file of."""
        return self.dataset, self.config, self.split

    def __str__(self) -> str:
        return f"{self.what}: {self.dataset} ({self.config}, {self.split})"


def chosen_splits(
    experiment: Experiment | None = None,
    target_names: Iterable[str] = (),
    task_names: Iterable[str] = (),
    languages: str | None = None,
) -> list[Split]:
    """The splits that an experiment, targets and training tasks need, each once; of everything when none is named.

    `languages`: of the named targets: `all`, `official` (the default) or codes with commas. A target's English rows are
    always among them, since subsets are decided there. Raises `UserError` for names that are not known.
    """
    target_names, task_names = list(target_names), list(task_names)
    if experiment is None and not target_names and not task_names:
        target_names, task_names, languages = list(targets()), list(known_tasks()), languages or "all"
    found: list[Split] = []
    for name in target_names:
        found += target_splits(name, _codes(name, languages or "official"))
    for name in task_names:
        found += task_splits(training_task(name))
    if experiment is not None:
        found += experiment_splits(experiment)
    once = {split.place: split for split in reversed(found)}
    return [split for split in found if once.get(split.place) is split]


def target_splits(name: str, languages: Iterable[str]) -> list[Split]:
    """Test and validation rows of a target in these languages, in English, and in the language whose labels English has."""
    target = get_target(name)
    own = target.place(target.pivot_language).rows.kind == "own"  # then no row needs its English one
    always = [code for code in (None if own else target.pivot_language, target.hidden_labels) if code]
    found = []
    for language in dict.fromkeys([*always, *languages]):
        for kind in ("test", "validation"):
            place, split = target.place_of(language, kind)
            if split is not None and not place.dataset.startswith(ELSEWHERE):
                found.append(
                    Split(
                        f"{name} {language}",
                        place.dataset,
                        place.config,
                        split,
                        place.revision,
                        _target_rows(name, language, kind),
                    )
                )
    return found


def task_splits(task: TrainingTask) -> list[Split]:
    """The parts of a training task; none of a user's own file."""
    return [
        Split(task.name, part.dataset, part.config, part.split, None, _task_rows(task, part))
        for part in task.parts
        if not part.dataset.startswith(ELSEWHERE)
    ]


def experiment_splits(experiment: Experiment) -> list[Split]:
    """What training and evaluating an experiment reads."""
    names: dict[str, TrainingTask] = {}
    texts = []
    for recipe in plan(experiment, "hub"):
        for name in (*recipe.intermediate, *(name for t in recipe.targets.values() for name in t.train)):
            names.setdefault(name, training_task(name, recipe.tasks))
        if recipe.masked_lm is not None and recipe.masked_lm.dataset is not None:
            texts.append(recipe.masked_lm)
    found = [split for task in names.values() for split in task_splits(task)]
    for name in experiment.targets:
        evaluation = experiment.evaluation.get(name)
        codes = evaluation.languages if evaluation and evaluation.languages else get_target(name).languages
        found += target_splits(str(name), codes)
    for masked_lm in texts:
        found += [
            Split("masked_lm", str(masked_lm.dataset), config, masked_lm.split, None, lambda rows: None)
            for config in masked_lm.configs or ["default"]
        ]
    return found


def _codes(name: str, languages: str) -> Sequence[str]:
    target = get_target(name)
    if languages == "all":
        return tuple(target.places)
    if languages == "official":
        return target.languages
    return [code.strip() for code in languages.split(",") if code.strip()]


def _target_rows(name: str, language: str, kind: str) -> Callable[[Rows], None]:
    def fits(rows: Rows) -> None:
        target = get_target(name)
        if target.hidden_labels and language == target.pivot_language:  # -1 on the hub
            rows = [{**row, "label": max(0, row.get("label", 0))} for row in rows]
        checked_rows(target, target.place_of(language, kind)[0], rows, f"{name} {language} ({kind})")

    return fits


def _task_rows(task: TrainingTask, part: Part) -> Callable[[Rows], None]:
    def fits(rows: Rows) -> None:
        for number, row in enumerate(rows):
            try:
                task.to_example(row, task.labels)
            except (KeyError, TypeError, ValueError, IndexError) as error:
                reason = f"no field {error}" if isinstance(error, KeyError) else str(error)
                raise UserError(f"{part}: row {number}: {reason}; it has {', '.join(row)}") from None

    return fits
