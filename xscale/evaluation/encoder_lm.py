"""The lm_eval model type `xscale`: encoder checkpoints that answer multiple-choice requests from the document.

A request's text (the causal-LM prompt) plays no part: the document's premise and hypothesis, or premise and choices, are
encoded as in training. One forward pass a document for an NLI classifier, one a choice for a multiple-choice head.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from transformers import (
    AutoConfig,
    AutoModelForMultipleChoice,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from harness_tasks.targets import get_target, targets
from xscale.adapters import ADAPTER_CONFIG, load_adapted
from xscale.encoding import document_pairs, takes_token_types
from xscale.errors import UserError
from xscale.evaluation.batches import Batch, batch_plan, padded
from xscale.evaluation.journal import Journal
from xscale.evaluation.processes import from_all_processes, several_processes
from xscale.evaluation.tokens import Tokens, tokenised, tokenizer_fingerprint
from xscale.hub import hub_folder
from xscale.progress import progress, say
from xscale.tokenizer_files import published_tokenizer

TOKENS_A_BATCH = 8192
# On a CPU larger activations leave the caches: e5-small was a fifth slower at 8192.
TOKENS_A_BATCH_ON_CPU = 1024
Document = Mapping[str, Any]
Call = Callable[[Batch], torch.Tensor]  # to scores (texts, columns)


class EncoderLM(LM):
    """An encoder checkpoint with one fine-tuned head folder for each target (`<pretrained>/xnli`, `<pretrained>/xcopa`).

    Arguments (`model_args`):
        pretrained: the checkpoint's folder, or with `revision` its repository on the hub. A folder without head folders
            is taken as a plain transformers sequence-classification checkpoint for XNLI, whose labels are matched by name.
        revision: the commit, branch or tag of a hub repository.
        tokens_a_batch: padded tokens in one forward pass (default 8192, on a CPU 1024); halved as often as memory
            runs out.
        batch_size, max_batch_size: taken for lm_eval's sake; batches are made by tokens.
        device: a torch device; CUDA when there is one unless given.
        precision: fp32, bf16 (autocast, on CUDA only) or auto (default): bf16 on CUDA devices that have it, else fp32.
        label (optional): `label=0:entailment;1:neutral;2:contradiction` for checkpoints whose config has no names.

    Under `accelerate launch` the processes share the batches, and all of them have all answers: to lm_eval it is one.
    """

    def __init__(
        self,
        pretrained: str,
        device: str | None = None,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
        tokens_a_batch: int | None = None,
        precision: str = "auto",
        label: str | None = None,
        description: str | None = None,
        revision: str | None = None,
    ) -> None:
        super().__init__()
        self.folder = Path(pretrained) if revision is None else hub_folder(pretrained, str(revision))
        if not self.folder.is_dir():
            raise UserError(f"model xscale: pretrained: no folder {pretrained!r}; check the path")
        self._process, self._processes = 0, 1
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if self._device.type == "cuda" and not torch.cuda.is_available():  # lm_eval's own default is cuda:0
            say(f"model xscale: device {device} is not there; going on with the CPU")
            self._device = torch.device("cpu")
        if several_processes():
            from accelerate import PartialState

            state = PartialState(cpu=self._device.type == "cpu")
            self._process, self._processes = state.process_index, state.num_processes
            self._device = state.device
        fitting = TOKENS_A_BATCH_ON_CPU if self._device.type == "cpu" else TOKENS_A_BATCH
        self.tokens_a_batch = int(tokens_a_batch or fitting)
        self.precision = _precision(precision, self._device)
        self.label = label
        self.description = description or self.folder.name
        self.truncated: dict[str, int] = {}
        self.journal_folder: Path | None = None  # where finished batches are kept, and what they are of
        self.journal_key = ""
        self._models: dict[str, PreTrainedModel] = {}
        self._fitting = self.tokens_a_batch  # padded tokens that fit into memory, as far as is known

    def preload(self, targets: Sequence[str]) -> EncoderLM:
        """Read the heads' weights now instead of when they are needed; returns itself."""
        for target in targets:
            self._models[target] = load_model(head_of(self.folder, target, self.label))
        return self

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """For each request the log-probability of its choice among the document's choices, and whether it is the best.

        Raises `UserError` for requests that are not of an xnli or xcopa document, or without a head for the target.
        """
        documents: dict[tuple[str, int], Document] = {}
        for request in requests:
            key = (str(request.task_name), int(request.doc_id or 0))
            if key not in documents:
                if not isinstance(request.doc, Mapping) or request.doc.get("target") not in targets():
                    raise UserError(
                        f"model xscale: task {request.task_name!r} is not an xnli_ood or xcopa_ood task; "
                        "encoder checkpoints can only be scored on those"
                    )
                documents[key] = request.doc
        answers: dict[tuple[str, int], tuple[list[float], int]] = {}
        for target in sorted({str(document["target"]) for document in documents.values()}):
            keys = [key for key, document in documents.items() if document["target"] == target]
            scores = torch.log_softmax(self.logits(target, [documents[key] for key in keys]), dim=-1)
            best = scores.argmax(dim=-1).tolist()
            answers |= dict(zip(keys, zip(scores.tolist(), best, strict=True), strict=True))
        result = []
        for request in requests:
            values, highest = answers[str(request.task_name), int(request.doc_id or 0)]
            result.append((values[request.idx], highest == request.idx))
        return result

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Refused: an encoder checkpoint gives no likelihood of running text."""
        raise UserError("model xscale: an encoder checkpoint answers multiple-choice tasks only")

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Refused: an encoder checkpoint generates no text."""
        raise UserError("model xscale: an encoder checkpoint answers multiple-choice tasks only")

    def get_model_info(self) -> dict[str, Any]:
        """What lm_eval writes into its results' config."""
        return {
            "model_dtype": {"fp32": "float32", "bf16": "bfloat16 autocast"}[self.precision],
            "device": str(self._device),
            "truncated_pairs": dict(self.truncated),
        }

    def logits(self, target: str, documents: Sequence[Document]) -> torch.Tensor:
        """Logits of the choices (float32, shape (documents, choices)), in the order of the documents and task's choices."""
        work = prepare(head_of(self.folder, target, self.label), documents, self.tokens_a_batch)
        self.truncated[target] = work.tokens.truncated
        if work.tokens.truncated:
            say(
                f"{self.description}: {target}: {work.tokens.truncated} of {len(work.tokens.lengths)} texts were longer "
                f"than {work.head.max_length} tokens and were cut"
            )
        with self.journal(work) as journal:
            mine = range(self._process, len(work.plan), self._processes)
            todo = [number for number in mine if number not in journal.done]
            if todo:
                model = self._models.pop(target, None)
                model = load_model(work.head) if model is None else model
                self.run(head_call(model.to(self._device), work.head), work, todo, journal.add)
            return work.collect(from_all_processes({number: journal.done[number] for number in mine}))

    def journal(self, work: Work) -> Journal:
        """The journal of the work's batches; in memory only unless `journal_folder` is set."""
        path = None
        if self.journal_folder is not None:
            part = f"-{self._process}of{self._processes}" if self._processes > 1 else ""
            path = self.journal_folder / f"{work.head.target}{part}.scores"
        key = [self.journal_key, work.tokens.key, work.budget, self.precision, self._device.type]
        return Journal(path, json.dumps(key))

    def run(
        self, call: Call, work: Work, todo: Sequence[int], keep: Callable[[int, np.ndarray], None]
    ) -> None:
        """Compute batches of the work; `keep` gets each batch's number and scores, shape (texts, columns), as they come."""
        on_gpu = self._device.type == "cuda"
        total = sum(len(work.plan[number]) for number in todo)
        waiting: list[tuple[int, torch.Tensor]] = []  # a GPU works on the next batch while one is fetched
        with (
            progress(f"evaluate {self.description}: {work.head.target}", total) as advance,
            torch.inference_mode(),
        ):
            for number in [*todo, None]:
                if number is not None:
                    batch = padded(
                        work.tokens, work.plan[number], work.head.pad, work.head.takes_types, pin=on_gpu
                    )
                    waiting.append((number, self.forward(call, batch)))
                while len(waiting) > (1 if on_gpu and number is not None else 0):
                    finished, scores = waiting.pop(0)
                    keep(finished, scores.float().cpu().numpy())
                    advance(len(work.plan[finished]))

    def forward(self, call: Call, batch: Batch) -> torch.Tensor:
        """Scores of a batch, shape (texts, columns); a batch that does not fit into memory is halved."""
        texts, length = batch["input_ids"].shape
        rows = max(1, self._fitting // length)
        if texts > rows:
            return torch.cat([self.forward(call, part) for part in _slices(batch, rows)])
        try:
            return self._call(call, batch)
        except RuntimeError as error:
            if texts == 1 or not _is_out_of_memory(error):
                raise
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        self._fitting = texts * length // 2
        say(f"{self.description}: out of memory; going on with batches of {self._fitting} tokens")
        return self.forward(call, batch)

    def _call(self, call: Call, batch: Batch) -> torch.Tensor:
        here = {name: tensor.to(self._device, non_blocking=True) for name, tensor in batch.items()}
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            return call(here)

    @property
    def device(self) -> torch.device:
        """The device that the model runs on."""
        return self._device


@dataclass(frozen=True)
class Head:
    """A checkpoint's head for a target, without its weights.

    `columns` are the columns of its logits in the order of the task's choices; `max_length` is in tokens;
    `takes_types`: the model was made to be told which text of a pair a token is of, where its tokenizer says so.
    """

    folder: Path
    target: str
    config: PretrainedConfig
    columns: list[int]
    max_length: int
    pad: int
    takes_types: bool


@dataclass(frozen=True)
class Work:
    """Documents of one target made ready for a head: their tokens and the batches they are computed in."""

    head: Head
    documents: int
    tokens: Tokens
    budget: int
    plan: list[np.ndarray]

    def collect(self, scores: Mapping[int, np.ndarray]) -> torch.Tensor:
        """Logits, shape (documents, choices), from the scores of all batches."""
        texts = len(self.tokens.lengths)
        logits = torch.empty(texts, len(self.head.columns))
        for number, batch in enumerate(self.plan):
            values = torch.from_numpy(scores[number].astype(np.float32))
            logits[torch.from_numpy(batch)] = values.view(len(batch), -1)
        return logits.view(self.documents, -1) if _scores_choices(self.head.target) else logits


def head_call(model: PreTrainedModel, head: Head) -> Call:
    """The model as a function of a batch that gives the head's scores, shape (texts, columns)."""

    def call(batch: Batch) -> torch.Tensor:
        if not _scores_choices(head.target):
            return model(**batch).logits[:, head.columns]
        # the head scores one pair; its scores of a document's pairs are the choices' logits
        return model(**{name: tensor[:, None] for name, tensor in batch.items()}).logits

    return call


def _scores_choices(target: str) -> bool:
    """Whether the target's head scores one choice at a time, instead of classifying a pair."""
    return get_target(target).head == "multiple_choice"


def prepare(head: Head, documents: Sequence[Document], budget: int) -> Work:
    """Tokenise the documents (or find them tokenised) and plan the batches."""
    pairs = [pair for document in documents for pair in document_pairs(document)]
    tokens = tokenised(pairs, head.folder, head.max_length, lambda: load_tokenizer(head.folder))
    return Work(head, len(documents), tokens, budget, batch_plan(tokens.lengths, budget))


def head_of(folder: Path, target: str, label: str | None = None) -> Head:
    """A checkpoint's head for a target.

    Raises `UserError` when there is no head for the target or its labels are not entailment, neutral, contradiction.
    """
    has_heads = any((folder / name).is_dir() for name in targets())
    place = folder / target if has_heads else folder
    if not (place / "config.json").is_file():
        raise UserError(
            f"checkpoint {folder}: no head for {target} (no {place / 'config.json'}); train one, or leave {target} out"
        )
    try:
        config = AutoConfig.from_pretrained(place, trust_remote_code=False)
    except Exception as error:  # damaged files make transformers raise a dozen unrelated types
        raise _unloadable(place, error) from None
    columns = [0]
    if not _scores_choices(target):
        columns = answer_columns(config.id2label, get_target(target).answers, place, label)
    pad = getattr(config, "pad_token_id", None)
    return Head(
        place,
        target,
        config,
        columns,
        _max_length(place, config),
        0 if pad is None else int(pad),
        takes_token_types(config),
    )


def load_model(head: Head) -> PreTrainedModel:
    """The head's model in fp32, on the CPU. Raises `UserError` when its files are damaged or have no trained head."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    choices = _scores_choices(head.target)
    model_class = AutoModelForMultipleChoice if choices else AutoModelForSequenceClassification
    if (head.folder / ADAPTER_CONFIG).is_file():
        return load_adapted(head.folder, model_class)
    try:
        model, report = model_class.from_pretrained(
            head.folder,
            dtype=torch.float32,
            output_loading_info=True,
            use_safetensors=True,
            trust_remote_code=False,
        )
    except (
        Exception
    ) as error:  # damaged files make transformers and safetensors raise a dozen unrelated types
        raise _unloadable(head.folder, error) from None
    missing = sorted(report["missing_keys"])
    if missing:
        raise UserError(
            f"checkpoint {head.folder}: has no weights for {', '.join(missing[:3])}; it has no trained head for {head.target}"
        )
    return model.eval()


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a checkpoint's folder; one object for all checkpoints with the same tokenizer files.

    Raises `UserError` when it cannot be loaded.
    """
    fingerprint = tokenizer_fingerprint(folder)
    if fingerprint not in _tokenizers:
        if not any(any(folder.glob(pattern)) for pattern in ("tokenizer.*", "vocab.*", "*.model")):
            raise _unloadable(folder, "no tokenizer files")  # transformers would make an empty tokenizer up
        try:
            _tokenizers[fingerprint] = published_tokenizer(folder)
        except Exception as error:  # damaged files make transformers raise a dozen unrelated types
            raise _unloadable(folder, error) from None
    return _tokenizers[fingerprint]


_tokenizers: dict[str, PreTrainedTokenizerBase] = {}


def answer_columns(
    id2label: Mapping[int, str], answers: Sequence[str], where: Path, label: str | None
) -> list[int]:
    """Columns of the logits in the order of the target's answers, matched by name (case does not count).

    Raises `UserError` for any other set of names; nothing is guessed from the order.
    """
    if label is not None:
        id2label = {
            int(k): v for k, _, v in (part.partition(":") for part in label.split(";")) if k.strip().isdigit()
        }
    names = {str(name).strip().lower(): column for column, name in id2label.items()}
    if len(names) != len(answers) or set(names) != set(answers):
        example = ";".join(f"{number}:{answer}" for number, answer in enumerate(answers))
        raise UserError(
            f"checkpoint {where}: its labels are {', '.join(map(str, id2label.values()))}; {', '.join(answers)} "
            f"are needed: set id2label in its config.json, or model_args label={example}"
        )
    return [names[name] for name in answers]


def _max_length(folder: Path, config: PretrainedConfig) -> int:
    """What it was trained with, else what tokenizer and position embeddings allow, 512 at most."""
    trained = getattr(config, "xscale_max_length", None)
    if trained:
        return int(trained)
    limits = [512]
    try:
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        limits.append(int(settings.get("model_max_length") or 512))
    except (OSError, ValueError):
        pass
    positions = getattr(config, "max_position_embeddings", None)
    if positions and positions > 0:
        # RoBERTa's positions begin after the padding token's id
        offset = (config.pad_token_id or 0) + 1 if "roberta" in config.model_type else 0
        limits.append(int(positions) - offset)
    return min(limits)


def _precision(asked: str, device: torch.device) -> str:
    if asked not in ("auto", "fp32", "bf16"):
        raise UserError(f"model xscale: precision is fp32, bf16 or auto, not {asked!r}")
    if asked == "bf16" and device.type != "cuda":
        raise UserError("model xscale: precision bf16 is for CUDA devices; leave it out on others")
    if asked == "auto":
        return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    return asked


def _slices(batch: Batch, rows: int) -> Iterator[Batch]:
    for first in range(0, len(batch["input_ids"]), rows):
        yield {name: tensor[first : first + rows] for name, tensor in batch.items()}


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _unloadable(folder: Path, error: Exception | str) -> UserError:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return UserError(f"checkpoint {folder}: cannot be loaded ({reason}); restore or retrain it")
