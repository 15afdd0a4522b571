"""Answers count only for what was asked: other words of a prompt, other pairs or other few-shot rows are other answers."""

import json
from pathlib import Path

import pytest
import yaml

from harness_tasks.rows import _read_cached
from harness_tasks.targets import registry
from xscale.evaluation import models
from xscale.evaluation.answers import evaluate_entry, is_current, result_key
from xscale.evaluation.predictions import prediction_files, read_predictions
from xscale.manifest import Entry, EvaluationOptions

ROWS = [{"review": f"Soup number {n}.", "claim": "It was good.", "label": n % 2} for n in range(8)]
TARGET = {
    "name": "review_nli",
    "title": "Review NLI",
    "head": "pair_classification",
    "text_fields": ["review", "claim"],
    "answers": ["follows", "does_not"],
    "pairs": [["review", "claim"]],
    "prompt": {"choices": ["{review} {word1}, {claim}", "{review} {word2}, {claim}"]},
    "languages": [
        {
            "code": "en",
            "dataset": "me/reviews",
            "config": "en",
            "splits": {"test": "test", "validation": "validation"},
            "words": ["Indeed", "However"],
        }
    ],
}
SELECTION = {"review_nli": (("en",), None)}


@pytest.fixture
def described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes the user's file, with changes, as a process that starts now reads it."""
    for split, rows in (("test", ROWS), ("validation", ROWS[:4])):
        path = tmp_path / f"mirror/me/reviews/en/{split}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def write(**changes: object) -> None:
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump({"targets": [TARGET | changes]}, sort_keys=False))
        monkeypatch.setenv("XSCALE_TARGETS", str(path))
        registry._described.cache_clear()
        models._load_tasks.cache_clear()

    write()
    yield write
    registry._described.cache_clear()
    models._load_tasks.cache_clear()


def _is_current(entry: Entry, folder: Path) -> bool:
    mirror, manifest = str(folder / "mirror"), folder / "m.json"
    return is_current(folder / entry.id, result_key(entry, SELECTION, mirror, manifest))


def _languages(words: list[str]) -> list[dict]:
    return [{**TARGET["languages"][0], "words": words}]


def test_other_words_of_a_prompt_are_other_answers(described, causal_lm: Path, tmp_path: Path) -> None:
    entry = Entry(
        id="lm", model="hf", model_args={"pretrained": str(causal_lm), "device": "cpu", "dtype": "float32"}
    )
    mirror, manifest = str(tmp_path / "mirror"), tmp_path / "m.json"

    def scores() -> list[list[float]]:
        evaluate_entry(entry, SELECTION, mirror, manifest, tmp_path)
        path = prediction_files(tmp_path / entry.id)[0]
        return read_predictions(path).table.column("logprobs").to_pylist()

    first = scores()
    assert _is_current(entry, tmp_path)
    described(languages=_languages(["Truly", "Never"]))
    assert not _is_current(entry, tmp_path)
    assert scores() != first and _is_current(entry, tmp_path)
    described()
    assert _is_current(entry, tmp_path)  # what was computed before counts again


def test_rows_of_few_shot_examples_are_part_of_the_key(described, tmp_path: Path) -> None:
    shots = EvaluationOptions(num_fewshot=2)
    entry = Entry(id="lm", model="hf", model_args={"pretrained": "a/b"}, evaluation=shots)

    def asked() -> dict:
        return result_key(entry, SELECTION, str(tmp_path / "mirror"), tmp_path / "m.json")["asked_as"]

    before = asked()
    path = tmp_path / "mirror/me/reviews/en/validation.jsonl"
    path.write_text(path.read_text().replace("good", "bad"))
    _read_cached.cache_clear()  # as in a process that starts now
    assert asked() != before


@pytest.mark.parametrize(
    "change",
    [{"pairs": [["claim", "review"]]}, {"answers": ["does_not", "follows"]}, {"cluster": 4}],
    ids=["pairs", "answers", "cluster"],
)
def test_what_an_encoder_is_asked(described, tmp_path: Path, change: dict) -> None:
    entry = Entry(id="e", model="xscale", model_args={"pretrained": "x"}, sha256="0" * 64)

    def asked() -> dict:
        return result_key(entry, SELECTION, str(tmp_path / "mirror"), tmp_path / "m.json")["asked_as"]

    before = asked()
    described(prompt=TARGET["prompt"] | {"context": "Hm."})  # encoders have no prompt
    assert asked() == before
    described(**change)
    assert asked() != before
