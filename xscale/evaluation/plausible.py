"""Whether stored answers can be what they say they are, as far as that can be told without the data."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, model_validator

from harness_tasks.subsets.membership import known_labels
from harness_tasks.targets import Target, targets
from xscale.evaluation.predictions import Predictions, second_of

ABOVE_ZERO, BELOW_BEST = 1e-6, 1e-5  # what rounding may do to a log-probability

ONE_ANSWER = 0.95  # share of documents with the same answer from which on a checkpoint is called collapsed


def share_of_one_answer(predictions: np.ndarray) -> float:
    """The share of documents that have the commonest answer (numbers of choices, at least one)."""
    return float(np.bincount(predictions.ravel().clip(0)).max() / predictions.size)


def of_one_answer(stored: Predictions) -> list[str]:
    """The targets with choices to which a checkpoint gives nearly always the same answer."""
    names = stored.table.column("target").to_numpy(zero_copy_only=False)
    answers = stored.table.column("prediction").to_numpy()
    return [
        name
        for name, target in targets().items()
        if target.has_choices
        and (here := names == name).any()
        and share_of_one_answer(answers[here]) >= ONE_ANSWER
    ]


class Description(BaseModel):
    """What the description of predictions says of their documents, by target."""

    model_config = ConfigDict(strict=True)

    source: str
    fingerprints: dict[str, dict[str, str]]
    asked_as: dict[str, dict[str, str]] = {}  # files of version 0.1 do not say it
    anchors: dict[str, str]
    task_versions: dict[str, Any]
    limit: dict[str, int | None]

    @model_validator(mode="after")
    def _of_the_same_targets(self) -> Description:
        if not all(
            self.fingerprints.keys() <= part.keys() for part in (self.anchors, self.task_versions, self.limit)
        ):
            raise ValueError("parts of other targets")
        return self


def is_plausible(stored: Predictions) -> bool:
    """Whether nothing speaks against the answers; a description that is not as xscale writes it does."""
    try:
        Description.model_validate(stored.info)
        return not implausible(stored)
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError):
        return False


def implausible(stored: Predictions) -> list[str]:
    """Why the answers cannot be what their description says, one line each; empty where nothing speaks against it.

    Looked at: that every target and language has a fingerprint in the description; choices, scores, labels and predictions
    of targets whose answers are choices; rows that are there twice; and where the anchor is that of rows that xscale knows
    (the official ones, the bundled suite), that every row is one of them and has its label and cluster, and that there are
    as many as the limit says.
    """
    info, table = stored.info, stored.table
    known = targets()
    names = {name: table.column(name).combine_chunks().dictionary_encode() for name in ("target", "language")}
    codes = {name: values.indices.to_numpy(zero_copy_only=False) for name, values in names.items()}
    languages = names["language"].dictionary.to_pylist()
    found = []
    for number, target in enumerate(names["target"].dictionary.to_pylist()):
        fingerprints = (info.get("fingerprints") or {}).get(target)
        if not isinstance(fingerprints, dict):
            found.append(f"{target} is not in its description")
            continue
        here = codes["target"] == number
        part = table if here.all() else table.filter(pa.array(here))
        language = codes["language"][here]
        unnamed = [languages[code] for code in np.unique(language) if languages[code] not in fingerprints]
        if unnamed:
            found.append(f"{target}: {', '.join(unnamed)} is not in its description")
        if target not in known:
            continue
        if known[target].has_choices:
            found += _choices(known[target], part)
        else:
            version = (info.get("task_versions") or {}).get(target)
            found += _texts(known[target], part, known[target].version == version)
        found += _rows(known[target], part, language, languages, stored)
    return found


def _choices(spec: Target, part: pa.Table) -> list[str]:
    label, answer = (part.column(name).to_numpy() for name in ("label", "prediction"))
    wrong = np.flatnonzero((label < 0) | (label >= spec.labels) | (answer < 0) | (answer >= spec.labels))
    if len(wrong):
        line = int(wrong[0])
        return [
            f"{spec.name}, line {line}: label {label[line]} or prediction {answer[line]} is no choice of {spec.name}"
        ]
    scores = part.column("logprobs").combine_chunks()
    lengths = pc.list_value_length(scores).to_numpy(zero_copy_only=False)
    if (lengths != spec.labels).any():
        line = int(np.flatnonzero(lengths != spec.labels)[0])
        return [f"{spec.name}, line {line}: {lengths[line]} scores are not {spec.labels} log-probabilities"]
    values = scores.flatten().to_numpy().reshape(-1, spec.labels)
    wrong = np.flatnonzero(~np.isfinite(values).all(axis=1) | (values > ABOVE_ZERO).any(axis=1))
    if len(wrong):
        return [
            f"{spec.name}, line {wrong[0]}: {values[wrong[0]].tolist()} are not {spec.labels} log-probabilities"
        ]
    chosen = values[np.arange(len(values)), answer]
    wrong = np.flatnonzero(chosen < values.max(axis=1) - BELOW_BEST)
    if len(wrong):
        line = int(wrong[0])
        return [f"{spec.name}, line {line}: prediction {answer[line]} is not the most probable choice"]
    right, total = (part.column(name).to_numpy() for name in ("numerator", "denominator"))
    wrong = np.flatnonzero((right != (label == answer)) | (total != 1))
    if len(wrong):
        return [f"{spec.name}, line {wrong[0]}: its score is not that of its label and prediction"]
    return []


def _texts(spec: Target, part: pa.Table, todays: bool) -> list[str]:
    """Answered with a text, of which only the score is stored: label 1, prediction 1 where it is entirely right; of today's
    version of the task also the second ratio, if it has one."""
    label, answer = (part.column(name).to_numpy() for name in ("label", "prediction"))
    wrong = np.flatnonzero((label != 1) | (answer < 0) | (answer > 1))
    if len(wrong):
        line = int(wrong[0])
        return [
            f"{spec.name}, line {line}: label {label[line]} and prediction {answer[line]} must be 1, and 0 or 1"
        ]
    lengths = pc.list_value_length(part.column("logprobs").combine_chunks()).to_numpy(zero_copy_only=False)
    right, total = (part.column(name).to_numpy() for name in ("numerator", "denominator"))
    possible = (right >= 0) & (right <= total) & np.isfinite(total) & (lengths == 0)
    if todays:
        possible &= np.array([_is_second(spec, pair) for pair in second_of(part)], dtype=bool)
    if not possible.all():
        line = int(np.flatnonzero(~possible)[0])
        return [f"{spec.name}, line {line}: {right[line]} of {total[line]} is no score of {spec.name}"]
    return []


def _is_second(spec: Target, pair: Sequence[float]) -> bool:
    """Whether these are numerator and denominator of the target's second ratio, if it has one."""
    if not spec.second:
        return not pair
    return len(pair) == 2 and 0 <= pair[0] <= pair[1] < np.inf


