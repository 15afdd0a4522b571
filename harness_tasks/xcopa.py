"""XCOPA: where it lies, and the prompts of lm-evaluation-harness' own ``xcopa_<language>`` tasks.

A prompt is the premise without its last character and a connector that depends on ``question``; the choices
begin in lower case. English, which XCOPA does not have, is COPA (SuperGLUE's copy), with the connectors of
the harness' own ``copa`` task.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

DATASET = "cambridgeltl/xcopa"
ENGLISH_DATASET, ENGLISH_CONFIG = "aps/super_glue", "copa"
TEXT_FIELDS = ("premise", "choice1", "choice2")
QUESTIONS = ("cause", "effect")

CONNECTORS: dict[str, dict[str, str]] = {
    "en": {"cause": "because", "effect": "therefore"},
    "et": {"cause": "sest", "effect": "seetõttu"},
    "ht": {"cause": "poukisa", "effect": "donk sa"},
    "id": {"cause": "karena", "effect": "maka"},
    "it": {"cause": "perché", "effect": "quindi"},
    "qu": {"cause": "imataq", "effect": "chaymi"},
    "sw": {"cause": "kwa sababu", "effect": "kwa hiyo"},
    "ta": {"cause": "காரணமாக", "effect": "எனவே"},
    "th": {"cause": "เพราะ", "effect": "ดังนั้น"},
    "tr": {"cause": "çünkü", "effect": "bu yüzden"},
    "vi": {"cause": "bởi vì", "effect": "vì vậy"},
    "zh": {"cause": "因为", "effect": "所以"},
}


def doc_to_text(doc: Mapping[str, Any]) -> str:
    """The context: the premise without its last character, and the connector, as the harness' own tasks have
    it.

    Thai premises and all but one of the Tamil ones have no full stop, so that they lose a letter here; see
    :func:`doc_to_text_whole`.
    """
    return doc["premise"].strip()[:-1] + " " + CONNECTORS[doc["language"]][doc["question"]]


def doc_to_text_whole(doc: Mapping[str, Any]) -> str:
    """As :func:`doc_to_text`, but the last character is only dropped if it is punctuation."""
    premise = doc["premise"].strip()
    if unicodedata.category(premise[-1]).startswith("P"):
        premise = premise[:-1]
    return premise + " " + CONNECTORS[doc["language"]][doc["question"]]


def doc_to_choice(doc: Mapping[str, Any]) -> list[str]:
    """The two choices, beginning in lower case."""
    return [choice[0].lower() + choice[1:] for choice in (doc["choice1"], doc["choice2"])]
