"""XNLI: its languages, its prompts (those of lm-evaluation-harness' ``xnli_<language>`` tasks) and its subsets."""

from __future__ import annotations

from harness_tasks.targets import xnli_rules as rules
from harness_tasks.targets.forms import NLI_LABELS, NLI_WORDS, nli_pair, question_choices
from harness_tasks.targets.record import Place, Subset, Target, by_fact, by_row
from harness_tasks.targets.xnli_hypothesis_only import wrong_rows

WILLIAMS = "Williams, Nangia and Bowman 2018, https://aclanthology.org/N18-1101"
CONNEAU = "Conneau et al. 2018, https://aclanthology.org/D18-1269"
GURURANGAN = "Gururangan et al. 2018, https://aclanthology.org/N18-2017"
NAIK = "Naik et al. 2018, https://aclanthology.org/C18-1198"
MCCOY = "McCoy, Pavlick and Linzen 2019, https://aclanthology.org/P19-1334"

LANGUAGES = ("ar", "bg", "de", "el", "en", "es", "fr", "hi", "ru", "sw", "th", "tr", "ur", "vi", "zh")
SUBSETS = (
    Subset(
        name="id",
        version=1,
        rule="The genre is one of MNLI's training genres: fiction, government, slate, telephone, travel.",
        rationale="Text like that of the English fine-tuning data.",
        citation=f"{WILLIAMS}; {CONNEAU}",
        members=by_fact(lambda fact: fact["genre"] in rules.MNLI_TRAINING_GENRES),
    ),
    Subset(
        name="ood",
        version=1,
        rule="The genre is none of MNLI's training genres: facetoface, letters, nineeleven, oup, verbatim.",
        rationale="Text unlike the English fine-tuning data: MNLI's 'mismatched' genres.",
        citation=f"{WILLIAMS}; {CONNEAU}",
        members=by_fact(lambda fact: fact["genre"] not in rules.MNLI_TRAINING_GENRES),
    ),
    Subset(
        name="overlap",
        version=1,
        rule="Of the hypothesis' distinct words at least 60% are in the premise and the label is not "
        "entailment, or at most 25% are and the label is entailment. Words are what spaces separate, in lower "
        "case, without the characters .?!,;:\"' at either end.",
        rationale="Word overlap points to the wrong label. (The strict heuristics of HANS hold for too few "
        "non-entailed rows: 5 or fewer.)",
        citation=MCCOY,
        members=by_row(rules.misleading_overlap),
    ),
    Subset(
        name="hypothesis_hard",
        version=1,
        rule="A classifier that sees only the hypothesis gives the wrong label. It is a logistic regression "
        "on tf-idf weighted words and pairs of words, trained on 12,305 English hypotheses (MNLI's matched and "
        "XNLI's validation set); 53.7% right on the test set.",
        rationale="Cues that annotators left in the hypothesis alone do not help.",
        citation=GURURANGAN,
        members=lambda rows, facts, data: wrong_rows(rows["en"], data),
    ),
    Subset(
        name="negation",
        version=1,
        rule="The hypothesis has a negation word (no, not, -n't, never, none, nobody, nothing, nowhere, "
        "neither, nor, cannot) and the label is not contradiction.",
        rationale="In MNLI a negation word mostly means contradiction; here that guess is wrong.",
        citation=f"{GURURANGAN}; {NAIK}",
        members=by_row(rules.misleading_negation),
    ),
    Subset(
        name="long",
        version=1,
        rule="The premise has at least 178 characters, the 90th percentile of the test rows.",
        rationale="Long premises hold more that does not matter to the answer.",
        citation=NAIK,
        members=by_row(rules.long_premise),
    ),
    Subset(
        name="numbers",
        version=1,
        rule="Premise and hypothesis both have a digit or one of the words two to twelve, the tens, dozen, "
        "hundred, thousand, million, billion.",
        rationale="The answer may take reasoning with quantities.",
        citation=NAIK,
        members=by_row(rules.numbers),
    ),
)

TARGET = Target(
    name="xnli",
    order=1,
    title="XNLI",
    version="1.0",
    citation=CONNEAU,
    licence="CC BY-NC 4.0",
    head="pair_classification",
    benchmark=("pair sentence", "XNLI"),
    places={code: Place("facebook/xnli", code, words=NLI_WORDS[code]) for code in LANGUAGES},
    text_fields=("premise", "hypothesis"),
    answers=NLI_LABELS,
    context=lambda doc, words: "",  # the choices hold the whole prompt
    choices=lambda doc, words: question_choices(doc["premise"], doc["hypothesis"], words),
    pairs=lambda doc: [nli_pair(doc["premise"], doc["hypothesis"])],
    facts=("genre",),
    subsets=SUBSETS,
    cluster=lambda row: row // 3,  # a premise has three hypotheses, one after the other
)
