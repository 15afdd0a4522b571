"""XNLI: where it lies, and the prompts of lm-evaluation-harness' own ``xnli_<language>`` tasks.

A prompt is ``<premise>, <question word>? <answer>, <hypothesis>`` with one answer for each label; the words
are those of the harness (``lm_eval/tasks/xnli``), so that scores can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DATASET = "facebook/xnli"
LABELS = ("entailment", "neutral", "contradiction")
TEXT_FIELDS = ("premise", "hypothesis")

# language: question word, then the answers for entailment, neutral, contradiction
WORDS: dict[str, tuple[str, str, str, str]] = {
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
INFIXES = {
    code: tuple(f", {question}? {answer}, " for answer in answers)
    for code, (question, *answers) in WORDS.items()
}


def doc_to_text(doc: Mapping[str, Any]) -> str:
    """The context: empty, because the choices hold the whole prompt."""
    return ""


def doc_to_choice(doc: Mapping[str, Any]) -> list[str]:
    """One whole prompt for each label, in the order of :data:`LABELS`."""
    premise, hypothesis = doc["premise"], doc["hypothesis"]
    return [premise + infix + hypothesis for infix in INFIXES[doc["language"]]]
