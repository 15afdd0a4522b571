"""UDPOS: parts of speech of Universal Dependencies 2.5, XTREME's copy: its treebanks of a language one after the other.

Sentences of different languages have nothing to do with each other; the same sentence twice is a cluster. Kazakh, Tagalog,
Thai and Yoruba have no validation split. The figure is XTREME's: F1 by seqeval over runs of words with the same tag. The
accuracy over words, which was the figure up to version 1.0, is the second ratio.
"""

from __future__ import annotations

from harness_tasks.tagging import UD_TAGS, run_f1, tag_names, tags_of, word_accuracy, words_text
from harness_tasks.targets.record import Doc, Place, RowRelation, Target, Training

LANGUAGES = {
    "af": "Afrikaans",
    "ar": "Arabic",
    "bg": "Bulgarian",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "et": "Estonian",
    "eu": "Basque",
    "fa": "Persian",
    "fi": "Finnish",
    "fr": "French",
    "he": "Hebrew",
    "hi": "Hindi",
    "hu": "Hungarian",
    "id": "Indonesian",
    "it": "Italian",
    "ja": "Japanese",
    "kk": "Kazakh",
    "ko": "Korean",
    "mr": "Marathi",
    "nl": "Dutch",
    "pt": "Portuguese",
    "ru": "Russian",
    "ta": "Tamil",
    "te": "Telugu",
    "th": "Thai",
    "tl": "Tagalog",
    "tr": "Turkish",
    "ur": "Urdu",
    "vi": "Vietnamese",
    "yo": "Yoruba",
    "zh": "Chinese",
}
TEST_ONLY = ("kk", "th", "tl", "yo")


def _place(code: str, name: str) -> Place:
    validation = None if code in TEST_ONLY else "validation"
    return Place("google/xtreme", f"udpos.{name}", validation=validation, rows=RowRelation("own"))


def _score(doc: Doc, answer: str) -> tuple[float, ...]:
    tags = tags_of(answer, len(doc["gold"]))
    words, all_words, right = word_accuracy(doc["gold"], tags)
    return *run_f1(doc["gold"], tags)[:2], right, words, all_words


TARGET = Target(
    name="udpos",
    title="UDPOS",
    order=20,
    version="2.0",
    citation="Universal Dependencies 2.5: Nivre et al. 2020, https://aclanthology.org/2020.lrec-1.497",
    licence="CC BY-SA 4.0 and others, by treebank",
    head="token_classification",
    benchmark=("structured prediction", "POS"),
    places={code: _place(code, name) for code, name in LANGUAGES.items()},
    text_fields=("words",),
    read=lambda row: {"words": words_text(row["tokens"])},
    gold=lambda row: tag_names(row["tokens"], row["pos_tags"], UD_TAGS),
    tags=UD_TAGS,
    score=_score,
    training=Training("train", 21_253),
    metrics=("f1", "sentence_acc", "acc"),
)
