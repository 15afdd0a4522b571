"""What extractive question answering targets share: gold answers, SQuAD 1.1's scores, a prompt."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable
from typing import Any

from harness_tasks.targets.record import Doc, Row

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
Normalise = Callable[[str], str]


def gold_spans(row: Row) -> dict[str, Any]:
    """``{"text": [...], "answer_start": [...]}`` of a row in SQuAD's form.

    Raises ValueError where the context has another text at a place, or there is no answer.
    """
    texts, starts = list(row["answers"]["text"]), [int(start) for start in row["answers"]["answer_start"]]
    if not texts or len(texts) != len(starts):
        raise ValueError(f"{len(texts)} answers at {len(starts)} places")
    for text, start in zip(texts, starts, strict=True):
        there = row["context"][start : start + len(text)] if start >= 0 else ""
        if not text or there != text:
            raise ValueError(
                f"the context has {there[:40]!r} at answer_start {start}, not {str(text)[:40]!r}"
            )
    return {"text": texts, "answer_start": starts}


def squad_text(text: str) -> str:
    """As the official script of SQuAD 1.1 compares answers: lower case, no ASCII punctuation, no English articles, single
    spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def span_score(answer: str, texts: list[str], normalise: Normalise = squad_text) -> tuple[float, float, bool]:
    """Token F1 and whether the texts are the same, each the best of all right answers (Rajpurkar et al. 2016, section 6.1).

    Where nothing is left of both, F1 is 0 and they are the same, as in the official script.
    """
    mine = normalise(answer)
    rights = [normalise(text) for text in texts]
    return max(_f1(mine.split(), right.split()) for right in rights), 1.0, mine in rights


def score(doc: Doc, answer: str) -> tuple[float, float, bool]:
    """SQuAD 1.1's F1, 1, and exact match."""
    return span_score(answer, doc["gold"]["text"])


def question(doc: Doc, words: tuple[str, str, str]) -> str:
    """The prompt of lm_eval's own tasks; the words are those for context, question and answer."""
    context, asked, answer = words
    return f"{context}: {doc['context']}\n\n{asked}: {doc['question']}\n\n{answer}:"


def _f1(mine: list[str], right: list[str]) -> float:
    same = sum((Counter(mine) & Counter(right)).values())
    if not same:
        return 0.0
    precision, recall = same / len(mine), same / len(right)
    return 2 * precision * recall / (precision + recall)
