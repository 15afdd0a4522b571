"""The lm_eval model type `xscale`: encoder checkpoints that answer multiple-choice requests from the document.

A request's text (the causal-LM prompt) plays no part: the document's premise and hypothesis, or premise and choices, are
encoded as in training. One forward pass a document for an NLI classifier, one a choice for a multiple-choice head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from transformers import (
    AutoModelForMultipleChoice,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from xscale.encoding import NLI_LABELS, document_pairs
from xscale.errors import UserError
from xscale.progress import progress

DEFAULT_TOKENS_A_BATCH = 8192


class EncoderLM(LM):
    """An encoder checkpoint with one fine-tuned head folder for each target (`<pretrained>/xnli`, `<pretrained>/xcopa`).

    Arguments (`model_args`):
        pretrained: the checkpoint's folder. A folder without head folders is taken as a plain transformers
            sequence-classification checkpoint for XNLI, whose labels are matched by name.
        tokens_a_batch: padded tokens in one forward pass (default 8192).
        batch_size, max_batch_size: taken for lm_eval's sake; batches are made by tokens.
        device: a torch device; CUDA when there is one unless given.
        label (optional): `label=0:entailment;1:neutral;2:contradiction` for checkpoints whose config has no names.
    """

    def __init__(
        self,
        pretrained: str,
        device: str | None = None,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
        tokens_a_batch: int = DEFAULT_TOKENS_A_BATCH,
        label: str | None = None,
        description: str | None = None,
    ) -> None:
        super().__init__()
        self.folder = Path(pretrained)
        if not self.folder.is_dir():
            raise UserError(f"model xscale: pretrained: no folder {pretrained!r}; check the path")
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.tokens_a_batch = int(tokens_a_batch)
        self.label = label
        self.description = description or self.folder.name
        self.truncated: dict[str, int] = {}

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """For each request the log-probability of its choice among the document's choices, and whether it is the best.

        Raises `UserError` for requests that are not of an xnli or xcopa document, or without a head for the target.
        """
        by_document: dict[tuple[str, int], Mapping[str, Any]] = {}
        for request in requests:
            if not isinstance(request.doc, Mapping) or request.doc.get("target") not in ("xnli", "xcopa"):
                raise UserError(
                    f"model xscale: task {request.task_name!r} is not an xnli_ood or xcopa_ood task; "
                    "encoder checkpoints can only be scored on those"
                )
            by_document.setdefault((str(request.task_name), int(request.doc_id or 0)), request.doc)
        answers: dict[tuple[str, int], torch.Tensor] = {}
        for target in sorted({str(document["target"]) for document in by_document.values()}):
            keys = [key for key, document in by_document.items() if document["target"] == target]
            scores = self._score(target, [by_document[key] for key in keys])
            answers |= dict(zip(keys, scores, strict=True))
        result = []
        for request in requests:
            scores = answers[str(request.task_name), int(request.doc_id or 0)]
            result.append((float(scores[request.idx]), bool(scores.argmax() == request.idx)))
        return result

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Refused: an encoder checkpoint gives no likelihood of running text."""
        raise UserError("model xscale: an encoder checkpoint answers multiple-choice tasks only")

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Refused: an encoder checkpoint generates no text."""
        raise UserError("model xscale: an encoder checkpoint answers multiple-choice tasks only")

    def get_model_info(self) -> dict[str, Any]:
        """What lm_eval writes into its results' config."""
        return {"model_dtype": "float32", "truncated_pairs": dict(self.truncated)}

    def _score(self, target: str, documents: Sequence[Mapping[str, Any]]) -> list[torch.Tensor]:
        """Log-probabilities, one tensor of shape (choices,) a document, in the documents' order."""
        model, tokenizer, columns = load_head(self.folder, target, self.label)
        model = model.to(self._device)
        pairs = [pair for document in documents for pair in document_pairs(document)]
        max_length = getattr(model.config, "xscale_max_length", None) or min(tokenizer.model_max_length, 512)
        encoded = tokenizer(
            [a for a, _ in pairs],
            [b for _, b in pairs],
            truncation="longest_first",
            max_length=max_length,
            return_attention_mask=False,
            return_token_type_ids=False,
        )["input_ids"]
        self.truncated[target] = sum(len(ids) == max_length for ids in encoded)
        logits = torch.empty(len(encoded), len(columns) if target == "xnli" else 1)
        with (
            progress(f"evaluate {self.description}: {target}", len(encoded)) as advance,
            torch.inference_mode(),
        ):
            for batch in batches_by_tokens([len(ids) for ids in encoded], self.tokens_a_batch):
                length = max(len(encoded[i]) for i in batch)
                ids = torch.full((len(batch), length), tokenizer.pad_token_id)
                for row, i in enumerate(batch):
                    ids[row, : len(encoded[i])] = torch.tensor(encoded[i])
                mask = (torch.arange(length) < torch.tensor([len(encoded[i]) for i in batch])[:, None]).long()
                ids, mask = ids.to(self._device, non_blocking=True), mask.to(self._device, non_blocking=True)
                if target == "xnli":
                    output = model(input_ids=ids, attention_mask=mask).logits[:, columns]
                else:  # the head scores one pair; its scores of a document's pairs are the choices' logits
                    output = model(input_ids=ids[:, None], attention_mask=mask[:, None]).logits
                logits[batch] = output.float().cpu()
                advance(len(batch))
        if target == "xcopa":
            logits = logits.view(len(documents), -1)
        return list(torch.log_softmax(logits, dim=-1))


