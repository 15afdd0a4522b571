"""A board tests what the experiments of its workspace ask, as the log of their runs has it."""

import json
from pathlib import Path

import numpy as np
from tiny_model import call

from xscale.journal import journal_of, write_event
from xscale.leaderboard.family import Question
from xscale.questions import question_of

RECIPES = [["e-0-seed1", 0], ["e-64-seed1", 64]]


def planned(manifest: Path, experiment: str, question: object, recipes: list = RECIPES) -> None:
    write_event(
        journal_of(manifest),
        "planned",
        experiment=experiment,
        recipes=recipes,
        question=question,
        command="x",
    )


def test_the_last_word_of_each_experiment_counts_and_different_ones_are_not_mixed(tmp_path: Path) -> None:
    manifest = tmp_path / "m.json"
    ids = [name for name, _ in RECIPES]
    assert question_of(manifest, ids) == (Question(), None)
    planned(manifest, "e", {"subset": "ood", "targets": ["xnli"]})
    planned(manifest, "e", {"subset": "lexical", "targets": ["xnli", "xcopa"]})
    lexical = Question("lexical", ("xcopa", "xnli"))
    assert question_of(manifest, ids) == (lexical, None)
    planned(manifest, "elsewhere", {"subset": "id", "targets": ["xnli"]}, [["other-0-seed1", 0]])
    planned(manifest, "old", None)  # of a log that had no questions
    planned(manifest, "odd", {"subset": 7, "targets": "all"})
    assert question_of(manifest, ids) == (lexical, None)
    planned(manifest, "again", {"subset": "lexical", "targets": ["xcopa", "xnli"]})
    assert question_of(manifest, ids) == (lexical, None)
    planned(manifest, "different", {"subset": "id", "targets": ["xnli"]})
    asked, note = question_of(manifest, ids)
    assert asked == Question() and note is not None
    assert "e: lexical of xcopa, xnli" in note and "different: id of xnli" in note


def test_board_compares_on_the_subset_that_was_asked_for(tmp_path: Path) -> None:
    import pyarrow as pa

    from harness_tasks.rows import Options, anchor_of, build_documents
    from xscale.evaluation.predictions import PREDICTIONS, write_predictions
    from xscale.manifest import Entry, Manifest, write_manifest

    manifest = tmp_path / "checkpoints_manifest.json"
    documents = build_documents("xnli", "en", "test", Options(data="bundled"))
    generator = np.random.default_rng(0)
    entries = []
    for name, size in RECIPES:
        made = {"size": size, "seed": 1, "baseline": "e-0-seed1" if size else None}
        entries.append(Entry(id=name, model="xscale", model_args={"pretrained": "x"}, base="b", **made))
        answers = [
            document["label"] if generator.random() < 0.4 + size / 200 else (document["label"] + 1) % 3
            for document in documents
        ]
        columns = {
            "target": ["xnli"] * len(documents),
            "task": ["xnli_ood_en"] * len(documents),
            "language": ["en"] * len(documents),
            "row": [document["row"] for document in documents],
            "label": [document["label"] for document in documents],
            "prediction": answers,
            "logprobs": [[-0.1 if choice == answer else -3.0 for choice in range(3)] for answer in answers],
        }
        info = {
            "source": "bundled",
            "anchors": {"xnli": anchor_of("xnli", Options(data="bundled"))},
            "fingerprints": {"xnli": {"en": "f"}},
            "task_versions": {"xnli": "1.0"},
            "limit": {"xnli": None},
        }
        write_predictions(tmp_path / "results" / name / PREDICTIONS, pa.table(columns), info)
    write_manifest(manifest, Manifest(entries=entries))

    def shown() -> tuple[dict, dict]:
        code, out, err = call("board", "--format", "json", "--draws", "200", "--manifest", manifest)
        assert code == 0, err
        found = json.loads(out)
        return found["settings"]["question"], found["tables"][0]["rows"][1]["deltas"]

    assert shown()[0]["subset"] == "ood" and set(shown()[1]) == {"ood"}
    planned(manifest, "e", {"subset": "id", "targets": ["xnli"]})
    question, deltas = shown()
    assert question == {"subset": "id", "targets": ["xnli"]}
    assert set(deltas) == {"id"} and deltas["id"]["p_holm"] is not None
    planned(manifest, "f", {"subset": "ood", "targets": ["xnli"]})
    code, out, _ = call("board", "--draws", "200", "--manifest", manifest)
    assert code == 0 and "ask different questions" in " ".join(out.split())
