"""BUCC 2018: which sentences of one text translate sentences of another; most translate none.

A document is a sentence of the other language, a candidate an English one. XTREME's test rows are the shared task's training
set, its validation rows the sample. Neither is on the hub, which has the right pairs alone: ``python -m harness_tasks.bucc``
makes files of the shared task's own ones. Score: F1 of the mined pairs, 2 * right / (mined + right ones that there are).
"""

from __future__ import annotations

from harness_tasks.sources import read_rows
from harness_tasks.targets.record import Doc, Place, RowRelation, Target

DATASET = "bucc/bucc2018"
LANGUAGES = ("de", "fr", "ru", "zh")
NOTHING = "-1"


def _candidates(language: str, split: str, source: str) -> list[tuple[str, str]]:
    rows = read_rows(DATASET, language, split, source)
    return [(row["id"], row["text"]) for row in rows if str(row.get("id")).startswith("en-")]


def _score(doc: Doc, answer: str) -> tuple[float, float, bool]:
    mined, there = answer != NOTHING, bool(doc["gold"])
    right = mined and answer == doc["gold"]
    return 2.0 * right, float(mined + there), right or not (mined or there)


TARGET = Target(
    name="bucc",
    title="BUCC 2018",
    order=30,
    version="1.0",
    citation="Zweigenbaum, Sharoff and Rapp 2018, https://aclanthology.org/W17-2512",
    licence="research",
    head="retrieval",
    benchmark=("sentence retrieval", "BUCC"),
    places={
        code: Place(DATASET, code, rows=RowRelation("own"), only=("id", f"{code}-")) for code in LANGUAGES
    },
    text_fields=("text",),
    gold=lambda row: str(row["pair"] or ""),
    candidates=_candidates,
    mined=True,
    score=_score,
    metrics=("f1",),
)
