"""The answers of manifest entries, which grow: what is asked for is computed where it is missing, nothing is thrown away.

An answer is a document's. It counts for what it was computed with: the weights, all that lm_eval is told, the precision,
how texts become tokens, the versions of task and lm_eval, the fingerprint of the rows of its language and what such a row
is asked as (prompt or text pairs, and the rows that few-shot examples are taken from). What is asked for at once
(languages, documents a language, data) is a view of them: a smaller one needs nothing, a larger one only what is missing.
`results/<id>/predictions.parquet` has the answers to one set of data; answers to other data, or with other settings, are in
files beside it.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from filelock import FileLock

from harness_tasks.rows import Options, build_documents, data_record, row_count
from harness_tasks.sources import fingerprint, same_source, source_name
from harness_tasks.subsets.membership import OWN
from harness_tasks.targets import asked_as, get_target
from harness_tasks.tasks import group_name, task_name
from xscale.encoding import ENCODING_VERSION
from xscale.errors import UserError
from xscale.evaluation.batches import Document, Section
from xscale.evaluation.kept import AHEAD, PARTIAL, Kept
from xscale.evaluation.models import build_model, data_stamp, load_tasks
from xscale.evaluation.plausible import is_plausible
from xscale.evaluation.predictions import (
    PREDICTIONS,
    SCHEMA,
    WITH_SECOND,
    Predictions,
    prediction_files,
    read_predictions,
    second_of,
    write_predictions,
)
from xscale.evaluation.processes import is_first_process
from xscale.files import sha256_of_folder, write_text
from xscale.manifest import LOCAL_MODEL, Entry, argument_places, commit_of

__all__ = ["AHEAD", "PARTIAL", "RESULTS", "Selection", "evaluate_entry", "is_current", "result_key"]

Selection = Mapping[
    str, tuple[Sequence[str], int | None]
]  # target -> (languages, documents a language or None)
# An answer's values: the log-probabilities of the choices (float32); of documents without choices numerator, denominator and
# 1 where it is entirely right (float64), since no text is stored.
Answered = tuple[Sequence[Document], np.ndarray]  # documents, and their answers' values
Known = Mapping[str, Mapping[int, np.ndarray]]  # language -> row -> the label, then the answer's values

# one of these is there where a driver for CUDA or ROCm is (Linux, Windows' Linux)
_DRIVERS = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/dxg")
RESULTS = "results.json"  # beside `predictions.parquet`; results-2.json beside predictions-2.parquet
NO_OPTIONS: Mapping[str, Any] = {}
# the parts of a key that an answer must share to count; the others say which documents
SETTINGS = (
    "model",
    "model_args",
    "weights",
    "files",
    "precision",
    "encoding_version",
    "evaluation",
    "lm_eval",
)


def result_key(entry: Entry, selection: Selection, source: str, manifest: Path) -> dict[str, Any]:
    """What answers must have been computed with to count, and which ones are asked for. Relative folders in the entry's
    arguments count from that of the `manifest`.

    Raises `DataError` when the data is missing or is not the rows that the tasks were made for, `UserError` for a
    precision that this machine does not have.
    """
    records = {
        target: {
            language: _record(target, language, source, data_stamp(target, source, languages))
            for language in languages
        }
        for target, (languages, _) in selection.items()
    }
    encoder = entry.model == LOCAL_MODEL
    key = {
        "checkpoint": entry.id,
        "model": entry.model,
        "model_args": {
            k: v for k, v in sorted(entry.model_args.items()) if k != "pretrained" or entry.sha256 is None
        },
        "weights": entry.sha256 or commit_of(entry)[1] or str(entry.model_args.get("revision", "main")),
        "files": _files(entry, manifest),
        "precision": _precision(entry) if encoder else None,  # of others it is what their arguments say
        "encoding_version": ENCODING_VERSION if encoder else None,
        "evaluation": {} if entry.evaluation is None else entry.evaluation.settings(),
        "source": source_name(source),
        "task_versions": {target: get_target(target).version for target in selection},
        "fingerprints": {
            target: {language: record["data_fingerprint"] for language, record in by_language.items()}
            for target, by_language in records.items()
        },
        "asked_as": {
            target: {language: _asked_as(entry, target, language, source) for language in by_language}
            for target, by_language in records.items()
        },
        "anchors": {
            target: _anchor(target, [record["data_anchor"] for record in by_language.values()])
            for target, by_language in records.items()
        },
        "limit": {
            target: None
            if limit is None or limit >= max(int(r["rows"]) for r in records[target].values())
            else limit
            for target, (_, limit) in selection.items()
        },
        "lm_eval": version("lm_eval"),
    }
    return dict(json.loads(json.dumps(key)))


def _asked_as(entry: Entry, target: str, language: str, source: str) -> str:
    """What a row of the language becomes, and for few-shot prompts also the rows that examples are taken from."""
    asked = asked_as(target, language, pairs=entry.model == LOCAL_MODEL)
    if entry.evaluation is None or not entry.evaluation.num_fewshot:
        return asked
    with contextlib.suppress(UserError):  # no such rows: the task says so when it is asked
        rows = build_documents(target, language, "validation", Options(data=source))
        asked += " " + fingerprint(rows, get_target(target).text_and_label)[:16]
    return asked


def _anchor(target: str, anchors: Sequence[str]) -> str:
    """That of English rows, whatever languages are asked for and in which order. Rows that translate none have one of their
    own, and no subsets; where all of a target's rows are such, fingerprints alone say which they are."""
    spec = get_target(target)
    if spec.place(spec.pivot_language).rows.kind == "own":
        return OWN + target
    return next((anchor for anchor in anchors if not anchor.startswith(OWN)), min(anchors))


