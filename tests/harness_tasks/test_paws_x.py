"""PAWS-X, a target that is one file: which rows are evaluated, prompts equal to lm_eval's own, and a way through everything."""

import gzip
import importlib.util
import json
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from harness_tasks.rows import Options, build_documents
from harness_tasks.targets import doc_to_choice, doc_to_text, get_target
from harness_tasks.tasks import yaml_folder

LANGUAGES = ("de", "en", "es", "fr", "ja", "ko", "zh")


def read(real_data, language, split="test"):
    path = real_data / "google/xtreme" / f"PAWS-X.{language}" / f"{split}.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
        return [json.loads(line) for line in file]


def documents(real_data, language, split="test"):
    return build_documents("paws_x", language, split, Options(str(real_data)))


def test_one_file():
    spec = get_target("paws_x")
    assert spec.languages == LANGUAGES and spec.head == "pair_classification"
    assert spec.pairs({"sentence1": "A", "sentence2": "B"}) == [("A", "B")]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_translated_row_stands_for_its_english_row(language, real_data):
    rows, english = read(real_data, language), read(real_data, "en")
    docs = documents(real_data, language)
    translated = [row for row in rows if "NS" not in (row["sentence1"].strip(), row["sentence2"].strip())]
    assert Counter(doc["sentence1"] for doc in docs) == Counter(row["sentence1"] for row in translated)
    assert all(str(doc["label"]) == english[doc["row"]]["label"] for doc in docs)
    assert len({doc["row"] for doc in docs}) == len(docs) > 1940


def test_the_row_that_korean_lacks(real_data):
    """Row 537 in English; what comes after it is one row further up in the file."""
    docs = {doc["row"]: doc for doc in documents(real_data, "ko")}
    rows = read(real_data, "ko")
    assert 537 not in docs and docs[538]["sentence1"] == rows[537]["sentence1"]
    assert "Bonnie Bedelia Culkin" in docs[538]["sentence1"]
    assert "Bonnie Bedelia Culkin" in read(real_data, "en")[538]["sentence1"]


def test_rows_that_share_a_sentence_are_a_cluster(real_data):
    cluster = get_target("paws_x").cluster
    of_sentence = {}
    for number, row in enumerate(read(real_data, "en")):
        for text in (row["sentence1"], row["sentence2"]):
            of_sentence.setdefault(text, set()).add(cluster(number))
    assert all(len(clusters) == 1 for clusters in of_sentence.values())
    assert len({cluster(number) for number in range(2000)}) == 1238


@pytest.mark.parametrize("language", LANGUAGES)
def test_prompts_are_those_of_lm_eval(language, real_data):
    """Every row of the test split, against the template and the preparation of lm_eval's own task."""
    lm_eval = pytest.importorskip("lm_eval")
    import datasets
    import jinja2

    folder = Path(lm_eval.__file__).parent / "tasks" / "paws-x"
    text = (folder / f"paws_{language}.yaml").read_text(encoding="utf-8")
    stock = yaml.safe_load(text.replace("!function ", ""))
    docs = documents(real_data, language)
    rows = datasets.Dataset.from_list([{key: doc[key] for key in ("sentence1", "sentence2")} for doc in docs])
    if "process_docs" in stock:
        specification = importlib.util.spec_from_file_location("stock_paws", folder / "utils.py")
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        rows = module.process_docs_paraphrases(rows)
    template = jinja2.Environment().compile_expression(stock["doc_to_choice"].strip("{} \n"))
    for doc, row in zip(docs, rows, strict=True):
        assert doc_to_text(doc) == "" and doc_to_choice(doc) == template(**row)


def test_through_lm_eval(real_data):
    pytest.importorskip("lm_eval")
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(yaml_folder()), metadata={"data": str(real_data)})
    found = simple_evaluate("dummy", tasks=["paws_x_ood"], task_manager=manager, limit=40, bootstrap_iters=0)
    assert set(found["results"]) == {"paws_x_ood", *(f"paws_x_ood_{code}" for code in LANGUAGES)}
    assert found["n-samples"]["paws_x_ood_ko"] == {"original": 1971, "effective": 40}
    assert 0 <= found["results"]["paws_x_ood"]["acc,none"] <= 1


def test_a_head_is_trained_and_evaluated(real_data, tmp_path, monkeypatch):
    """Fine-tuned on PAWS (here a few rows in a mirror), evaluated in Korean and English."""
    pytest.importorskip("torch")
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import tiny_model

    from xscale import pipeline
    from xscale.evaluation.predictions import read_predictions
    from xscale.experiment import plan, read_experiment
    from xscale.manifest import read_manifest

    mirror, base = tmp_path / "mirror", tiny_model.make_base(tmp_path / "base")
    (mirror / "google").mkdir(parents=True)
    (mirror / "google/xtreme").symlink_to(real_data / "google/xtreme")
    paws = mirror / "google-research-datasets/paws/labeled_final"
    paws.mkdir(parents=True)
    lines = [
        {
            "sentence1": f"Town {i} lies by a river .",
            "sentence2": f"By a river lies town {i + i % 2} .",
            "label": i % 2,
        }
        for i in range(40)
    ]
    (paws / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    path = tmp_path / "paws.yaml"
    path.write_text(
        f"name: paws\nbase: {base}\nintermediate: paws\nsizes: [0]\ntargets: {{paws_x: {{train: [paws], size: 16}}}}\n"
        "recipe: laptop\ntraining: {paws_x: {max_length: 48}}\nevaluation: {paws_x: {languages: [en, ko], limit: 10}}\n"
    )
    monkeypatch.setenv("XSCALE_CACHE", str(tmp_path / "cache"))
    experiment = read_experiment(path)
    source = pipeline.experiment_source(experiment, str(mirror))
    work = pipeline.Workspace(tmp_path / "checkpoints_manifest.json")
    pipeline.train(plan(experiment, source), work)
    entries = read_manifest(work.manifest).entries
    pipeline.evaluate(entries, pipeline.selection(experiment), source, work)
    rows = read_predictions(tmp_path / "results/paws-0-seed1/predictions.parquet").table.to_pylist()
    assert Counter((row["target"], row["language"]) for row in rows) == {
        ("paws_x", "en"): 10,
        ("paws_x", "ko"): 10,
    }
    assert all(len(row["logprobs"]) == 2 for row in rows)
