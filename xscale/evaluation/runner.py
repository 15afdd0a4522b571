"""Evaluate one manifest entry: lm_eval does the judging; predictions and its results JSON are kept."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import math
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa

from harness_tasks.generate import targets_files, write
from harness_tasks.rows import Options, data_record
from harness_tasks.sources import mirror_folder, resolve_source, source_name
from harness_tasks.targets import get_target, location
from harness_tasks.tasks import group_name, task_name, yaml_folder
from xscale.errors import UserError
from xscale.evaluation.predictions import PREDICTIONS, SCHEMA, read_predictions, write_predictions
from xscale.evaluation.processes import is_first_process
from xscale.files import sha256_of_folder, write_text
from xscale.manifest import LOCAL_MODEL, Entry, checkpoint_folder

Selection = Mapping[
    str, tuple[Sequence[str], int | None]
]  # target -> (languages, documents a language or None)

Answer = tuple[Mapping[str, Any], list[float]]  # a document and the log-probability of each choice

RESULTS = "results.json"
PARTIAL = ".partial"  # in results/<id>/: what an evaluation under way has computed so far


def result_key(entry: Entry, selection: Selection, source: str) -> dict[str, Any]:
    """What a stored result must have been computed with to count: weights or revision, task versions, data, lm_eval.

    Raises `DataError` when the data is missing or is not the rows that the tasks were made for.
    """
    records = {
        target: {
            language: _record(target, language, source, _stamp(target, source)) for language in languages
        }
        for target, (languages, _) in selection.items()
    }
    return {
        "checkpoint": entry.id,
        "model": entry.model,
        "model_args": {
            k: v for k, v in sorted(entry.model_args.items()) if k != "pretrained" or entry.sha256 is None
        },
        "weights": entry.sha256 or str(entry.model_args.get("revision", "main")),
        "source": source_name(source),
        "task_versions": {target: get_target(target).version for target in selection},
        "fingerprints": {
            target: {language: record["data_fingerprint"] for language, record in by_language.items()}
            for target, by_language in records.items()
        },
        "anchors": {
            target: next(iter(by_language.values()))["data_anchor"] for target, by_language in records.items()
        },
        "limit": {target: limit for target, (_, limit) in selection.items()},
        "lm_eval": version("lm_eval"),
    }


def is_current(folder: Path, key: Mapping[str, Any]) -> bool:
    """Whether `folder` holds predictions computed with exactly `key`."""
    path = folder / PREDICTIONS
    if not path.exists() or not (folder / RESULTS).exists():
        return False
    try:
        stored = read_predictions(path)  # the whole of it: a damaged file does not count
        return stored.info == json.loads(json.dumps(key))
    except UserError:
        return False


def evaluate_entry(
    entry: Entry,
    selection: Selection,
    source: str,
    manifest: Path,
    results: Path,
    model: Any = None,
) -> dict[str, Any]:
    """Evaluate an entry on the selected targets and languages and store the outcome in `results/<id>/`.

    `model` is the entry's lm_eval model where it has been built already. Returns lm_eval's results without samples; of
    several processes the first one stores them. Raises `UserError` or `DataError` when model or data do not fit.
    """
    from lm_eval.evaluator import evaluate
    from lm_eval.utils import handle_non_serializable

    key = result_key(entry, selection, source)
    start = time.time()
    folder = results / entry.id
    model = build_model(entry, manifest) if model is None else model
    model = keep_batches(model, folder / PARTIAL, key)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    outputs, tables = [], []
    for target, (languages, limit) in selection.items():
        tasks = load_tasks(target, tuple(languages), source)
        with _rare_collections():
            output = evaluate(model, tasks, limit=limit, log_samples=False)
        if output is None:  # to lm_eval there is one process
            raise RuntimeError("lm_eval gave no results")
        for language in languages:
            name = task_name(target, language)
            tables.append(_table(target, language, _answers(tasks["tasks"][name].instances)))
        outputs.append(output)
    merged = _merge(outputs) | {
        "config": {
            "model": entry.model,
            "model_args": entry.model_args,
            "limit": key["limit"],
            **(model.get_model_info() if hasattr(model, "get_model_info") else {}),
        },
        "date": start,
        "lm_eval_version": key["lm_eval"],
        "total_evaluation_time_seconds": str(round(time.time() - start, 1)),
        "xscale": key,
    }
    if not is_first_process():
        return merged
    text = json.dumps(merged, indent=2, default=handle_non_serializable, ensure_ascii=False)
    write_text(folder / RESULTS, text + "\n")
    write_predictions(folder / PREDICTIONS, pa.concat_tables(tables), key)
    shutil.rmtree(folder / PARTIAL, ignore_errors=True)
    return merged


def keep_batches(model: Any, folder: Path, key: Mapping[str, Any]) -> Any:
    """Have the model keep finished batches in `folder`, so that an evaluation that was stopped goes on where it was."""
    text = json.dumps(key, sort_keys=True)
    if hasattr(model, "journal_folder"):
        model.journal_folder, model.journal_key = folder, text
        return model
    from xscale.evaluation.kept_answers import KeptAnswersLM

    return KeptAnswersLM(model, folder, text)


@contextlib.contextmanager
def _rare_collections() -> Iterator[None]:
    """The cycle collector would walk through hundreds of thousands of requests again and again: let it run seldom."""
    thresholds = gc.get_threshold()
    gc.set_threshold(200_000, 50, 50)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


@lru_cache(maxsize=128)
def _record(target: str, language: str, source: str, stamp: object) -> dict[str, str]:
    """`data_record`, which reads and hashes all rows, once for each state of the files."""
    return data_record(target, language, Options(data=source))


def _stamp(target: str, source: str) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times of a target's test files in a folder, so that what is kept in memory follows changes."""
    folder = mirror_folder(source)
    if folder is None:
        return ()
    files = [folder / "membership.json"]
    for language in get_target(target).languages:
        dataset, config = location(target, language)
        files += (folder / dataset / config).glob("test.*")
    stats = [(path, path.stat()) for path in sorted(set(files)) if path.is_file()]
    return tuple((str(path), stat.st_size, stat.st_mtime_ns) for path, stat in stats)


