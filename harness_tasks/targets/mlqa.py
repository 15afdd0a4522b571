"""MLQA: questions on passages of Wikipedia, in seven languages; a question is in four of them on average, so that a
language's rows are its own. Context and question are of the same language (``MLQA.<code>.<code>`` of XTREME's copy).

Scores are those of MLQA's own script: SQuAD 1.1's, with each language's punctuation and articles left out, and Chinese compared
by character (Lewis et al. 2020, section 5).
"""

from __future__ import annotations

import re
import string
import unicodedata
from functools import partial

from harness_tasks.targets.qa import gold_spans, question, span_score
from harness_tasks.targets.record import Doc, Place, RowRelation, Target

ARTICLES = {
    "de": "ein|eine|einen|einem|eines|einer|der|die|das|den|dem|des",
    "en": "a|an|the",
    "es": "un|una|unos|unas|el|la|los|las",
    "vi": "của|là|cái|chiếc|những",
}
# the words of lm_eval's own prompts for XQuAD; its tasks for MLQA have English ones
WORDS = {
    "ar": ("سيا", "سؤال", "إجابة"),
    "de": ("Kontext", "Frage", "Antwort"),
    "en": ("Context", "Question", "Answer"),
    "es": ("Contexto", "Pregunta", "Respuesta"),
    "hi": ("प्रसंग", "सवाल", "उत्तर"),
    "vi": ("Bối cảnh", "Câu hỏi", "Trả lời"),
    "zh": ("语境", "问题", "回答"),
}


def normalised(text: str, language: str) -> str:
    """Lower case, no punctuation (Unicode's, and ASCII's signs), no articles, single spaces; spaces around Chinese characters."""
    kept = "".join(
        letter for letter in text.lower() if letter not in string.punctuation and not _is_punctuation(letter)
    )
    if language in ARTICLES:
        kept = re.sub(rf"\b({ARTICLES[language]})\b", " ", kept)
    elif language == "ar":
        kept = kept.replace("ال", " ")  # the script's rule finds the article everywhere, within words too
    elif language == "zh":
        kept = re.sub("([一-龥])", r" \1 ", kept)
    return " ".join(kept.split())


def _is_punctuation(letter: str) -> bool:
    return unicodedata.category(letter).startswith("P")


def _score(doc: Doc, answer: str) -> tuple[float, float, bool]:
    return span_score(answer, doc["gold"]["text"], partial(normalised, language=doc["language"]))


def _place(code: str) -> Place:
    return Place("google/xtreme", f"MLQA.{code}.{code}", rows=RowRelation("own"), words=WORDS[code])


TARGET = Target(
    name="mlqa",
    title="MLQA",
    order=11,
    version="1.0",
    citation="Lewis et al. 2020, https://aclanthology.org/2020.acl-main.653",
    licence="CC BY-SA 3.0",
    head="span",
    places={code: _place(code) for code in WORDS},
    text_fields=("context", "question"),
    gold=gold_spans,
    score=_score,
    metrics=("f1", "exact_match"),
    context=question,
    benchmark=("question answering", "MLQA"),
)
