"""All subsets that ship with the package: name, rule, reason and citation."""

from __future__ import annotations

from dataclasses import dataclass

WILLIAMS = "Williams, Nangia and Bowman 2018, https://aclanthology.org/N18-1101"
CONNEAU = "Conneau et al. 2018, https://aclanthology.org/D18-1269"
GURURANGAN = "Gururangan et al. 2018, https://aclanthology.org/N18-2017"
NAIK = "Naik et al. 2018, https://aclanthology.org/C18-1198"
MCCOY = "McCoy, Pavlick and Linzen 2019, https://aclanthology.org/P19-1334"
KAVUMBA = "Kavumba et al. 2019, https://aclanthology.org/D19-6004"
ROEMMELE = "Roemmele, Bejan and Gordon 2011, https://people.ict.usc.edu/~gordon/copa.html"
PONTI = "Ponti et al. 2020, https://aclanthology.org/2020.emnlp-main.185"


@dataclass(frozen=True)
class Subset:
    """One subset of a target's test rows.

    Attributes:
        name: what metrics (``acc_<name>``) and groups (``<target>_ood_<name>``) are called after
        target: ``xnli`` or ``xcopa``
        version: goes up when the rule gives other rows than before
        rule: which rows belong, in words; decided on the English row
        rationale: why one would look at them
        citation: who described it
    """

    name: str
    target: str
    version: int
    rule: str
    rationale: str
    citation: str


REGISTRY: tuple[Subset, ...] = (
    Subset(
        name="id",
        target="xnli",
        version=1,
        rule="The genre is one of MNLI's training genres: fiction, government, slate, telephone, travel.",
        rationale="Text like that of the English fine-tuning data.",
        citation=f"{WILLIAMS}; {CONNEAU}",
    ),
    Subset(
        name="ood",
        target="xnli",
        version=1,
        rule="The genre is none of MNLI's training genres: facetoface, letters, nineeleven, oup, verbatim.",
        rationale="Text unlike the English fine-tuning data: MNLI's 'mismatched' genres.",
        citation=f"{WILLIAMS}; {CONNEAU}",
    ),
    Subset(
        name="overlap",
        target="xnli",
        version=1,
        rule="Of the hypothesis' distinct words at least 60% are in the premise and the label is not "
        "entailment, or at most 25% are and the label is entailment. Words are what spaces separate, in lower "
        "case, without the characters .?!,;:\"' at either end.",
        rationale="Word overlap points to the wrong label. (The strict heuristics of HANS hold for too few "
        "non-entailed rows: 5 or fewer.)",
        citation=MCCOY,
    ),
    Subset(
        name="hypothesis_hard",
        target="xnli",
        version=1,
        rule="A classifier that sees only the hypothesis gives the wrong label. It is a logistic regression "
        "on tf-idf weighted words and pairs of words, trained on 12,305 English hypotheses (MNLI's matched and "
        "XNLI's validation set); 53.7% right on the test set.",
        rationale="Cues that annotators left in the hypothesis alone do not help.",
        citation=GURURANGAN,
    ),
    Subset(
        name="negation",
        target="xnli",
        version=1,
        rule="The hypothesis has a negation word (no, not, -n't, never, none, nobody, nothing, nowhere, "
        "neither, nor, cannot) and the label is not contradiction.",
        rationale="In MNLI a negation word mostly means contradiction; here that guess is wrong.",
        citation=f"{GURURANGAN}; {NAIK}",
    ),
    Subset(
        name="long",
        target="xnli",
        version=1,
        rule="The premise has at least 178 characters, the 90th percentile of the test rows.",
        rationale="Long premises hold more that does not matter to the answer.",
        citation=NAIK,
    ),
    Subset(
        name="numbers",
        target="xnli",
        version=1,
        rule="Premise and hypothesis both have a digit or one of the words two to twelve, the tens, dozen, "
        "hundred, thousand, million, billion.",
        rationale="The answer may take reasoning with quantities.",
        citation=NAIK,
    ),
    Subset(
        name="id",
        target="xcopa",
        version=1,
        rule="The row translates an item of COPA-easy (row = COPA id - 501).",
        rationale="A model that sees the choices without the premise solves it: superficial cues are enough.",
        citation=KAVUMBA,
    ),
    Subset(
        name="ood",
        target="xcopa",
        version=1,
        rule="The row translates an item of COPA-hard (row = COPA id - 501).",
        rationale="The choices alone do not give the answer away.",
        citation=KAVUMBA,
    ),
    Subset(
        name="cause",
        target="xcopa",
        version=1,
        rule="COPA asks for the cause of the premise.",
        rationale="Against the order of events; the two questions differ in difficulty.",
        citation=f"{ROEMMELE}; {PONTI}",
    ),
    Subset(
        name="effect",
        target="xcopa",
        version=1,
        rule="COPA asks for the effect of the premise.",
        rationale="Along the order of events; the two questions differ in difficulty.",
        citation=f"{ROEMMELE}; {PONTI}",
    ),
    Subset(
        name="changed",
        target="xcopa",
        version=1,
        rule="The translators of at least one language had to change the item (`changed` in the files); the "
        "same rows in every language.",
        rationale="Situations and objects that do not carry over between cultures.",
        citation=PONTI,
    ),
)


def subsets_of(target: str) -> tuple[Subset, ...]:
    """The shipped subsets of a target, in the order in which they are shown."""
    return tuple(subset for subset in REGISTRY if subset.target == target)
