"""The rules that decide a row's subsets from its English text and label; the registry has them in words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

ENTAILMENT, CONTRADICTION = 0, 2
# The genres of MNLI's training set; XNLI's test rows are half from these and half from five others.
MNLI_TRAINING_GENRES = frozenset({"fiction", "government", "slate", "telephone", "travel"})

PUNCTUATION = ".?!,;:\"'"
OVERLAP_HIGH, OVERLAP_LOW = 0.6, 0.25
LONG_CHARACTERS = 178  # the 90th percentile of the test premises' lengths

NEGATION = re.compile(
    r"\b(?:no|not|never|none|nobody|nothing|nowhere|neither|nor|cannot)\b|n['’]t\b", re.IGNORECASE
)
NUMBER = re.compile(
    r"\d|\b(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty|sixty"
    r"|seventy|eighty|ninety|dozen|hundred|thousand|million|billion)s?\b",
    re.IGNORECASE,
)


def words(text: str) -> set[str]:
    """The distinct words: separated by white space, in lower case, punctuation at either end dropped.

    A word that is nothing but punctuation becomes the empty word and is kept.
    """
    return {word.strip(PUNCTUATION) for word in text.lower().split()}


def overlap(row: Mapping[str, Any]) -> float:
    """Share of the hypothesis' distinct words that the premise has, 0 to 1."""
    hypothesis = words(row["hypothesis"])
    return len(hypothesis & words(row["premise"])) / len(hypothesis)


def misleading_overlap(row: Mapping[str, Any]) -> bool:
    """Whether word overlap points to the wrong label."""
    if row["label"] == ENTAILMENT:
        return overlap(row) <= OVERLAP_LOW
    return overlap(row) >= OVERLAP_HIGH


def misleading_negation(row: Mapping[str, Any]) -> bool:
    """Whether the hypothesis has a negation word though it is no contradiction."""
    return row["label"] != CONTRADICTION and bool(NEGATION.search(row["hypothesis"]))


def long_premise(row: Mapping[str, Any]) -> bool:
    """Whether the premise is of the longest decile."""
    return len(row["premise"]) >= LONG_CHARACTERS


def numbers(row: Mapping[str, Any]) -> bool:
    """Whether premise and hypothesis both have a number."""
    return bool(NUMBER.search(row["premise"]) and NUMBER.search(row["hypothesis"]))