def batches_by_tokens(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices in batches of similar length, longest first, each of at most `budget` padded tokens (or one text)."""
    batches: list[list[int]] = []
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batch and lengths[batch[0]] * (len(batch) + 1) > budget:
            batches.append(batch)
            batch = []
        batch.append(i)
    return [*batches, batch] if batch else batches


def load_head(
    folder: Path, target: str, label: str | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, list[int]]:
    """A checkpoint's model and tokenizer for a target, and the columns of its logits in the order of the task's choices.

    Raises `UserError` when there is no head for the target or its labels are not entailment, neutral, contradiction.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    has_heads = any((folder / name).is_dir() for name in ("xnli", "xcopa"))
    head = folder / target if has_heads else folder
    if not (head / "config.json").is_file():
        raise UserError(
            f"checkpoint {folder}: no head for {target} (no {head / 'config.json'}); train one, or leave {target} out"
        )
    model_class = AutoModelForSequenceClassification if target == "xnli" else AutoModelForMultipleChoice
    try:
        model, report = model_class.from_pretrained(
            head, dtype=torch.float32, output_loading_info=True, use_safetensors=True
        )
        tokenizer = AutoTokenizer.from_pretrained(head)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"checkpoint {head}: cannot be loaded ({str(error).splitlines()[0]}); restore or retrain it"
        ) from None
    missing = sorted(report["missing_keys"])
    if missing:
        raise UserError(
            f"checkpoint {head}: has no weights for {', '.join(missing[:3])}; it has no trained head for {target}"
        )
    columns = nli_columns(model.config.id2label, head, label) if target == "xnli" else [0]
    return model.eval(), tokenizer, columns


def nli_columns(id2label: Mapping[int, str], where: Path, label: str | None) -> list[int]:
    """Columns of the logits that are entailment, neutral, contradiction, matched by name (case does not count).

    Raises `UserError` for any other set of names; nothing is guessed from the order.
    """
    if label is not None:
        id2label = {
            int(k): v for k, _, v in (part.partition(":") for part in label.split(";")) if k.strip().isdigit()
        }
    names = {str(name).strip().lower(): column for column, name in id2label.items()}
    if len(names) != 3 or set(names) != set(NLI_LABELS):
        raise UserError(
            f"checkpoint {where}: its labels are {', '.join(map(str, id2label.values()))}; {', '.join(NLI_LABELS)} "
            "are needed: set id2label in its config.json, or model_args label=0:entailment;1:neutral;2:contradiction"
        )
    return [names[name] for name in NLI_LABELS]
