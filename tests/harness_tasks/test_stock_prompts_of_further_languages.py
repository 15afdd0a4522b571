"""Prompts of XNLI in Basque, Catalan, Galician and Valencian are those of lm_eval's own tasks, its preparation of the texts
included: real Basque rows where a mirror has them, and rows with everything that the preparation changes."""

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("lm_eval")

import lm_eval.tasks
from lm_eval.tasks import TaskManager

from harness_tasks.rows import Options, build_documents
from harness_tasks.targets import doc_to_choice, doc_to_text, document_pairs, get_target

STOCK = Path(lm_eval.tasks.__file__).parent
FOLDERS = {"eu": "xnli_eu", "ca": "catalan_bench", "va": "catalan_bench", "gl": "galician_bench"}
PAIRS = [
    ("Hi ha dues dones al mercat .", "Les dones compren fruita."),
    ("« Què vols ? » va dir ( molt fluix ) l'home .", "L' home no va dir res"),
    ('Va cridar: " Ajuda ! "', "Àngel demana ajuda !"),
    ("O can non come, porque está enfermo,", "O can está ben ."),
    ("Isn n't a word , 's it?", "ESTE é todo maiúsculas?"),
    ("  spaces around  ", "  Two  inside .  "),
    ("A.", "b"),
    ("Non rematou", "Unha frase."),
]


@pytest.fixture
def stock_files_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """lm_eval's files of Catalan and Galician tasks import a module, for other tasks, that transformers 5 does not have."""
    pytest.importorskip("transformers", reason="lm_eval's files of these tasks import transformers")
    for name in ("transformers.data.metrics", "transformers.data.metrics.squad_metrics"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))


def stock_documents(language: str, rows: list[dict], folder: Path):
    """lm_eval's own task over these rows, and its documents."""
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    manager = TaskManager(include_path=str(STOCK / FOLDERS[language]), include_defaults=False)
    override = {
        "task": f"xnli_{language}",
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": dict.fromkeys(("train", "validation", "test"), str(path))},
    }
    task = manager.load([{"group": "stock", "task": [override]}])["tasks"][override["task"]]
    return task, list(task.eval_docs)


def as_published(language: str, number: int, premise: str, hypothesis: str) -> dict:
    place = get_target("xnli").places[language]
    names = dict(place.fields)
    values = {label: value for value, label in place.labels} or {0: 0, 1: 1, 2: 2}
    row = {"premise": premise, "hypothesis": hypothesis, "label": values[number % 3]}
    return {names.get(field, field): value for field, value in row.items()}


@pytest.mark.parametrize("language", FOLDERS)
def test_made_up_rows(language: str, tmp_path: Path, stock_files_load: None) -> None:
    rows = [as_published(language, number, *pair) for number, pair in enumerate(PAIRS)]
    task, theirs = stock_documents(language, rows, tmp_path)
    changed = 0
    for (premise, hypothesis), stock in zip(PAIRS, theirs, strict=True):
        doc = {"target": "xnli", "language": language, "premise": premise, "hypothesis": hypothesis}
        assert doc_to_choice(doc) == task.doc_to_choice(stock)
        assert doc_to_text(doc) == task.doc_to_text(stock) == ""
        assert document_pairs(doc) == [(premise, hypothesis)]  # encoders get the texts as published
        changed += doc_to_choice(doc)[0].split("? ")[-1] not in (hypothesis, f"Bai, {hypothesis}")
    assert (changed > 0) == (language != "eu")


def test_real_rows_in_basque(real_data: Path, tmp_path: Path) -> None:
    docs = build_documents("xnli", "eu", options=Options(str(real_data)))[:400]
    rows = [{field: doc[field] for field in ("premise", "hypothesis", "label")} for doc in docs]
    task, theirs = stock_documents("eu", rows, tmp_path)
    for doc, stock in zip(docs, theirs, strict=True):
        assert doc_to_choice(doc) == task.doc_to_choice(stock)
        assert doc["label"] == task.doc_to_target(stock)