def load_tasks(target: str, languages: tuple[str, ...], source: str) -> Any:
    """lm_eval's task objects of a target, zero-shot; read once in a process, whatever the number of checkpoints.

    lm_eval's index of its own tasks is not built: it takes longer than a small evaluation.
    """
    return _load_tasks(target, languages, source, _stamp(target, source))


@lru_cache(maxsize=4)
def _load_tasks(target: str, languages: tuple[str, ...], source: str, stamp: object) -> Any:
    from lm_eval.defaults import DEFAULT_OTHER_SEED
    from lm_eval.tasks import TaskManager

    options = {"data": resolve_source(source)}
    folders = [str(yaml_folder()), *_users_tasks(target)]
    manager = TaskManager(include_path=folders, include_defaults=False, metadata=options)
    loaded = manager.load(_task_names(target, languages))
    for task in loaded["tasks"].values():
        task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)
    return loaded


def _users_tasks(target: str) -> list[str]:
    """Folders with the tasks of the user's files that are about a target, for as long as the process runs."""
    files = dict.fromkeys(place.user for place in get_target(target).places.values() if place.user)
    folders = []
    for name in filter(None, files):
        folder = tempfile.TemporaryDirectory(prefix="xscale-tasks-")
        _folders.append(folder)  # removed at exit
        write(Path(folder.name), targets_files(Path(name)))
        folders.append(folder.name)
    return folders


_folders: list[tempfile.TemporaryDirectory[str]] = []


def _task_names(target: str, languages: Sequence[str]) -> list[str]:
    """The group where every language is asked for (so that lm_eval gives the group's score too), else the members."""
    if set(languages) == set(get_target(target).languages):
        return [group_name(target)]
    return [task_name(target, language) for language in languages]


