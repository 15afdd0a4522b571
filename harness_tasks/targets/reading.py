"""A target's rows as published: in the order of the file, with the target's names of fields, checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from harness_tasks.errors import UserError
from harness_tasks.sources import read_rows
from harness_tasks.targets.record import Place, Target
from harness_tasks.targets.registry import get_target


def read_target(target: str, language: str, split: str, source: str | None = None) -> list[dict[str, Any]]:
    """A split's rows as published, in the order of the file, checked for fields, types and label range.

    Labels that English hides on the hub (all are -1) are taken from the language that the target names.
    """
    spec = get_target(target)
    place, name = spec.place_of(language, split)
    where = f"{place.dataset} ({place.config}, {name or split})"
    if name is None:
        raise UserError(f"{where}: {target} has no {split} split in {language!r}")
    rows = read_rows(place.dataset, place.config, name, source, place.revision)
    if place.only is not None:
        field, beginning = place.only
        rows = [row for row in rows if str(row.get(field) or "").startswith(beginning)]
    if place.fields or place.labels:
        rows = [_renamed(place, row, f"{where}, row {number}") for number, row in enumerate(rows)]
    if not spec.has_choices:
        rows = [with_gold(spec, row, f"{where}, row {number}") for number, row in enumerate(rows)]
    other = spec.hidden_labels
    if other and language == spec.pivot_language and rows and all(row.get("label") == -1 for row in rows):
        labels = [row["label"] for row in read_target(target, other, split, source)]
        if len(labels) != len(rows):
            raise UserError(
                f"{where} has {len(rows)} rows without labels, {spec.title} has {len(labels)}: not the same set"
            )
        rows = [{**row, "label": label} for row, label in zip(rows, labels, strict=True)]
    for number, row in enumerate(rows):
        _check_row(spec, row, f"{where}, row {number}")
    return rows


def checked_rows(
    target: Target, place: Place, rows: Iterable[Mapping[str, Any]], where: str
) -> list[dict[str, Any]]:
    """Rows of a place's file with the target's names and labels; `UserError` where one is not what the target needs."""
    found = [_renamed(place, row, f"{where}, row {number}") for number, row in enumerate(rows)]
    if not target.has_choices:
        found = [with_gold(target, row, f"{where}, row {number}") for number, row in enumerate(found)]
    for number, row in enumerate(found):
        _check_row(target, row, f"{where}, row {number}")
    return found


def _renamed(place: Place, row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A row with the target's names and labels."""
    renamed = {**row, **{ours: row.get(theirs) for ours, theirs in place.fields}}
    if place.labels:
        known = dict(place.labels)
        value = renamed.get("label")
        if isinstance(value, bool) or not isinstance(value, str | int) or value not in known:
            values = ", ".join(repr(value) for value in known)
            raise UserError(f"{where}: label is {value!r}; the definition knows {values}")
        renamed["label"] = known[value]
    return renamed


def with_gold(target: Target, row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A row of a target without choices: with the fields that it makes of others, `gold` and the label 1."""
    assert target.gold is not None
    try:
        made = {**row, **(target.read(row) if target.read is not None else {}), "label": 1}
        return {**made, "gold": target.gold(made)}
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        reason = f"no field {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{where}: {reason}; it is no row of {target.title}") from None


def _check_row(spec: Target, row: Mapping[str, Any], where: str) -> None:
    for field in spec.text_fields:
        value = row.get(field)
        if not isinstance(value, str) or not value.strip():
            raise UserError(f"{where}: field {field!r} is {value!r}; it must be text")
    label = row.get("label")
    if not spec.has_choices:
        return
    if type(label) is not int or not 0 <= label < spec.labels:
        raise UserError(f"{where}: label is {label!r}; it must be a whole number from 0 to {spec.labels - 1}")
    for field, values in spec.pivot.items():
        if row.get(field) not in values:
            expected = " or ".join(repr(value) for value in values)
            raise UserError(f"{where}: {field} is {row.get(field)!r}; it must be {expected}")
