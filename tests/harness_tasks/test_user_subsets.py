"""A user's subset files: what they can say, and how a wrong one is refused."""

import os
import re

import numpy as np
import pytest

from harness_tasks.rows import Options, build_documents, subset_names
from harness_tasks.sources import DataError
from harness_tasks.subsets import load_membership
from harness_tasks.subsets.membership import shipped
from harness_tasks.subsets.user import read_subsets, subset_files

ANCHORS = {target: shipped(target)["test"]["anchor"] for target in ("xnli", "xcopa")}
GOOD = """
subsets:
  - name: universal
    target: xnli
    citation: Somebody 2026
    rule:
      all:
        - {field: hypothesis, matches: '\\b(all|every|each|always)\\b'}
        - {field: label, in: [neutral, contradiction]}
  - name: mirrors
    target: xcopa
    citation: Somebody 2026
    rows: [3, 17, 40-44]
"""


@pytest.fixture
def write(tmp_path):
    def make(text, name="mine.yaml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return make


def test_a_rule_and_a_list_of_rows(write, real_data, read_real):
    path = write(GOOD)
    expected = [
        number
        for number, row in enumerate(read_real("xnli", "en"))
        if row["label"] in (1, 2) and re.search(r"\b(all|every|each|always)\b", row["hypothesis"].lower())
    ]
    found = load_membership("xnli", ANCHORS["xnli"], path, str(real_data))
    assert found["universal"].tolist() == expected and len(expected) > 50
    assert list(found)[:2] == ["id", "ood"]
    assert load_membership("xcopa", ANCHORS["xcopa"], path)["mirrors"].tolist() == [3, 17, 40, 41, 42, 43, 44]


def test_the_environment_names_files(write, monkeypatch, real_data):
    first, second = write(GOOD), write("{name: one, target: xcopa, citation: me, rows: [1]}", "second.yaml")
    monkeypatch.setenv("XSCALE_SUBSETS", os.pathsep.join([str(first), str(second)]))
    assert subset_files() == (str(first), str(second))
    assert subset_files(str(second)) == (str(second), str(first))
    names = subset_names("xcopa", Options.from_metadata({"data": str(real_data)}))
    assert names[-2:] == ["mirrors", "one"]


def test_documents_carry_the_new_names_and_keep_their_order(write, real_data):
    plain = build_documents("xnli", "de", options=Options(str(real_data)))
    options = Options.from_metadata({"data": str(real_data), "subsets_file": str(write(GOOD))})
    docs = build_documents("xnli", "de", options=options)
    assert [doc["row"] for doc in docs] == [doc["row"] for doc in plain]
    members = load_membership("xnli", ANCHORS["xnli"], options.subset_files, str(real_data))["universal"]
    assert sorted(doc["row"] for doc in docs if "universal" in doc["subsets"]) == members.tolist()
    only = build_documents("xnli", "de", options=options, subset="universal")
    assert len(only) == len(members)


@pytest.mark.parametrize(
    ("rule", "test"),
    [
        ("{field: premise, min_words: 30}", lambda row: len(row["premise"].split()) >= 30),
        ("{not: {field: premise, max_words: 9}}", lambda row: len(row["premise"].split()) > 9),
        (
            "{any: [{field: label, in: [entailment]}, {field: premise, matches: '^and'}]}",
            lambda row: row["label"] == 0 or row["premise"].lower().startswith("and"),
        ),
    ],
)
def test_conditions(write, real_data, read_real, rule, test):
    path = write(f"name: mine\ntarget: xnli\ncitation: me\nrule: {rule}\n")
    expected = [number for number, row in enumerate(read_real("xnli", "en")) if test(row)]
    assert load_membership("xnli", ANCHORS["xnli"], path, str(real_data))["mine"].tolist() == expected


def test_a_rule_over_genre_and_question(write, real_data):
    path = write("name: calls\ntarget: xnli\ncitation: me\nrule: {field: genre, in: [telephone]}\n")
    assert len(load_membership("xnli", ANCHORS["xnli"], path, str(real_data))["calls"]) == 501
    path = write("name: why\ntarget: xcopa\ncitation: me\nrule: {field: question, in: [cause]}\n")
    found = load_membership("xcopa", ANCHORS["xcopa"], path, str(real_data))
    assert np.array_equal(found["why"], found["cause"])


def test_a_rule_works_on_the_bundled_suite(write):
    path = write("name: short\ntarget: xnli\ncitation: me\nrule: {field: hypothesis, max_words: 6}\n")
    options = Options("bundled", subset_files=(str(path),))
    assert subset_names("xnli", options) == [*subset_names("xnli", Options("bundled")), "short"]
    rows = write("name: some\ntarget: xnli\ncitation: me\nrows: [1, 2]\n", "rows.yaml")
    with pytest.raises(DataError, match=r"rows\.yaml: top level\.rows: row numbers of other data"):
        subset_names("xnli", Options("bundled", subset_files=(str(rows),)))


HEAD = "name: mine\ntarget: xnli\ncitation: me\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not YAML"),
        ("[1]", "top level: must be a mapping"),
        ("subsets: 3", "'subsets' must be a list"),
        ("target: xnli\ncitation: me\nrows: [1]", r"top level\.name: must be given, as text"),
        ("name: mine\ntarget: xnli\nrows: [1]", r"top level\.citation: must be given"),
        ("name: mine\ntarget: snli\ncitation: me\nrows: [1]", r"top level\.target: 'snli' is unknown"),
        (
            "name: Mine!\ntarget: xnli\ncitation: me\nrows: [1]",
            r"top level\.name: 'Mine!' must be of lower-case",
        ),
        ("name: negation\ntarget: xnli\ncitation: me\nrows: [1]", r"top level\.name: 'negation' is taken"),
        ("name: de\ntarget: xnli\ncitation: me\nrows: [1]", r"top level\.name: 'de' is taken"),
        ("name: seen\ntarget: xnli\ncitation: me\nrows: [1]", r"top level\.name: 'seen' is taken"),
        (HEAD, "must have either 'rule' or 'rows'"),
        (HEAD + "rows: [1]\nrule: {field: premise, matches: a}", "must have either 'rule' or 'rows'"),
        (HEAD + "rows: [1]\ncolour: red", r"top level\.colour: unknown field"),
        (HEAD + "rows: [5010]", r"top level\.rows: 5010 is not within the test rows 0 to 5009"),
        (HEAD + "rows: [9-3]", r"top level\.rows: '9-3' is not within"),
        (HEAD + "rows: [-1]", r"top level\.rows: -1 is neither a row number nor a range"),
        (HEAD + "rows: []", r"top level\.rows: must be a list"),
        (HEAD + "rows: [1]\nanchor: abc", r"top level\.anchor: must be 64 hexadecimal digits"),
        (HEAD + "rule: all", r"top level\.rule: must be a mapping"),
        (HEAD + "rule: {all: []}", r"top level\.rule\.all: must be a list of conditions"),
        (
            HEAD + "rule: {all: [{field: choice1, matches: a}]}",
            r"rule\.all\[0\]\.field: 'choice1' is no field of xnli",
        ),
        (HEAD + "rule: {field: premise}", r"top level\.rule: needs a test"),
        (
            HEAD + "rule: {field: premise, matches: '('}",
            r"top level\.rule\.matches: not a regular expression",
        ),
        (HEAD + "rule: {field: premise, min_words: many}", r"rule\.min_words: must be a whole number"),
        (HEAD + "rule: {field: premise, in: [a]}", r"rule\.in: unknown test of 'premise'"),
        (HEAD + "rule: {field: label, in: [maybe]}", r"rule\.in: must be a list from entailment, neutral"),
        (HEAD + "rule: {not: {field: x}}", r"top level\.rule\.not\.field: 'x' is no field"),
    ],
)
def test_a_wrong_file_is_refused_with_file_and_field(write, text, message):
    path = write(text)
    with pytest.raises(DataError, match=message) as caught:
        read_subsets(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"none\.yaml: cannot be read"):
        read_subsets(tmp_path / "none.yaml")


