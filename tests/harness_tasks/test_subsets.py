"""Membership: rebuilt from the data, and counted here by other means than the package's."""

import csv
import json
from collections import Counter

import numpy as np
import pytest

from harness_tasks.rows import Options, build_documents
from harness_tasks.sources import DataError
from harness_tasks.subsets import anchor_fingerprint, load_membership
from harness_tasks.subsets.build import build, main
from harness_tasks.subsets.membership import DATA, pack_rows, shipped, unpack_rows
from harness_tasks.targets import get_target
from harness_tasks.targets import xnli_rules as rules
from harness_tasks.targets.xnli_hypothesis_only import probabilities


def membership(target):
    return load_membership(target, shipped(target)["test"]["anchor"])


def facts(real_data, target):
    with (real_data.parent / f"{target}_rows.tsv").open(encoding="utf-8") as file:
        return [row for row in csv.DictReader(file, delimiter="\t") if row["split"] == "test"]


@pytest.mark.parametrize("target", ["xnli", "xcopa"])
def test_the_build_command_gives_what_ships(target, real_data):
    pytest.importorskip("sklearn")
    built = build(target, str(real_data), real_data.parent)
    assert built == json.loads((DATA / f"{target}.json").read_text(encoding="utf-8"))


def test_the_build_command_refuses_facts_that_are_not_there(real_data, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["build", "--data", str(real_data), "--facts", str(tmp_path), "--output", str(tmp_path)])
    assert caught.value.code == 2
    assert "xnli_rows.tsv; --facts names the folder" in capsys.readouterr().err


def test_every_registered_subset_ships_and_no_other():
    for target in ("xnli", "xcopa"):
        registered = {subset.name: subset.version for subset in get_target(target).subsets}
        entries = shipped(target)["test"]["subsets"]
        assert {name: entry["version"] for name, entry in entries.items()} == registered
        assert list(membership(target)) == list(registered)
        for subset in get_target(target).subsets:
            assert subset.rule and subset.rationale and "http" in subset.citation


def test_sizes():
    assert {name: len(rows) for name, rows in membership("xnli").items()} == {
        "id": 2505,
        "ood": 2505,
        "overlap": 722,
        "hypothesis_hard": 2318,
        "negation": 410,
        "long": 507,
        "numbers": 349,
    }
    assert {name: len(rows) for name, rows in membership("xcopa").items()} == {
        "id": 190,
        "ood": 310,
        "cause": 250,
        "effect": 250,
        "changed": 98,
    }


def test_rows_are_sorted_and_within_the_split():
    for target, total in (("xnli", 5010), ("xcopa", 500)):
        for rows in membership(target).values():
            assert np.all(np.diff(rows) > 0) and rows[0] >= 0 and rows[-1] < total
            assert rows.dtype.kind == "i"
        assert sorted([*membership(target)["id"], *membership(target)["ood"]]) == list(range(total))


def test_genres_of_id_and_ood(real_data):
    table = facts(real_data, "xnli")
    found = membership("xnli")
    assert {table[i]["genre"] for i in found["ood"]} == {
        "facetoface",
        "letters",
        "nineeleven",
        "oup",
        "verbatim",
    }
    assert {table[i]["genre"] for i in found["id"]} == {
        "fiction",
        "government",
        "slate",
        "telephone",
        "travel",
    }


def test_easy_and_hard(real_data):
    table = facts(real_data, "xcopa")
    assert {table[i]["difficulty"] for i in membership("xcopa")["id"]} == {"easy"}
    assert {table[i]["difficulty"] for i in membership("xcopa")["ood"]} == {"hard"}
    assert {table[i]["question"] for i in membership("xcopa")["cause"]} == {"cause"}


def test_overlap_counted_again(read_real):
    def words(text):
        return {w.strip(".?!,;:\"'") for w in text.lower().split()}

    expected = []
    for number, row in enumerate(read_real("xnli", "en")):
        premise, hypothesis = words(row["premise"]), words(row["hypothesis"])
        share = sum(word in premise for word in hypothesis) / len(hypothesis)
        if (share >= 0.6 and row["label"] in (1, 2)) or (share <= 0.25 and row["label"] == 0):
            expected.append(number)
    assert membership("xnli")["overlap"].tolist() == expected
    assert len(expected) == 722


def test_the_length_limit_is_the_ninetieth_percentile(read_real):
    lengths = [len(row["premise"]) for row in read_real("xnli", "en")]
    assert np.quantile(lengths, 0.9) == rules.LONG_CHARACTERS


def test_negation_and_numbers_on_sentences():
    row = {"premise": "There are two.", "hypothesis": "It isn't.", "label": 0}
    assert rules.misleading_negation(row)
    assert not rules.misleading_negation({**row, "label": 2})
    assert not rules.misleading_negation({**row, "hypothesis": "He knows a notary."})
    assert rules.misleading_negation({**row, "hypothesis": "Nobody can\u2019t."})
    assert not rules.numbers(row)
    assert rules.numbers({**row, "hypothesis": "It is 3."})
    assert not rules.numbers({**row, "hypothesis": "Someone often weighs one."})


def test_changed_is_the_union_over_languages(read_real):
    languages = ["et", "ht", "id", "it", "qu", "sw", "ta", "th", "tr", "vi", "zh"]
    rows = [read_real("xcopa", language) for language in languages]
    expected = [i for i in range(500) if any(mine[i]["changed"] for mine in rows)]
    assert membership("xcopa")["changed"].tolist() == expected


