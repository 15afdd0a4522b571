"""Prompts of XNLI in Basque, Catalan, Galician and Valencian, of XCOPA in Basque, Catalan and Spanish and of COPAL-ID are
those of lm_eval's own tasks, its preparation of the texts included: real Basque rows where a mirror has them, and rows
with everything that the preparation changes."""

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
COPA = {  # language: folder, task
    "eu": ("basque_bench", "xcopa_eu"),
    "ca": ("catalan_bench", "copa_ca"),
    "es": ("spanish_bench", "copa_es"),
    "id_native": ("copal_id", "copal_id_standard"),
    "id_colloquial": ("copal_id", "copal_id_colloquial"),
}
PREMISES = [
    "L'home va obrir l'aixeta.",
    "La noia va trobar un insecte al menjar .",
    "  La dona va tancar la porta!  ",
    "Sense punt final",
    "Con punto y espacio. ",
    "Ez zekien zer egin?",
]
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


def stock_documents(task_name: str, of: str, rows: list[dict], folder: Path):
    """lm_eval's own task, in the folder `of`, over these rows, and its documents."""
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    manager = TaskManager(include_path=str(STOCK / of), include_defaults=False)
    override = {
        "task": task_name,
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {
            "data_files": dict.fromkeys(("train", "validation", "test", "test_colloquial"), str(path))
        },
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
    task, theirs = stock_documents(f"xnli_{language}", FOLDERS[language], rows, tmp_path)
    changed = 0
    for (premise, hypothesis), stock in zip(PAIRS, theirs, strict=True):
        doc = {"target": "xnli", "language": language, "premise": premise, "hypothesis": hypothesis}
        assert doc_to_choice(doc) == task.doc_to_choice(stock)
        assert doc_to_text(doc) == task.doc_to_text(stock) == ""
        assert document_pairs(doc) == [(premise, hypothesis)]  # encoders get the texts as published
        changed += doc_to_choice(doc)[0].split("? ")[-1] not in (hypothesis, f"Bai, {hypothesis}")
    assert (changed > 0) == (language != "eu")


@pytest.mark.parametrize("language", COPA)
def test_made_up_rows_of_xcopa(language: str, tmp_path: Path, stock_files_load: None) -> None:
    rows = [
        {"premise": premise, "choice1": "Va obrir .", "choice2": "ÀGIL, no", "question": question, "label": 1}
        for premise in PREMISES
        for question in ("cause", "effect")
    ]
    folder, name = COPA[language]
    task, theirs = stock_documents(name, folder, rows, tmp_path)
    assert len(theirs) == len(rows)
    for row, stock in zip(rows, theirs, strict=True):
        doc = {"target": "xcopa", "language": language, **row}
        assert doc_to_text(doc) == task.doc_to_text(stock)
        assert doc_to_choice(doc) == task.doc_to_choice(stock)
        texts = {row["premise"], row["choice1"], row["choice2"]}  # encoders get them as published
        assert {text for pair in document_pairs(doc) for text in pair} == texts


def test_real_rows_in_basque(real_data: Path, tmp_path: Path) -> None:
    docs = build_documents("xnli", "eu", options=Options(str(real_data)))[:400]
    rows = [{field: doc[field] for field in ("premise", "hypothesis", "label")} for doc in docs]
    task, theirs = stock_documents("xnli_eu", FOLDERS["eu"], rows, tmp_path)
    for doc, stock in zip(docs, theirs, strict=True):
        assert doc_to_choice(doc) == task.doc_to_choice(stock)
        assert doc["label"] == task.doc_to_target(stock)
