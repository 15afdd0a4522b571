"""Any lm_eval model asked for the log-likelihoods of documents' choices, or for a text, with its answers kept on disk as they
come."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from inspect import signature
from typing import Any

import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.defaults import DEFAULT_OTHER_SEED

from harness_tasks.lm_eval_task import Answer
from harness_tasks.targets import get_target
from xscale.errors import UserError
from xscale.evaluation.batches import Section, blocks, needed_blocks
from xscale.evaluation.kept import Kept
from xscale.evaluation.processes import from_all_processes, process_number, processes
from xscale.evaluation.scores import Journal, batch_number
from xscale.progress import progress, say

FIRST_BLOCK = 16  # documents of a language that a model with batches is asked for where one is needed
LARGEST_BLOCK = 128
DOCUMENTS_A_PART = 64  # of models that have each request scored by itself
DOCUMENTS_A_PART_IN_MEMORY = 512


Place = tuple[int, int]  # a section's number and a document's position in it


def language_model_answers(
    model: Any, target: str, sections: Sequence[Section], kept: Kept, evaluation: Mapping[str, Any]
) -> tuple[list[dict[int, np.ndarray]], int | None, bool]:
    """For each section, by position the log-likelihoods (float32) of a needed document's choices; how many requests of
    these documents were longer than the model takes (None where it does not tell); whether documents that are not needed
    were answered too (where requests share batches, a block of documents is asked for whole).

    Several processes (accelerate) share the parts; all of them have all answers. Raises `UserError` where a choice alone
    is longer than the model takes, `RuntimeError` where a part was answered by no process.
    """
    _refuse_without_tokenizer(model, target)
    parts = _parts(model, sections)
    whole = str(getattr(model, "batch_size_per_gpu", None)) == "auto"
    ends = [0] * len(sections)
    for number, position in (place for part in parts for place in part):
        ends[number] = len(sections[number].documents) if whole else max(ends[number], position + 1)
    requests = [
        _requests(model, section, end, evaluation) if end else {}
        for section, end in zip(sections, ends, strict=True)
    ]
    needed = [set(section.needed) for section in sections]
    cut = _cut_requests(
        model,
        target,
        [r for n, group in enumerate(requests) for place in sections[n].needed for r in group[place]],
    )
    if cut is not None:  # what nobody asks for may be too long
        parts = [
            [(n, at) for n, at in part if at in needed[n] or not _impossible(model, requests[n][at])]
            for part in parts
        ]
    sizes = _batch_sizes(model, requests) if whole else None
    asked = [[request for n, position in part for request in requests[n][position]] for part in parts]
    names = [
        batch_number(
            str(sizes and sizes[part[0][0]]).encode(),
            *(text.encode("utf-8", "surrogatepass") for request in group for text in request.args),
        )
        for part, group in zip(parts, asked, strict=True)
    ]
    key = json.dumps([kept.key, dict(evaluation)])
    process, count = process_number(), processes()
    mark = f"-{process}of{count}" if count > 1 else ""
    total = sum(map(len, asked))
    silent = {"disable_tqdm": True} if "disable_tqdm" in signature(model.loglikelihood).parameters else {}
    with (
        Journal(kept.path(target, mark), key, kept.others(target)) as journal,
        progress(f"evaluate {kept.folder.name}: {target}", total) as advance,
    ):
        before = from_all_processes(journal.done)  # the same in all of them, whatever each found on the disk
        todo = [number for number, name in enumerate(names) if name not in before]
        advance(total - sum(len(asked[number]) for number in todo))
        for number in todo[process::count]:
            with _batch_size(model, None if sizes is None else sizes[parts[number][0][0]]):
                answered = model.loglikelihood(asked[number], **silent)
            if getattr(model, "check_files", None) is not None:
                model.check_files()
            journal.add(names[number], np.array([value for value, _ in answered], dtype=np.float64))
            advance(len(asked[number]))
        done = before | from_all_processes(journal.done)
    result: list[dict[int, np.ndarray]] = [{} for _ in sections]
    spare = False
    for part, name in zip(parts, names, strict=True):
        if name not in done:
            raise RuntimeError(f"{target}: a part of {len(part)} documents was answered by no process")
        first = 0
        for section, position in part:
            last = first + len(requests[section][position])
            if position in needed[section]:
                result[section][position] = done[name][first:last].astype(np.float32)
            else:
                spare = True
            first = last
    return result, cut, spare


def _refuse_without_tokenizer(model: Any, target: str) -> None:
    """A server's model needs a tokenizer: a choice's log-likelihood is that of the tokens behind those of its context."""
    backend = getattr(model, "tokenizer_backend", "")
    if (
        backend != "remote"
        and hasattr(model, "tokenizer_backend")
        and getattr(model, "tokenizer", None) is None
    ):
        raise UserError(
            f"{target}: the log-likelihoods of choices need the model's tokenizer; give tokenizer=<hub id or folder> and "
            "tokenizer_backend=huggingface in model_args"
        )


def generated_answers(
    model: Any, target: str, sections: Sequence[Section], kept: Kept, evaluation: Mapping[str, Any]
) -> tuple[list[dict[int, np.ndarray]], int | None, bool]:
    """As `language_model_answers`, of documents without choices: by position what the text that the model wrote scores
    (`Target.scored`, float64). The texts themselves are kept nowhere.

    Raises `UserError` where only encoders answer the target.
    """
    spec = get_target(target)
    if spec.context is None:
        raise UserError(
            f"{target}: {spec.title} is answered by encoders only; leave it out for a language model"
        )
    needed = [(number, position) for number, section in enumerate(sections) for position in section.needed]
    requests = [
        _requests(model, section, max(section.needed) + 1, evaluation) if len(section.needed) else {}
        for section in sections
    ]
    copies = int(getattr(model, "data_parallel_size", None) or 1)
    at_once = max(1, len(needed)) if copies > 1 else DOCUMENTS_A_PART
    parts = [needed[first : first + at_once] for first in range(0, len(needed), at_once)]
    asked = [[requests[n][position][0] for n, position in part] for part in parts]
    names = [
        batch_number(*(str(args).encode("utf-8", "surrogatepass") for r in group for args in r.args))
        for group in asked
    ]
    key = json.dumps([kept.key, dict(evaluation)])
    process, count = process_number(), processes()
    mark = f"-{process}of{count}" if count > 1 else ""
    with (
        Journal(kept.path(target, mark), key, kept.others(target)) as journal,
        progress(f"evaluate {kept.folder.name}: {target}", len(needed)) as advance,
    ):
        before = from_all_processes(journal.done)
        todo = [number for number, name in enumerate(names) if name not in before]
        advance(len(needed) - sum(len(parts[number]) for number in todo))
        for number in todo[process::count]:
            texts = model.generate_until(asked[number])
            if getattr(model, "check_files", None) is not None:
                model.check_files()
            scores = [
                spec.scored(sections[n].documents[position], text)
                for (n, position), text in zip(parts[number], texts, strict=True)
            ]
            journal.add(names[number], np.array(scores, dtype=np.float64))
            advance(len(parts[number]))
        done = before | from_all_processes(journal.done)
    result: list[dict[int, np.ndarray]] = [{} for _ in sections]
    for part, name in zip(parts, names, strict=True):
        if name not in done:
            raise RuntimeError(f"{target}: a part of {len(part)} documents was answered by no process")
        for (n, position), row in zip(part, done[name].reshape(len(part), -1), strict=True):
            result[n][position] = row
    return result, None, False


class StoredAnswersLM(LM):
    """Gives lm_eval the answers of one target that are there already: `answers` has, by language and row, the
    log-likelihood of each choice, without choices what `Target.scored` gives."""

    def __init__(self, answers: Mapping[str, Mapping[int, np.ndarray]]) -> None:
        super().__init__()
        self.answers = answers

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """The stored log-likelihood of each request's choice, and whether it is the document's best."""
        result = []
        for request in requests:
            document: Any = request.doc
            scores = self.answers[document["language"]][document["row"]]
            result.append((float(scores[request.idx]), bool(scores.argmax() == request.idx)))
        return result

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Refused: no text was scored."""
        raise UserError("stored answers are of multiple-choice tasks only")

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Texts without a word that know their score."""
        result: list[str] = []
        for request in requests:
            document: Any = request.doc
            answer = Answer("")
            answer.score = tuple(self.answers[document["language"]][document["row"]].tolist())
            result.append(answer)
        return result


def request_options(model: Any, evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """What lm_eval makes an entry's requests with, beside the documents: the chat template where the entry asks for it."""
    chat = bool(evaluation.get("apply_chat_template"))
    return {
        "rank": 0,
        "world_size": 1,
        "cache_requests": False,
        "rewrite_requests_cache": False,
        "system_instruction": None,
        "apply_chat_template": chat,
        "fewshot_as_multiturn": chat and int(evaluation.get("num_fewshot") or 0) > 0,
        "chat_template": getattr(model, "apply_chat_template", None) if chat else None,
        "tokenizer_name": getattr(model, "tokenizer_name", "") if chat else "",
    }


