"""Documents: a target's rows in one language as lm-evaluation-harness gets them, in one fixed order.

The test split is shuffled and stratified by ID / OOD, label and the other shipped subsets, and the order is
the same in every language: the first n documents are a fair sample of the same n rows.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from harness_tasks.errors import UserError
from harness_tasks.sources import fingerprint, resolve_source, source_name
from harness_tasks.subsets.membership import Identified, identify, shipped_membership
from harness_tasks.subsets.user import load_membership, subset_files
from harness_tasks.targets import Place, get_target, read_target

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True)
class Options:
    """How rows are read and shown; lm_eval's ``--metadata`` has the same names (`subset_files`:
    subsets_file).

    Attributes:
        data: source as in :mod:`harness_tasks.sources`; None is the environment's, then the hub
        repair_question: take XCOPA's ``question`` from English COPA instead of the published files
        whole_premise: XCOPA prompts drop the premise's last character only if it is punctuation
        check_text: refuse official data with other texts than those that subsets were made for
        subset_files: files with a user's subsets
    """

    data: str | None = None
    repair_question: bool = True
    whole_premise: bool = False
    check_text: bool = True
    subset_files: tuple[str, ...] = ()

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> Options:
        """From ``--metadata``; its other keys are ignored, it also holds the model's arguments."""
        flags = {
            name: _flag(name, metadata[name])
            for name in ("repair_question", "whole_premise", "check_text")
            if name in metadata
        }
        return cls(
            data=metadata.get("data"), subset_files=subset_files(metadata.get("subsets_file")), **flags
        )


def _flag(name: str, value: Any) -> bool:
    if str(value).lower() not in ("true", "false"):
        raise UserError(f"metadata: {name} is {value!r}; it must be true or false")
    return str(value).lower() == "true"


DEFAULTS = Options()


def documents(
    target: str,
    language: str,
    split: str = "test",
    source: str | None = None,
    *,
    repair_question: bool = True,
    subset: str | None = None,
) -> datasets.Dataset:
    """The documents of :func:`build_documents` as a `datasets.Dataset`; raises the same errors."""
    import datasets

    options = Options(data=source, repair_question=repair_question, subset_files=subset_files())
    return datasets.Dataset.from_list(build_documents(target, language, split, options, subset=subset))


def build_documents(
    target: str,
    language: str,
    split: str = "test",
    options: Options = DEFAULTS,
    *,
    subset: str | None = None,
) -> list[dict[str, Any]]:
    """All documents of a split: target, language, row, the text fields, label (and gold) and the names of its subsets.

    The test split comes in the fixed shuffled order, the validation split (for few-shot examples) in that of
    the file. `subset` keeps only that subset's documents, in the same order.

    Raises :class:`~harness_tasks.errors.UserError` when the data is missing, damaged, or not the rows that
    subsets were made for.
    """
    spec = get_target(target)
    found = _read(target, language, split, options)
    total, anchor = len(found.english.labels), found.english.anchor
    membership = load_membership(target, anchor, options.subset_files, options.data)
    if subset is not None and subset not in membership:
        known = ", ".join(membership) or "none"
        raise UserError(f"{source_name(options.data)} has no {target} subset {subset!r}; it has: {known}")
    names = _names_by_row(membership, total)
    place_of = {number: place for place, number in enumerate(found.numbers)}
    result = []
    for number in _order(target, split, anchor, found.english.labels):
        place = place_of.get(number)  # None: this language does not have the row
        if place is None or (subset is not None and subset not in names[number]):
            continue
        row = found.rows[place]
        doc = {"target": target, "language": language, "row": number, "cluster": found.clusters[place]}
        for field in spec.text_fields:
            doc[field] = row[field]
        for field, values in found.pivot.items():
            doc[field] = values[place] if options.repair_question else row[field]
        doc["label"] = row["label"]
        if not spec.has_choices:
            doc["gold"] = row["gold"]
        if spec.candidates is not None:
            doc["data"] = resolve_source(options.data)  # where `corpus` finds its candidates
        doc["subsets"] = names[number]
        for field in spec.extra:
            if field in row:
                doc[field] = bool(row[field])
        result.append(doc)
    return result