def _rows(
    spec: Target, part: pa.Table, codes: np.ndarray, languages: Sequence[str], stored: Predictions
) -> list[str]:
    found = []
    anchor = (stored.info.get("anchors") or {}).get(spec.name)
    truth = known_labels(spec.name, anchor) if isinstance(anchor, str) else None
    limits = stored.info.get("limit")
    limit = limits.get(spec.name) if isinstance(limits, dict) else limits
    columns = {name: part.column(name).to_numpy() for name in ("row", "label", "cluster")}
    labels = np.array(truth if truth is not None else (), dtype=np.int64)
    clusters = _clusters(spec.name, len(labels))
    for code in np.unique(codes):
        language, here = languages[code], codes == code
        row, label, cluster = (columns[name][here] for name in ("row", "label", "cluster"))
        name = f"{spec.name} in {language}"
        if len(np.unique(row)) < len(row):
            values, counts = np.unique(row, return_counts=True)
            found.append(f"{name}: row {values[counts > 1][0]} is there twice")
        place = spec.places.get(language)
        if truth is None or place is None or place.rows.kind == "own":
            continue
        if row.min() < 0 or row.max() >= len(labels):
            odd = row.min() if row.min() < 0 else row.max()
            found.append(f"{name}: row {odd}, of which the data has {len(labels):,}")
            continue
        if (wrong := np.flatnonzero(labels[row] != label)).size:
            at = wrong[0]
            found.append(f"{name}: row {row[at]} has label {label[at]}, the data has {labels[row[at]]}")
        if (wrong := np.flatnonzero(clusters[row] != cluster)).size:
            at = wrong[0]
            found.append(
                f"{name}: row {row[at]} is in cluster {cluster[at]}, its target says {clusters[row[at]]}"
            )
        asked = len(labels) if limit is None else min(int(limit), len(labels))
        if place.official and place.rows.kind == "parallel" and len(row) != asked:
            found.append(f"{name}: {len(row):,} rows where {asked:,} were asked for")
    return found


@lru_cache(maxsize=64)
def _clusters(target: str, count: int) -> np.ndarray:
    return np.array([targets()[target].cluster(row) for row in range(count)], dtype=np.int64)
