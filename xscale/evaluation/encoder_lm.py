"""The lm_eval model type `xscale`: encoder checkpoints that answer requests from the document.

A request's text (the causal-LM prompt) plays no part: the document's premise and hypothesis, or premise and choices, are
encoded as in training. One forward pass a document for an NLI classifier, one a choice for a multiple-choice head. Documents
without choices are answered with a text (`xscale.evaluation.texts`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

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

from harness_tasks.lm_eval_task import Answer
from harness_tasks.targets import doc_to_text, get_target, targets
from xscale.adapters import ADAPTER_CONFIG, load_adapted
from xscale.encoding import document_pairs, takes_token_types
from xscale.errors import UserError
from xscale.evaluation.batches import (
    FIRST_BLOCK,
    Batch,
    Document,
    Section,
    batch_plan,
    blocks,
    needed_blocks,
    padded,
)
from xscale.evaluation.kept import Kept
from xscale.evaluation.processes import from_all_processes, several_processes
from xscale.evaluation.scores import Journal, batch_number
from xscale.evaluation.tokens import Tokens, cut_texts, tokenised, tokenizer_fingerprint
from xscale.heads import HEADS
from xscale.heads.tags import tags_of_labels
from xscale.hub import hub_folder
from xscale.precision import Precision, autocast, effective_precision
from xscale.progress import progress, say
from xscale.tokenizer_files import published_tokenizer

TOKENS_A_BATCH = 8192
# On a CPU larger activations leave the caches: e5-small was a fifth slower at 8192.
TOKENS_A_BATCH_ON_CPU = 1024
MODEL_DTYPES = {"fp32": "float32", "bf16": "bfloat16 autocast", "fp16": "float16 autocast"}
Call = Callable[[Batch], torch.Tensor]  # to scores (texts, columns)


class Computable(Protocol):
    """Batches of texts for a target's head."""

    @property
    def plan(self) -> Sequence[np.ndarray]:
        """Numbers of texts, batch by batch."""

    @property
    def names(self) -> Sequence[int]:
        """What each batch is kept under."""

    @property
    def target(self) -> str:
        """The target."""

    def batch(self, number: int, pin: bool) -> Batch:
        """The tensors of a batch of `plan`, (texts, length); page-locked when `pin`."""