@dataclass(frozen=True)
class Corpus:
    """What a document of retrieval is answered from: `sources` are the texts of all rows, in the file's order, with what is
    right for each in `gold`; `candidates` have a name and a text. `sample` is the same of the validation split, where a
    threshold is tuned."""

    sources: tuple[str, ...]
    gold: tuple[str, ...]
    candidates: tuple[tuple[str, str], ...]
    sample: Corpus | None = None


@lru_cache(maxsize=2)  # several functions ask for one language in a row
def corpus(target: str, language: str, source: str) -> Corpus:
    """The test corpus of a retrieval target in a language, and its sample; `source` is a document's ``data``.

    Raises `UserError` when a file of it is missing or damaged, or a candidate's name is there twice.
    """
    spec = get_target(target)
    assert spec.candidates is not None
    made = None
    for split in ("validation", "test") if spec.mined else ("test",):
        rows = read_target(target, language, split, source)
        candidates = spec.candidates(language, split, source)
        if not candidates or len({name for name, _ in candidates}) < len(candidates):
            raise UserError(f"{target}: {language} ({split}): candidates are missing, or two have one name")
        made = Corpus(
            tuple(row[spec.text_fields[0]] for row in rows),
            tuple(row["gold"] for row in rows),
            tuple(candidates),
            made,
        )
    assert made is not None
    return made


def subset_names(target: str, options: Options = DEFAULTS, language: str = "en") -> list[str]:
    """The subsets that the data of `options` has, shipped ones first; the same in every `language` whose rows
    translate English ones."""
    anchor = anchor_of(target, options, language)
    return list(load_membership(target, anchor, options.subset_files, options.data))


def anchor_of(target: str, options: Options = DEFAULTS, language: str = "en") -> str:
    """The anchor (:mod:`harness_tasks.subsets.membership`) of the test rows; the same in every `language` whose rows
    translate English ones."""
    return _read(target, language, "test", options).english.anchor


def row_count(target: str, language: str, options: Options = DEFAULTS) -> int:
    """How many test rows the language has."""
    return len(_read(target, language, "test", options).rows)


def data_record(target: str, language: str, options: Options = DEFAULTS) -> dict[str, str]:
    """What a result records of its data: ``data_source``, ``data_anchor`` and ``data_fingerprint``; of a language that is not
    official also ``data_rows``, how a row finds its English row, and ``data_rows_sha256``, of the numbers of these.

    The fingerprint is of the test rows in this language in their original order: texts, label, and XCOPA's
    question as it is used; of a user's language also the English rows' numbers, where the user's file says them.
    """
    found = _read(target, language, "test", options)
    place = get_target(target).place(language)
    related: dict[str, str] = {}
    if not place.official:
        numbers = fingerprint([{"row": number} for number in found.numbers], ["row"])
        related = {"data_rows": place.rows.words()} | (
            {} if place.rows.kind == "own" else {"data_rows_sha256": numbers}
        )
    rows = found.rows
    if options.repair_question and found.pivot:
        rows = [
            {**row, **{field: values[place] for field, values in found.pivot.items()}}
            for place, row in enumerate(rows)
        ]
    fields = [*get_target(target).text_and_label, *found.pivot]
    if place.user and place.rows.kind in ("table", "field", "text"):
        rows = [{**row, "row": number} for row, number in zip(rows, found.numbers, strict=True)]
        fields.append("row")
    if get_target(target).candidates is not None:
        rows = [*rows, *({"row": None, **row} for row in _corpus_rows(target, language, options))]
    return {
        "data_source": source_name(options.data),
        "data_anchor": found.english.anchor,
        "data_fingerprint": fingerprint(rows, fields),
        **related,
    }


