"""The forms that targets and training tasks share: pairs for encoders, and prompts for language models.

Prompts are those of lm-evaluation-harness' own tasks (``lm_eval/tasks/xnli``, ``xcopa``, ``super_glue/copa``), so
that scores can be compared.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

NLI_LABELS = ("entailment", "neutral", "contradiction")
QUESTIONS = ("cause", "effect")

# language: question word, then the answers for entailment, neutral, contradiction
NLI_WORDS: dict[str, tuple[str, str, str, str]] = {
    "ar": ("صحيح", "نعم", "لذا", "رقم"),
    "bg": ("правилно", "да", "така", "не"),
    "de": ("richtig", "Ja", "Auch", "Nein"),
    "el": ("σωστός", "Ναί", "Έτσι", "όχι"),
    "en": ("right", "Yes", "Also", "No"),
    "es": ("correcto", "Sí", "Asi que", "No"),
    "fr": ("correct", "Oui", "Aussi", "Non"),
    "hi": ("सही", "हाँ", "इसलिए", "नहीं"),
    "ru": ("правильно", "Да", "Так", "Нет"),
    "sw": ("sahihi", "Ndiyo", "Hivyo", "Hapana"),
    "th": ("ถูกต้อง", "ใช่", "ดังนั้น", "ไม่"),
    "tr": ("doğru", "Evet", "Böylece", "Hayır"),
    "ur": ("صحیح", "جی ہاں", "اس لئے", "نہیں"),
    "vi": ("đúng", "Vâng", "Vì vậy", "Không"),
    "zh": ("正确", "是的", "所以", "不是的"),
}
# language: connectors for cause and effect
COPA_WORDS: dict[str, tuple[str, str]] = {
    "en": ("because", "therefore"),
    "et": ("sest", "seetõttu"),
    "ht": ("poukisa", "donk sa"),
    "id": ("karena", "maka"),
    "it": ("perché", "quindi"),
    "qu": ("imataq", "chaymi"),
    "sw": ("kwa sababu", "kwa hiyo"),
    "ta": ("காரணமாக", "எனவே"),
    "th": ("เพราะ", "ดังนั้น"),
    "tr": ("çünkü", "bu yüzden"),
    "vi": ("bởi vì", "vì vậy"),
    "zh": ("因为", "所以"),
}


def nli_pair(premise: str, hypothesis: str) -> tuple[str, str]:
    """One pair a document: premise, hypothesis."""
    return premise, hypothesis


def detokenized_pair(doc: Mapping[str, Any]) -> dict[str, str]:
    """Premise and hypothesis as lm_eval's ``xnli_ca``, ``xnli_va`` and ``xnli_gl`` have them in their prompts: without the
    spaces that a tokenizer left, the premise without its last punctuation mark, the hypothesis beginning in lower case
    and ending with a full stop (``process_doc_nli`` in ``lm_eval/tasks/catalan_bench/utils.py``)."""
    premise, hypothesis = _detokenized(doc["premise"]), _detokenized(doc["hypothesis"])
    premise = premise[:-1] if premise.endswith((".", ",", "!", "?")) else premise
    hypothesis = hypothesis[:1].lower() + hypothesis[1:]
    return {"premise": premise, "hypothesis": hypothesis if hypothesis.endswith(".") else hypothesis + "."}


def full_stop_kept(doc: Mapping[str, Any]) -> dict[str, str]:
    """The premise with a character for :func:`copa_context` to drop: lm_eval's ``xcopa_eu`` keeps the full stop
    (``xcopa_doc_to_text`` in ``lm_eval/tasks/basque_bench/utils.py``)."""
    return {"premise": doc["premise"].strip() + "."}


def cut_premise(doc: Mapping[str, Any]) -> dict[str, str]:
    """The premise for :func:`copa_context` as lm_eval's ``copa_ca`` and ``copa_es`` have it: without its last character
    first, then without spaces (``lm_eval/tasks/catalan_bench/copa_ca.yaml``)."""
    return {"premise": doc["premise"][:-1].strip() + "."}


def _detokenized(text: str) -> str:
    """As lm_eval's ``general_detokenize``, without spaces at either end."""
    for old, new in ((" n't", "n't"), (" )", ")"), ("( ", "("), ('" ', '"'), (' "', '"')):
        text = text.replace(old, new)
    return re.sub(r" (['.,])", r"\1", text).strip()


def copa_pairs(premise: str, choices: list[str], question: str) -> list[tuple[str, str]]:
    """One pair a choice, the cause before the effect, so that no question text in some language is needed.

    Raises ValueError when `question` is neither `cause` nor `effect`.
    """
    if question == "cause":
        return [(choice, premise) for choice in choices]
    if question == "effect":
        return [(premise, choice) for choice in choices]
    raise ValueError(f"question is 'cause' or 'effect', not {question!r}")


def question_choices(first: str, second: str, words: Sequence[str]) -> list[str]:
    """``<first>, <question word>? <answer>, <second>``, once for each answer; `words`: question word, then answers."""
    question, *answers = words
    return [f"{first}, {question}? {answer}, {second}" for answer in answers]


def copa_context(premise: str, question: str, words: Sequence[str]) -> str:
    """The premise without its last character, and the connector, as the harness' own tasks have it.

    Thai premises and all but one of the Tamil ones have no full stop, so that they lose a letter here; see
    :func:`copa_context_whole`.
    """
    return premise.strip()[:-1] + " " + words[QUESTIONS.index(question)]


def copa_context_whole(premise: str, question: str, words: Sequence[str]) -> str:
    """As :func:`copa_context`, but the last character is only dropped if it is punctuation."""
    premise = premise.strip()
    if unicodedata.category(premise[-1]).startswith("P"):
        premise = premise[:-1]
    return premise + " " + words[QUESTIONS.index(question)]


def copa_choices(choices: Sequence[str]) -> list[str]:
    """The choices, beginning in lower case."""
    return [choice[0].lower() + choice[1:] for choice in choices]
