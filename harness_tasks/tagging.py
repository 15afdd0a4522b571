"""Tags of words: their names, and scores whose sums over sentences give the figure of a whole test set."""

from __future__ import annotations

from collections.abc import Sequence

from harness_tasks.errors import UserError

# Universal Dependencies' parts of speech (https://universaldependencies.org/u/pos), in the order of the hub's numbers
UD_TAGS = tuple("ADJ ADP ADV AUX CCONJ DET INTJ NOUN NUM PART PRON PROPN PUNCT SCONJ SYM VERB X".split())
# WikiAnn's entities (Pan et al. 2017) in BIO, in the order of the hub's numbers
NER_TAGS = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC")

NO_TAG = "O"  # of a word that got none: no entity, and no part of speech


def words_text(words: Sequence[str]) -> str:
    """A sentence's words in one text that ``split(" ")`` takes apart again: white space within a word (Vietnamese has it)
    becomes a no-break space, which tokenizers treat as a space; a word of nothing but white space becomes ``_``."""
    return " ".join("\u00a0".join(word.split()) or "_" for word in words)


def tag_names(words: Sequence[str], tags: Sequence[int | str], names: Sequence[str]) -> list[str]:
    """The names of a sentence's tags, which are numbers (the hub's) or names already.

    Raises ValueError where there is not one for each word, or one is none of `names`.
    """
    if len(words) != len(tags) or not words:
        raise ValueError(f"{len(words)} tokens, {len(tags)} tags")
    found = []
    for tag in tags:
        name = names[tag] if type(tag) is int and 0 <= tag < len(names) else tag
        if name not in names:
            raise ValueError(f"{tag!r} is none of its {len(names)} tags ({names[0]}, {names[1]}, ...)")
        found.append(str(name))
    return found


def tags_of(answer: str, words: int) -> list[str]:
    """The tags of an answer, one for each word: `NO_TAG` where it has too few, without those that are too many."""
    tags = answer.split()[:words]
    return tags + [NO_TAG] * (words - len(tags))


def word_accuracy(gold: Sequence[str], predicted: Sequence[str]) -> tuple[float, float, bool]:
    """Words of one sentence with the right tag, its words, and whether all are right.

    Raises ValueError unless there is one predicted tag for each word.
    """
    right = sum(mine == tag for tag, mine in zip(gold, predicted, strict=True))
    return float(right), float(len(gold)), right == len(gold)


def run_f1(gold: Sequence[str], predicted: Sequence[str]) -> tuple[float, float, bool]:
    """`span_f1` of bare tags such as parts of speech, as XTREME has it: neighbours with the same tag are one span, but where
    the tag begins with S (SCONJ, SYM), which to seqeval means a span of one word.

    That is how XTREME's seqeval (before 1.0) reads tags without a prefix. Today's takes their first letter for the prefix,
    so that CCONJ and SCONJ would be one type; hence the prefixes that say the same to both.
    """
    return span_f1(_as_spans(gold), _as_spans(predicted))


def _as_spans(tags: Sequence[str]) -> list[str]:
    return [tag if tag == NO_TAG else ("S-" if tag.startswith("S") else "I-") + tag for tag in tags]


def span_f1(gold: Sequence[str], predicted: Sequence[str]) -> tuple[float, float, bool]:
    """Numerator and denominator of span F1 of one sentence, and whether its spans are just the gold ones.

    They are 2 x TP and predicted + gold spans: the ratio of their sums over sentences is seqeval's micro-averaged F1
    (a span is right where its type, first and last word are), which reads tags that are no proper BIO as CoNLL's script
    does. A sentence without any span adds 0 to both.

    Raises ValueError unless there is one predicted tag for each word, `UserError` where seqeval is not installed.
    """
    if len(gold) != len(predicted):
        raise ValueError(f"{len(predicted)} tags for {len(gold)} words")
    try:
        from seqeval.metrics.sequence_labeling import get_entities
    except ImportError:
        raise UserError(
            "tags are scored by seqeval, which is not installed: pip install 'xscale[xtreme]'"
        ) from None
    right, found = set(get_entities(list(gold))), set(get_entities(list(predicted)))
    return 2.0 * len(right & found), float(len(right) + len(found)), right == found
