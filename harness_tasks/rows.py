"""Documents: a target's rows in one language as lm-evaluation-harness gets them, in one fixed order.

The order is shuffled and stratified by ID / OOD, label and the other subsets, and it is the same in every
language: the first n documents are a fair sample of the same n rows.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from harness_tasks.sources import DataError, fingerprint, resolve_source, source_name
from harness_tasks.subsets.membership import identify, load_membership
from harness_tasks.targets import get_target, location, read_target

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True)
class Options:
    """How rows are read.

    Attributes:
        data: source as in :mod:`harness_tasks.sources`; None is the environment's, then the hub
        repair_question: take XCOPA's ``question`` from English COPA instead of the published files
    """

    data: str | None = None
    repair_question: bool = True

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> Options:
        """From lm_eval's ``--metadata``, whose other keys are ignored (it also holds the model's arguments)."""
        repair = metadata.get("repair_question", True)
        if str(repair).lower() not in ("true", "false"):
            raise DataError(f"metadata: repair_question is {repair!r}; it must be true or false")
        return cls(data=metadata.get("data"), repair_question=str(repair).lower() == "true")


def documents(
    target: str,
    language: str,
    split: str = "test",
    source: str | None = None,
    *,
    repair_question: bool = True,
    subset: str | None = None,
) -> datasets.Dataset:
    """The documents of :func:`build_documents` as a `datasets.Dataset`."""
    import datasets

    options = Options(data=source, repair_question=repair_question)
    return datasets.Dataset.from_list(build_documents(target, language, split, options, subset=subset))


def build_documents(
    target: str,
    language: str,
    split: str = "test",
    options: Options = Options(),
    *,
    subset: str | None = None,
) -> list[dict[str, Any]]:
    """All documents of a split.

    The test split comes in the fixed shuffled order, the validation split (for few-shot examples) in the order
    of the file. `subset` keeps only that subset's documents, in the same order.

    Raises :class:`harness_tasks.sources.DataError` when the data is missing, damaged, or not the rows that
    subsets were made for.
    """
    spec = get_target(target)
    rows, anchor, questions = _read_known(target, language, split, options.data)
    membership = load_membership(target, anchor)
    if subset is not None and subset not in membership:
        raise DataError(f"this data has no subset {subset!r} of {target}; it has: {', '.join(membership)}")
    names = _names_by_row(membership, len(rows))
    labels = tuple(row["label"] for row in rows)
    order = document_order(target, anchor, labels) if split == "test" else range(len(rows))
    result = []
    for number in order:
        row = rows[number]
        if subset is not None and subset not in names[number]:
            continue
        doc = {"target": target, "language": language, "row": number}
        for field in spec.text_fields:
            doc[field] = row[field]
        if questions is not None:
            doc["question"] = questions[number] if options.repair_question else row["question"]
        doc["label"] = row["label"]
        doc["subsets"] = names[number]
        if "changed" in row:
            doc["changed"] = bool(row["changed"])
        result.append(doc)
    return result


def subset_names(target: str, options: Options = Options()) -> list[str]:
    """The subsets that the data of `options` has."""
    _, anchor, _ = _read_known(target, get_target(target).languages[-1], "test", options.data)
    return list(load_membership(target, anchor))


def data_record(target: str, language: str, options: Options = Options()) -> dict[str, Any]:
    """What a result records of its data: source, anchor of the English rows, fingerprint of the language's rows."""
    rows, anchor, questions = _read_known(target, language, "test", options.data)
    fields = [*get_target(target).text_fields, "label"]
    if questions is not None:
        fields.append("question")
        if options.repair_question:
            rows = [{**row, "question": question} for row, question in zip(rows, questions, strict=True)]
    return {
        "data_source": source_name(options.data),
        "data_anchor": anchor,
        "data_fingerprint": fingerprint(rows, fields),
    }


@lru_cache(maxsize=4)
def _read_known_cached(
    target: str, language: str, split: str, source: str
) -> tuple[list[dict[str, Any]], str, list[str] | None]:
    rows = read_target(target, language, split, source)
    dataset, config = location(target, language)
    return (rows, *identify(target, split, rows, f"{dataset} ({config}, {split})"))


def _read_known(
    target: str, language: str, split: str, source: str | None
) -> tuple[list[dict[str, Any]], str, list[str] | None]:
    """A split's rows as published, their anchor, and COPA's questions; rows must not be changed."""
    return _read_known_cached(target, language, split, resolve_source(source))


@lru_cache(maxsize=16)
def document_order(target: str, anchor: str, labels: tuple[int, ...]) -> tuple[int, ...]:
    """Row numbers in the fixed order.

    Within each stratum rows are shuffled by a hash of target and row number; element k of m is then placed at
    (k + 1/2) / m, and all strata are merged by place. Strata are merged in two steps, the finer ones (all other
    subsets) within the coarser (ID / OOD and label), so that the coarser proportions are kept most exactly.
    """
    membership = load_membership(target, anchor)
    names = _names_by_row(membership, len(labels))
    coarse: dict[Any, dict[Any, list[int]]] = defaultdict(lambda: defaultdict(list))
    for number, label in enumerate(labels):
        main = tuple(name for name in names[number] if name in ("id", "ood"))
        rest = tuple(name for name in names[number] if name not in ("id", "ood"))
        coarse[main, label][rest].append(number)
    return tuple(
        _interleave(target, [_interleave(target, list(fine.values())) for fine in coarse.values()], keep=True)
    )


def _interleave(target: str, strata: list[list[int]], keep: bool = False) -> list[int]:
    """Merges strata evenly; shuffles each first unless `keep`."""
    placed = []
    for stratum in strata:
        rows = stratum if keep else sorted(stratum, key=lambda number: _hash(target, number))
        placed += [((k + 0.5) / len(rows), _hash(target, number), number) for k, number in enumerate(rows)]
    return [number for _, _, number in sorted(placed)]


def _hash(target: str, number: int) -> bytes:
    return hashlib.sha256(f"xscale {target} {number}".encode()).digest()


def _names_by_row(membership: Mapping[str, np.ndarray], total: int) -> Sequence[list[str]]:
    names: list[list[str]] = [[] for _ in range(total)]
    for name, members in membership.items():
        for number in members.tolist():
            names[number].append(name)
    return names
