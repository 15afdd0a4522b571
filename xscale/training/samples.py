"""Which rows each phase of a recipe is trained on: loaded, labels matched, leaks dropped, sizes drawn."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from harness_tasks.targets import get_target
from xscale.errors import UserError
from xscale.experiment import MaskedLM, Recipe
from xscale.progress import say
from xscale.training.labels import answer_numbers, target_answers
from xscale.training.ladder import mixing_weights, nested_sample, split_size
from xscale.training.leakage import Leaks, drop_leaks, evaluation_texts
from xscale.training.prompts import prompt_of
from xscale.training.tasks import Example, Loaded, TrainingTask, load_examples, training_task
from xscale.training.texts import load_texts

MASKED_LM = "masked_lm"


@dataclass(frozen=True)
class Sample:
    """The rows of a task that are trained on. `order` are row numbers of `examples`; `labels` names the labels in the
    order of their numbers there."""

    task: TrainingTask
    labels: tuple[str, ...]
    examples: list[Example]
    order: np.ndarray
    rows_here: int
    leaks: Leaks


def check_recipe(recipe: Recipe) -> None:
    """Raise `UserError` for what can be known before training: unknown tasks, heads and labels that do not fit, sizes too
    large."""
    if recipe.lora is not None and recipe.objective == "heads" and len(recipe.intermediate) > 1:
        raise UserError("lora: one intermediate task is possible with adapters; give one, or leave lora out")
    if recipe.lora is not None and recipe.masked_lm is not None:
        raise UserError("lora: masked_lm is not possible with adapters; leave one of them out")
    for target, plan in (recipe.targets if recipe.objective == "heads" else {}).items():
        for name in plan.train:
            task = training_task(name, recipe.tasks)
            if task.head != get_target(target).head:
                raise UserError(
                    f"targets.{target}.train: {name!r} is a {task.head} task, {target} needs {get_target(target).head}"
                )
        if recipe.lora is not None and not get_target(target).is_trained:
            raise UserError(f"lora: {target} is answered by the whole encoder; leave one of them out")
        target_samples(recipe, target)
    for name in recipe.intermediate:
        training_task(name, recipe.tasks)
    if recipe.size:
        intermediate_samples(recipe)
        if recipe.masked_lm is not None:
            load_texts(recipe.masked_lm, recipe.data)


def intermediate_samples(recipe: Recipe) -> list[Sample]:
    """The intermediate phase's rows by task, without tasks that a mixture leaves none.

    Raises `UserError` when there are too few rows, or tasks that share a head have other labels or another order of them.
    """
    names = recipe.intermediate
    if len(names) == 1:
        return [_sample(recipe, names[0], recipe.size, "sizes")]
    sizes = [len(_clean(recipe, name)[1]) for name in names]
    assert recipe.mixing is not None
    try:
        counts = split_size(sizes, recipe.size, mixing_weights(sizes, recipe.mixing))
    except UserError as error:
        raise UserError(f"sizes: {error}") from None
    samples = [_sample(recipe, name, count, "sizes") for name, count in zip(names, counts, strict=True)]
    _refuse_other_labels(samples)
    return [sample for sample in samples if len(sample.order)]


def _refuse_other_labels(samples: list[Sample]) -> None:
    first: dict[str, Sample] = {}
    for sample in samples:
        other = first.setdefault(sample.task.family, sample)
        if other.labels != sample.labels:
            raise UserError(
                f"intermediate: {other.task.name} and {sample.task.name} share a head, but their labels are "
                f"{', '.join(other.labels)} and {', '.join(sample.labels)}; the same in the same order are needed "
                "(tasks: {<name>: {labels: [...]}} gives the order), or another name before the @"
            )


def target_samples(recipe: Recipe, target: str) -> list[Sample]:
    """The rows of a target's fine-tuning sets, one after the other, their labels numbered as the target's answers are.

    Raises `UserError` when there are too few rows, or a set has other labels than the target.
    """
    plan, answers, samples = recipe.targets[target], target_answers(target), []
    field = f"targets.{target}.size"
    for name in plan.train:
        loaded, kept, leaks = _clean(recipe, name)
        if answers is not None:
            try:
                loaded = with_answers(loaded, answers)
            except ValueError as error:
                hint = (
                    f"; tasks: {{{name}: {{labels: [...]}}}} names the labels 0, 1, 2"
                    if name in recipe.tasks
                    else ""
                )
                raise UserError(f"targets.{target}.train: {name}: {error}{hint}") from None
        if unknown := sorted(set(loaded.labels) - set(get_target(target).tags or loaded.labels)):
            raise UserError(
                f"targets.{target}.train: {name}: {unknown[0]!r} is none of its tags: "
                f"{', '.join(get_target(target).tags)}"
            )
        samples.append(_drawn(recipe, name, loaded, kept, leaks, plan.size, field, from_end=True))
    return samples


def rows_in_common(sample: Sample, others: list[Sample]) -> int:
    """How many of the sample's rows have the texts of a row of the others, whatever the label and the set's name."""
    theirs = {tuple(other.examples[row].pairs) for other in others for row in other.order}
    return sum(tuple(sample.examples[row].pairs) in theirs for row in sample.order)


def with_answers(loaded: Loaded, answers: tuple[str, ...]) -> Loaded:
    """The same examples with their labels numbered as `answers` are, matched by name.

    Raises ValueError when the labels' names are not the answers.
    """
    numbers = answer_numbers(loaded.labels, answers)
    if numbers == list(range(len(answers))):
        return replace(loaded, labels=answers)
    examples = [replace(example, label=numbers[example.label]) for example in loaded.examples]
    return Loaded(examples, answers)


def as_prompts(sample: Sample) -> Sample:
    """The sample for a causal language model: each row as running text with its right answer."""
    task = replace(sample.task, labels=sample.labels)
    prompts = {
        int(row): replace(sample.examples[row], pairs=[(prompt_of(sample.examples[row], task), "")])
        for row in sample.order
    }
    examples = [prompts.get(row, example) for row, example in enumerate(sample.examples)]
    return replace(sample, task=replace(task, head="causal_lm"), examples=examples)


def texts_sample(masked_lm: MaskedLM, recipe: Recipe) -> Sample:
    """All texts of masked language modelling, as one task."""
    examples, leaks = load_texts(masked_lm, recipe.data)
    where = masked_lm.texts or f"{masked_lm.dataset} ({', '.join(masked_lm.configs)})"
    task = TrainingTask(
        MASKED_LM, (), (masked_lm.field,), "masked_lm", ("text",), lambda row, labels: None, "perplexity",
        None, "not said", "not said", file=where,
    )  # fmt: skip
    return Sample(task, ("text",), examples, np.arange(len(examples)), len(examples), leaks)


def _sample(recipe: Recipe, name: str, size: int | None, field: str) -> Sample:
    return _drawn(recipe, name, *_clean(recipe, name), size, field)


def _drawn(
    recipe: Recipe,
    name: str,
    loaded: Loaded,
    kept: list[int],
    leaks: Leaks,
    size: int | None,
    field: str,
    from_end: bool = False,
) -> Sample:
    """The intermediate phase takes rows from the beginning of the order, targets from its end. A size of all rows of the set
    means all that are not in the targets' evaluation sets."""
    labels = [loaded.examples[row].label for row in kept]
    whole = size is None or size == len(loaded.examples)
    try:
        order = nested_sample(labels, len(labels) if whole else size or 0, recipe.seed, name, from_end)
    except UserError as error:
        dropped = leaks.rows + leaks.premises
        also = f" ({dropped} that are in the targets' evaluation sets were dropped)" if dropped else ""
        raise UserError(f"{field}: {error}{also}") from None
    task = training_task(name, recipe.tasks)
    return Sample(task, loaded.labels, loaded.examples, np.asarray(kept)[order], len(loaded.examples), leaks)


