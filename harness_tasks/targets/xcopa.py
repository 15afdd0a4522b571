"""XCOPA: its languages, its prompts (those of lm-evaluation-harness' ``xcopa_<language>`` tasks) and its subsets.

English, which XCOPA does not have, is COPA (SuperGLUE's copy), with the connectors of the harness' own ``copa``
task. Row i of XCOPA is a translation of COPA's row i.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness_tasks.targets.forms import (
    COPA_WORDS,
    QUESTIONS,
    copa_choices,
    copa_context,
    copa_context_whole,
    copa_pairs,
)
from harness_tasks.targets.record import Place, Row, Subset, Target, by_fact, by_row

KAVUMBA = "Kavumba et al. 2019, https://aclanthology.org/D19-6004"
ROEMMELE = "Roemmele, Bejan and Gordon 2011, https://people.ict.usc.edu/~gordon/copa.html"
PONTI = "Ponti et al. 2020, https://aclanthology.org/2020.emnlp-main.185"

LANGUAGES = ("en", "et", "ht", "id", "it", "qu", "sw", "ta", "th", "tr", "vi", "zh")


def _changed(
    rows: Mapping[str, Sequence[Row]], facts: Sequence[Mapping[str, str]], data: str
) -> Sequence[int]:
    return sorted({number for mine in rows.values() for number, row in enumerate(mine) if row.get("changed")})


SUBSETS = (
    Subset(
        name="id",
        version=1,
        rule="The row translates an item of COPA-easy (row = COPA id - 501).",
        rationale="A model that sees the choices without the premise solves it: superficial cues are enough.",
        citation=KAVUMBA,
        members=by_fact(lambda fact: fact["difficulty"] == "easy"),
        alias="easy",  # `xcopa_ood_id` is the Indonesian task
    ),
    Subset(
        name="ood",
        version=1,
        rule="The row translates an item of COPA-hard (row = COPA id - 501).",
        rationale="The choices alone do not give the answer away.",
        citation=KAVUMBA,
        members=by_fact(lambda fact: fact["difficulty"] == "hard"),
    ),
    Subset(
        name="cause",
        version=1,
        rule="COPA asks for the cause of the premise.",
        rationale="Against the order of events; the two questions differ in difficulty.",
        citation=f"{ROEMMELE}; {PONTI}",
        members=by_row(lambda row: row["question"] == "cause"),
    ),
    Subset(
        name="effect",
        version=1,
        rule="COPA asks for the effect of the premise.",
        rationale="Along the order of events; the two questions differ in difficulty.",
        citation=f"{ROEMMELE}; {PONTI}",
        members=by_row(lambda row: row["question"] == "effect"),
    ),
    Subset(
        name="changed",
        version=1,
        rule="The translators of at least one language had to change the item (`changed` in the files); the "
        "same rows in every language.",
        rationale="Situations and objects that do not carry over between cultures.",
        citation=PONTI,
        members=_changed,
    ),
)

TARGET = Target(
    name="xcopa",
    order=2,
    title="XCOPA",
    version="1.0",
    citation=PONTI,
    licence="CC BY 4.0",
    head="multiple_choice",
    places={
        code: Place(
            "aps/super_glue", "copa", words=COPA_WORDS[code], licence="BSD-2-Clause", citation=ROEMMELE
        )
        if code == "en"
        else Place("cambridgeltl/xcopa", code, words=COPA_WORDS[code])
        for code in LANGUAGES
    },
    text_fields=("premise", "choice1", "choice2"),
    answers=("choice 1", "choice 2"),
    context=lambda doc, words: copa_context(doc["premise"], doc["question"], words),
    choices=lambda doc, words: copa_choices((doc["choice1"], doc["choice2"])),
    pairs=lambda doc: copa_pairs(doc["premise"], [doc["choice1"], doc["choice2"]], doc["question"]),
    contexts={"whole_premise": lambda doc, words: copa_context_whole(doc["premise"], doc["question"], words)},
    pivot={"question": QUESTIONS},
    extra=("changed",),
    subsets=SUBSETS,
    hidden_labels="it",
)
