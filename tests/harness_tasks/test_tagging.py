"""Scores of tags: sums over sentences against seqeval and scikit-learn on all of them at once, and the names of tags."""

import builtins
import gzip
import json
import random

import pytest

from harness_tasks.errors import UserError
from harness_tasks.tagging import NER_TAGS, UD_TAGS, span_f1, word_accuracy, words_text


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


def test_a_sentence_without_spans_counts_nothing():
    pytest.importorskip("seqeval")
    assert span_f1(["O", "O"], ["O", "O"]) == (0.0, 0.0, True)
    assert span_f1(["O", "O"], ["O", "I-LOC"]) == (0.0, 1.0, False)
    assert span_f1(["B-PER", "I-PER", "B-PER"], ["B-PER", "I-PER", "I-PER"]) == (0.0, 3.0, False)


@pytest.mark.parametrize("score", [span_f1, word_accuracy])
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
