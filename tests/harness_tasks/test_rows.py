"""Documents: the same rows in the same fair order in every language."""

from collections import Counter

import pytest

from harness_tasks import documents
from harness_tasks.rows import Options, anchor_of, build_documents, data_record, subset_names
from harness_tasks.sources import DataError, fingerprint
from harness_tasks.targets import targets


@pytest.mark.parametrize("target", ["xnli", "xcopa"])
def test_all_rows_once_in_the_same_order_in_every_language(target, real_data, read_real):
    orders = set()
    for language in targets()[target].languages:
        docs = build_documents(target, language, options=Options(str(real_data)))
        orders.add(tuple(doc["row"] for doc in docs))
        published = read_real(target, language)
        assert len(docs) == len(published)
        for doc in docs[:50]:
            row = published[doc["row"]]
            fields = ("premise", "hypothesis", "choice1", "choice2", "label")
            assert all(doc[field] == row[field] for field in fields if field in row)
            assert doc["target"] == target and doc["language"] == language
    (order,) = orders
    assert sorted(order) == list(range(len(order)))
    assert order != tuple(sorted(order))


@pytest.mark.parametrize("target", ["xnli", "xcopa"])
def test_documents_belong_to_the_version(target, real_data):
    """If this fails, scores change: raise the task's version, say why in its card, and write the new hash here."""
    docs = build_documents(target, "tr", options=Options(str(real_data)))
    fields = [field for field in docs[0] if field not in ("changed", "target", "language", "cluster")]
    assert fields == (
        ["row", "premise", "hypothesis", "label", "subsets"]
        if target == "xnli"
        else ["row", "premise", "choice1", "choice2", "question", "label", "subsets"]
    )
    known = {
        ("xnli", "1.0"): "d4ff3c0a24a83ee6bbe5f47e18fb22cf4ebec4b4d725e5f1f62173cae9f88201",
        ("xcopa", "1.0"): "4d7fbaebbf3c329f82575992eb85bbc916bbb9b70a5c5c39554919cb51f19758",
    }
    assert fingerprint(docs, fields) == known[target, targets()[target].version]


@pytest.mark.parametrize(("target", "limits"), [("xnli", (20, 50, 300, 1000)), ("xcopa", (20, 50, 200))])
def test_any_limit_is_a_fair_sample(target, limits, real_data):
    docs = build_documents(target, "en", options=Options(str(real_data)))
    names = {name for doc in docs for name in doc["subsets"]}
    for limit in limits:
        for of in (
            lambda doc: [doc["label"]],
            lambda doc: doc["subsets"],
            lambda doc: [(name, doc["label"]) for name in doc["subsets"]],
        ):
            whole = Counter(value for doc in docs for value in of(doc))
            part = Counter(value for doc in docs[:limit] for value in of(doc))
            assert max(abs(part[v] - limit * n / len(docs)) for v, n in whole.items()) < 2
    assert len(names) == (7 if target == "xnli" else 5)


def test_subsets_of_a_document_are_those_of_its_row(real_data):
    options = Options(str(real_data))
    german = {doc["row"]: doc["subsets"] for doc in build_documents("xnli", "de", options=options)}
    urdu = {doc["row"]: doc["subsets"] for doc in build_documents("xnli", "ur", options=options)}
    assert german == urdu
    assert sum("negation" in names for names in german.values()) == 410


def test_one_subset_keeps_the_order(real_data):
    options = Options(str(real_data))
    every = build_documents("xnli", "sw", options=options)
    some = build_documents("xnli", "sw", options=options, subset="overlap")
    assert some == [doc for doc in every if "overlap" in doc["subsets"]]
    with pytest.raises(DataError, match="has no xnli subset 'cause'; it has: id, ood, overlap"):
        build_documents("xnli", "sw", options=options, subset="cause")


def test_validation_comes_in_the_order_of_the_file(real_data):
    docs = build_documents("xnli", "el", "validation", Options(str(real_data)))
    assert [doc["row"] for doc in docs] == list(range(2490))
    assert all(doc["subsets"] == [] for doc in docs)


def test_documents_as_a_dataset(real_data):
    docs = documents("xcopa", "et", source=str(real_data))
    assert docs.to_list() == build_documents("xcopa", "et", options=Options(str(real_data)))
    assert {"target", "language", "row", "premise", "choice1", "choice2", "question", "label"} < set(
        docs.features
    )


def test_hidden_english_labels_come_from_xcopa(copy_of):
    def hide(rows):
        return [{**row, "label": -1} for row in rows]

    copy_of("xcopa", "it")
    source = copy_of("xcopa", "en", hide)
    english = build_documents("xcopa", "en", options=Options(source))
    italian = build_documents("xcopa", "it", options=Options(source))
    assert [doc["label"] for doc in english] == [doc["label"] for doc in italian]


def test_the_bundled_suite():
    for target, languages in ((name, targets()[name].languages) for name in ("xnli", "xcopa")):
        shapes = set()
        for language in languages:
            docs = build_documents(target, language, options=Options("bundled"))
            shapes.add(tuple((doc["row"], doc["label"], tuple(doc["subsets"])) for doc in docs))
            half = sum("ood" in doc["subsets"] for doc in docs)
            assert 2 * half == len(docs)
        assert len(shapes) == 1
        assert subset_names(target, Options("bundled"))[:2] == ["id", "ood"]


def test_what_results_record(real_data, read_real):
    options = Options(str(real_data))
    record = data_record("xnli", "de", options)
    assert record["data_source"] == f"mirror:{real_data}"
    assert record["data_anchor"] == anchor_of("xnli", options) == anchor_of("xnli", options, "th")
    rows = read_real("xnli", "de")
    assert record["data_fingerprint"] == fingerprint(rows, ["premise", "hypothesis", "label"])
    published = data_record("xcopa", "th", Options(str(real_data), repair_question=False))
    repaired = data_record("xcopa", "th", options)
    assert published["data_fingerprint"] != repaired["data_fingerprint"]
    assert published["data_anchor"] == repaired["data_anchor"]


def test_unknown_language_or_target():
    with pytest.raises(DataError, match="xcopa has no language 'de'; there are: en, et"):
        build_documents("xcopa", "de", options=Options("bundled"))
    with pytest.raises(DataError, match="unknown target task 'snli'"):
        build_documents("snli", "de", options=Options("bundled"))


def test_options_from_metadata():
    given = {"pretrained": "x", "data": "bundled", "repair_question": "false", "check_text": False}
    assert Options.from_metadata(given) == Options("bundled", repair_question=False, check_text=False)
    assert Options.from_metadata({}) == Options()
    with pytest.raises(DataError, match="repair_question is 'no'; it must be true or false"):
        Options.from_metadata({"repair_question": "no"})
