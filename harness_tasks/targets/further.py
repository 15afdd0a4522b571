"""Further languages of the shipped targets (``further.tsv``): sets that others made from the same rows, or natively.

Columns: `fields` and `labels` are ``ours=theirs`` and ``theirs=label``, separated by spaces, empty where nothing is
renamed; `rows` is ``parallel``, ``own`` or the name of a table in this folder and its column; `words` are separated
by ``|``; `prepare` names what prepares texts for
prompts; `unconfirmed` says what nobody could look up. Only what was seen in data or in public code counts as known.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

from harness_tasks.targets.forms import cut_premise, detokenized_pair, full_stop_kept
from harness_tasks.targets.record import PARALLEL, Place, RowRelation

FOLDER = Path(__file__).parent
PREPARE = {"detokenized": detokenized_pair, "full_stop_kept": full_stop_kept, "cut_premise": cut_premise}


@cache
def further_places() -> dict[str, dict[str, Place]]:
    """Target -> language -> where its rows lie."""
    found: dict[str, dict[str, Place]] = {}
    with (FOLDER / "further.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            found.setdefault(row["target"], {})[row["code"]] = _place(row)
    return found


def _place(row: dict[str, str]) -> Place:
    size = [(split, int(row[f"{split}_rows"])) for split in ("test", "validation") if row[f"{split}_rows"]]
    pairs = [pair.split("=") for pair in row["labels"].split()]
    labels = tuple((int(theirs) if theirs.isdecimal() else theirs, int(label)) for theirs, label in pairs)
    ours = tuple((pair.split("=")[0], pair.split("=")[1]) for pair in row["fields"].split())
    return Place(
        dataset=row["dataset"],
        config=row["config"],
        revision=row["revision"] or None,
        test=row["test"],
        validation=row["validation"] or None,
        fields=ours,
        labels=labels,
        rows=_relation(row["rows"]),
        official=False,
        words=tuple(row["words"].split("|")) if row["words"] else None,
        prepare=PREPARE[row["prepare"]] if row["prepare"] else None,
        group=row["group"],
        origin=row["origin"],
        size=tuple(size),
        licence=row["licence"],
        citation=row["citation"],
        unconfirmed=row["unconfirmed"],
    )


def _relation(text: str) -> RowRelation:
    if text == "parallel":
        return PARALLEL
    if text == "own":
        return RowRelation("own")
    file, column = text.split()
    return RowRelation("table", file=str(FOLDER / file), column=column)
