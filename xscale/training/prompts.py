"""Training examples as running text for causal language models: the prompts that the tasks are scored with, answered right."""

from __future__ import annotations

from harness_tasks.targets.forms import (
    COPA_WORDS,
    NLI_LABELS,
    NLI_WORDS,
    copa_choices,
    copa_context,
    question_choices,
)
from xscale.errors import UserError
from xscale.training.tasks import Example, TrainingTask

_YES_NO = {"duplicate": 0, "paraphrase": 0, "not_entailment": 2, "not_duplicate": 2, "not_paraphrase": 2}
_COPA = ("copa", "bundled_copa", "bundled_copa_target")


def prompt_of(example: Example, task: TrainingTask) -> str:
    """The text of an example with its right answer.

    Pairs are written as XNLI's prompt in the task's language, COPA as XCOPA's; other choices follow their question, an
    answer its context and question. Raises `UserError` for tasks that have no such form.
    """
    language = task.name.partition("@")[2] or "en"
    first, second = example.pairs[0]
    if task.head == "pair_classification" and language in NLI_WORDS:
        label = task.labels[example.label]
        if label in NLI_LABELS or label in _YES_NO:
            answer = NLI_LABELS.index(label) if label in NLI_LABELS else _YES_NO[label]
            return question_choices(first, second, NLI_WORDS[language])[answer]
    if task.family in _COPA and language in COPA_WORDS:
        is_effect = first == example.pairs[1][0]  # `copa_pairs` puts the cause first
        texts = [pair[1 if is_effect else 0] for pair in example.pairs]
        premise, question = (first, "effect") if is_effect else (second, "cause")
        context = copa_context(premise, question, COPA_WORDS[language])
        return f"{context} {copa_choices(texts)[example.label]}"
    if task.head == "multiple_choice" and task.family not in _COPA:
        question, choice = example.pairs[example.label]
        return f"{question} {choice}"
    if task.head == "span":
        answer_text = second[slice(*example.span)] if example.span else "No answer."
        return f"{second} {first} {answer_text}"
    if task.head == "masked_lm":
        return first
    raise UserError(
        f"objective: causal_lm: {task.name} ({task.head}) has no prompt; choose another intermediate task"
    )