def build_model(entry: Entry, manifest: Path, *, verify: bool = True) -> Any:
    """The entry as an lm_eval model; of encoder checkpoints no weights are read yet.

    Raises `UserError` when its files are not those registered (unless `verify` is off), or lm_eval cannot load it.
    """
    arguments: dict[str, Any] = dict(entry.model_args)
    folder = checkpoint_folder(entry, manifest)
    if folder is not None:
        arguments["pretrained"] = str(folder)
        if entry.model == LOCAL_MODEL:
            arguments.pop("revision", None)  # of the hub, whose files the folder has
        if verify and entry.sha256 and sha256_of_folder(folder) != entry.sha256:
            raise UserError(
                f"{manifest}: entry {entry.id!r}: the files in {folder} are not those that were registered (sha256 "
                "differs); restore them, or remove the entry and add it again"
            )
    if entry.model == LOCAL_MODEL:
        from xscale.evaluation.encoder_lm import EncoderLM

        try:
            return EncoderLM(**arguments, description=entry.id)
        except (TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).removeprefix("EncoderLM.__init__() ").split())[:300]
            raise UserError(f"{manifest}: entry {entry.id!r}: model_args: {reason}; mend them") from None
    import lm_eval.models  # noqa: F401  (registers lm_eval's model types)
    import torch
    from lm_eval.api.registry import get_model

    import xscale.evaluation.shared_context  # noqa: F401  (registers hf-shared-context)

    if entry.model.startswith("hf"):
        arguments["use_safetensors"] = True  # transformers would unpickle pytorch_model.bin otherwise
        if not torch.cuda.is_available():  # lm_eval's own default is cuda, whether there is one or not
            arguments.setdefault("device", "cpu")
    batch_size = arguments.pop("batch_size", None) or _default_batch_size(entry.model, arguments)
    try:
        return get_model(entry.model).create_from_arg_obj(arguments, {"batch_size": batch_size})
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"{manifest}: entry {entry.id!r}: lm_eval cannot load model {entry.model!r}: {reason}; check model and model_args"
        ) from None


def _default_batch_size(model: str, arguments: Mapping[str, Any]) -> str | int:
    """`auto` where lm_eval can find out what fits; it tries with the longest input, which takes minutes without a GPU."""
    if model.startswith(("vllm", "sglang")):
        return "auto"
    if not model.startswith("hf"):
        return 1  # servers: `num_concurrent` says how many requests at a time
    import torch

    on_gpu = torch.cuda.is_available() and arguments.get("device") != "cpu"
    return "auto" if on_gpu else 16


def _table(target: str, language: str, answers: Sequence[Answer]) -> pa.Table:
    """One language's answers as rows of the prediction store; the prediction is the choice of highest log-likelihood."""
    scores = [row for _, row in answers]
    if not all(math.isfinite(score) for row in scores for score in row):
        raise UserError(
            f"{task_name(target, language)}: the model gives scores that are not numbers (NaN or infinite), so nothing is "
            "stored; its weights are damaged, or its precision is too low (dtype)"
        )
    columns = {
        "target": [target] * len(answers),
        "task": [task_name(target, language)] * len(answers),
        "language": [language] * len(answers),
        "row": [doc["row"] for doc, _ in answers],
        "label": [doc["label"] for doc, _ in answers],
        "prediction": [max(range(len(row)), key=row.__getitem__) for row in scores],
        "logprobs": scores,
    }
    return pa.table(columns, schema=SCHEMA)


def _answers(instances: Sequence[Any]) -> list[Answer]:
    """From lm_eval's requests, which carry their responses; a document's choices come in order."""
    answers: dict[int, Answer] = {}
    for instance in instances:
        (response,) = instance.filtered_resps.values()
        answers.setdefault(instance.doc_id, (instance.doc, []))[1].append(float(response[0]))
    return list(answers.values())


def _merge(outputs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One lm_eval results document from one for each target: every part of it is a mapping by task or group."""
    result: dict[str, Any] = {}
    for output in outputs:
        for name, value in output.items():
            result[name] = result.get(name, {}) | value
    return result
