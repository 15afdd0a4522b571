"""Training data: which sets there are, where they live, and how a row becomes a training example."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from harness_tasks.sources import load_split
from xscale.encoding import NLI_LABELS, copa_pairs, nli_pair
from xscale.errors import UserError

Head = Literal["pair_classification", "multiple_choice"]


@dataclass(frozen=True)
class Example:
    """`pairs`: one text pair, or one for each choice. `label`: index of the label or of the right choice."""

    pairs: list[tuple[str, str]]
    label: int


@dataclass(frozen=True)
class TrainingTask:
    """A data set as training data. `examples` is the size of the full set on the hub (None where the project ships it)."""

    name: str
    dataset: str
    config: str
    split: str
    head: Head
    labels: tuple[str, ...]
    to_example: Callable[[Mapping[str, Any]], Example | None]
    examples: int | None
    licence: str
    citation: str


def _nli(row: Mapping[str, Any]) -> Example | None:
    """None for SNLI's rows without a gold label (-1)."""
    if row["label"] == -1:
        return None
    return Example([nli_pair(row["premise"], row["hypothesis"])], row["label"])


def _copa(row: Mapping[str, Any]) -> Example:
    return Example(
        copa_pairs(row["premise"], [row["choice1"], row["choice2"]], row["question"]), row["label"]
    )


def _social_iqa(row: Mapping[str, Any]) -> Example:
    """Context and question against each answer; labels are '1', '2', '3' on the hub."""
    prompt = f"{row['context']} {row['question']}"
    return Example(
        [(prompt, row[field]) for field in ("answerA", "answerB", "answerC")], int(row["label"]) - 1
    )


TASKS: dict[str, TrainingTask] = {
    task.name: task
    for task in (
        TrainingTask(
            "mnli",
            "nyu-mll/glue",
            "mnli",
            "train",
            "pair_classification",
            NLI_LABELS,
            _nli,
            392_702,
            "OANC and others",
            "Williams et al. 2018, arXiv 1704.05426",
        ),
        TrainingTask(
            "snli",
            "stanfordnlp/snli",
            "plain_text",
            "train",
            "pair_classification",
            NLI_LABELS,
            _nli,
            550_152,
            "CC BY-SA 4.0",
            "Bowman et al. 2015, arXiv 1508.05326",
        ),
        TrainingTask(
            "social_iqa",
            "allenai/social_i_qa",
            "default",
            "train",
            "multiple_choice",
            ("A", "B", "C"),
            _social_iqa,
            33_410,
            "CC BY",
            "Sap et al. 2019, arXiv 1904.09728",
        ),
        TrainingTask(
            "copa",
            "aps/super_glue",
            "copa",
            "train",
            "multiple_choice",
            ("choice1", "choice2"),
            _copa,
            400,
            "BSD 2-Clause",
            "Roemmele et al. 2011",
        ),
        TrainingTask(
            "bundled_nli",
            "xscale/nli",
            "default",
            "train",
            "pair_classification",
            NLI_LABELS,
            _nli,
            None,
            "Apache-2.0",
            "this project",
        ),
        TrainingTask(
            "bundled_nli_target",
            "xscale/nli",
            "target",
            "train",
            "pair_classification",
            NLI_LABELS,
            _nli,
            None,
            "Apache-2.0",
            "this project",
        ),
        TrainingTask(
            "bundled_copa",
            "xscale/copa",
            "default",
            "train",
            "multiple_choice",
            ("choice1", "choice2"),
            _copa,
            None,
            "Apache-2.0",
            "this project",
        ),
    )
}


def training_task(name: str) -> TrainingTask:
    """The task of that name. Raises `UserError` that lists the known ones."""
    if name not in TASKS:
        raise UserError(f"training task {name!r}: unknown; known are: {', '.join(TASKS)}")
    return TASKS[name]


def load_examples(task: TrainingTask, source: str | None) -> list[Example]:
    """All usable examples in the source's row order.

    Raises `UserError` where a row does not fit: a field is missing, a label is outside the task's labels, a text is empty.
    """
    rows = load_split(
        task.dataset, task.config, task.split, "bundled" if task.dataset.startswith("xscale/") else source
    )
    examples = []
    for number, row in enumerate(rows):
        try:
            example = task.to_example(row)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{task.dataset} {task.config} {task.split}: row {number}: {type(error).__name__}: {error}; "
                "the set is not in the form that the hub has"
            ) from None
        if example is None:
            continue
        choices = len(task.labels)
        if not 0 <= example.label < choices or len(example.pairs) not in (1, choices):
            raise UserError(
                f"{task.dataset} {task.config} {task.split}: row {number}: label {example.label} is not one of "
                f"{choices} ({', '.join(task.labels)}); test labels that the hub hides cannot be trained on"
            )
        examples.append(example)
    return examples
