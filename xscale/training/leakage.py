"""Training rows that are also rows of the targets' test or validation sets: found, counted, dropped.

Texts are compared after Unicode NFKC, lower case, and without punctuation and repeated spaces. A training example leaks
- `rows`: when its texts are together those of an evaluation row (premise and hypothesis; premise and both choices), in any
  order and whatever the label;
- `premises`: when one of its texts is the premise of an evaluation row and has five words or more (shorter ones, such as
  "Yes, sure.", are the same by chance).
Both are dropped before the sample is drawn.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from harness_tasks.sources import DataError, read_rows
from harness_tasks.targets import Place, Target, targets
from xscale.training.tasks import Example

MIN_PREMISE_WORDS = 5
_SPLITS = ("validation", "test")
_NOT_ASCII_WORD = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True)
class EvaluationTexts:
    """What must not be trained on. `absent`: sets that the source does not have, so that nothing was compared with them."""

    rows: frozenset[frozenset[str]]
    premises: frozenset[str]
    checked: tuple[str, ...]
    absent: tuple[str, ...]


@dataclass
class Leaks:
    """Counts of dropped training examples, and the sets they were compared with."""

    rows: int = 0
    premises: int = 0
    checked: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    examples: list[str] = field(default_factory=list)


def normalised(text: str) -> str:
    """NFKC, lower case, letters, marks and digits only, one space between words."""
    if text.isascii():
        return " ".join(_NOT_ASCII_WORD.sub(" ", text.lower()).split())
    folded = unicodedata.normalize("NFKC", text).lower()
    return " ".join("".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in folded).split())


def drop_leaks(examples: Sequence[Example], texts: EvaluationTexts) -> tuple[list[int], Leaks]:
    """The numbers of the examples that may be trained on, and what was dropped."""
    kept, leaks = [], Leaks(checked=texts.checked, absent=texts.absent)
    for number, example in enumerate(examples):
        parts = {normalised(text) for pair in example.pairs for text in pair} - {""}
        if frozenset(parts) in texts.rows:
            leaks.rows += 1
        elif not texts.premises.isdisjoint(parts):
            leaks.premises += 1
        else:
            kept.append(number)
            continue
        if len(leaks.examples) < 3:
            leaks.examples.append(" | ".join(example.pairs[0])[:120])
    return kept, leaks


@lru_cache(maxsize=8)
def evaluation_texts(
    source: str, languages: tuple[str, ...], without_choices: bool = False
) -> EvaluationTexts:
    """The texts of the targets' validation and test rows in those languages, as the source has them; those of targets whose
    documents have no choices too where asked for."""
    rows: set[frozenset[str]] = set()
    premises: set[str] = set()
    checked, absent = [], []
    for language in languages:
        for place, fields, spec in _sets(language, without_choices):
            for split in filter(None, map(place.split, _SPLITS)):
                name = f"{place.dataset} {place.config} {split}"
                try:
                    found = read_rows(place.dataset, place.config, split, source, place.revision)
                except DataError:
                    absent.append(name)
                    continue
                checked.append(name)
                for raw in found:
                    row = raw if spec.read is None else {**raw, **spec.read(raw)}
                    parts = [normalised(row[name]) for name in fields]
                    rows.add(frozenset(parts))
                    if parts[0].count(" ") >= MIN_PREMISE_WORDS - 1:
                        premises.add(parts[0])
    return EvaluationTexts(frozenset(rows), frozenset(premises), tuple(checked), tuple(absent))


def _sets(language: str, without_choices: bool) -> list[tuple[Place, tuple[str, ...], Target]]:
    found = [
        (target, target.places[language])
        for target in targets().values()
        if language in target.languages and (target.has_choices or without_choices)
    ]
    return [
        (place, tuple(dict(place.fields).get(name, name) for name in target.text_fields), target)
        for target, place in found
    ]