def _corpus_rows(target: str, language: str, options: Options) -> list[dict[str, str]]:
    """Candidates and the sample as rows, for the fingerprint: scores depend on them, too."""
    field = get_target(target).text_fields[0]
    found: Corpus | None = corpus(target, language, resolve_source(options.data))
    rows: list[dict[str, str]] = []
    while found is not None:
        rows += [{field: text, "gold": name} for name, text in found.candidates]
        found = found.sample
        rows += (
            [{field: t, "gold": g} for t, g in zip(found.sources, found.gold, strict=True)] if found else []
        )
    return rows


def _read(target: str, language: str, split: str, options: Options) -> Identified:
    """A split's rows as published (not to be changed), with their English rows."""
    place, _ = get_target(target).place_of(language, split)
    return _read_cached(target, language, split, resolve_source(options.data), options.check_text, place)


@lru_cache(maxsize=4)  # one language is asked for by several functions in a row; all of them would be 300 MB
def _read_cached(
    target: str, language: str, split: str, source: str, check_text: bool, place: Place
) -> Identified:
    rows = read_target(target, language, split, source)
    where = f"{place.dataset} ({place.config}, {get_target(target).place_of(language, split)[1]})"
    return identify(target, language, split, rows, where, check_text, source)


def _order(target: str, split: str, anchor: str, labels: tuple[int, ...]) -> Sequence[int]:
    return document_order(target, anchor, labels) if split == "test" else range(len(labels))


@lru_cache(maxsize=16)
def document_order(target: str, anchor: str, labels: tuple[int, ...]) -> tuple[int, ...]:
    """The numbers of the test rows in the fixed order.

    A stratum is the rows with the same label and the same shipped subsets, shuffled by a hash of target and row
    number. The order takes, at each step, a row of the stratum that keeps what was taken so far closest to the
    whole: the squared deviations from the expected numbers of each label, subset, subset with label, and stratum
    are least. All of it is in whole numbers, so that the order is the same everywhere.
    """
    names = _names_by_row(shipped_membership(target, anchor), len(labels))
    strata: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for number in sorted(range(len(labels)), key=lambda number: _hash(target, number)):
        strata[(labels[number], *names[number])].append(number)
    keys = sorted(strata, key=str)
    margins = sorted(
        {margin for key in keys for margin in _margins(key)},
        key=str,
    )
    belongs = np.array([[margin in _margins(key) for margin in margins] for key in keys], dtype=np.int64)
    left = np.array([len(strata[key]) for key in keys], dtype=np.int64)
    wanted = left @ belongs  # rows of each margin in the whole
    total = len(labels)
    taken = np.zeros(len(margins), dtype=np.int64)
    order = []
    for step in range(total):
        # N * taken - step * wanted is N times the deviation; what a further row adds to its square, over N:
        cost = belongs @ (2 * (total * taken - (step + 1) * wanted) + total)
        cost[left == 0] = np.iinfo(np.int64).max
        best = int(np.argmin(cost))
        order.append(strata[keys[best]][-left[best]])
        left[best] -= 1
        taken += belongs[best]
    return tuple(order)


def _margins(key: tuple[Any, ...]) -> set[tuple[Any, ...]]:
    """What rows of a stratum count for: label, each subset, each subset with the label, the stratum itself."""
    label, *subsets = key
    return {key, (label,), *((name,) for name in subsets), *((label, name) for name in subsets)}


def _hash(target: str, number: int) -> bytes:
    return hashlib.sha256(f"xscale {target} {number}".encode()).digest()


def _names_by_row(membership: Mapping[str, np.ndarray], total: int) -> list[list[str]]:
    names: list[list[str]] = [[] for _ in range(total)]
    for name, members in membership.items():
        for number in members.tolist():
            names[number].append(name)
    return names
