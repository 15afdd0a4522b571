"""XQuAD from SQuAD's training rows to the table, on real rows: what chooses the step, and stock lm_eval, say the same."""

import gzip
import json

import pytest
from tiny_model import call
from training.tiny import make_base

from harness_tasks.rows import Options, build_documents
from harness_tasks.targets import get_target
from xscale.evaluation.batches import Section
from xscale.evaluation.encoder_lm import EncoderLM
from xscale.evaluation.predictions import read_predictions
from xscale.training.tasks import load_examples, training_task

EXPERIMENT = """\
name: qa
data: {data}
base: {base}
intermediate: bundled_nli
sizes: [0]
targets:
  xquad: {{train: [{train}], size: 40}}
training:
  xquad: {{epochs: 6, learning_rate: 0.003, batch_size: 8, window: 96, freeze: nothing, dropout: 0.0}}
development: {{choose: best, times: 2, rows: 25, validation_rows: 0}}
evaluation:
  xquad: {{languages: [en, de], limit: 6}}
"""


@pytest.fixture(scope="module")
def qa(real_data, tmp_path_factory):
    work = tmp_path_factory.mktemp("qa")
    with gzip.open(real_data / "rajpurkar/squad/plain_text/train.jsonl.gz", "rt", encoding="utf-8") as file:
        texts = [json.loads(line)["context"] for line in file][:300]
    base = make_base(work / "base", texts=texts)
    (work / "qa.yaml").write_text(
        EXPERIMENT.format(data=real_data, base=base, train="squad"), encoding="utf-8"
    )
    code, _, err = call("run", work / "qa.yaml", "--manifest", work / "manifest.json")
    assert code == 0, err
    return work


def test_what_chooses_the_step_is_the_f1_that_evaluation_gives(qa, real_data):
    record = json.loads((qa / "checkpoints/qa-0-seed1/recipe.json").read_text())["development"]["xquad"]
    assert record["english_rows"] == 25 and len(record["english_scores"]) == 2
    documents = build_documents("xquad", "en", "validation", Options(data=str(real_data)))[:25]
    model = EncoderLM(str(qa / "checkpoints/qa-0-seed1"))
    (texts,) = model.texts("xquad", [Section(documents, range(25))])
    scores = [
        get_target("xquad").scored(document, texts[place])[0] for place, document in enumerate(documents)
    ]
    assert record["english"] == pytest.approx(sum(scores) / 25, abs=1e-9)
    assert 0 < record["english"] < 1
    assert all(
        text and text in document["context"] for text, document in zip(texts.values(), documents, strict=True)
    )


def test_stock_lm_eval_agrees_on_both_languages(qa, real_data):
    import lm_eval
    from lm_eval.tasks import TaskManager

    from harness_tasks.tasks import yaml_folder

    manager = TaskManager(
        include_path=str(yaml_folder()), include_defaults=False, metadata={"data": str(real_data)}
    )
    output = lm_eval.simple_evaluate(
        EncoderLM(str(qa / "checkpoints/qa-0-seed1")),
        tasks=["xtreme_xquad_en", "xtreme_xquad_de"],
        task_manager=manager,
        limit=6,
        log_samples=False,
    )
    table = read_predictions(qa / "results/qa-0-seed1/predictions.parquet").table.to_pylist()
    assert len(table) == 12 and {row["denominator"] for row in table} == {1.0}
    clusters = {row["row"]: row["cluster"] for row in table}
    assert all(
        clusters[row["row"]] == row["cluster"] == get_target("xquad").cluster(row["row"]) for row in table
    )
    for language in ("en", "de"):
        mine = [row for row in table if row["language"] == language]
        found = output["results"][f"xtreme_xquad_{language}"]
        assert found["f1,none"] == pytest.approx(sum(row["numerator"] for row in mine) / 6, abs=1e-9)
        assert found["exact_match,none"] == pytest.approx(sum(row["prediction"] for row in mine) / 6)


def test_a_targets_own_training_rows_are_a_task(tmp_path):
    """English ones only, under the target's name; another language's with @."""
    place = tmp_path / "google-research-datasets/tydiqa/secondary_task"
    place.mkdir(parents=True)
    rows = [
        {"id": f"{name}-1-0", "title": "", "context": f"In {name} .", "question": "Where ?"}
        | {"answers": {"text": [name], "answer_start": [3]}}
        for name in ("english", "finnish", "english", "russian")
    ]
    (place / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for name, contexts in (("tydiqa", ["In english ."] * 2), ("tydiqa@fi", ["In finnish ."])):
        task = training_task(name)
        assert (task.head, task.name) == ("span", name)
        examples = load_examples(task, str(tmp_path)).examples
        assert [example.pairs[0] for example in examples] == [("Where ?", context) for context in contexts]
        assert all(
            example.pairs[0][1][slice(*example.span)] in ("english", "finnish") for example in examples
        )
