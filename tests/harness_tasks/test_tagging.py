"""Scores of tags: sums over sentences against seqeval and scikit-learn on all of them at once, and the names of tags."""

import builtins
import gzip
import json
import random
import warnings

import pytest

from harness_tasks.errors import UserError
from harness_tasks.tagging import NER_TAGS, UD_TAGS, run_f1, span_f1, word_accuracy, words_text


def sentences(tags, seed, count=300):
    """Random tags and the same with errors; BIO of that kind is mostly malformed: I- without B-, types that change."""
    draw = random.Random(seed)
    gold = [draw.choices(tags, k=draw.randint(1, 12)) for _ in range(count)]
    return gold, [[tag if draw.random() < 0.6 else draw.choice(tags) for tag in line] for line in gold]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("tags", [NER_TAGS, [*NER_TAGS[:3], *["O"] * 9]], ids=["dense", "sparse"])
def test_sums_over_sentences_give_seqevals_f1(tags, seed):
    metrics = pytest.importorskip("seqeval.metrics")
    gold, predicted = sentences(tags, seed)
    scores = [span_f1(*pair) for pair in zip(gold, predicted, strict=True)]
    ratio = sum(score[0] for score in scores) / sum(score[1] for score in scores)
    assert ratio == pytest.approx(metrics.f1_score(gold, predicted), abs=1e-12)
    assert 0.1 < ratio < 0.95
    for (_, _, right), *pair in zip(scores, gold, predicted, strict=True):
        assert right == (metrics.f1_score(*([line] for line in pair), zero_division=1) == 1)


@pytest.mark.parametrize("seed", range(5))
def test_sums_over_sentences_give_scikit_learns_accuracy(seed):
    metrics = pytest.importorskip("sklearn.metrics")
    gold, predicted = sentences(UD_TAGS, seed)
    scores = [word_accuracy(*pair) for pair in zip(gold, predicted, strict=True)]
    words = [tag for line in gold for tag in line], [tag for line in predicted for tag in line]
    ratio = sum(score[0] for score in scores) / sum(score[1] for score in scores)
    assert ratio == pytest.approx(metrics.accuracy_score(*words), abs=1e-12)
    assert [score[2] for score in scores] == [a == b for a, b in zip(gold, predicted, strict=True)]


def runs(line):
    """(tag, first, last) of a plain loop over neighbours with the same tag; SCONJ and SYM stand alone."""
    found = []
    for place, tag in enumerate(line):
        if tag == "O":
            continue
        if found and found[-1][0] == tag and found[-1][2] == place - 1 and tag not in ("SCONJ", "SYM"):
            found[-1] = (tag, found[-1][1], place)
        else:
            found.append((tag, place, place))
    return set(found)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seed", range(5))
def test_f1_of_parts_of_speech_is_that_of_runs_and_of_seqeval_on_whole_tags(seed):
    metrics = pytest.importorskip("seqeval.metrics")
    gold, predicted = sentences([*UD_TAGS, "NOUN", "NOUN", "NOUN", "SCONJ", "SCONJ", "CCONJ"], seed)
    predicted[0] = ["O"] * len(gold[0])  # words without a tag
    scores = [run_f1(*pair) for pair in zip(gold, predicted, strict=True)]
    above, below = (sum(score[part] for score in scores) for part in (0, 1))
    expected = [(runs(a), runs(b)) for a, b in zip(gold, predicted, strict=True)]
    assert above == sum(2 * len(a & b) for a, b in expected)
    assert below == sum(len(a) + len(b) for a, b in expected)
    # what seqeval before 1.0 made of a bare tag: its first letter, and the whole tag as the type
    named = [[[f"{tag[0]}-{tag}" for tag in line] for line in lines] for lines in (gold, predicted)]
    with warnings.catch_warnings(action="ignore"):
        assert above / below == pytest.approx(metrics.f1_score(*named), abs=1e-12)
    assert run_f1(["SCONJ", "SCONJ"], ["SCONJ", "CCONJ"]) == (2.0, 4.0, False)  # one type to today's seqeval
    words = [word_accuracy(*pair) for pair in zip(gold, predicted, strict=True)]
    assert abs(above / below - sum(s[0] for s in words) / sum(s[1] for s in words)) > 0.005


def test_a_sentence_without_spans_counts_nothing():
    pytest.importorskip("seqeval")
    assert span_f1(["O", "O"], ["O", "O"]) == (0.0, 0.0, True)
    assert span_f1(["O", "O"], ["O", "I-LOC"]) == (0.0, 1.0, False)
    assert span_f1(["B-PER", "I-PER", "B-PER"], ["B-PER", "I-PER", "I-PER"]) == (0.0, 3.0, False)


@pytest.mark.parametrize("score", [span_f1, run_f1, word_accuracy])
def test_a_tag_is_needed_for_each_word(score):
    with pytest.raises(ValueError):
        score(["O", "O"], ["O"])


def test_without_seqeval_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def without(name, *more):
        if name.startswith("seqeval"):
            raise ImportError(name)
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"pip install 'xscale\[xtreme\]'"):
        span_f1(["O"], ["O"])
    assert word_accuracy(["X"], ["X"]) == (1.0, 1.0, True)


def test_words_come_apart_again():
    words = ["thành phố", "a\tb", " ", "end"]
    assert words_text(words).split(" ") == ["thành\u00a0phố", "a\u00a0b", "_", "end"]


def test_the_numbers_of_the_files_are_these_tags(real_data):
    """Words of which everybody knows what they are."""

    def rows(config):
        path = real_data / "google/xtreme" / config / "test.jsonl.gz"
        with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
            return [json.loads(line) for line in file]

    known = {
        "the": "DET",
        "and": "CCONJ",
        "of": "ADP",
        "he": "PRON",
        "is": "AUX",
        ".": "PUNCT",
        "because": "SCONJ",
    }
    known |= {
        "very": "ADV",
        "not": "PART",
        "good": "ADJ",
        "said": "VERB",
        "people": "NOUN",
        "two": "NUM",
        "yes": "INTJ",
    }
    for word, expected in known.items():
        found = [
            UD_TAGS[tag]
            for row in rows("udpos.English")
            for token, tag in zip(row["tokens"], row["pos_tags"], strict=True)
            if token.lower() == word
        ]
        assert found.count(expected) > len(found) / 2, (word, found)
    for word, kind in {"Germany": "LOC", "John": "PER", "University": "ORG"}.items():
        found = [
            NER_TAGS[tag][2:]
            for row in rows("PAN-X.en")
            for token, tag in zip(row["tokens"], row["ner_tags"], strict=True)
            if token == word and tag
        ]
        assert found.count(kind) > len(found) / 2, (word, found)