def _requests(
    model: Any, section: Section, end: int, evaluation: Mapping[str, Any]
) -> dict[int, list[Instance]]:
    """The requests of the first `end` documents, by position."""
    limit = None if end >= len(section.documents) else end
    section.task.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)  # the same examples, whatever was asked before
    section.task.build_all_requests(limit=limit, samples=None, **request_options(model, evaluation))
    found: dict[int, list[Instance]] = {}
    for instance in section.task.instances:
        found.setdefault(int(instance.doc_id), []).append(instance)
    return found


def _parts(model: Any, sections: Sequence[Section]) -> list[list[Place]]:
    """Documents to ask for at once.

    A model of lm_eval's that pads requests into batches gets blocks of a section, whole, so that its batches are the same
    whatever else is needed. Others get just the needed documents: many at once where they batch as requests come (vllm,
    sglang), all at once where each call would start them anew (several copies of the model).
    """
    size = getattr(model, "batch_size_per_gpu", None)
    if size is not None and str(size) != "1":
        return [
            [(number, position) for position in block]
            for number, section in enumerate(sections)
            for block in needed_blocks(
                section, blocks(len(section.documents), FIRST_BLOCK, largest=LARGEST_BLOCK)
            )
        ]
    needed = [(number, position) for number, section in enumerate(sections) for position in section.needed]
    copies = getattr(model, "data_parallel_size", None)
    at_once = DOCUMENTS_A_PART if copies is None else DOCUMENTS_A_PART_IN_MEMORY
    if copies is not None and int(copies) > 1:
        at_once = max(1, len(needed))
    return [needed[first : first + at_once] for first in range(0, len(needed), at_once)]


