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
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from harness_tasks.errors import UserError
from harness_tasks.sources import BUNDLED, fingerprint
from harness_tasks.targets import get_target, read_target

DATA = Path(__file__).parent / "data"
SPLITS = ("test", "validation")


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
    """The shipped facts about a target's official rows, as the build command wrote them."""
    return json.loads((DATA / f"{get_target(target).name}.json").read_text(encoding="utf-8"))


@cache
def _bundled(target: str) -> dict[str, dict[str, Any]]:
    """split -> anchor, number of rows, subsets of the bundled suite; empty without it."""
    path = BUNDLED / "membership.json"
    if not path.is_file():
        return {}
    known = {}
    for split, subsets in json.loads(path.read_text(encoding="utf-8")).get(target, {}).items():
        rows = read_target(target, "en", split, "bundled")
        known[split] = {
            "rows": len(rows),
            "anchor": anchor_fingerprint(target, rows),
            "subsets": {
                subset.name: np.unique(subsets[subset.name])
                for subset in get_target(target).subsets
                if subset.name in subsets
            },
        }
    return known


def facts_by_row(target: str, split: str) -> dict[str, list[str]]:
    """What ships about each row of a split of the official data: name (question, genre) -> value of every row."""
    shipped_facts = shipped(target)[split].get("by_row", {})
    return {
        name: [packed["values"][int(digit)] for digit in packed["rows"]]
        for name, packed in shipped_facts.items()
    }


def is_official(target: str, anchor: str, split: str = "test") -> bool:
    """Whether an anchor is that of the official data."""
    return shipped(target)[split]["anchor"] == anchor


def shipped_membership(target: str, anchor: str) -> dict[str, np.ndarray]:
    """Subset name -> sorted test rows, of the subsets that ship for the data with this anchor.

    Rows of a validation split have no subsets. Raises :class:`UserError` when the anchor is unknown.
    """
    official = shipped(target)["test"]
    if official["anchor"] == anchor:
        return {
            name: unpack_rows(entry["bits"], official["rows"]) for name, entry in official["subsets"].items()
        }
    for split in SPLITS:
        if is_official(target, anchor, split):
            return {}
        bundled = _bundled(target).get(split)
        if bundled and bundled["anchor"] == anchor:
            return dict(bundled["subsets"]) if split == "test" else {}
    raise UserError(
        f"no subsets of {target} are known for these rows (anchor {anchor[:12]}...): membership exists "
        "for the official data and for the bundled suite"
    )


def identify(
    target: str,
    language: str,
    split: str,
    rows: Sequence[dict[str, Any]],
    where: str,
    check_text: bool = True,
) -> tuple[str, dict[str, list[str]]]:
    """The anchor of a language's rows, and for every row the fields that come from the English row.

    Raises :class:`UserError` when the rows are not those that membership was made for: another number,
    another order, other labels, or (unless `check_text` is off) other texts.
    """
    spec = get_target(target)
    official = shipped(target)[split]
    bundled = _bundled(target).get(split)
    if bundled and bundled["rows"] == len(rows) and anchor_fingerprint(target, rows) == bundled["anchor"]:
        return bundled["anchor"], {field: [row[field] for row in rows] for field in spec.pivot}
    if len(rows) != official["rows"]:
        raise _refusal(
            where, f"{len(rows)} rows, the official data has {official['rows']}", "use the whole split"
        )
    facts = facts_by_row(target, split)
    pivot = {field: facts[field] for field in spec.pivot}
    for field, values in pivot.items():
        if language == spec.pivot_language and [row[field] for row in rows] != values:
            raise _refusal(
                where,
                f"the {field}s are not {spec.title}'s, or not in its order",
                "get the file again",
            )
    labelled: Iterable[Mapping[str, Any]] = [
        {"label": row["label"], **{field: pivot[field][number] for field in pivot}}
        for number, row in enumerate(rows)
    ]
    if anchor_fingerprint(target, labelled) != official["anchor"]:
        counts = Counter(row["label"] for row in rows)
        if [counts[label] for label in range(spec.labels)] == official["labels"]:
            raise _refusal(where, "the labels are in another order", "put the rows into the hub's order")
        raise _refusal(where, "labels differ from the official data's", "get the file again")
    if check_text and fingerprint(rows, spec.text_and_label) != official["fingerprints"][language]:
        raise _refusal(
            where,
            "labels are in order, but texts differ from the official data's",
            "get the file again, or turn this check off with --metadata '{\"check_text\": false}' if only "
            "wording was corrected and row i is still row i",
        )
    return official["anchor"], pivot


def _refusal(where: str, what: str, remedy: str) -> UserError:
    return UserError(
        f"{where}: {what}. Subsets are known by row number, so these rows are not scored; {remedy}"
    )
