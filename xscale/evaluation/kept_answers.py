"""Any lm_eval model with its answers kept on disk as they come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from xscale.errors import UserError
from xscale.evaluation.journal import Journal
from xscale.evaluation.processes import from_all_processes
from xscale.progress import progress, say

DOCUMENTS_A_PART = 512


class KeptAnswersLM(LM):
    """A model of lm_eval's whose log-likelihood requests are asked in parts, longest first, each kept when it is answered.

    The model batches each part in its own way. Several processes (accelerate) share the parts, and all of them have all
    answers: to lm_eval it is one.
    """

    def __init__(self, model: Any, folder: Path, key: str) -> None:
        super().__init__()
        self.model = model
        self.folder = folder
        self.key = key
        self.truncated: dict[str, int] = {}

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """The model's own answers."""
        if not requests:
            return []
        target = str(requests[0].doc["target"])
        self._count_truncated(target, requests)
        parts = _parts(requests)
        answers = np.zeros((len(requests), 2))
        key = json.dumps([self.key, [len("".join(request.args)) for request in requests]])
        process, processes = self.model.rank, self.model.world_size
        mark = f"-{process}of{processes}" if processes > 1 else ""
        with (
            Journal(self.folder / f"{target}{mark}.scores", key) as journal,
            progress(f"evaluate {type(self.model).__name__}: {target}", len(requests)) as advance,
        ):
            for number in range(process, len(parts), processes):
                if number not in journal.done:
                    answered = self.model.loglikelihood([requests[i] for i in parts[number]])
                    journal.add(number, np.array(answered, dtype=np.float64))
                    self._keep_batch_size()
                advance(len(parts[number]))
            for number, values in from_all_processes(journal.done).items():
                answers[parts[number]] = values.reshape(-1, 2)
        return [(float(value), bool(greedy)) for value, greedy in answers]

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """The model's own answers."""
        return list(self.model.loglikelihood_rolling(requests))

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """The model's own answers."""
        return list(self.model.generate_until(requests))

    def get_model_info(self) -> dict[str, Any]:
        """The model's own, and how many requests were too long for it."""
        info = self.model.get_model_info() if hasattr(self.model, "get_model_info") else {}
        return {**info, "truncated_requests": dict(self.truncated)}

    def __getattr__(self, name: str) -> Any:
        if name == "model":  # not there yet
            raise AttributeError(name)
        return getattr(self.model, name)

    @property
    def device(self) -> Any:
        """The device that the model runs on."""
        return self.model.device

    def _keep_batch_size(self) -> None:
        """lm_eval's `hf` would find out the batch size for each part anew; the first part has the longest requests."""
        found = getattr(self.model, "batch_sizes", None)
        if found and getattr(self.model, "batch_size_per_gpu", None) == "auto":
            self.model.batch_size_per_gpu = next(iter(found.values()))

    def _count_truncated(self, target: str, requests: list[Instance]) -> None:
        """How many requests have more tokens than the model takes, where it tells its length and has a tokenizer.

        Raises `UserError` where a choice alone, of which nothing may be cut, has more.
        """
        try:
            longest = int(self.model.max_length)
            # a text has hardly more tokens than bytes: only these can be too long
            long = [request.args for request in requests if len("".join(request.args).encode()) >= longest]
            count = sum(len(self.model.tok_encode("".join(args))) > longest for args in long)
            impossible = sum(len(self.model.tok_encode(args[1])) > longest for args in long)
        except (AttributeError, NotImplementedError, TypeError, ValueError):
            return
        if impossible:
            raise UserError(
                f"{target}: {impossible} of {len(requests)} choices alone are longer than the {longest} tokens that the "
                "model takes; evaluate it on other tasks or raise max_length in its model_args"
            )
        self.truncated[target] = count
        if count:
            say(
                f"{target}: {count} of {len(requests)} requests were longer than {longest} tokens and were cut"
            )


def _parts(requests: list[Instance]) -> list[list[int]]:
    """Indices of requests in parts of whole documents, the longest documents first."""
    documents: dict[tuple[str, int], list[int]] = {}
    for i, request in enumerate(requests):
        documents.setdefault((str(request.task_name), int(request.doc_id or 0)), []).append(i)
    ordered = sorted(documents.values(), key=lambda group: -max(len(requests[i].args[-1]) for i in group))
    return [
        [i for group in ordered[first : first + DOCUMENTS_A_PART] for i in group]
        for first in range(0, len(ordered), DOCUMENTS_A_PART)
    ]
