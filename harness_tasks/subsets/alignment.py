"""How the rows of a language find the rows of the English set that they translate: pure functions over rows."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness_tasks.errors import UserError
from harness_tasks.parsing import read_text
from harness_tasks.targets.record import Place, Target

Row = Mapping[str, Any]


def kept_rows(
    spec: Target,
    place: Place,
    split: str,
    rows: list[dict[str, Any]],
    english: Sequence[Row] | None,
    total: int,
    where: str,
) -> tuple[list[dict[str, Any]], list[int]]:
    """The rows that translate one of the `total` English rows, and its number for each.

    Left out are rows that stand for a missing translation, and rows that a table gives no English row. Raises
    `UserError` as :func:`english_numbers`, and where there are more or fewer rows than English ones.
    """
    found = english_numbers(spec, place, split, rows, english, where)
    if found is None:
        if len(rows) != total:
            raise refusal(where, f"{len(rows)} rows, the official data has {total}", "use the whole split")
        found = list(range(total))
    kept, numbers = [], []
    for row, number in zip(rows, found, strict=True):
        if number is not None and number >= total:
            raise refusal(
                where, f"a row of English row {number}, of which there are {total}", "mend the table"
            )
        missing = place.untranslated is not None and place.untranslated in (
            row[name].strip() for name in spec.text_fields
        )
        if number is not None and not missing:
            kept.append(row)
            numbers.append(number)
    return kept, numbers


def refusal(where: str, what: str, remedy: str) -> UserError:
    """The error for rows that are not those that subsets were made for."""
    return UserError(
        f"{where}: {what}. Subsets are known by row number, so these rows are not scored; {remedy}"
    )


def english_numbers(
    spec: Target, place: Place, split: str, rows: Sequence[Row], english: Sequence[Row] | None, where: str
) -> Sequence[int | None] | None:
    """For each row the number of its English row, None where a table gives it none; None where row i is row i.

    `english` are the rows as published in English, for relations by a field or a text. Raises `UserError` where a
    row is not found, or two rows are of one English row.
    """
    relation = place.rows
    numbers: Sequence[int | None] | None = None
    if relation.kind == "table":
        numbers = _by_table(
            Path(relation.file or ""), relation.column or "", place.config, split, len(rows), where
        )
    elif relation.kind in ("field", "text"):
        if english is None:
            raise UserError(
                f"{where}: rows are known by {relation.kind} {relation.field!r}, and the data source has no "
                f"{spec.title} in {spec.pivot_language!r} to compare with; use a source that has both"
            )
        by_field = relation.kind == "field"
        find = _by_field if by_field else _by_text
        numbers = find(spec, relation.field or "", rows, english, where)
    known = [number for number in numbers or [] if number is not None]
    if len(set(known)) != len(known):
        assert numbers is not None
        twice = next(number for number in known if known.count(number) > 1)
        raise UserError(
            f"{where}: rows {[i for i, number in enumerate(numbers) if number == twice][:2]} are both of English row "
            f"{twice}; every row must be of another one"
        )
    return numbers


def _by_table(
    path: Path, column: str, config: str, split: str, total: int, where: str
) -> list[int | None] | None:
    """From a tab-separated file; None where it does not name the split."""
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), delimiter="\t")
    try:
        names, lines = reader.fieldnames or [], list(reader)
    except csv.Error as error:
        raise UserError(f"{path}: the table of rows cannot be read ({error})") from None
    for name in ("row", column):
        if name not in names:
            raise UserError(f"{path}: no column {name!r}; it has: {', '.join(names)[:200]}")
    lines = [
        line for line in lines if line.get("split", split) == split and line.get("config", config) == config
    ]
    if not lines:
        return None
    found: dict[int, int | None] = {}
    for number, line in enumerate(lines):
        values = [str(line["row"]), str(line[column])]
        if not all(value.isdecimal() and len(value) < 9 for value in (values[0], values[1] or "0")):
            raise UserError(f"{path}: {split} line {number + 1}: {' and '.join(values)} are no row numbers")
        if int(values[0]) in found:
            raise UserError(f"{path}: {split} row {values[0]} is there twice; keep one")
        found[int(values[0])] = int(values[1]) if values[1] else None
    if sorted(found) != list(range(total)):
        raise UserError(
            f"{where}: {total} rows, but {path.name} has {len(found)} of them for {split}; take the set that the "
            "table is of"
        )
    return [found[row] for row in range(total)]


def _by_field(spec: Target, field: str, rows: Sequence[Row], english: Sequence[Row], where: str) -> list[int]:
    """The English row with the same value in `field`."""
    known: dict[str, int] = {}
    for number, row in enumerate(english):
        value = row.get(field)
        if value is None or str(value) in known:
            what = "has no" if value is None else "has twice the same"
            raise UserError(
                f"{where}: rows are known by field {field!r}, but {spec.title} in {spec.pivot_language!r} {what} "
                f"{field!r} (row {number}); use another relation"
            )
        known[str(value)] = number
    lost = [number for number, row in enumerate(rows) if str(row.get(field)) not in known]
    if lost:
        raise UserError(
            f"{where}: {len(lost)} of {len(rows)} rows have a {field!r} that no English row has, the first is row "
            f"{lost[0]} ({rows[lost[0]].get(field)!r})"
        )
    return [known[str(row[field])] for row in rows]


def _by_text(spec: Target, field: str, rows: Sequence[Row], english: Sequence[Row], where: str) -> list[int]:
    """The English row one of whose texts is in `field`; among several, the one with the same label."""
    texts = []
    for number, row in enumerate(rows):
        text = row.get(field)
        if not isinstance(text, str):
            raise UserError(f"{where}, row {number}: field {field!r} is {text!r}; it must be text")
        texts.append(text.strip())
    best: tuple[list[int], list[list[int]]] | None = None
    for name in spec.text_fields:
        known: dict[str, list[int]] = defaultdict(list)
        for number, row in enumerate(english):
            known[row[name].strip()].append(number)
        candidates = [known.get(text, []) for text in texts]
        lost = [number for number, found in enumerate(candidates) if not found]
        if best is None or len(lost) < len(best[0]):
            best = lost, candidates
    assert best is not None
    lost, candidates = best
    if lost:
        raise UserError(
            f"{where}: {len(lost)} of {len(rows)} rows have a text in {field!r} that no English row has, the first is "
            f"row {lost[0]} ({str(texts[lost[0]])[:60]!r})"
        )
    numbers = []
    for number, (row, found) in enumerate(zip(rows, candidates, strict=True)):
        same = [other for other in found if english[other]["label"] == row["label"]]
        chosen = found if len(found) == 1 else same
        if len(chosen) != 1:
            raise UserError(
                f"{where}, row {number}: its {field!r} is that of English rows {found[:5]}, of which {len(same)} have "
                "its label; give a table of the rows instead"
            )
        numbers.append(chosen[0])
    return numbers