def _files(entry: Entry, manifest: Path) -> dict[str, str]:
    """What the folders that other arguments than `pretrained` name (adapters, deltas, tokenizers) hold: their SHA-256, of
    the hub the commit."""
    found = {}
    for name, place in argument_places(entry, manifest).items():
        if isinstance(place, Path):
            found[name] = sha256_of_folder(place)
        elif place[1] is not None:
            found[name] = f"commit {place[1]}"
    return found


def _precision(entry: Entry) -> str:
    """What an encoder checkpoint is evaluated with here; torch, which takes a second to load, is not asked where there is
    no driver of a GPU."""
    asked, device = str(entry.model_args.get("precision") or "auto"), entry.model_args.get("device")
    no_gpu = sys.platform == "linux" and not any(Path(driver).exists() for driver in _DRIVERS)
    if asked in ("auto", "fp32") and (no_gpu or str(device).startswith("cpu")):
        return "fp32"
    import torch

    from xscale.precision import effective_precision

    kind = str(device or "cuda") if torch.cuda.is_available() else "cpu"
    return effective_precision(asked, torch.device(kind), cpu_units=False)


@lru_cache(maxsize=128)
def _record(target: str, language: str, source: str, stamp: object) -> dict[str, Any]:
    """`data_record`, which reads and hashes all rows, once for each state of the files; and how many `rows` there are."""
    options = Options(data=source)
    return data_record(target, language, options) | {"rows": row_count(target, language, options)}


@dataclass(frozen=True)
class Stored:
    """A prediction file of an entry, and what its answers were computed with and are to (as `result_key`)."""

    path: Path
    predictions: Predictions
    info: dict[str, Any]


def stored_answers(folder: Path, key: Mapping[str, Any]) -> list[Stored]:
    """The prediction files in `results/<id>/` that are whole, as the board takes them, and whose answers were computed with
    the settings of `key`."""
    found = []
    for path in prediction_files(folder):
        with contextlib.suppress(UserError):  # a damaged file does not count; `xscale check` names it
            stored = read_predictions(path)
            info = completed(stored.info, results_of(path))
            same = all(info.get(name) == key[name] for name in SETTINGS if key[name] is not None)
            if same and is_plausible(stored):
                found.append(Stored(path, stored, info))
    return found


def results_of(predictions: Path) -> Path:
    """lm_eval's results that belong to a prediction file."""
    return predictions.with_name(predictions.name.replace("predictions", "results")).with_suffix(".json")


def completed(info: dict[str, Any], results: Path) -> dict[str, Any]:
    """Of files of xscale 0.1, what they do not say of themselves: the precision is in lm_eval's results beside them."""
    info = {"encoding_version": 1, "evaluation": {}, "files": {}} | info
    if "precision" not in info:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            dtype = str(json.loads(results.read_text(encoding="utf-8"))["config"]["model_dtype"])
            info["precision"] = short_precision(dtype)
    return info


