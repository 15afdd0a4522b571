"""XQuAD: 240 paragraphs of SQuAD 1.1's development set with 1,190 questions, translated; row i is English row i.

XTREME's 11 languages are the official ones; Romanian was added later. There is no validation split: English development rows
are those of SQuAD. Prompts are those of lm_eval's own ``xquad_<language>`` tasks.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from harness_tasks.targets.qa import gold_spans, question, score
from harness_tasks.targets.record import Place, RowRelation, Target

# how many questions each paragraph has, one after the other: 1 to 9, then letters from a (10)
PARAGRAPHS = (
    "eghcf55535121319a5333524455545555535555555555555544555545555545545543455455aa655f5555d84525554444435455544555455555"
    "5555544434555455555594444aa9555444544535533445555555555555555555455554454445544355543555548355555445555555555533434"
    "4333354444"
)
WORDS = {
    "ar": ("سيا", "سؤال", "إجابة"),
    "de": ("Kontext", "Frage", "Antwort"),
    "el": ("Συμφραζόμενα", "Ερώτηση", "Απάντηση"),
    "en": ("Context", "Question", "Answer"),
    "es": ("Contexto", "Pregunta", "Respuesta"),
    "hi": ("प्रसंग", "सवाल", "उत्तर"),
    "ro": ("Context", "Întrebare", "Răspuns"),
    "ru": ("Контекст", "Вопрос", "Ответ"),
    "th": ("บริบท", "คำถาม", "คำตอบ"),
    "tr": ("Bağlam", "Soru", "Cevap"),
    "vi": ("Bối cảnh", "Câu hỏi", "Trả lời"),
    "zh": ("语境", "问题", "回答"),
}


@cache
def _paragraphs() -> tuple[int, ...]:
    """The paragraph of each row."""
    return tuple(number for number, count in enumerate(PARAGRAPHS) for _ in range(int(count, 36)))


def _place(code: str) -> Place:
    added = {
        "official": False,
        "group": "more",
        "origin": "human translation",
        "unconfirmed": "who translated it",
    }
    more: dict[str, Any] = added if code == "ro" else {}
    return Place(
        "google/xquad",
        f"xquad.{code}",
        test="validation",
        validation=None,
        words=WORDS[code],
        size=(("test", 1190),),
        licence="CC BY-SA 4.0",
        **more,
    )


TARGET = Target(
    name="xquad",
    title="XQuAD",
    order=10,
    version="1.0",
    citation="Artetxe et al. 2020, https://aclanthology.org/2020.acl-main.421",
    licence="CC BY-SA 4.0",
    head="span",
    places={code: _place(code) for code in WORDS},
    text_fields=("context", "question"),
    gold=gold_spans,
    score=score,
    metrics=("f1", "exact_match"),
    context=question,
    benchmark=("question answering", "XQuAD"),
    cluster=lambda row: _paragraphs()[row],
    development=Place("rajpurkar/squad", "plain_text", test="validation", rows=RowRelation("own")),
)