def _batch_sizes(model: Any, requests: Sequence[Mapping[int, Sequence[Instance]]]) -> list[int | None]:
    """The batch size that fits for each section's longest request, found once and in all processes at the same time.

    lm_eval would find it out for each part anew, together with processes that may have no part left.
    """
    found: list[int | None] = []
    for group in requests:
        texts = [request.args for of_document in group.values() for request in of_document]
        texts.sort(key=lambda args: len("".join(args).encode("utf-8", "surrogatepass")), reverse=True)
        encoded = [(None, *model._encode_pair(*args)) for args in texts[:64]]
        encoded.sort(key=lambda parts: len(parts[1]) + len(parts[2]), reverse=True)
        found.append(int(model._detect_batch_size(encoded, 0)) if encoded else None)
    everywhere = from_all_processes({process_number(): found})
    return [
        min((sizes[n] for sizes in everywhere.values() if sizes[n] is not None), default=None)
        for n in range(len(found))
    ]


@contextlib.contextmanager
def _batch_size(model: Any, size: int | None) -> Iterator[None]:
    before = getattr(model, "batch_size_per_gpu", None)
    if size is not None:
        model.batch_size_per_gpu = size
    try:
        yield
    finally:
        if size is not None:
            model.batch_size_per_gpu = before


def _cut_requests(model: Any, target: str, requests: Sequence[Instance]) -> int | None:
    """How many requests have more tokens than the model takes, where it tells its length and has a tokenizer.

    Raises `UserError` where a choice alone, of which nothing may be cut, has more.
    """
    try:
        longest = int(model.max_length)
        # a text has hardly more tokens than bytes: only these can be too long
        long = [r.args for r in requests if len("".join(r.args).encode("utf-8", "surrogatepass")) >= longest]
        count = sum(len(model.tok_encode("".join(args))) > longest for args in long)
        impossible = _impossible(model, requests)
    except (AttributeError, NotImplementedError, TypeError, ValueError):
        return None
    if impossible:
        raise UserError(
            f"{target}: {impossible} of {len(requests)} choices alone are longer than the {longest} tokens that the "
            "model takes; evaluate it on other tasks or raise max_length in its model_args"
        )
    if count:
        say(f"{target}: {count} of {len(requests)} requests were longer than {longest} tokens and were cut")
    return count


def _impossible(model: Any, requests: Sequence[Instance]) -> int:
    """How many choices alone have more tokens than the model takes."""
    longest = int(model.max_length)
    texts = [request.args[1] for request in requests]
    long = [text for text in texts if len(text.encode("utf-8", "surrogatepass")) >= longest]
    return sum(len(model.tok_encode(text)) > longest for text in long)