def short_precision(dtype: str) -> str:
    """`fp32`, `bf16` or `fp16` from torch's name of it; another name as it is."""
    name = dtype.removeprefix("torch.").partition(" ")[0]
    return {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}.get(name, name)


def carry_over(results: Path, identifier: str, before: str, after: str) -> None:
    """Store the answers of `results/<identifier>/` that are of the weights `before` as those of `after`: the caller has found
    that all files that they were computed with are the same in both."""
    folder = results / identifier
    if not prediction_files(folder):
        return
    with FileLock(results / f".{identifier}.lock"):
        for path in prediction_files(folder):
            with contextlib.suppress(UserError):  # a damaged one stays what it is
                stored = read_predictions(path)
                if stored.info.get("weights") != before:
                    continue
                info = stored.info | {"weights": after}
                if output := _read_results(results_of(path)):
                    text = json.dumps(output | {"xscale": info}, indent=2, ensure_ascii=False)
                    write_text(results_of(path), text + "\n")
                write_predictions(path, stored.table, info)


def is_current(folder: Path, key: Mapping[str, Any]) -> bool:
    """Whether `results/<id>/` has all answers that `key` asks for, computed with what it says."""
    stored = stored_answers(folder, key)
    return all(
        any(
            _same_data(one.info, key, target) and _view(one.info, target).contains(_view(key, target))
            for one in stored
        )
        for target in key["fingerprints"]
    )


def _same_data(info: Mapping[str, Any], key: Mapping[str, Any], target: str) -> bool:
    """Whether both are of the same rows of a target, asked in the same way, as far as they have the same languages."""
    try:
        mine, asked = info["fingerprints"][target], key["fingerprints"][target]
        return (
            info["anchors"][target] == key["anchors"][target]
            and info["task_versions"][target] == key["task_versions"][target]
            and _same_languages(info, key, target) == mine.keys() & asked.keys()
        )
    except (KeyError, TypeError, AttributeError):
        return False


def _same_languages(info: Mapping[str, Any], key: Mapping[str, Any], target: str) -> set[str]:
    """The languages of both whose rows are the same, and asked in the same way. Files of before that was recorded count
    for official languages, whose prompts and pairs have been the same since."""
    mine, asked = (part.get("fingerprints", {}).get(target) or {} for part in (info, key))
    ways, wanted = ((part.get("asked_as") or {}).get(target) or {} for part in (info, key))
    spec = get_target(target)
    return {
        language
        for language in mine.keys() & asked.keys()
        if mine[language] == asked[language]
        and (
            ways[language] == wanted.get(language)
            if language in ways
            else spec.user is None and spec.place(language).official
        )
    }


@dataclass(frozen=True)
class View:
    """Documents of a target that are asked for: languages, and the first how many of each (None: all)."""

    languages: tuple[str, ...]
    limit: int | None

    def contains(self, other: View) -> bool:
        """Whether the other's documents are among these; the first documents are the same in every limit."""
        return set(self.languages) >= set(other.languages) and (
            self.limit is None or (other.limit is not None and self.limit >= other.limit)
        )


def _view(info: Mapping[str, Any], target: str) -> View:
    return View(tuple(info["fingerprints"][target]), info["limit"][target])


def known_answers(stored: Sequence[Stored], key: Mapping[str, Any], target: str) -> Known:
    """What all files together have of a target's answers to the rows of `key`: before the values stands the label."""
    known: dict[str, dict[int, np.ndarray]] = {}
    for one in reversed(stored):  # what was begun last counts
        same = _same_languages(one.info, key, target)
        if (one.info.get("task_versions") or {}).get(target) != key["task_versions"][target] or not same:
            continue
        table = one.predictions.table
        names = ["target", "language", "row", "label", "logprobs"]
        has_choices = get_target(target).has_choices
        names += [] if has_choices else ["numerator", "denominator", "prediction"]
        columns = [table.column(name).to_pylist() for name in names]
        columns += [] if has_choices else [second_of(table)]
        for name, language, row, label, scores, *score in zip(*columns, strict=True):
            if name == target and language in same:
                known.setdefault(language, {})[row] = (
                    np.array([label, *scores], dtype=np.float32)
                    if has_choices
                    else np.array([label, *score[:3], *score[3]], dtype=np.float64)
                )
    return known


