"""PAWS-X: its languages (XTREME's copy), its prompts (those of lm-evaluation-harness' ``paws_<language>`` tasks), a subset.

Labels are text there, "NS" stands for a sentence that was not translated (such rows are left out), and three files lack
rows: ``paws_x_rows.tsv`` has the English row of each of theirs (none for three that damaged quotes ran together), and
the cluster of each English test row: the first row that it shares sentences with, by way of others too.
"""

from __future__ import annotations

import csv
import re
from functools import cache
from pathlib import Path
from typing import Any

from harness_tasks.targets.forms import question_choices
from harness_tasks.targets.record import Doc, Place, Row, RowRelation, Subset, Target, by_row

ZHANG = "Zhang, Baldridge and He 2019, https://aclanthology.org/N19-1131"
TABLE = Path(__file__).with_name("paws_x_rows.tsv")
WORDS = {  # language: question word, then the answers for not_paraphrase and paraphrase
    "de": ("richtig", "Nein", "Ja"),
    "en": ("right", "No", "Yes"),
    "es": ("verdad", "No", "Sí"),
    "fr": ("n'est-ce pas", "Non", "Oui"),
    "ja": ("ですね", "いいえ", "はい"),
    "ko": ("맞죠", "아니요", "예"),
    "zh": ("对吧", "不是", "是"),
}
_FILES: Any = {"rows": RowRelation("table", str(TABLE), "english_row"), "labels": (("0", 0), ("1", 1))}
SAME = "Both English sentences have the same words, in another order."
WHY = "Words alone do not tell whether they mean the same."


def _choices(doc: Doc, words: tuple[str, ...]) -> list[str]:
    first, second = doc["sentence1"], doc["sentence2"]
    if doc["language"] not in ("ja", "ko", "zh"):  # the harness does this in the others only
        first, second = (_put_together(text).strip() for text in (first, second))
        first = first[:-1] if first.endswith((".", ",", ";")) else first
        second = second[0].lower() + second[1:]
    return question_choices(first, second, words)


def _put_together(text: str) -> str:
    return re.sub(r" (?=n't|[)\"'.,])|(?<=[(\"]) ", "", text)


def _same_words(row: Row) -> bool:
    return sorted(row["sentence1"].lower().split()) == sorted(row["sentence2"].lower().split())


@cache
def _clusters() -> dict[int, int]:
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        return {int(row["row"]): int(row["cluster"]) for row in rows if row["cluster"]}


def _place(code: str) -> Place:
    return Place("google/xtreme", f"PAWS-X.{code}", untranslated="NS", words=WORDS[code], **_FILES)


TARGET = Target(
    name="paws_x",
    title="PAWS-X",
    order=3,
    version="1.0",
    citation="Yang et al. 2019, https://aclanthology.org/D19-1382",
    licence="free use with attribution (Google)",
    head="pair_classification",
    benchmark=("pair sentence", "PAWS-X"),
    places={code: _place(code) for code in WORDS},
    text_fields=("sentence1", "sentence2"),
    answers=("not_paraphrase", "paraphrase"),
    context=lambda doc, words: "",
    choices=_choices,
    pairs=lambda doc: [(doc["sentence1"], doc["sentence2"])],
    subsets=(Subset("same_words", 1, SAME, WHY, ZHANG, by_row(_same_words)),),
    cluster=lambda row: _clusters()[row],
)