def rows_of(sample: Sample, recipe: Recipe, answers: tuple[str, ...] | None = None) -> str:
    """SHA-256 in hex of the sample's rows in their order, by content; `answers`: of the target whose numbers the labels have."""
    if sample.task.name == MASKED_LM:
        digests = _digests(sample.examples)
    else:
        task = training_task(sample.task.name, recipe.tasks)
        digests = _row_digests(task, recipe.data, _stamp(task, recipe), answers)
    return hashlib.sha256(digests[sample.order].tobytes()).hexdigest()


def set_of(recipe: Recipe, name: str, answers: tuple[str, ...] | None = None) -> str:
    """SHA-256 in hex of all usable rows of a set, by content."""
    task = training_task(name, recipe.tasks)
    _, kept, _ = _clean(recipe, name)
    digests = _row_digests(task, recipe.data, _stamp(task, recipe), answers)
    return hashlib.sha256(digests[np.asarray(kept)].tobytes()).hexdigest()


@lru_cache(maxsize=16)
def _row_digests(
    task: TrainingTask, source: str, stamp: str | None, answers: tuple[str, ...] | None
) -> np.ndarray:
    loaded, _, _ = _clean_cached(task, source, stamp)
    if answers is not None:
        loaded = with_answers(loaded, answers)
    return _digests(loaded.examples)


def _digests(examples: list[Example]) -> np.ndarray:
    """BLAKE2b of each example, shape (rows, 16)."""
    joined = b"".join(
        hashlib.blake2b(
            json.dumps([e.pairs, e.label, e.span, e.tags]).encode("utf-8", "surrogatepass"), digest_size=16
        ).digest()
        for e in examples
    )
    return np.frombuffer(joined, dtype=np.uint8).reshape(-1, 16)


def _stamp(task: TrainingTask, recipe: Recipe) -> str | None:
    """The content of a user's file, so that a changed one is read again."""
    return recipe.own_files.get(str(Path(task.file).expanduser())) if task.file is not None else None


def _clean(recipe: Recipe, name: str) -> tuple[Loaded, list[int], Leaks]:
    task = training_task(name, recipe.tasks)
    return _clean_cached(task, recipe.data, _stamp(task, recipe))


@lru_cache(maxsize=16)  # as many tasks as a mixture may have
def _clean_cached(
    task: TrainingTask, source: str, stamp: str | None = None
) -> tuple[Loaded, list[int], Leaks]:
    """A task's examples, the numbers of those that are in no evaluation set, and what was dropped."""
    loaded = load_examples(task, source)
    language = task.name.partition("@")[2] or "en"
    kept, leaks = drop_leaks(
        loaded.examples,
        evaluation_texts(
            source, tuple(dict.fromkeys(("en", language))), task.head in ("span", "token_classification")
        ),
    )
    if leaks.rows or leaks.premises:
        say(
            f"{task.name}: {leaks.rows} rows of the targets' validation or test sets, and {leaks.premises} with a premise "
            f"of theirs, are left out of training (for instance: {leaks.examples[0]})"
        )
    return loaded, kept, leaks
