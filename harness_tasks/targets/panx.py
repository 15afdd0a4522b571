"""PAN-X: persons, organisations and locations in sentences of Wikipedia: WikiAnn as Rahimi et al. 2019 balanced it, from XTREME.

Sentences of different languages have nothing to do with each other; the same sentence twice is a cluster. The score is the
micro-averaged F1 of whole entities, by seqeval.
"""

from __future__ import annotations

from harness_tasks.tagging import NER_TAGS, span_f1, tag_names, tags_of, words_text
from harness_tasks.targets.record import Place, RowRelation, Target, Training

LANGUAGES = (
    "af ar bg bn de el en es et eu fa fi fr he hi hu id it ja jv ka kk ko ml mr ms my nl pt ru sw ta te th tl tr ur vi yo zh"
).split()

TARGET = Target(
    name="panx",
    title="PAN-X",
    order=21,
    version="1.0",
    citation="Pan et al. 2017, https://aclanthology.org/P17-1178; Rahimi et al. 2019, https://aclanthology.org/P19-1015",
    licence="not said",
    head="token_classification",
    benchmark=("structured prediction", "NER"),
    places={code: Place("google/xtreme", f"PAN-X.{code}", rows=RowRelation("own")) for code in LANGUAGES},
    text_fields=("words",),
    read=lambda row: {"words": words_text(row["tokens"])},
    gold=lambda row: tag_names(row["tokens"], row["ner_tags"], NER_TAGS),
    tags=NER_TAGS,
    score=lambda doc, answer: span_f1(doc["gold"], tags_of(answer, len(doc["gold"]))),
    training=Training("train", 20_000),
    metrics=("f1", "exact_match"),
)