def test_the_same_name_twice(write):
    entry = "  - {name: mine, target: xnli, citation: me, rows: [1]}\n"
    with pytest.raises(DataError, match="'mine' is described twice"):
        read_subsets(write("subsets:\n" + entry + entry))


def test_a_rule_that_fits_nothing(write, real_data):
    path = write(HEAD + "rule: {field: premise, matches: xyzzy}")
    with pytest.raises(DataError, match="no test row of xnli fits it"):
        load_membership("xnli", ANCHORS["xnli"], path, str(real_data))


def test_a_changed_file_is_read_again(write):
    path = write(HEAD + "rows: [1]")
    assert read_subsets(path)[0].rows == (1,)
    path.write_text(HEAD + "rows: [2]", encoding="utf-8")
    os.utime(path, ns=(1, 1))
    assert read_subsets(path)[0].rows == (2,)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("name: gap", "'gap' is what a column or metric is called"),
        ("name: stderr", "'stderr' is what a column"),
        ("rule: {field: premise, matches: '(?=a)b'}", "look-around and back-references are not taken"),
        ("rule: {field: premise, matches: ''}", "1 to 1,000 letters"),
        ("rows: [0-9999999, 0-9999999]", "more than 10,000,000 rows together"),
    ],
)
def test_names_of_columns_slow_patterns_and_endless_ranges(change, problem, tmp_path):
    fields = {"name": "name: mine", "target": "target: xnli", "citation": "citation: me", "rule": "rows: [1]"}
    fields["name" if change.startswith("name") else "rule"] = change
    if change.startswith("rows"):
        fields["anchor"] = f"anchor: {'a' * 64}"
    path = tmp_path / "s.yaml"
    path.write_text("subsets:\n- {" + ", ".join(fields.values()) + "}\n", encoding="utf-8")
    with pytest.raises(DataError, match=problem):
        read_subsets(str(path))


def test_a_pattern_that_backtracks_for_ever_elsewhere_takes_no_time(tmp_path):
    path = tmp_path / "s.yaml"
    text = "subsets:\n- {name: mine, target: xnli, citation: me, rule: {field: premise, matches: '(a+)+$'}}\n"
    path.write_text(text, encoding="utf-8")
    (subset,) = read_subsets(str(path))
    assert not subset.rule({"premise": "a" * 5000 + "b"}) and subset.rule({"premise": "BAAA"})
