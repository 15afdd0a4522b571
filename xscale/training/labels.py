"""Label names: how those of a training set or of a model stand to a target's answers."""

from __future__ import annotations

from collections.abc import Sequence

from harness_tasks.targets import get_target


def target_answers(target: str) -> tuple[str, ...] | None:
    """The names that a classifier for the target must give its labels, in the order of the target's answers; None where
    the answers are the choices of each document, or texts."""
    spec = get_target(target)
    return spec.answers if spec.head == "pair_classification" else None


def answer_numbers(names: Sequence[str], answers: Sequence[str]) -> list[int]:
    """For each label name the number of the answer it means; case and surrounding spaces do not count.

    Raises ValueError unless the names are just the answers, in any order: nothing is guessed from an order.
    """
    known = {answer.lower(): number for number, answer in enumerate(answers)}
    numbers = [known.get(str(name).strip().lower()) for name in names]
    found = [number for number in numbers if number is not None]
    if len(found) != len(numbers) or sorted(found) != list(range(len(answers))):
        raise ValueError(
            f"its labels are {', '.join(map(repr, map(str, names))) or 'none'}; {', '.join(answers)} are needed"
        )
    return found