class Adds(Protocol):
    """What keeps scores: a journal, or several."""

    def add(self, batch: int, scores: np.ndarray) -> None:
        """Keep a batch's scores."""


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
        precision: fp32, bf16 (autocast), fp16 (autocast, on CUDA only) or auto (default): on CUDA devices bf16 where they have
            units for it, else fp16; fp32 on others.
        layer: whose states are compared in retrieval; 7 of 12 (14 of 24) unless given.
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
        layer: int | None = None,
    ) -> None:
        super().__init__()
        self.folder = Path(pretrained) if revision is None else hub_folder(pretrained, str(revision))
        if not self.folder.is_dir():
            raise UserError(f"model xscale: pretrained: no folder {pretrained!r}; check the path")
        self._process, self._processes = 0, 1
        self._device = torch.device(str(device or ("cuda" if torch.cuda.is_available() else "cpu")))
        if self._device.type == "cuda" and not torch.cuda.is_available():  # lm_eval's own default is cuda:0
            say(f"model xscale: device {device} is not there; going on with the CPU")
            self._device = torch.device("cpu")
        _refuse_absent(self._device)
        if several_processes():
            from accelerate import PartialState

            state = PartialState(cpu=self._device.type == "cpu")
            self._process, self._processes = state.process_index, state.num_processes
            self._device = state.device
        fitting = TOKENS_A_BATCH_ON_CPU if self._device.type == "cpu" else TOKENS_A_BATCH
        self.tokens_a_batch = int(tokens_a_batch or fitting)
        if not 0 < self.tokens_a_batch <= 2**24:
            raise UserError(f"model xscale: tokens_a_batch is 1 to {2**24}, not {tokens_a_batch}")
        self.precision = _precision(precision, self._device)
        self.label = label
        self.layer = None if layer is None else int(layer)
        self.description = description or self.folder.name
        self.truncated: dict[str, int] = {}  # by target, of the answers asked for last: texts that were cut
        self.spare: dict[str, bool] = {}  # and whether others were computed with them
        self.check_files: Callable[[], None] | None = (
            None  # raises when the files are not those that were hashed
        )
        self.kept: Kept | None = None  # where finished batches are kept, and what computed them
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
        documents = _documents(requests)
        answers: dict[tuple[str, int], tuple[list[float], int]] = {}
        for target in sorted({str(document["target"]) for document in documents.values()}):
            keys = [key for key, document in documents.items() if document["target"] == target]
            (scores,) = self.answers(
                target, [Section([documents[key] for key in keys], range(len(keys)))], one_block=True
            )
            answers |= {
                key: (scores[place].tolist(), int(scores[place].argmax())) for place, key in enumerate(keys)
            }
        result = []
        for request in requests:
            values, highest = answers[str(request.task_name), int(request.doc_id or 0)]
            result.append((values[request.idx], highest == request.idx))
        return result

    def apply_chat_template(self, chat_history: Any, add_generation_prompt: bool = True) -> str:
        """Refused: an encoder checkpoint is not asked in words."""
        raise UserError(
            "model xscale: an encoder checkpoint answers from the document alone; leave --apply_chat_template out"
        )

    @property
    def tokenizer_name(self) -> str:
        """What lm_eval asks for where there is a chat template."""
        return self.apply_chat_template([])

    def chat_template(self, chat_template: bool | str = False) -> str:
        """Refused where one is asked for; there is none."""
        return self.apply_chat_template([]) if chat_template else ""

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Refused: an encoder checkpoint gives no likelihood of running text."""
        raise UserError("model xscale: an encoder checkpoint answers multiple-choice tasks only")

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """The head's answers to documents without choices; an encoder checkpoint generates no text.

        Raises `UserError` for requests of other documents, or without a head for the target.
        """
        if not requests:
            raise UserError(
                "model xscale: an encoder checkpoint answers multiple-choice tasks, and xscale's own, only"
            )
        documents = _documents(requests, choices=False)
        found: dict[tuple[str, int], str] = {}
        for target in sorted({str(document["target"]) for document in documents.values()}):
            of_task: dict[str, list[tuple[str, int]]] = {}  # a task is of one language
            for key, document in documents.items():
                if document["target"] == target:
                    of_task.setdefault(key[0], []).append(key)
            sections = [
                Section([documents[key] for key in keys], range(len(keys))) for keys in of_task.values()
            ]
            for keys, answers in zip(of_task.values(), self.texts(target, sections), strict=True):
                found |= {key: answers[place] for place, key in enumerate(keys)}
        return [Answer(found[str(request.task_name), int(request.doc_id or 0)]) for request in requests]

    def get_model_info(self) -> dict[str, Any]:
        """What lm_eval writes into its results' config."""
        return {
            "model_dtype": MODEL_DTYPES[self.precision],
            "device": str(self._device),
            "truncated_pairs": dict(self.truncated),
        }

    def answers(
        self, target: str, sections: Sequence[Section], *, one_block: bool = False
    ) -> list[dict[int, np.ndarray]]:
        """For each section, by position the log-probabilities (float32) of a needed document's choices, in the task's order;
        without choices what its answer scores (`Target.scored`, float64).

        They are the same to the last bit whatever else is needed, but where `one_block` makes all documents one block.
        """
        spec = get_target(target)
        if not spec.has_choices:
            return [
                {
                    place: np.array(spec.scored(section.documents[place], text), dtype=np.float64)
                    for place, text in answers.items()
                }
                for section, answers in zip(sections, self.texts(target, sections), strict=True)
            ]
        work = self.work(target, sections, one_block=one_block)
        self.truncated[target] = cut = work.cut()
        self.spare[target] = work.spare
        if cut:
            say(
                f"{self.description}: {target}: {cut} of {len(work.needed)} texts were longer than "
                f"{work.head.max_length} tokens and were cut"
            )
        return work.collect(self.computed(work, work.todo, lambda model: head_call(model, work.head)))

    def computed(
        self,
        work: Computable,
        todo: Sequence[int],
        call_of: Callable[[PreTrainedModel], Call],
    ) -> dict[int, np.ndarray]:
        """The scores of these batches by the name they are kept under, from the journal or computed, by all processes."""
        with self.journal(work) as journal:
            before = from_all_processes(journal.done)  # the same in all, whatever each found on the disk
            todo = [number for number in todo if work.names[number] not in before]
            mine = todo[self._process :: self._processes]
            if mine:
                model = self._models.pop(work.target, None)
                if model is None:
                    model = load_model(head_of(self.folder, work.target, self.label))
                self.run(call_of(model.to(self._device)), work, mine, journal)
            return before | from_all_processes(journal.done)

    def texts(self, target: str, sections: Sequence[Section]) -> list[dict[int, str]]:
        """For each section, of one language, by position the answers to needed documents without choices."""
        from xscale.evaluation.texts import answered, prepare_texts

        head = head_of(self.folder, target, self.label)
        if self.layer is not None:
            head.config.xscale_layer = self.layer
        work = prepare_texts(head, sections, self.tokens_a_batch)
        self.truncated[target], self.spare[target] = 0, work.spare
        return answered(work, self.computed(work, work.todo, work.call))

    def work(self, target: str, sections: Sequence[Section], *, one_block: bool = False) -> Work:
        """The sections' needed blocks made ready for the target's head."""
        return prepare(head_of(self.folder, target, self.label), sections, self.tokens_a_batch, one_block)

    def journal(self, work: Computable) -> Journal:
        """The journal of the work's batches; in memory only unless `kept` is set."""
        if self.kept is None:
            return Journal(None, "")
        key = json.dumps([self.kept.key, self.tokens_a_batch, self.precision, self._device.type])
        part = f"-{self._process}of{self._processes}" if self._processes > 1 else ""
        return Journal(self.kept.path(work.target, part), key, self.kept.others(work.target))

    def run(self, call: Call, work: Computable, todo: Sequence[int], journal: Adds) -> None:
        """Compute batches of the work; the journal gets each batch's scores, shape (texts, columns), as they come."""
        on_gpu = self._device.type == "cuda"
        total = sum(len(work.plan[number]) for number in todo)
        waiting: list[tuple[int, torch.Tensor]] = []  # a GPU works on the next batch while one is fetched
        with (
            progress(f"evaluate {self.description}: {work.target}", total) as advance,
            torch.no_grad(),  # inference_mode would cast the weights anew in every pass
            autocast(self._device, self.precision),
        ):
            for number in [*todo, None]:
                if number is not None:
                    waiting.append((number, self.forward(call, work.batch(number, on_gpu))))
                while len(waiting) > (1 if on_gpu and number is not None else 0):
                    finished, scores = waiting.pop(0)
                    if self.check_files is not None:
                        self.check_files()
                    journal.add(work.names[finished], scores.float().cpu().numpy())
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
        with autocast(self._device, self.precision):
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
    """Documents of one target made ready for a head: their tokens and the batches they are computed in.

    `plan` are batches of texts and `names` what each is kept under; `todo` are the numbers of those with a needed text.
    `needed` are the needed texts and `places` says, of each needed document, its section, its position there and its first
    text; a document has `choices` texts where each choice is a text, else one.
    """

    head: Head
    pairs: Sequence[tuple[str, str]]
    tokens: Tokens
    budget: int
    plan: list[np.ndarray]
    names: list[int]
    needed: np.ndarray
    todo: list[int]
    places: list[tuple[int, int, int]]
    sections: int

    @property
    def target(self) -> str:
        """The head's target."""
        return self.head.target

    def batch(self, number: int, pin: bool) -> Batch:
        """The tensors of a batch."""
        return padded(self.tokens, self.plan[number], self.head.pad, self.head.takes_types, pin=pin)

    def collect(self, scores: Mapping[int, np.ndarray]) -> list[dict[int, np.ndarray]]:
        """Of each section the needed documents' log-probabilities by position, from the scores of all `todo` batches.

        Raises `RuntimeError` when the scores of a batch are not there.
        """
        columns = len(self.head.columns)
        logits = np.full((len(self.tokens.lengths), columns), np.nan)
        for number in self.todo:
            if self.names[number] not in scores:
                raise RuntimeError(f"{self.head.target}: batch {number} was computed by no process")
            logits[self.plan[number]] = scores[self.names[number]].reshape(-1, columns)
        of_document = len(self.needed) // max(1, len(self.places))  # texts of one document
        first = np.array([text for _, _, text in self.places], dtype=np.int64)
        for text in (
            first.tolist() if of_document > 1 else ()
        ):  # one text to the tokenizer, one score: an exact tie
            seen: dict[tuple[bytes, ...], int] = {}
            for choice in range(text, text + of_document):
                logits[choice] = logits[seen.setdefault(self.tokens.content(np.array([choice])), choice)]
        rows = logits[first[:, None] + np.arange(of_document)].reshape(len(first), -1)
        # in float64, so that rounding to float32 gives the same bits however many rows there are
        shifted = rows - rows.max(axis=1, keepdims=True, initial=-np.inf)
        logprobs = (shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))).astype(np.float32)
        result: list[dict[int, np.ndarray]] = [{} for _ in range(self.sections)]
        for (section, position, _), row in zip(self.places, logprobs, strict=True):
            result[section][position] = row
        return result

    @property
    def spare(self) -> bool:
        """Whether a batch that is computed has a text that is not needed."""
        return sum(len(self.plan[number]) for number in self.todo) > len(self.needed)

    def cut(self) -> int:
        """How many of the needed texts were longer than the head takes."""
        full = self.needed[self.tokens.lengths[self.needed] >= self.head.max_length]
        if not len(full):
            return 0
        return cut_texts(
            [self.pairs[i] for i in full], load_tokenizer(self.head.folder), self.head.max_length
        )


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


