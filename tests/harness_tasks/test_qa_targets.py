"""XQuAD, MLQA and TyDiQA-GoldP: scores against their scripts' rules, rows, prompts."""

import gzip
import json
import random
import re
import string
import sys
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
import squad_reference
import yaml

from harness_tasks.errors import UserError
from harness_tasks.rows import Options, build_documents
from harness_tasks.targets import doc_to_target, doc_to_text, get_target

XQUAD = "ar de el en es hi ru th tr vi zh"
MLQA = "ar de en es hi vi zh"


def corrupted(texts, generator):
    """Answers as models give them: right, longer, shorter, shuffled, empty, another's, with other signs and letters."""
    for number, text in enumerate(texts):
        words = text.split()
        cut = sorted(generator.sample(range(len(text) + 1), 2))
        yield from (
            text,
            f"the {text}!",
            " ".join(generator.sample(words, len(words))),
            text[cut[0] : cut[1]],
            text.upper() + " ",
            "",
            texts[(number + 7) % len(texts)] + " " + text,
            " ".join(words + words),
            generator.choice(["the", "An A", "...", "eine der", "la", "là những", "ال"]) + " " + text,
        )


def documents(target, language, real_data, split="test"):
    return build_documents(target, language, split, Options(data=str(real_data)))


@pytest.mark.parametrize("language", XQUAD.split())
def test_xquads_scores_are_squads(language, real_data):
    generator = random.Random(language)
    found = documents("xquad", language, real_data)[:250]
    answers = corrupted([doc["gold"]["text"][0] for doc in found], generator)
    seen = Counter()
    for number, answer in enumerate(answers):
        doc = found[number // 9]
        extra = found[(number + 1) % len(found)]["gold"]["text"][0]  # a second right answer
        many = {**doc, "gold": {"text": [*doc["gold"]["text"], extra], "answer_start": [0, 0]}}
        for one in (doc, many):
            f1, whole, exact = get_target("xquad").scored(one, answer)
            texts = one["gold"]["text"]
            assert f1 == pytest.approx(
                max(squad_reference.compute_f1(text, answer) for text in texts), abs=1e-12
            )
            assert exact == (max(squad_reference.compute_exact(text, answer) for text in texts) == 1)
            assert whole == 1
            seen[exact, 0 < f1 < 1] += 1
    assert min(seen[True, False], seen[False, True], seen[False, False]) > 100


def test_where_nothing_is_left_of_an_answer():
    """The official script: equal, but without a word in common."""
    doc = {"gold": {"text": ["The"], "answer_start": [0]}}
    assert get_target("xquad").scored(doc, "a") == (0.0, 1.0, True)
    assert get_target("xquad").scored(doc, "cat") == (0.0, 1.0, False)


SIGNS = {chr(i) for i in range(sys.maxunicode) if unicodedata.category(chr(i)).startswith("P")} | set(
    string.punctuation
)
RULES = {
    "en": r"\b(a|an|the)\b",
    "es": r"\b(un|una|unos|unas|el|la|los|las)\b",
    "vi": r"\b(của|là|cái|chiếc|những)\b",
    "de": r"\b(ein|eine|einen|einem|eines|einer|der|die|das|den|dem|des)\b",
    "ar": "\\sال^|ال",
}


def mlqa_words(text, language):
    """By the rules of MLQA's script: sign by sign, then articles, then words, of Chinese sign by sign."""
    text = "".join(letter for letter in text.lower() if letter not in SIGNS)
    if language in RULES:
        text = re.sub(RULES[language], " ", text)
    if language != "zh":
        return text.split()
    words, word = [], ""
    for letter in text:
        if "\u4e00" <= letter <= "\u9fa5" or letter in SIGNS:
            words += [*word.split(), letter]
            word = ""
        else:
            word += letter
    return words + word.split()


@pytest.mark.parametrize("language", MLQA.split())
def test_mlqas_scores_are_those_of_its_script(language, real_data):
    generator = random.Random(language)
    found = documents("mlqa", language, real_data, "validation")[:300]
    differ = 0
    for number, answer in enumerate(corrupted([doc["gold"]["text"][0] for doc in found], generator)):
        doc = found[number // 9]
        right = doc["gold"]["text"][0]
        mine, theirs = mlqa_words(answer, language), mlqa_words(right, language)
        same = sum((Counter(mine) & Counter(theirs)).values())
        f1 = 2 * same / (len(mine) + len(theirs)) if same else 0.0
        scored = get_target("mlqa").scored(doc, answer)
        assert scored == (pytest.approx(f1, abs=1e-12), 1.0, mine == theirs), (right, answer)
        differ += scored[0] != pytest.approx(squad_reference.compute_f1(right, answer), abs=1e-12)
    assert differ > 0 or language == "en"  # SQuAD's rules would give others


def raw(folder, path):
    with gzip.open(folder / f"{path}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_xquads_rows_are_parallel_and_a_paragraph_is_a_cluster(real_data):
    english = raw(real_data, "google/xquad/xquad.en/validation")
    paragraphs = list(dict.fromkeys(row["context"] for row in english))
    orders = set()
    for language in ("en", "th", "ro"):
        mine = raw(real_data, f"google/xquad/xquad.{language}/validation")
        found = documents("xquad", language, real_data)
        assert len(found) == 1190 and len({doc["cluster"] for doc in found}) == 240
        for doc in found:
            assert (
                doc["question"] == mine[doc["row"]]["question"] and doc["gold"] == mine[doc["row"]]["answers"]
            )
            assert doc["cluster"] == paragraphs.index(english[doc["row"]]["context"])
        orders.add(tuple(doc["row"] for doc in found))
    assert len(orders) == 1
    assert get_target("xquad").languages == tuple(XQUAD.split())  # Romanian is no part of the headline


def test_rows_in_another_order_are_refused(real_data, tmp_path):
    rows = raw(real_data, "google/xquad/xquad.de/validation")
    place = tmp_path / "google/xquad/xquad.de"
    place.mkdir(parents=True)
    rows[3], rows[900] = rows[900], rows[3]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (place / "validation.jsonl").write_text(lines, encoding="utf-8")
    with pytest.raises(UserError, match="texts differ from the official data's"):
        documents("xquad", "de", tmp_path)
    (place / "validation.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows[:-1]), encoding="utf-8"
    )
    with pytest.raises(UserError, match="1189 rows, the definition says 1190"):
        documents("xquad", "de", tmp_path)


def test_development_rows_of_xquad_are_squads(real_data):
    found = documents("xquad", "en", real_data, "validation")
    rows = raw(real_data, "rajpurkar/squad/plain_text/validation")
    assert [doc["question"] for doc in found] == [row["question"] for row in rows]
    with pytest.raises(UserError, match="xquad has no validation split in 'de'"):
        documents("xquad", "de", real_data, "validation")


def test_mlqas_passages_are_clusters(real_data):
    found = documents("mlqa", "hi", real_data, "validation")
    clusters = {}
    for doc in found:
        clusters.setdefault(doc["cluster"], set()).add(doc["context"])
    assert all(len(contexts) == 1 for contexts in clusters.values())
    assert len(clusters) == len({doc["context"] for doc in found}) < len(found)


@pytest.mark.parametrize(
    ("target", "folder", "name"), [("xquad", "xquad", "xquad_{}"), ("tydiqa", "tydiqa", "tydiqa_goldp_{}")]
)
def test_prompts_are_those_of_stock_tasks(target, folder, name):
    lm_eval = pytest.importorskip("lm_eval")
    spec = get_target(target)
    for language in spec.places:
        path = Path(lm_eval.__file__).parent / "tasks" / folder / f"{name.format(language)}.yaml"
        text = "\n".join(
            line for line in path.read_text(encoding="utf-8").splitlines() if "!function" not in line
        )
        template = yaml.safe_load(text)["doc_to_text"]
        doc = {"target": target, "language": language, "context": "C c.", "question": "Q?"}
        assert doc_to_text(doc) == template.replace("{{context}}", "C c.").replace("{{question}}", "Q?")


def test_the_right_answer_of_a_few_shot_example_is_its_first_text():
    assert doc_to_target({"gold": {"text": ["in Oslo", "Oslo"], "answer_start": [1, 4]}}) == "in Oslo"
    assert doc_to_target({"gold": ["NOUN", "X"]}) == "NOUN X"
    assert doc_to_target({"gold": 3}) == "3"
