"""Tatoeba: up to 1,000 sentences of each language with their English translations (LASER's selection, XTREME's copy).

A sentence is answered with the nearest English one of its language's file; the right one is that of its own row, by number, as
in XTREME, also where another row has the same text. The files end each text with a line break, which is taken away.
"""

from __future__ import annotations

from typing import Any

from harness_tasks.targets.reading import read_target
from harness_tasks.targets.record import Doc, Place, Row, RowRelation, Target

# language: its name in the set
LANGUAGES = {
    "af": "afr", "ar": "ara", "bg": "bul", "bn": "ben", "de": "deu", "el": "ell", "es": "spa", "et": "est", "eu": "eus",
    "fa": "pes", "fi": "fin", "fr": "fra", "he": "heb", "hi": "hin", "hu": "hun", "id": "ind", "it": "ita", "ja": "jpn",
    "jv": "jav", "ka": "kat", "kk": "kaz", "ko": "kor", "ml": "mal", "mr": "mar", "nl": "nld", "pt": "por", "ru": "rus",
    "sw": "swh", "ta": "tam", "te": "tel", "th": "tha", "tl": "tgl", "tr": "tur", "ur": "urd", "vi": "vie", "zh": "cmn",
}  # fmt: skip


def _read(row: Row) -> dict[str, Any]:
    return {name: row[name].rstrip("\n") for name in ("source_sentence", "target_sentence")}


def _candidates(language: str, split: str, source: str) -> list[tuple[str, str]]:
    rows = read_target("tatoeba", language, split, source)
    return [(str(number), row["gold"]) for number, row in enumerate(rows)]


def _score(doc: Doc, answer: str) -> tuple[float, float, bool]:
    right = answer == str(doc["row"])
    return float(right), 1.0, right


TARGET = Target(
    name="tatoeba",
    title="Tatoeba",
    order=31,
    version="1.0",
    citation="Artetxe and Schwenk 2019, https://aclanthology.org/Q19-1038",
    licence="CC BY 2.0 FR",
    head="retrieval",
    benchmark=("sentence retrieval", "Tatoeba"),
    places={
        code: Place(
            "google/xtreme", f"tatoeba.{name}", test="validation", validation=None, rows=RowRelation("own")
        )
        for code, name in LANGUAGES.items()
    },
    text_fields=("source_sentence",),
    read=_read,
    gold=lambda row: row["target_sentence"],
    candidates=_candidates,
    score=_score,
    metrics=("acc",),
)