def block_sizes(budget: int) -> tuple[int, int]:
    """Documents of a language's first block, and how many times larger the next ones are, for batches of `budget` tokens:
    larger batches need larger blocks, or there is more padding in them."""
    return max(FIRST_BLOCK, budget // 128), 4 if budget <= TOKENS_A_BATCH_ON_CPU else 8


def refuse_unknown_ids(head: Head, highest: int) -> None:
    """Raise `UserError` where a token's number is none of the model's."""
    known = int(getattr(head.config, "vocab_size", 0) or 0)
    if known and highest >= known:
        raise UserError(
            f"checkpoint {head.folder}: its tokenizer has ids up to {highest}, its model {known} of them; they do not "
            "belong together"
        )


def prepare(head: Head, sections: Sequence[Section], budget: int, one_block: bool = False) -> Work:
    """Tokenise the documents of the sections' needed blocks (or find them tokenised) and plan the batches, block by block."""
    first, growth = block_sizes(budget)
    pairs: list[tuple[str, str]] = []
    starts: list[int] = []  # the first text of each block
    places: list[tuple[int, int, int]] = []
    needed: list[int] = []
    for number, section in enumerate(sections):
        wanted = set(section.needed)
        total = len(section.documents)
        for block in needed_blocks(section, blocks(total, total if one_block else first, growth)):
            starts.append(len(pairs))
            for position in block:
                texts = document_pairs(section.documents[position])
                if position in wanted:
                    places.append((number, position, len(pairs)))
                    needed += range(len(pairs), len(pairs) + len(texts))
                pairs += texts
    tokens = tokenised(pairs, head.folder, head.max_length, lambda: load_tokenizer(head.folder))
    refuse_unknown_ids(head, int(tokens.ids.max()) if len(tokens.ids) else 0)
    lengths = tokens.lengths
    plan = [
        start + batch
        for start, end in zip(starts, [*starts[1:], len(pairs)], strict=True)
        for batch in batch_plan(lengths[start:end], budget)
    ]
    is_needed = np.zeros(len(pairs), bool)
    is_needed[needed] = True
    todo = [number for number, batch in enumerate(plan) if is_needed[batch].any()]
    names = [batch_number(*tokens.content(batch)) for batch in plan]
    return Work(
        head, pairs, tokens, budget, plan, names, np.array(needed, np.int64), todo, places, len(sections)
    )


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
    if get_target(target).head == "pair_classification":
        columns = answer_columns(config.id2label, get_target(target).answers, place, label)
    if get_target(target).tags:
        try:
            tags_of_labels(config, target)
        except UserError as error:
            raise UserError(f"checkpoint {place}: {error}") from None
    pad = getattr(config, "pad_token_id", None)
    return Head(
        place,
        target,
        config,
        columns,
        _max_length(place, config, get_target(target).head),
        0 if pad is None else int(pad),
        takes_token_types(config),
    )


def load_model(head: Head) -> PreTrainedModel:
    """The head's model in fp32, on the CPU. Raises `UserError` when its files are damaged or have no trained head."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    kind = get_target(head.target).head
    of_texts = HEADS.get(kind)
    model_class = {
        "multiple_choice": AutoModelForMultipleChoice,
        "pair_classification": AutoModelForSequenceClassification,
    }.get(kind) or HEADS[kind].model_class
    if (head.folder / ADAPTER_CONFIG).is_file():
        try:
            return load_adapted(head.folder, model_class)
        except UserError:
            raise
        except Exception as error:  # as below
            raise _unloadable(head.folder, error) from None
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
    optional = () if of_texts is None else of_texts.optional
    missing = sorted(name for name in report["missing_keys"] if not optional or not name.startswith(optional))
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
        parts = [part.partition(":") for part in str(label).split(";")]
        id2label = {int(k): v for k, _, v in parts if k.strip().isascii() and k.strip().isdigit()}
    names = {str(name).strip().lower(): column for column, name in id2label.items()}
    columns = set(names.values())
    if len(names) != len(answers) or set(names) != set(answers) or columns != set(range(len(answers))):
        example = ";".join(f"{number}:{answer}" for number, answer in enumerate(answers))
        raise UserError(
            f"checkpoint {where}: its labels are {', '.join(map(str, id2label.values()))}; {', '.join(answers)} "
            f"are needed: set id2label in its config.json, or model_args label={example}"
        )
    return [names[name] for name in answers]


def _documents(requests: Sequence[Instance], choices: bool = True) -> dict[tuple[str, int], Document]:
    """The requests' documents, by task and number; `UserError` for those that an encoder's head does not answer."""
    documents: dict[tuple[str, int], Document] = {}
    for request in requests:
        key = (str(request.task_name), int(request.doc_id or 0))
        if key not in documents:
            if not isinstance(request.doc, Mapping) or request.doc.get("target") not in targets():
                raise UserError(
                    f"model xscale: task {request.task_name!r} is not an xnli_ood or xcopa_ood task; "
                    "encoder checkpoints can only be scored on xscale's own tasks"
                )
            if get_target(request.doc["target"]).has_choices != choices:
                raise UserError(f"model xscale: task {request.task_name!r} is not asked as its documents are")
            if len(request.args[0]) > len(doc_to_text(dict(request.doc))) + 2:
                raise UserError(
                    "model xscale: an encoder checkpoint answers from the document alone; leave --num_fewshot and "
                    "--system_instruction out"
                )
            documents[key] = request.doc
    return documents


def _refuse_absent(device: torch.device) -> None:
    try:
        if device.type == "meta":  # tensors without values
            raise RuntimeError
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError):
        raise UserError(
            f"model xscale: device {str(device)!r} is not there; leave `device` out of model_args"
        ) from None


def _max_length(folder: Path, config: PretrainedConfig, head: str) -> int:
    """What it was trained with, else what tokenizer and position embeddings allow, at most 512 or what the head says."""
    trained = getattr(config, "xscale_max_length", None)
    if trained:
        return int(trained)
    limits = [HEADS[head].max_length if head in HEADS else 512]
    try:
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        limits.append(int(min(settings.get("model_max_length") or 512, 512)))
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        pass
    positions = getattr(config, "max_position_embeddings", None)
    if positions and positions > 0:
        # RoBERTa's positions begin after the padding token's id
        offset = (config.pad_token_id or 0) + 1 if "roberta" in config.model_type else 0
        limits.append(int(positions) - offset)
    return min(limits)


def _precision(asked: str, device: torch.device) -> Precision:
    if asked == "fp16" and device.type != "cuda":
        raise UserError("model xscale: precision fp16 is for CUDA devices; leave it out on others")
    return effective_precision(asked, device, cpu_units=False)


def _slices(batch: Batch, rows: int) -> Iterator[Batch]:
    for first in range(0, len(batch["input_ids"]), rows):
        yield {name: tensor[first : first + rows] for name, tensor in batch.items()}


def _is_out_of_memory(error: RuntimeError) -> bool:
    signs = ("can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in signs)


def _unloadable(folder: Path, error: Exception | str) -> UserError:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return UserError(f"checkpoint {folder}: cannot be loaded ({reason}); restore or retrain it")
