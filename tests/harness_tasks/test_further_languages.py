"""Languages that others added to XNLI and XCOPA: each row finds its English row, and with it subsets and cluster."""

import csv
import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness_tasks.errors import UserError
from harness_tasks.languages import LANGUAGES
from harness_tasks.rows import Options, build_documents, data_record
from harness_tasks.subsets import load_membership
from harness_tasks.subsets.alignment import english_numbers
from harness_tasks.targets import Place, get_target, registry, targets
from harness_tasks.targets.record import RowRelation

XNLI = get_target("xnli")
AFRI = "amh ewe hau ibo kin lin lug orm sna sot twi wol xho yor zul"
AMERICAS = "aym bzd cni gn hch nah oto quy shp tar"


def in_group(target, group):
    spec = get_target(target)
    return [code for code in spec.further if spec.places[code].group == group]


def test_which_languages_there_are():
    assert in_group("xnli", "afri") == AFRI.split() and in_group("xnli", "americas") == AMERICAS.split()
    assert len(in_group("xnli", "indic")) == 11 and len(in_group("xcopa", "indic")) == 18
    assert {"eu", "ca", "gl", "va", "ko", "my"} <= set(in_group("xnli", "more"))
    assert set(in_group("xcopa", "more")) == {"eu", "ca", "es", "hr", "sr", "sr-Latn", "mk", "sl"}
    assert [len(target.languages) for target in targets().values()][:2] == [15, 12]
    for target in targets().values():
        for code, place in target.places.items():
            assert code in LANGUAGES
            if not place.official and not place.unconfirmed:
                assert place.licence and place.citation and place.size, (target.name, code)


@pytest.mark.parametrize("language", ["amh", "hau", "yor", "zul"])
def test_a_part_of_the_rows_knows_its_subsets(language, real_data, read_real):
    """AfriXNLI's 600 rows, against the table that is checked against English texts elsewhere."""
    table = Path("/".join(__file__.split("/")[:-3])) / "harness_tasks/targets/afrixnli_rows.tsv"
    with table.open(newline="") as file:
        rows = [int(r["xnli_row"]) for r in csv.DictReader(file, delimiter="\t") if r["split"] == "test"]
    docs = build_documents("xnli", language, options=Options(str(real_data)))
    english = {doc["row"]: doc for doc in build_documents("xnli", "en", options=Options(str(real_data)))}
    assert sorted(doc["row"] for doc in docs) == sorted(rows) and len(docs) == 600
    for doc in docs:
        assert doc["label"] == english[doc["row"]]["label"]
        assert doc["subsets"] == english[doc["row"]]["subsets"]
        assert doc["cluster"] == doc["row"] // 3
    record = data_record("xnli", language, Options(str(real_data)))
    assert record["data_anchor"] == data_record("xnli", "de", Options(str(real_data)))["data_anchor"]


def test_the_first_documents_are_the_same_rows_where_all_are_there(real_data):
    options = Options(str(real_data))
    order = [doc["row"] for doc in build_documents("xnli", "de", options=options)]
    assert [doc["row"] for doc in build_documents("xnli", "eu", options=options)] == order
    part = [doc["row"] for doc in build_documents("xnli", "yor", options=options)]
    assert part == [row for row in order if row in set(part)]


def test_macedonian_has_copas_questions(real_data):
    options = Options(str(real_data))
    docs = build_documents("xcopa", "mk", options=options)
    other = {doc["row"]: doc for doc in build_documents("xcopa", "en", options=options)}
    assert len(docs) == 500
    assert all(doc["question"] == other[doc["row"]]["question"] for doc in docs)
    assert all(doc["subsets"] == other[doc["row"]]["subsets"] for doc in docs)


def test_rows_without_english_rows_have_no_subsets(real_data):
    docs = build_documents("xnli", "eu_native", options=Options(str(real_data)))
    assert len(docs) == 621 and not any(doc["subsets"] for doc in docs)
    premises = {doc["row"]: doc["premise"] for doc in docs}
    assert all(premises[doc["cluster"]] == doc["premise"] for doc in docs)
    assert len({doc["cluster"] for doc in docs}) == len(set(premises.values())) < 621
    anchor = data_record("xnli", "eu_native", Options(str(real_data)))["data_anchor"]
    assert load_membership("xnli", anchor, source=str(real_data)) == {}


def test_the_other_american_tables_are_of_rows_with_those_numbers():
    """Sizes as Ebrahimi et al. 2022 give them; no row twice."""
    path = Path(XNLI.places["quy"].rows.file)
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file, delimiter="\t"))
    for code in AMERICAS.split():
        for split, size in XNLI.places[code].size:
            mine = [line for line in lines if (line["config"], line["split"]) == (code, split)]
            assert len(mine) == size == len({line["xnli_row"] for line in mine})


