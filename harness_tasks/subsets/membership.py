"""Which test rows belong to which subset, for data whose rows are known.

Membership is a fact about row numbers, so it must never be applied to rows in another order or with other
labels. What is compared is the *anchor*: a fingerprint of the number of rows and their labels (for XCOPA also
COPA's question), which is the same in every language.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from harness_tasks.sources import BUNDLED, DataError, fingerprint
from harness_tasks.targets import get_target, read_target

DATA = Path(__file__).parent / "data"


def anchor_fingerprint(target: str, rows: Iterable[Mapping[str, Any]]) -> str:
    """SHA-256 (hex) of the labels of all rows in order (XCOPA: with COPA's question); the same in every language."""
    fields = ["label", "question"] if get_target(target).has_question else ["label"]
    return fingerprint(rows, fields)


def pack_rows(rows: Iterable[int], total: int) -> str:
    """Row numbers as a bit mask of `total` bits in hexadecimal."""
    mask = np.zeros(total, dtype=bool)
    mask[list(rows)] = True
    return np.packbits(mask).tobytes().hex()


def unpack_rows(text: str, total: int) -> np.ndarray:
    """The sorted row numbers that :func:`pack_rows` packed."""
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(text), dtype=np.uint8), count=total)
    return np.flatnonzero(bits)


@lru_cache(maxsize=None)
def shipped(target: str) -> dict[str, Any]:
    """The shipped facts about a target's official rows, as the build command wrote them."""
    return json.loads((DATA / f"{get_target(target).name}.json").read_text(encoding="utf-8"))


@lru_cache(maxsize=None)
def _bundled(target: str) -> dict[str, dict[str, Any]]:
    """split: anchor and subsets of the bundled suite; empty when it is not there."""
    path = BUNDLED / "membership.json"
    if not path.is_file():
        return {}
    splits = json.loads(path.read_text(encoding="utf-8")).get(target, {})
    known = {}
    for split, subsets in splits.items():
        rows = read_target(target, "en", split, "bundled")
        known[split] = {
            "anchor": anchor_fingerprint(target, rows),
            "rows": len(rows),
            "subsets": {name: np.unique(np.asarray(members, dtype=int)) for name, members in subsets.items()},
        }
    return known


def copa_questions(split: str) -> list[str]:
    """English COPA's question for every row of a split of the official XCOPA."""
    letters = shipped("xcopa")["question"][split]
    return [{"c": "cause", "e": "effect"}[letter] for letter in letters]


def load_membership(target: str, anchor: str) -> dict[str, np.ndarray]:
    """Subset name -> sorted row numbers of the test split, for the data with this English anchor.

    Raises :class:`DataError` when no membership was made for such data.
    """
    for split in ("test", "validation"):
        official = shipped(target).get(split)
        if official and official["anchor"] == anchor:
            return {
                name: unpack_rows(entry["bits"], official["rows"])
                for name, entry in official["subsets"].items()
            }
        bundled = _bundled(target).get(split)
        if bundled and bundled["anchor"] == anchor:
            return dict(bundled["subsets"])
    raise DataError(
        f"subsets of {target} were made for other rows (no membership for anchor {anchor[:12]}); "
        "they are only known for the official data and the bundled suite"
    )


def identify(target: str, split: str, rows: list[dict[str, Any]], where: str) -> tuple[str, list[str] | None]:
    """The anchor of a language's rows, and COPA's question for every row (None: the target has none).

    Raises :class:`DataError` when the rows are not those that membership was made for: another number,
    another order, other labels.
    """
    official = shipped(target)[split]
    bundled = _bundled(target).get(split)
    spec = get_target(target)
    own = [row["question"] for row in rows] if spec.has_question else None
    if bundled and anchor_fingerprint(target, rows) == bundled["anchor"]:
        return bundled["anchor"], own
    if spec.has_question and len(rows) == official["rows"]:
        questions = copa_questions(split)
        rows = [{**row, "question": question} for row, question in zip(rows, questions, strict=True)]
        own = questions
    if anchor_fingerprint(target, rows) == official["anchor"]:
        return official["anchor"], own
    raise DataError(
        f"{where}: {_difference(rows, official)}. Subsets are decided by row number, so nothing is scored"
    )


def _difference(rows: list[dict[str, Any]], official: Mapping[str, Any]) -> str:
    """Why rows are not the official ones, in words."""
    if len(rows) != official["rows"]:
        return f"{len(rows)} rows, where the official data has {official['rows']}; use the whole split (--limit cuts it)"
    counts = Counter(row["label"] for row in rows)
    if [counts[label] for label in range(len(official["labels"]))] == official["labels"]:
        return "the labels are those of the official data in another order; put the rows into the hub's order"
    return "labels differ from the official data's; get the file again"