def sections(
    target: str, view: View, source: str, known: Known, evaluation: Mapping[str, Any] = NO_OPTIONS
) -> dict[str, Section]:
    """By language, a target's documents and which of the view's have no known answer."""
    tasks = load_tasks(target, view.languages, source, int(evaluation.get("num_fewshot", 0)))["tasks"]
    result = {}
    for language in view.languages:
        task = tasks[task_name(target, language)]
        answered = known.get(language, {})
        needed = [
            position
            for position, document in enumerate(task.eval_docs[: view.limit])
            if document["row"] not in answered or answered[document["row"]][0] != document["label"]
        ]
        result[language] = Section(task.eval_docs, needed, task)
    return result


def missing(key: Mapping[str, Any], target: str, source: str, folder: Path) -> dict[str, Section]:
    """By language, the documents that `key` asks for and which of them are not answered in `results/<id>/` yet."""
    known = known_answers(stored_answers(folder, key), key, target)
    return sections(target, _view(key, target), source, known)


def kept(folder: Path, key: Mapping[str, Any]) -> Kept:
    """Where an entry's evaluation under way keeps its batches; they count for every view of the same answers."""
    return Kept(folder, json.dumps({name: key[name] for name in SETTINGS}, sort_keys=True))


def evaluate_entry(
    entry: Entry,
    selection: Selection,
    source: str,
    manifest: Path,
    results: Path,
    model: Any = None,
) -> dict[str, Any]:
    """Answer what is missing of the selected targets and languages, and store it with what is there in `results/<id>/`.

    `model` is the entry's lm_eval model where it has been built already. Returns lm_eval's results, without samples, of
    the file that has the answers; of several processes the first one stores them. Raises `UserError` or `DataError` when
    model or data do not fit.
    """
    folder = results / entry.id
    asked = result_key(entry, selection, source, manifest)
    stored = stored_answers(folder, asked)
    homes = {target: _home(stored, asked, target) for target in selection}
    done = [one for one, view in homes.values() if one is not None and view is None]
    todo = {target: (one, view) for target, (one, view) in homes.items() if view is not None}
    if not todo:
        return _read_results(results_of(done[0].path))
    start = time.time()
    model = build_model(entry, manifest) if model is None else model
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    key = result_key(
        entry, {target: (view.languages, view.limit) for target, (_, view) in todo.items()}, source, manifest
    )
    journals = kept(folder, key)
    cut: dict[str, int | None] = {}
    spare: dict[str, bool] = {}
    files: dict[Path | None, dict[str, dict[str, Answered]]] = {}
    for target, (one, view) in todo.items():
        known = known_answers(stored, key, target)
        asked_of = sections(target, view, source, known, key["evaluation"])
        new, cut[target], spare[target] = _ask(model, target, list(asked_of.values()), journals, key)
        files.setdefault(None if one is None else one.path, {})[target] = {
            language: _together(section.documents[: view.limit], known.get(language, {}), scores)
            for (language, section), scores in zip(asked_of.items(), new, strict=True)
        }
    output: dict[str, Any] = {}
    for path, answers in files.items():
        home = next((one for one in stored if one.path == path), None)
        output = _merge([output, _store(folder, home, key, answers, source, model, cut, start)])
    if is_first_process():
        everything = [one.info["limit"].get(target) for one in stored_answers(folder, key) for target in todo]
        for target in todo:
            journals.settle(target, complete=not spare[target] or everything.count(None) == len(everything))
    return output


def _home(stored: Sequence[Stored], key: Mapping[str, Any], target: str) -> tuple[Stored | None, View | None]:
    """The file that the answers asked for belong in (None: a new one) and what of the target it is to have then (None: it
    has all that is asked for)."""
    asked = _view(key, target)
    place: tuple[Stored | None, View | None] = (None, asked)
    for one in reversed(stored):
        if not _same_data(one.info, key, target):
            if (
                place[0] is None
                and target not in one.info["fingerprints"]
                and same_source(key["source"], one.info["source"])
            ):
                place = one, asked
            continue
        there = _view(one.info, target)
        if there.contains(asked):
            return one, None
        if asked.contains(there):
            place = one, asked
        elif there.limit == asked.limit and same_source(key["source"], one.info["source"]):
            extra = [language for language in asked.languages if language not in there.languages]
            place = one, View((*there.languages, *extra), asked.limit)
    return place


