"""Which test rows belong to which subset, for data whose rows are known.

Membership is a fact about row numbers, so it must never be applied to rows in another order or with other
labels. What is compared is the *anchor*, a fingerprint of the number of rows and their labels (for XCOPA also
COPA's question), which is the same in every language; then, for the official data, a fingerprint of each
language's texts.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from harness_tasks.errors import UserError
from harness_tasks.sources import BUNDLED, fingerprint
from harness_tasks.subsets.alignment import kept_rows, refusal
from harness_tasks.targets import Target, get_target, read_target, targets

DATA = Path(__file__).parent / "data"
SPLITS = ("test", "validation")
OWN = "own-"  # how the anchor of rows begins that translate no English ones


def anchor_fingerprint(target: str, rows: Iterable[Mapping[str, Any]]) -> str:
    """SHA-256 (hex) of all labels in the order of the rows, with the fields that come from the English row.

    It is the same in every language (once those fields are the English row's).
    """
    return fingerprint(rows, ["label", *get_target(target).pivot])


def pack_rows(rows: Iterable[int], total: int) -> str:
    """Row numbers as a bit mask of `total` bits in hexadecimal."""
    mask = np.zeros(total, dtype=bool)
    mask[list(rows)] = True
    return np.packbits(mask).tobytes().hex()


def unpack_rows(text: str, total: int) -> np.ndarray:
    """The sorted row numbers that :func:`pack_rows` packed."""
    return np.flatnonzero(np.unpackbits(np.frombuffer(bytes.fromhex(text), dtype=np.uint8), count=total))


@cache
def shipped(target: str) -> dict[str, Any]:
    """The shipped facts about a target's official rows, as the build command wrote them; none of one whose rows are of
    no English ones."""
    if not is_parallel(get_target(target)):
        return {
            "test": {"rows": 0, "anchor": "", "labels": [], "fingerprints": {}, "by_row": {}, "subsets": {}}
        }
    return json.loads((DATA / f"{get_target(target).name}.json").read_text(encoding="utf-8"))


def is_parallel(spec: Target) -> bool:
    """Whether a target's official rows are, or translate, English ones, so that subsets of them can be known."""
    return any(spec.places[code].rows.kind != "own" for code in spec.languages)


@dataclass(frozen=True)
class English:
    """What is known about a split's English rows without their texts.

    Attributes:
        anchor: as :func:`anchor_fingerprint`
        labels: of every row
        pivot: field -> its value in every row
        subsets: name -> sorted row numbers, where they are not the official ones
        fingerprints: language -> that of its texts, where they are known
    """

    anchor: str
    labels: tuple[int, ...]
    pivot: Mapping[str, Sequence[str]]
    subsets: Mapping[str, np.ndarray] | None = None
    fingerprints: Mapping[str, str] = field(default_factory=dict)


@cache
def _bundled(target: str) -> dict[str, English]:
    """split -> the English rows of the bundled suite; empty without it."""
    path = BUNDLED / "membership.json"
    if not path.is_file():
        return {}
    spec, known = get_target(target), {}
    for split, subsets in json.loads(path.read_text(encoding="utf-8")).get(target, {}).items():
        rows = read_target(target, spec.pivot_language, split, "bundled")
        names = [subset.name for subset in spec.subsets if subset.name in subsets]
        known[split] = _described(target, rows, {name: np.unique(subsets[name]) for name in names})
    return known


def bundled_subsets(target: str) -> set[str]:
    """The subsets that the bundled suite's test rows of a target have."""
    known = _bundled(target).get("test")
    return set(known.subsets or ()) if known else set()


def _described(target: str, rows: Sequence[Mapping[str, Any]], subsets: Mapping[str, np.ndarray]) -> English:
    pivot = {name: [row[name] for row in rows] for name in get_target(target).pivot}
    return English(anchor_fingerprint(target, rows), tuple(row["label"] for row in rows), pivot, subsets)


@cache
def _official(target: str, split: str) -> English:
    facts = facts_by_row(target, split)
    known = shipped(target)[split]
    pivot = {name: facts[name] for name in get_target(target).pivot}
    return English(known["anchor"], tuple(facts["label"]), pivot, None, known["fingerprints"])


def facts_by_row(target: str, split: str) -> dict[str, list[Any]]:
    """What ships about each row of a split of the official data: name (label, question, genre) -> value of every row."""
    shipped_facts = shipped(target)[split]["by_row"]
    return {
        name: [packed["values"][int(digit)] for digit in packed["rows"]]
        for name, packed in shipped_facts.items()
    }


def is_official(target: str, anchor: str, split: str = "test") -> bool:
    """Whether an anchor is that of the official data."""
    return bool(shipped(target).get(split, {}).get("anchor") == anchor)


def is_bundled(target: str, anchor: str) -> bool:
    """Whether an anchor is that of the bundled suite's test rows, wherever a copy of them lies."""
    if target not in targets() or get_target(target).user:
        return False
    bundled = _bundled(target).get("test")
    return bundled is not None and bundled.anchor == anchor


def known_labels(target: str, anchor: str) -> tuple[int, ...] | None:
    """The labels of the English test rows with this anchor, which all languages that translate them share; None where
    nothing ships about such rows (a user's target, rows of their own)."""
    if target not in targets() or get_target(target).user:
        return None
    if is_official(target, anchor):
        return _official(target, "test").labels
    return _bundled(target)["test"].labels if is_bundled(target, anchor) else None


def shipped_membership(target: str, anchor: str) -> dict[str, np.ndarray]:
    """Subset name -> sorted test rows, of the subsets that ship for the data with this anchor.

    Rows of a validation split and rows without English rows have no subsets. Raises :class:`UserError` when the
    anchor is unknown.
    """
    if anchor.startswith(OWN) or get_target(target).user:
        return {}
    official = shipped(target)["test"]
    if official["anchor"] == anchor:
        return {
            name: unpack_rows(entry["bits"], official["rows"]) for name, entry in official["subsets"].items()
        }
    for split in SPLITS:
        if is_official(target, anchor, split):
            return {}
        bundled = _bundled(target).get(split)
        if bundled and bundled.anchor == anchor:
            return dict(bundled.subsets or {}) if split == "test" else {}
    raise UserError(
        f"no subsets of {target} are known for these rows (anchor {anchor[:12]}...): membership exists "
        "for the official data and for the bundled suite"
    )


@dataclass(frozen=True)
class Identified:
    """Rows that are known to be those of certain English rows.

    Attributes:
        rows: as published, without those that stand for a missing translation
        numbers: of each row that of its English row (its own where there is none)
        clusters: of each row; rows of one cluster are not independent
        english: what is known about the English rows; their anchor is what subsets are known by
        pivot: field -> the English row's value for each row
    """

    rows: list[dict[str, Any]]
    numbers: Sequence[int]
    clusters: Sequence[int]
    english: English
    pivot: dict[str, list[str]]


def identify(
    target: str,
    language: str,
    split: str,
    rows: list[dict[str, Any]],
    where: str,
    check_text: bool = True,
    source: str | None = None,
) -> Identified:
    """A language's rows with their English rows.

    Raises :class:`UserError` when the rows are not those that membership was made for: another number,
    another order, other labels, or (unless `check_text` is off) other texts.
    """
    spec = get_target(target)
    place, _ = spec.place_of(language, split)
    expected_rows = dict(place.size).get(split)
    if expected_rows is not None and len(rows) != expected_rows:
        raise refusal(
            where, f"{len(rows)} rows, the definition says {expected_rows}", "get the set that it is of"
        )
    if place.rows.kind == "own":
        return _own(target, rows)
    known, english_rows = _english(target, language, split, rows, source)
    rows, numbers = kept_rows(spec, place, split, rows, english_rows, len(known.labels), where)
    for name, values in known.pivot.items():
        mine = [row.get(name) for row in rows]
        if language == spec.pivot_language and mine != [values[number] for number in numbers]:
            raise refusal(
                where, f"the {name}s are not {spec.title}'s, or not in its order", "get the file again"
            )
    _check_labels(spec, rows, numbers, known, where)
    expected = known.fingerprints.get(language)
    if check_text and place.official and expected and fingerprint(rows, spec.text_and_label) != expected:
        raise refusal(
            where,
            "labels are in order, but texts differ from the official data's",
            "get the file again, or turn this check off with --metadata '{\"check_text\": false}' if only "
            "wording was corrected and row i is still row i",
        )
    pivot = {name: [values[number] for number in numbers] for name, values in known.pivot.items()}
    return Identified(rows, numbers, [spec.cluster(number) for number in numbers], known, pivot)


def _english(
    target: str, language: str, split: str, rows: Sequence[Mapping[str, Any]], source: str | None
) -> tuple[English, Sequence[Mapping[str, Any]] | None]:
    """The English rows that the rows of a language belong to, and their texts where those are needed."""
    spec = get_target(target)
    relation = spec.place(language).rows.kind
    if (
        spec.user
    ):  # nothing ships about it: its rows in its pivot language are what the others are compared with
        is_pivot = language == spec.pivot_language
        english = rows if is_pivot else read_target(target, spec.pivot_language, split, source)
        return _described(target, english, {}), list(english)
    bundled = _bundled(target).get(split)
    if relation == "parallel":
        # rows that say their pivot fields themselves, as the bundled suite's, are told from others by them
        if bundled and len(bundled.labels) == len(rows):
            labels = tuple(row["label"] for row in rows) == bundled.labels
            if labels and all(
                [row.get(name) for row in rows] == list(values) for name, values in bundled.pivot.items()
            ):
                return bundled, None
        return _official(target, split), None
    try:
        english = read_target(target, spec.pivot_language, split, source)
    except UserError:
        return _official(target, split), None
    if bundled and anchor_fingerprint(target, english) == bundled.anchor:
        return bundled, english
    place = spec.place(spec.pivot_language)
    found = identify(
        target, spec.pivot_language, split, english, f"{place.dataset} ({place.config}, {split})"
    )
    return found.english, english


def _check_labels(
    spec: Target, rows: Sequence[Mapping[str, Any]], numbers: Sequence[int], known: English, where: str
) -> None:
    wrong = [
        i
        for i, (row, number) in enumerate(zip(rows, numbers, strict=True))
        if row["label"] != known.labels[number]
    ]
    if not wrong:
        return
    if Counter(row["label"] for row in rows) == Counter(known.labels[number] for number in numbers):
        raise refusal(where, "the labels are in another order", "put the rows into the hub's order")
    first = wrong[0]
    raise refusal(
        where,
        f"labels differ from the official data's in {len(wrong)} of {len(rows)} rows (row {first}: "
        f"{rows[first]['label']}, there {known.labels[numbers[first]]})",
        "get the file again",
    )


def _own(target: str, rows: list[dict[str, Any]]) -> Identified:
    """Rows without English rows: rows with the same first text are a cluster."""
    first: dict[str, int] = {}
    name = get_target(target).text_fields[0]
    clusters = [first.setdefault(row[name], number) for number, row in enumerate(rows)]
    english = replace(_described(target, rows, {}), anchor=OWN + anchor_fingerprint(target, rows))
    return Identified(
        rows,
        range(len(rows)),
        clusters,
        english,
        {key: list(values) for key, values in english.pivot.items()},
    )
