"""The two target tasks as data: where a language's rows lie and what a row must have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness_tasks import xcopa, xnli
from harness_tasks.errors import UserError
from harness_tasks.languages import XCOPA_LANGUAGES, XNLI_LANGUAGES
from harness_tasks.sources import read_rows


@dataclass(frozen=True)
class Target:
    """What differs between the targets; everything else of the package treats them alike."""

    name: str
    languages: tuple[str, ...]
    text_fields: tuple[str, ...]
    labels: int
    doc_to_text: Callable[[Mapping[str, Any]], str]
    doc_to_choice: Callable[[Mapping[str, Any]], list[str]]

    @property
    def has_question(self) -> bool:
        """Whether a row asks for a cause or an effect."""
        return self.name == "xcopa"


TARGETS = {
    "xnli": Target("xnli", XNLI_LANGUAGES, xnli.TEXT_FIELDS, 3, xnli.doc_to_text, xnli.doc_to_choice),
    "xcopa": Target("xcopa", XCOPA_LANGUAGES, xcopa.TEXT_FIELDS, 2, xcopa.doc_to_text, xcopa.doc_to_choice),
}


def get_target(name: str) -> Target:
    """The target `name`; :class:`UserError` when there is none."""
    if name not in TARGETS:
        raise UserError(f"unknown target task {name!r}; there are: {', '.join(TARGETS)}")
    return TARGETS[name]


def location(target: str, language: str) -> tuple[str, str]:
    """Hub name and config of a target's rows in a language."""
    if language not in get_target(target).languages:
        known = ", ".join(TARGETS[target].languages)
        raise UserError(f"{target} has no language {language!r}; there are: {known}")
    if target == "xnli":
        return xnli.DATASET, language
    return (xcopa.ENGLISH_DATASET, xcopa.ENGLISH_CONFIG) if language == "en" else (xcopa.DATASET, language)


def read_target(target: str, language: str, split: str, source: str | None = None) -> list[dict[str, Any]]:
    """A split's rows as published, in the order of the file, checked for fields, types and label range.

    English COPA's test labels are hidden on the hub (all are -1); they are then taken from XCOPA, whose row i
    is a translation of COPA's row i.
    """
    spec = get_target(target)
    dataset, config = location(target, language)
    rows = read_rows(dataset, config, split, source)
    where = f"{dataset} ({config}, {split})"
    if target == "xcopa" and language == "en" and rows and all(row.get("label") == -1 for row in rows):
        translated = read_rows(xcopa.DATASET, "it", split, source)
        if len(translated) != len(rows):
            raise UserError(
                f"{where} has {len(rows)} rows without labels, XCOPA has {len(translated)}: not the same set"
            )
        rows = [{**row, "label": other["label"]} for row, other in zip(rows, translated, strict=True)]
    for number, row in enumerate(rows):
        _check_row(spec, row, f"{where}, row {number}")
    return rows


def _check_row(spec: Target, row: Mapping[str, Any], where: str) -> None:
    for field in spec.text_fields:
        value = row.get(field)
        if not isinstance(value, str) or not value.strip():
            raise UserError(f"{where}: field {field!r} is {value!r}; it must be text")
    label = row.get("label")
    if type(label) is not int or not 0 <= label < spec.labels:
        raise UserError(f"{where}: label is {label!r}; it must be a whole number from 0 to {spec.labels - 1}")
    if spec.has_question and row.get("question") not in xcopa.QUESTIONS:
        raise UserError(f"{where}: question is {row.get('question')!r}; it must be 'cause' or 'effect'")