def _ask(
    model: Any, target: str, asked: Sequence[Section], journals: Kept, key: Mapping[str, Any]
) -> tuple[list[dict[int, np.ndarray]], int | None, bool]:
    """The needed answers by position, how many texts or requests were too long, and whether others were computed too."""
    if not any(len(section.needed) for section in asked):
        return [{} for _ in asked], 0, False
    if hasattr(model, "answers"):
        model.kept = journals
        found = model.answers(target, asked)
        return found, model.truncated[target], model.spare[target]
    from xscale.evaluation.language_models import generated_answers, language_model_answers

    ask = language_model_answers if get_target(target).has_choices else generated_answers
    with _rare_collections():
        return ask(model, target, asked, journals, key["evaluation"])


def _together(
    documents: Sequence[Document], known: Mapping[int, np.ndarray], new: Mapping[int, np.ndarray]
) -> Answered:
    """The documents with their answers' values, shape (documents, values): the new ones are by position, the known ones by
    row and after a label."""
    scores = [
        new[position] if position in new else known[document["row"]][1:]
        for position, document in enumerate(documents)
    ]
    has_choices = get_target(documents[0]["target"]).has_choices
    return documents, np.stack(scores).astype(np.float32 if has_choices else np.float64)


def _store(
    folder: Path,
    home: Stored | None,
    key: Mapping[str, Any],
    answers: Mapping[str, Mapping[str, Answered]],
    source: str,
    model: Any,
    cut: Mapping[str, int | None],
    start: float,
) -> dict[str, Any]:
    """Write a prediction file, with what it had of other targets, and lm_eval's results of it; returns these."""
    from lm_eval.evaluator import evaluate
    from lm_eval.utils import handle_non_serializable

    from xscale.evaluation.language_models import StoredAnswersLM

    facts = model.get_model_info() if hasattr(model, "get_model_info") else {}
    info = dict(key)
    if info["precision"] is None:
        info["precision"] = short_precision(str(facts.get("model_dtype") or "unknown"))
    before = {} if home is None else home.info
    for part in ("task_versions", "fingerprints", "asked_as", "anchors", "limit"):
        info[part] = before.get(part, {}) | {target: key[part][target] for target in answers}
    tables = [
        _table(target, language, rows) for target, of in answers.items() for language, rows in of.items()
    ]
    outputs: list[Mapping[str, Any]] = []
    config: Mapping[str, Any] = {}
    if home is not None:
        old = home.predictions.table
        others = [name not in answers for name in old.column("target").to_pylist()]
        tables.insert(0, old.filter(pa.array(others)))
        earlier = _read_results(results_of(home.path))
        outputs.append(_of_targets(earlier, set(info["fingerprints"]) - set(answers)))
        config = earlier.get("config") or {}
    for target, by_language in answers.items():
        tasks = load_tasks(target, tuple(by_language), source, int(key["evaluation"].get("num_fewshot", 0)))
        judge = StoredAnswersLM(
            {
                language: {document["row"]: row for document, row in zip(*answered, strict=True)}
                for language, answered in by_language.items()
            }
        )
        with _rare_collections():
            output = evaluate(
                judge,
                tasks,
                limit=info["limit"][target],
                log_samples=False,
            )
        if output is None:  # to lm_eval there is one process
            raise RuntimeError("lm_eval gave no results")
        outputs.append(output)
    merged = _merge(outputs) | {
        "config": {
            "model": key["model"],
            "model_args": key["model_args"],
            "limit": info["limit"],
            **facts,
            **_counts(config, cut, answers, home),
        },
        "date": start,
        "lm_eval_version": key["lm_eval"],
        "total_evaluation_time_seconds": str(round(time.time() - start, 1)),
        "xscale": info,
    }
    if is_first_process():
        path = _new_file(folder) if home is None else home.path
        text = json.dumps(merged, indent=2, default=handle_non_serializable, ensure_ascii=False)
        write_text(results_of(path), text + "\n")
        write_predictions(path, _one_table(tables), info)
    return merged


def _new_file(folder: Path) -> Path:
    """The path of a new prediction file: always the first name; what has it is moved to the next free number."""
    first = folder / PREDICTIONS
    if first.exists():
        number = 2
        while any(numbered(path, number).exists() for path in (first, results_of(first))):
            number += 1
        with contextlib.suppress(FileNotFoundError):
            os.replace(results_of(first), numbered(results_of(first), number))
        os.replace(first, numbered(first, number))
    return first


