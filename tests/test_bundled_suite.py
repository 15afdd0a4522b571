"""The bundled suite: sizes, balance, the same rows in every language, no leak from training into tests."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from harness_tasks.rows import Options, build_documents
from harness_tasks.sources import read_rows
from harness_tasks.targets import get_target

ROOT = Path(__file__).resolve().parent.parent
BUNDLED = Options(data="bundled")


def documents(target: str, language: str) -> list[dict]:
    return build_documents(target, language, "test", BUNDLED)


def nli(config: str, split: str) -> list[tuple[str, str, int]]:
    rows = read_rows("xscale/nli", config, split, "bundled")
    return [(row["premise"], row["hypothesis"], row["label"]) for row in rows]


def test_training_data_is_large_distinct_and_balanced():
    for config, split, least in (
        ("default", "train", 4096),
        ("target", "train", 512),
        ("default", "validation", 100),
    ):
        rows = nli(config, split)
        assert len({(premise, hypothesis) for premise, hypothesis, _ in rows}) == len(rows) >= least
        assert len(set(Counter(label for _, _, label in rows).values())) == 1
    for config, least in (("default", 400), ("target", 200)):
        copa = read_rows("xscale/copa", config, "train", "bundled")
        items = {(r["premise"], r["choice1"], r["choice2"], r["question"]) for r in copa}
        assert len(items) == len(copa) >= least
        assert abs(sum(row["label"] for row in copa) - len(copa) / 2) <= 1


def test_targets_are_trained_on_other_premises_than_the_intermediate_tasks():
    for task in ("nli", "copa"):
        default, target = (
            {row["premise"] for row in read_rows(f"xscale/{task}", config, "train", "bundled")}
            for config in ("default", "target")
        )
        assert not default & target


def test_no_test_row_is_in_the_training_data():
    train = {pair[:2] for config in ("default", "target") for pair in nli(config, "train")}
    for split in ("test", "validation"):
        rows = read_rows("facebook/xnli", "en", split, "bundled")
        assert not train & {(row["premise"], row["hypothesis"]) for row in rows}
    sentences = {
        r[field]
        for config in ("default", "target")
        for r in read_rows("xscale/copa", config, "train", "bundled")
        for field in ("premise", "choice1", "choice2")
    }
    for row in read_rows("aps/super_glue", "copa", "test", "bundled"):
        assert row["premise"] not in sentences


@pytest.mark.parametrize(
    ("target", "languages", "least"),
    [("xnli", get_target("xnli").languages, 120), ("xcopa", get_target("xcopa").languages, 60)],
)
def test_the_same_rows_in_every_language_half_of_them_ood(target, languages, least):
    english = {doc["row"]: doc for doc in documents(target, "en")}
    assert len(english) >= least
    assert Counter("ood" in doc["subsets"] for doc in english.values()) == {
        True: len(english) / 2,
        False: len(english) / 2,
    }
    assert all(("id" in doc["subsets"]) != ("ood" in doc["subsets"]) for doc in english.values())
    for language in languages:
        rows = documents(target, language)
        assert [doc["row"] for doc in rows] == [doc["row"] for doc in documents(target, "en")]
        for doc in rows:
            same = english[doc["row"]]
            assert (doc["label"], doc["subsets"], doc.get("question")) == (
                same["label"],
                same["subsets"],
                same.get("question"),
            )
            texts = [doc[field] for field in ("premise", "hypothesis", "choice1", "choice2") if field in doc]
            assert all(text.strip() == text and text for text in texts)
            if language != "en":
                assert not set(texts) & {
                    same[f] for f in ("premise", "hypothesis", "choice1", "choice2") if f in same
                }


def test_labels_do_not_give_ood_away():
    for target, languages in (("xnli", ("en",)), ("xcopa", ("en",))):
        for subset in ("id", "ood"):
            labels = Counter(
                d["label"] for lang in languages for d in documents(target, lang) if subset in d["subsets"]
            )
            assert len(set(labels.values())) == 1, (target, subset, labels)


def tagged(subset: str) -> list[dict]:
    return [doc for doc in documents("xnli", "en") if subset in doc["subsets"]]


def test_negation_numbers_and_long_premises_have_subsets_whose_labels_are_mixed():
    rows = documents("xnli", "en")
    negative = {"no", "not", "never", "none", "nobody", "nothing", "cannot", "neither", "nor"}
    denied = [
        doc for doc in rows if negative & set(doc["hypothesis"].lower().strip(".").replace(",", "").split())
    ]
    assert tagged("negation") == [doc for doc in denied if doc["label"] != 2]
    assert tagged("long") == [doc for doc in rows if len(doc["premise"]) >= 178]
    for subset, least, labels in (
        ("negation", 50, {0, 1}),
        ("long", 30, {0, 1, 2}),
        ("numbers", 40, {0, 1, 2}),
        ("overlap", 90, {0, 1, 2}),
    ):
        docs = tagged(subset)
        assert len(docs) >= least and {doc["label"] for doc in docs} == labels, subset
        assert {"id", "ood"} <= {name for doc in docs for name in doc["subsets"]}, subset
    counts = Counter(doc["label"] for doc in denied)  # a negation word does not give the label away
    assert min(counts[label] for label in range(3)) >= max(counts.values()) / 2


def test_hypothesis_hard_is_what_the_classifier_gets_wrong(real_data):
    from harness_tasks.targets.xnli_hypothesis_only import wrong_rows

    rows = sorted(documents("xnli", "en"), key=lambda doc: doc["row"])
    assert wrong_rows(rows, str(real_data)) == sorted(doc["row"] for doc in tagged("hypothesis_hard"))


def test_rows_of_a_premise_stand_together_with_one_row_of_each_label():
    rows = sorted(documents("xnli", "en"), key=lambda doc: doc["row"])
    for start in range(0, len(rows), 3):
        three = rows[start : start + 3]
        assert len({doc["premise"] for doc in three}) == 1
        assert sorted(doc["label"] for doc in three) == [0, 1, 2]


def test_scripts_fit_the_languages():
    """Most letters of a language's sentences are of its script: no file was swapped."""
    blocks = {
        "ar": "ARABIC",
        "ur": "ARABIC",
        "bg": "CYRILLIC",
        "ru": "CYRILLIC",
        "el": "GREEK",
        "hi": "DEVANAGARI",
        "th": "THAI",
        "ta": "TAMIL",
        "zh": "CJK",
    }
    import unicodedata

    for target, languages in (
        ("xnli", get_target("xnli").languages),
        ("xcopa", get_target("xcopa").languages),
    ):
        for language in languages:
            letters = [c for doc in documents(target, language) for c in doc["premise"] if c.isalpha()]
            fitting = sum(unicodedata.name(c).startswith(blocks.get(language, "LATIN")) for c in letters)
            assert fitting / len(letters) > 0.95, (target, language)


def test_the_shipped_files_are_what_their_sources_give():
    build = ROOT / "tools" / "bundled_suite" / "build.py"
    done = subprocess.run(
        [sys.executable, str(build), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
