"""TyDiQA-GoldP: questions written in each of nine languages, and the passage with the answer; nothing is translated.

All languages are in one file, the beginning of a row's id says which one it is of. Rows of a language that have the same
passage are a cluster. Test rows are the set's validation split, as in XTREME; there are none to choose a step with. Scores are
SQuAD 1.1's, as in XTREME.
"""

from __future__ import annotations

from harness_tasks.targets.qa import gold_spans, question, score
from harness_tasks.targets.record import Place, RowRelation, Target, Training

# name in ids, and the words of lm_eval's own prompts (``tydiqa_goldp_<language>``)
LANGUAGES = {
    "ar": ("arabic", ("السياق", "السؤال", "الإجابة")),
    "bn": ("bengali", ("প্রসঙ্গ", "প্রশ্ন", "উত্তর")),
    "en": ("english", ("Context", "Question", "Answer")),
    "fi": ("finnish", ("Konteksti", "Kysymys", "Vastaus")),
    "id": ("indonesian", ("Konteks", "Pertanyaan", "Jawaban")),
    "ko": ("korean", ("맥락", "질문", "답변")),
    "ru": ("russian", ("Контекст", "Вопрос", "Ответ")),
    "sw": ("swahili", ("Muktadha", "Swali", "Jibu")),
    "te": ("telugu", ("సందర్భం", "ప్రశ్న", "సమాధానం")),
}


def _place(code: str) -> Place:
    return Place(
        "google-research-datasets/tydiqa",
        "secondary_task",
        test="validation",
        validation=None,
        rows=RowRelation("own"),
        only=("id", f"{LANGUAGES[code][0]}-"),
        words=LANGUAGES[code][1],
        licence="Apache-2.0",
    )


TARGET = Target(
    name="tydiqa",
    title="TyDiQA-GoldP",
    order=12,
    version="1.0",
    citation="Clark et al. 2020, https://aclanthology.org/2020.tacl-1.30",
    licence="Apache-2.0",
    head="span",
    places={code: _place(code) for code in LANGUAGES},
    text_fields=("context", "question"),
    gold=gold_spans,
    score=score,
    metrics=("f1", "exact_match"),
    context=question,
    benchmark=("question answering", "TyDiQA"),
    training=Training("train", 3696),
)
