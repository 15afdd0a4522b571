"""All subsets that ship with the package: name, rule, reason and citation."""

from __future__ import annotations

from dataclasses import dataclass

WILLIAMS = "Williams, Nangia and Bowman 2018, NAACL, https://aclanthology.org/N18-1101"
CONNEAU = "Conneau et al. 2018, EMNLP, https://aclanthology.org/D18-1269"
KAVUMBA = "Kavumba et al. 2019, COIN workshop, https://aclanthology.org/D19-6004"

# The training genres of MNLI; XNLI's test rows come from these five and five others in equal parts.
MNLI_TRAINING_GENRES = frozenset({"fiction", "government", "slate", "telephone", "travel"})


@dataclass(frozen=True)
class Subset:
    """One subset of a target's rows.

    Attributes:
        name: what metrics (``acc_<name>``) and groups (``<target>_ood_<name>``) are called after
        target: ``xnli`` or ``xcopa``
        version: goes up when the rule gives other rows than before
        rule: which rows belong, in words
        rationale: why anybody would look at them
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
        "id",
        "xnli",
        1,
        "The row's genre is one of MNLI's training genres: fiction, government, slate, telephone, travel.",
        "Text like that of the English fine-tuning data.",
        f"{WILLIAMS}; {CONNEAU}",
    ),
    Subset(
        "ood",
        "xnli",
        1,
        "The row's genre is not among MNLI's training genres: facetoface, letters, nineeleven, oup, verbatim.",
        "Text unlike the English fine-tuning data: MNLI's 'mismatched' genres.",
        f"{WILLIAMS}; {CONNEAU}",
    ),
    Subset(
        "id",
        "xcopa",
        1,
        "The row translates an item of COPA-easy (row = COPA id - 501).",
        "A model that sees the choices without the premise solves them: cues that English COPA shares.",
        KAVUMBA,
    ),
    Subset(
        "ood",
        "xcopa",
        1,
        "The row translates an item of COPA-hard (row = COPA id - 501).",
        "The choices alone do not give the answer away.",
        KAVUMBA,
    ),
)


def subsets_of(target: str) -> tuple[Subset, ...]:
    """The shipped subsets of a target, in the order in which they are shown."""
    return tuple(subset for subset in REGISTRY if subset.target == target)