def numbered(path: Path, number: int) -> Path:
    """The name of the file that is moved out of the way of `path`."""
    return path.with_name(f"{path.stem}-{number}{path.suffix}")


def _counts(
    config: Mapping[str, Any], cut: Mapping[str, int | None], answers: Mapping[str, Any], home: Stored | None
) -> dict[str, dict[str, int]]:
    """How many of a file's texts or requests were too long: what it had, and those of the new answers."""
    name = "truncated_pairs" if "truncated_pairs" in config else "truncated_requests"
    counts = dict(config.get(name) or {})
    for target in answers:
        if cut[target] is not None:
            counts[target] = int(counts.get(target) or 0) + int(cut[target] or 0)
    return {name: counts}


def _read_results(path: Path) -> dict[str, Any]:
    """lm_eval's stored results; empty where they are absent or damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _of_targets(output: Mapping[str, Any], targets: set[str]) -> dict[str, Any]:
    """What lm_eval's results say of the tasks and groups of these targets."""
    groups = tuple(group_name(target) for target in targets)
    return {
        part: {name: value for name, value in found.items() if groups and name.startswith(groups)}
        for part, found in output.items()
        if isinstance(found, dict) and part not in ("config", "xscale")
    }


@contextlib.contextmanager
def _rare_collections() -> Iterator[None]:
    """The cycle collector would walk through hundreds of thousands of requests again and again: let it run seldom."""
    thresholds = gc.get_threshold()
    gc.set_threshold(200_000, 50, 50)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


def _table(target: str, language: str, answered: Answered) -> pa.Table:
    """One language's answers as rows of the prediction store; the prediction is the choice of highest log-likelihood, without
    choices 1 (the label) where the answer is entirely right, else 0."""
    documents, scores = answered
    has_choices = get_target(target).has_choices
    if not np.isfinite(scores).all():
        raise UserError(
            f"{task_name(target, language)}: the model gives scores that are not numbers (NaN or infinite), so nothing is "
            "stored; its weights are damaged, or its precision is too low (dtype)"
        )
    total = len(documents)
    labels = np.fromiter((document["label"] for document in documents), np.int8, total)
    predictions = (scores.argmax(axis=1) if has_choices else scores[:, 2]).astype(
        np.int8
    )  # the first one among equals
    logprobs = scores if has_choices else np.empty((total, 0), np.float32)
    columns = {
        "target": pa.array([target] * total),
        "task": pa.array([task_name(target, language)] * total),
        "language": pa.array([language] * total),
        "row": np.fromiter((document["row"] for document in documents), np.int32, total),
        "label": labels,
        "prediction": predictions,
        "logprobs": pa.ListArray.from_arrays(
            np.arange(total + 1, dtype=np.int32) * logprobs.shape[1],
            np.ascontiguousarray(logprobs, np.float32).reshape(-1),
        ),
        "cluster": np.fromiter((document["cluster"] for document in documents), np.int32, total),
        "numerator": (labels == predictions).astype(np.float64) if has_choices else scores[:, 0],
        "denominator": np.ones(total) if has_choices else scores[:, 1],
    }
    if get_target(target).second:
        columns["second"] = pa.array(scores[:, 3:].tolist())
        return pa.table(columns).cast(WITH_SECOND)
    return pa.table(columns).cast(SCHEMA)


def _one_table(tables: Sequence[pa.Table]) -> pa.Table:
    """Rows of several tables; where one has second ratios, the rows of the others have an empty one."""
    if any("second" in table.column_names for table in tables):
        tables = [
            table
            if "second" in table.column_names
            else table.append_column(
                WITH_SECOND.field("second"), pa.array(second_of(table), pa.list_(pa.float64()))
            )
            for table in tables
        ]
    return pa.concat_tables(tables)


def _merge(outputs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One lm_eval results document from several: every part of it is a mapping by task or group."""
    result: dict[str, Any] = {}
    for output in outputs:
        for name, value in output.items():
            if isinstance(value, dict) and isinstance(result.get(name, {}), dict):
                result[name] = result.get(name, {}) | value
            else:
                result[name] = value
    return result
