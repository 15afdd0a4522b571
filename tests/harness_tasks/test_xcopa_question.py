"""The repair of XCOPA's `question`: how much is wrong, and that nothing else changes."""

import csv

import pytest

from harness_tasks.audit import QUESTION, audit
from harness_tasks.rows import Options, build_documents
from harness_tasks.targets import doc_to_choice, doc_to_text, get_target

WRONG = {
    "test": {"th": 250, "tr": 51, "sw": 37, "id": 4, "it": 4},
    "validation": {"th": 52, "tr": 52, "sw": 6, "id": 5, "it": 5},
}
# written down here again, so that a slip in the package's table shows
BECAUSE = {
    "en": "because", "et": "sest", "ht": "poukisa", "id": "karena", "it": "perché", "qu": "imataq",
    "sw": "kwa sababu", "ta": "காரணமாக", "th": "เพราะ", "tr": "çünkü", "vi": "bởi vì", "zh": "因为",
}  # fmt: skip


def copa_questions(real_data, split):
    with (real_data.parent / "xcopa_rows.tsv").open(encoding="utf-8") as file:
        return [row["question"] for row in csv.DictReader(file, delimiter="\t") if row["split"] == split]


@pytest.mark.parametrize("split", ["test", "validation"])
def test_how_much_is_wrong(split, real_data, read_real):
    truth = copa_questions(real_data, split)
    for language in get_target("xcopa").languages:
        rows = read_real("xcopa", language, split)
        wrong = [i for i, row in enumerate(rows) if row["question"] != truth[i]]
        assert len(wrong) == WRONG[split].get(language, 0)
        assert all(truth[i] == "cause" for i in wrong)
        assert audit("xcopa", language, split, str(real_data))[QUESTION] == wrong


@pytest.mark.parametrize("language", get_target("xcopa").languages)
def test_prompts_carry_the_right_connector(language, real_data):
    for split in ("test", "validation"):
        truth = copa_questions(real_data, split)
        for doc in build_documents("xcopa", language, split, Options(str(real_data))):
            assert doc["question"] == truth[doc["row"]]
            is_cause = truth[doc["row"]] == "cause"
            assert doc_to_text(doc).endswith(" " + BECAUSE[language]) == is_cause


@pytest.mark.parametrize("language", ["th", "tr", "sw", "id", "it"])
def test_nothing_but_the_question_changes(language, real_data, read_real):
    options = Options(str(real_data))
    repaired = build_documents("xcopa", language, options=options)
    published = build_documents("xcopa", language, options=Options(str(real_data), repair_question=False))
    rows = read_real("xcopa", language)
    for new, old in zip(repaired, published, strict=True):
        row = rows[new["row"]]
        assert {key: value for key, value in new.items() if key != "question"} == {
            key: value for key, value in old.items() if key != "question"
        }
        assert old["question"] == row["question"]
        assert doc_to_choice(new) == doc_to_choice(old)
        assert (new["choice1"], new["choice2"], new["label"]) == (
            row["choice1"],
            row["choice2"],
            row["label"],
        )
    changed = sum(new["question"] != old["question"] for new, old in zip(repaired, published, strict=True))
    assert changed == WRONG["test"][language]


def test_the_documents_say_what_the_audit_finds(real_data):
    from pathlib import Path

    text = (Path(__file__).parents[2] / "docs" / "xcopa-question.md").read_text(encoding="utf-8")
    for language, name in {
        "th": "Thai",
        "tr": "Turkish",
        "sw": "Swahili",
        "id": "Indonesian",
        "it": "Italian",
    }.items():
        assert (
            f"| {name} ({language}) | {WRONG['test'][language]} | {WRONG['validation'][language]} |" in text
        )