@pytest.fixture
def changed(real_data, tmp_path):
    """A mirror whose rows of a set went through a function; the other sets are those of the real mirror."""

    def make(place, change, split="test"):
        path = real_data / place.dataset / place.config / f"{split}.jsonl.gz"
        with gzip.open(path, "rt", encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        target = tmp_path / place.dataset / place.config
        target.mkdir(parents=True)
        rows = change(rows)
        with (target / f"{split}.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        english = tmp_path / "facebook/xnli"
        english.mkdir(parents=True, exist_ok=True)
        (english / "en").symlink_to(real_data / "facebook/xnli/en")
        return Options(str(tmp_path))

    return make


def test_other_data_than_the_definition_says_is_refused_with_both(changed):
    place = XNLI.places["yor"]
    options = changed(place, lambda rows: rows[:-1])
    with pytest.raises(UserError, match="599 rows, the definition says 600"):
        build_documents("xnli", "yor", options=options)


def test_other_labels_are_refused_with_how_many(changed):
    def relabel(rows):
        return [{**row, "label": 0} if i in (5, 7) else row for i, row in enumerate(rows)]

    with pytest.raises(UserError, match=r"labels differ .* in \d of 600 rows \(row 5: 0, there 1\)"):
        build_documents("xnli", "yor", options=changed(XNLI.places["yor"], relabel))


def test_a_missing_field_is_named(changed):
    options = changed(XNLI.places["eu"], lambda rows: [{**row, "premise": None} for row in rows])
    with pytest.raises(UserError, match="row 0: field 'premise' is None; it must be text"):
        build_documents("xnli", "eu", options=options)


ENGLISH = [
    {"premise": f"P{i // 3}", "hypothesis": f"H{i}", "label": i % 3, "pairID": f"p{i}"} for i in range(12)
]


def place_of(**relation):
    return Place("a/b", rows=RowRelation(**relation))


def test_rows_known_by_a_field_or_by_an_english_text():
    order = [7, 3, 0, 11]
    rows = [
        {"label": ENGLISH[i]["label"], "pairID": f"p{i}", "en": ENGLISH[i]["premise"] + " "} for i in order
    ]
    by_field = place_of(kind="field", field="pairID")
    by_text = place_of(kind="text", field="en")
    assert english_numbers(XNLI, by_field, "test", rows, ENGLISH, "here") == order
    assert (
        english_numbers(XNLI, by_text, "test", rows, ENGLISH, "here") == order
    )  # premise and label say which


@pytest.mark.parametrize(
    ("change", "relation", "message"),
    [
        (
            {"pairID": "x"},
            {"kind": "field", "field": "pairID"},
            "1 of 4 rows have a 'pairID' that no English row",
        ),
        ({"en": "?"}, {"kind": "text", "field": "en"}, "1 of 4 rows have a text in 'en' that no English row"),
        ({"en": "P1"}, {"kind": "text", "field": "en"}, "both of English row 3"),
        ({"en": None}, {"kind": "text", "field": "en"}, "row 3: field 'en' is None; it must be text"),
        ({}, {"kind": "field", "field": "genre"}, "'en' has no 'genre'"),
    ],
)
def test_rows_that_cannot_be_found_are_refused(change, relation, message):
    order = [7, 3, 0, 11]
    rows = [{"label": ENGLISH[i]["label"], "pairID": f"p{i}", "en": ENGLISH[i]["premise"]} for i in order]
    rows[3] = {**rows[3], "label": 0, **change} if change.get("en") == "P1" else {**rows[3], **change}
    with pytest.raises(UserError, match=message):
        english_numbers(XNLI, place_of(**relation), "test", rows, ENGLISH, "here")


def test_a_table_of_rows(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_text("split\trow\txnli_row\ntest\t1\t4\ntest\t0\t9\n")
    table = place_of(kind="table", file=str(path), column="xnli_row")
    assert english_numbers(XNLI, table, "test", [{}, {}], None, "here") == [9, 4]
    assert english_numbers(XNLI, table, "validation", [{}, {}], None, "here") is None  # parallel
    with pytest.raises(UserError, match="3 rows, but rows.tsv has 2 of them for test"):
        english_numbers(XNLI, table, "test", [{}] * 3, None, "here")
    wrong = place_of(kind="table", file=str(path), column="english")
    with pytest.raises(UserError, match=r"no column 'english'; it has: split, row, xnli_row"):
        english_numbers(XNLI, wrong, "test", [{}, {}], None, "here")
    path.write_text("split\trow\txnli_row\ntest\t1\t4\ntest\t0\t2\ntest\t1\t3\n")
    with pytest.raises(UserError, match="test row 1 is there twice"):
        english_numbers(XNLI, table, "test", [{}, {}], None, "here")
    path.write_text("split\trow\txnli_row\ntest\t1\t4\ntest\t0\t4\n")
    with pytest.raises(UserError, match="both of English row 4"):
        english_numbers(XNLI, table, "test", [{}, {}], None, "here")


def test_a_prompt_without_words_of_its_own_is_in_english():
    doc = {"target": "xnli", "language": "yor", "premise": "A", "hypothesis": "B"}
    assert registry.doc_to_choice(doc)[0] == "A, right? Yes, B"
    assert registry.doc_to_choice({**doc, "language": "eu"})[0] == "A, ezta? Bai, B"
    assert replace(XNLI.places["yor"], words=("a", "b")).words == ("a", "b")
