"""Rows of a user's own set that are not what their head needs are refused with file and row, never guessed at."""

import json
from pathlib import Path
from typing import Any

import pytest

from xscale.errors import UserError
from xscale.experiment.schema import OwnTask
from xscale.training.tasks import load_examples, training_task

GOOD: dict[str, dict[str, Any]] = {
    "pair_classification": {"text1": "a", "text2": "b", "label": 1},
    "multiple_choice": {"context": "a", "choices": ["x", "y"], "label": 1},
    "token_classification": {"tokens": ["a", "b"], "tags": ["N", "V"]},
    "span": {"question": "q", "context": "abc", "answer": "b", "answer_start": 1},
}


def load(folder: Path, head: str, row: object) -> Any:
    path = folder / "rows.jsonl"
    path.write_text((row if isinstance(row, str) else json.dumps(row)) + "\n", encoding="utf-8")
    own = {"mine": OwnTask.model_validate({"file": str(path), "head": head})}
    return load_examples(training_task("mine", own), None)


@pytest.mark.parametrize("head", list(GOOD))
def test_good_rows_are_taken(tmp_path: Path, head: str) -> None:
    assert len(load(tmp_path, head, GOOD[head]).examples) == 1


@pytest.mark.parametrize(
    ("head", "changes", "said"),
    [
        ("pair_classification", {"label": 0.5}, "a whole number"),
        ("pair_classification", {"label": True}, "a whole number"),
        ("pair_classification", {"label": None}, "a whole number"),
        ("pair_classification", {"label": 10**9}, "more than 10,000 labels"),
        ("pair_classification", {"label": 10**30}, "more than 10,000 labels"),
        ("multiple_choice", {"label": 0.5}, "a whole number"),
        ("multiple_choice", {"label": True}, "a whole number"),
        ("multiple_choice", {"choices": "xy"}, "a list"),
        ("multiple_choice", {"choices": {"x": 1, "y": 2}}, "a list"),
        ("multiple_choice", {"choices": []}, "two at least"),
        ("multiple_choice", {"choices": ["x", 1]}, "a text is expected"),
        ("token_classification", {"tokens": "ab"}, "a list"),
        ("token_classification", {"tokens": {"a": 1, "b": 2}}, "a list"),
        ("token_classification", {"tags": [True, False]}, "a whole number"),
        ("token_classification", {"tags": "NV"}, "a list"),
        ("span", {"answer_start": -1}, "not inside the context"),
        ("span", {"answer_start": 1.5}, "a whole number"),
        ("span", {"answer": ["b"]}, "a text is expected"),
    ],
)
def test_other_rows_are_refused(tmp_path: Path, head: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        load(tmp_path, head, GOOD[head] | changes)


def test_nesting_and_bombs_end(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="line 1: not JSON"):
        load(tmp_path, "span", "[" * 100_000)
