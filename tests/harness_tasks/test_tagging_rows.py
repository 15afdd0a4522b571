"""UDPOS and PAN-X: languages as XTREME has them, and documents that say what the published rows say."""

import gzip
import json

import pytest

from harness_tasks.languages import LANGUAGES
from harness_tasks.rows import Options, build_documents
from harness_tasks.targets import get_target

# Hu et al. 2020 (arXiv 2003.11080), Table 7 and Table 8; the names are those of the hub's configs
UDPOS = (
    "Afrikaans Arabic Basque Bulgarian Chinese Dutch English Estonian Finnish French German Greek Hebrew Hindi Hungarian "
    "Indonesian Italian Japanese Kazakh Korean Marathi Persian Portuguese Russian Spanish Tagalog Tamil Telugu Thai Turkish "
    "Urdu Vietnamese Yoruba"
).split()
PANX = (
    "ar he vi id jv ms tl eu ml ta te af nl en de el bn hi mr ur fa fr it pt es bg ru ja ka ko th sw yo my zh kk tr et fi hu"
).split()
TAGS = {
    "udpos": (
        "pos_tags",
        "ADJ ADP ADV AUX CCONJ DET INTJ NOUN NUM PART PRON PROPN PUNCT SCONJ SYM VERB X".split(),
    ),
    "panx": ("ner_tags", "O B-PER I-PER B-ORG I-ORG B-LOC I-LOC".split()),
}


def test_languages_are_xtremes():
    udpos, panx = get_target("udpos"), get_target("panx")
    assert [udpos.places[code].config for code in udpos.languages] == [
        f"udpos.{LANGUAGES[code].name}" for code in udpos.languages
    ]
    assert sorted(LANGUAGES[code].name for code in udpos.languages) == UDPOS and len(UDPOS) == 33
    assert sorted(panx.languages) == sorted(PANX) and len(PANX) == 40
    assert {code for code, place in udpos.places.items() if place.validation is None} == {
        "kk",
        "th",
        "tl",
        "yo",
    }
    assert all(
        place.rows.kind == "own" and place.dataset == "google/xtreme" for place in udpos.places.values()
    )
    unseen = [code for code in {*udpos.languages, *panx.languages} if not LANGUAGES[code].in_xlmr]
    assert unseen == ["yo"]


@pytest.mark.parametrize(
    ("target", "language"),
    [("udpos", code) for code in ("en", "vi", "kk", "tl", "ja")]
    + [("panx", code) for code in ("en", "ja", "yo")],
)
def test_every_published_row_is_a_document(target, language, real_data):
    config = get_target(target).places[language].config
    path = real_data / "google/xtreme" / config / "test.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
        rows = [json.loads(line) for line in file]
    field, names = TAGS[target]
    documents = {
        doc["row"]: doc for doc in build_documents(target, language, options=Options(str(real_data)))
    }
    assert sorted(documents) == list(range(len(rows)))
    first = {}
    for number, row in enumerate(rows):
        doc = documents[number]
        words = doc["words"].split(" ")
        assert [word.split() or ["_"] for word in words] == [word.split() or ["_"] for word in row["tokens"]]
        assert doc["gold"] == [names[tag] for tag in row[field]] and doc["label"] == 1 and not doc["subsets"]
        assert doc["cluster"] == first.setdefault(doc["words"], number)


@pytest.mark.parametrize("target", ["udpos", "panx"])
def test_an_answer_is_scored_whatever_it_is(target):
    pytest.importorskip("seqeval")
    spec = get_target(target)
    pos = target == "udpos"
    gold = ["NOUN", "NOUN", "VERB"] if pos else ["B-LOC", "I-LOC"]
    doc = {"gold": gold}
    # parts of speech: 2 x right runs, runs of both, all right; right words, words
    right = (4.0, 4.0, 1.0, 3.0, 3.0) if pos else (2.0, 2.0, 1.0)
    assert spec.scored(doc, " ".join(gold)) == right
    assert spec.scored(doc, " ".join([*gold, "X"])) == right  # what is too much belongs to no word
    assert spec.scored(doc, "") == ((0.0, 2.0, 0.0, 0.0, 3.0) if pos else (0.0, 1.0, 0.0))
    assert spec.scored(doc, gold[0]) == ((0.0, 3.0, 0.0, 1.0, 3.0) if pos else (0.0, 2.0, 0.0))