def test_the_hypothesis_only_classifier_is_as_described(real_data, read_real):
    pytest.importorskip("sklearn")
    rows = read_real("xnli", "en")
    found = probabilities([row["hypothesis"] for row in rows], str(real_data))
    labels = np.array([row["label"] for row in rows])
    assert round(100 * np.mean(found.argmax(1) == labels), 1) == 53.7
    ordered = np.sort(found, axis=1)
    assert (ordered[:, 2] - ordered[:, 1]).min() > 1e-4


def test_packing():
    assert unpack_rows(pack_rows([0, 3, 9], 11), 11).tolist() == [0, 3, 9]
    assert unpack_rows(pack_rows([], 11), 11).tolist() == []


def test_the_label_mix_that_ships_is_right(read_real):
    labels = [row["label"] for row in read_real("xnli", "en")]
    for name, entry in shipped("xnli")["test"]["subsets"].items():
        counts = Counter(labels[i] for i in membership("xnli")[name])
        assert entry["labels"] == [counts[0], counts[1], counts[2]]


def test_the_anchor_is_the_same_in_every_language(real_data, read_real):
    for language in ("en", "sw", "zh"):
        assert anchor_fingerprint("xnli", read_real("xnli", language)) == shipped("xnli")["test"]["anchor"]
    repaired = build_documents("xcopa", "th", options=Options(str(real_data)))
    in_order = sorted(repaired, key=lambda doc: doc["row"])
    assert anchor_fingerprint("xcopa", in_order) == shipped("xcopa")["test"]["anchor"]


def test_an_unknown_anchor_is_refused():
    with pytest.raises(DataError, match="no subsets of xnli are known for these rows"):
        load_membership("xnli", "0" * 64)


def test_the_bundled_suite_has_its_own_membership():
    for target in ("xnli", "xcopa"):
        docs = build_documents(target, "en", options=Options("bundled"))
        anchor = anchor_fingerprint(target, sorted(docs, key=lambda doc: doc["row"]))
        found = load_membership(target, anchor)
        assert sorted([*found["id"], *found["ood"]]) == list(range(len(docs)))
        shipped_subsets = [subset.name for subset in get_target(target).subsets]
        assert list(found) == [name for name in shipped_subsets if name != "changed"]  # no item was changed


def swap(rows, first, second):
    rows[first], rows[second] = rows[second], rows[first]
    return rows


def other_label(rows):
    rows[7] = {**rows[7], "label": (rows[7]["label"] + 1) % 2}
    return rows


def other_text(rows):
    rows[7] = {**rows[7], "premise": rows[7]["premise"] + "!"}
    return rows


@pytest.mark.parametrize(
    ("target", "language", "change", "message"),
    [
        ("xnli", "de", lambda rows: rows[:-1], "5009 rows, the official data has 5010.*use the whole split"),
        ("xnli", "de", lambda rows: rows[::-1], "the labels are in another order"),
        ("xnli", "de", other_label, "labels differ from the official data's"),
        ("xnli", "de", lambda rows: swap(rows, 0, 5), "texts differ from the official data's"),
        ("xnli", "en", other_text, "texts differ from the official data's"),
        ("xcopa", "th", lambda rows: rows[::-1], "the labels are in another order"),
        ("xcopa", "th", other_label, "labels differ from the official data's"),
        ("xcopa", "et", other_text, "texts differ from the official data's"),
        ("xcopa", "en", lambda rows: rows[:100], "100 rows, the official data has 500"),
    ],
)
def test_other_rows_are_refused_with_an_explanation(copy_of, target, language, change, message):
    with pytest.raises(DataError, match=message) as caught:
        build_documents(target, language, options=Options(copy_of(target, language, change)))
    assert "not scored" in str(caught.value) and "\n" not in str(caught.value)


def test_copas_own_questions_are_checked(copy_of):
    def change(rows):
        rows[0] = {**rows[0], "question": "effect" if rows[0]["question"] == "cause" else "cause"}
        return rows

    with pytest.raises(DataError, match="the questions are not XCOPA's"):
        build_documents("xcopa", "en", options=Options(copy_of("xcopa", "en", change)))


def test_corrected_wording_can_be_let_through(copy_of):
    source = copy_of("xnli", "de", other_text)
    docs = build_documents("xnli", "de", options=Options(source, check_text=False))
    assert len(docs) == 5010
    with pytest.raises(DataError, match="another order"):
        reverse = copy_of("xnli", "fr", lambda rows: rows[::-1])
        build_documents("xnli", "fr", options=Options(reverse, check_text=False))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("label", 3, "row 7: label is 3; it must be a whole number from 0 to 2"),
        ("label", "0", "row 7: label is '0'"),
        ("premise", "  ", "row 7: field 'premise' is '  '; it must be text"),
        ("hypothesis", None, "row 7: field 'hypothesis' is None"),
    ],
)
def test_a_wrong_field_is_named_with_its_row(copy_of, field, value, message):
    def change(rows):
        rows[7] = {**rows[7], field: value}
        return rows

    with pytest.raises(DataError, match=f"facebook/xnli \\(de, test\\), {message}"):
        build_documents("xnli", "de", options=Options(copy_of("xnli", "de", change)))
