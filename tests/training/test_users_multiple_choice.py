"""A multiple-choice target that only a YAML file describes: trained, evaluated and on the board, with scores that a plain loop
over transformers gives too."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tiny_model import call, make_base  # noqa: E402

from xscale.evaluation.predictions import read_predictions  # noqa: E402

TARGETS = """\
targets:
  - name: story_end
    head: multiple_choice
    text_fields: [story, end1, end2]
    answers: [first, second]
    pairs: [[story, end1], [story, end2]]
    prompt: {context: "{story}", choices: [" {end1}", " {end2}"]}
    languages:
      - {code: en, dataset: me/story, config: en, splits: {test: held_out, validation: dev}}
      - {code: de, dataset: me/story, config: de, splits: {test: held_out, validation: dev}}
    subsets:
      - {name: rain, citation: me, rule: {field: story, matches: "rain"}}
"""
EXPERIMENT = """\
name: story
base: ./base
data: ./mirror
targets_file: targets.yaml
intermediate: mine
sizes: [0, 32]
targets: {story_end: {train: [mine], size: 24}}
tasks: {mine: {file: stories.jsonl, head: multiple_choice, licence: CC0, citation: us}}
training:
  intermediate: {epochs: 1, batch_size: 8, max_length: 32, freeze: nothing}
  story_end: {epochs: 2, batch_size: 8, max_length: 32, learning_rate: 1.0e-2, freeze: nothing}
"""
STORIES = (
    "The rain is on the roof",
    "The old lady is at the sea",
    "A boy has a red fox",
    "The bus is full today",
)
ENDS = ("she is mending the table", "he is in the garden", "the dog is on the bed", "people are in the house")


def rows(count: int, first: int) -> list[dict]:
    """Stories with two ends; the numbers make each one another."""
    words = "one two three four five six seven eight nine ten big small red green blue old young".split()
    made = []
    for number in range(first, first + count):
        mark = f"{words[number % 17]} {words[number // 17 % 17]}"
        made.append(
            {
                "story": f"{STORIES[number % 4]} {mark}",
                "end1": f"{ENDS[number % 4]} {mark}",
                "end2": ENDS[(number + 1) % 4],
                "label": number % 2,
            }
        )
    return made


def write(path: Path, made: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The experiment, run; two of its training rows are rows of the held-out split."""
    folder = tmp_path_factory.mktemp("story")
    make_base(folder / "base")
    for language in ("en", "de"):
        write(folder / f"mirror/me/story/{language}/held_out.jsonl", rows(30, 0))
        write(folder / f"mirror/me/story/{language}/dev.jsonl", rows(8, 30))
    training = [*rows(2, 0), *rows(100, 60)]
    made = [{"context": r["story"], "choices": [r["end1"], r["end2"]], "label": r["label"]} for r in training]
    write(folder / "stories.jsonl", made)
    (folder / "targets.yaml").write_text(TARGETS, encoding="utf-8")
    (folder / "story.yaml").write_text(EXPERIMENT, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("XSCALE_TARGETS", "")
        code, out, err = call("run", "story.yaml")
        assert code == 0, err
        (folder / "printed").write_text(out, encoding="utf-8")
        board = call("board", "--format", "json", "--targets-file", "targets.yaml", "--subset", "rain")
        assert board[0] == 0, board[2]
    (folder / "board.json").write_text(board[1], encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", ["story-0-seed1", "story-32-seed1"])
def test_scores_are_those_of_a_plain_loop(finished: Path, name: str) -> None:
    from transformers import AutoModelForMultipleChoice, AutoTokenizer

    head = finished / "checkpoints" / name / "story_end"
    model, tokenizer = (
        AutoModelForMultipleChoice.from_pretrained(head).eval(),
        AutoTokenizer.from_pretrained(head),
    )
    table = read_predictions(finished / "results" / name / "predictions.parquet").table.to_pylist()
    assert len(table) == 60 and {row["language"] for row in table} == {"en", "de"}
    expected = rows(30, 0)
    right = []
    for answered in table:
        row = expected[answered["row"]]
        inputs = tokenizer([row["story"]] * 2, [row["end1"], row["end2"]], padding=True, return_tensors="pt")
        with torch.no_grad():
            logits = model(**{key: value[None] for key, value in inputs.items()}).logits[0]
        scores = torch.log_softmax(logits, -1).tolist()
        assert answered["logprobs"] == pytest.approx(scores, abs=1e-5)
        assert answered["prediction"] == int(np.argmax(scores)) and answered["label"] == row["label"]
        right.append((answered["language"], "rain" in row["story"], answered["prediction"] == row["label"]))
    (shown,) = (
        row
        for t in json.loads((finished / "board.json").read_text())["tables"]
        for row in t["rows"]
        if row["id"] == name
    )
    assert shown["acc"]["all"]["value"] == pytest.approx(np.mean([r for _, _, r in right]))
    assert shown["acc"]["rain"]["value"] == pytest.approx(np.mean([r for _, rain, r in right if rain]))
    stored = json.loads((finished / "results" / name / "results.json").read_text())["results"]
    german = [r for language, _, r in right if language == "de"]
    assert stored["story_end_ood_de"]["acc,none"] == pytest.approx(np.mean(german))


def test_training_changed_the_head_and_dropped_what_is_evaluated_on(finished: Path) -> None:
    """The target's own names of splits are read; two rows of the training file are in `held_out`."""
    record = json.loads((finished / "checkpoints/story-32-seed1/recipe.json").read_text())
    phases = {phase["phase"]: phase for phase in record["phases"]}
    assert phases["story_end"]["rows"] == 24 and phases["story_end"]["leaked_rows_dropped"] == 2
    assert phases["intermediate"]["rows"] == 32
    assert not any("me/story" in name for name in phases["story_end"]["leakage_not_checked"])
    assert "story_end" in (finished / "printed").read_text()
