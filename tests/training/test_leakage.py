"""Evaluation rows among the training rows are found whatever their punctuation, case and order, and dropped."""

from __future__ import annotations

import json
from pathlib import Path

from xscale.training.leakage import drop_leaks, evaluation_texts, normalised
from xscale.training.tasks import TASKS, Example, load_examples


def write_mirror(folder: Path) -> str:
    rows = {
        "facebook/xnli/en/test": [
            {"premise": "The committee met in the old hall.", "hypothesis": "Nobody met.", "label": 2},
            {"premise": "Yes, sure.", "hypothesis": "It is true.", "label": 0},
        ],
        "aps/super_glue/copa/validation": [
            {
                "premise": "It rained.",
                "choice1": "I got wet.",
                "choice2": "I ate.",
                "question": "effect",
                "label": 0,
            }
        ],
    }
    for name, content in rows.items():
        path = folder / f"{name}.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
    return str(folder)


def test_rows_and_long_premises_are_dropped_and_counted(tmp_path: Path) -> None:
    texts = evaluation_texts(write_mirror(tmp_path), ("en",))
    examples = [
        Example([("the committee met in the old hall", "NOBODY met!")], 0),  # the row, with another label
        Example([("The committee met in the old hall.", "Someone met.")], 0),  # its premise
        Example([("Yes, sure.", "Something else is true.")], 0),  # a premise too short to tell
        Example([("Yes sure", "It is true")], 0),  # the row all the same
        Example(
            [("I ate.", "It rained."), ("I got wet.", "It rained.")], 1
        ),  # COPA's row, as a cause, choices swapped
        Example([("It rained.", "I slept."), ("It rained.", "I ate.")], 1),
        Example([("A dog runs.", "An animal runs.")], 0),
    ]
    kept, leaks = drop_leaks(examples, texts)
    assert kept == [2, 5, 6]
    assert (leaks.rows, leaks.premises) == (3, 1)
    assert leaks.checked == ("facebook/xnli en test", "aps/super_glue copa validation")
    assert leaks.absent[:2] == ("facebook/xnli en validation", "aps/super_glue copa test")
    assert {*leaks.absent[2:]} == {"google/xtreme PAWS-X.en validation", "google/xtreme PAWS-X.en test"}


def test_texts_are_compared_without_case_punctuation_and_width() -> None:
    assert normalised("  It's — “fine”, really!  ") == "it s fine really"
    assert normalised("ＡＢＣ\u00a0１") == "abc 1"
    assert normalised("हिन्दी में।") == "हिन्दी में"  # vowel signs are kept, the danda is not


def test_real_training_sets(real_data: Path) -> None:
    """Counted by a plain set intersection here: the mirror's MNLI has four rows with XNLI texts; COPA has none."""
    texts = evaluation_texts(str(real_data), ("en",))
    assert not texts.absent
    mnli = load_examples(TASKS["mnli"], str(real_data)).examples
    kept, leaks = drop_leaks(mnli, texts)
    expected = sum(bool(texts.premises & {normalised(text) for text in example.pairs[0]}) for example in mnli)
    assert (leaks.rows, leaks.premises) == (0, expected) == (0, 4)
    assert len(kept) == len(mnli) - 4
    copa = load_examples(TASKS["copa"], str(real_data)).examples
    assert len(drop_leaks(copa, texts)[0]) == 400
