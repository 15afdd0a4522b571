"""A causal language model of lm_eval's `hf` that computes what a document's choices have in common once.

XNLI's three prompts share the premise, XCOPA's two the context. All choices of a document are one row: the shared tokens,
then each choice's own, which attend to the shared ones and to themselves (a tree in one forward pass). Positions are those
that each prompt would have alone. Log-probabilities are `hf`'s but for rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.registry import register_model
from lm_eval.models.huggingface import HFLM
from tqdm import tqdm

from xscale.errors import UserError

MODEL = "hf-shared-context"  # its name in lm_eval and in the manifest
TOKENS_A_BATCH = {"cpu": 512, "cuda": 4096}
_TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.5, torch.bfloat16: 1.0}  # of a prompt's log-probability
Request = tuple[tuple[str, str], list[int], list[int]]  # texts, tokens of the context, tokens of the choice


@dataclass(frozen=True)
class _Tree:
    """A document's choices: `shared` tokens, each choice's `own` tokens, and where the scored tokens begin in each."""

    requests: tuple[int, ...]
    shared: list[int]
    own: list[list[int]]
    scored_from: list[int]

    def __len__(self) -> int:
        return len(self.shared) + sum(
            len(tokens) - 1 for tokens in self.own
        )  # the last token is only predicted


@register_model(MODEL)
class SharedContextLM(HFLM):
    """`hf`, with the same arguments, for causal models whose attention takes a mask of rows by columns."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.backend != "causal":
            raise UserError(f"model {MODEL}: for causal language models; this one is {self.backend}, use hf")
        self._documents: list[tuple[str, int]] | None = None
        self._agrees = False

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """As `hf`'s. Raises `UserError` where the model's attention does not take the mask that this needs."""
        self._documents = [(str(request.task_name), int(request.doc_id or 0)) for request in requests]
        try:
            return super().loglikelihood(requests, disable_tqdm=disable_tqdm)
        finally:
            self._documents = None

    def _loglikelihood_tokens(
        self, requests: list[Request], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        documents = self._documents
        if documents is None or len(documents) != len(requests):
            return super()._loglikelihood_tokens(requests, disable_tqdm, override_bs)
        long = [i for i, (_, a, b) in enumerate(requests) if len(a) + len(b) > self.max_length + 1]
        answers: dict[int, tuple[float, bool]] = {}
        if long:  # cut on the left, each for itself
            cut = super()._loglikelihood_tokens([requests[i] for i in long], disable_tqdm, override_bs)
            answers.update(zip(long, cut, strict=True))
        trees = [
            _tree(requests, indices)
            for _, group in groupby(range(len(requests)), key=lambda i: documents[i])
            if (indices := [i for i in group if i not in answers])
        ]
        if trees and not self._agrees:
            self._compare(requests, trees[0])
        silent = disable_tqdm or self.rank != 0
        with tqdm(total=len(requests), disable=silent, desc="Running loglikelihood requests") as bar:
            for batch in _batches(trees, TOKENS_A_BATCH.get(torch.device(self.device).type, 512)):
                for index, answer in self._score(batch):
                    answers[index] = answer
                    self.cache_hook.add_partial("loglikelihood", requests[index][0], answer)
                    bar.update()
        return [answers[i] for i in range(len(requests))]

    def _compare(self, requests: Sequence[Request], tree: _Tree) -> None:
        """One document both ways: a model that ignores the mask, or has a state, gets no wrong number."""
        some = [requests[i] for i in tree.requests]
        alone = super()._loglikelihood_tokens(some, True, 1)
        try:
            together = dict(self._score([tree]))
        except (TypeError, ValueError, RuntimeError, IndexError) as error:
            raise UserError(
                f"model {MODEL}: this model cannot score shared contexts ({str(error).splitlines()[0][:200]}); use hf"
            ) from None
        worst = max(
            abs(a[0] - together[i][0]) / max(1.0, abs(a[0]) / 100)
            for i, a in zip(tree.requests, alone, strict=True)
        )
        if not worst <= _TOLERANCE.get(self.model.dtype, 1e-3):
            raise UserError(
                f"model {MODEL}: this model's attention does not take the mask that shared contexts need (one document "
                f"differs by {worst:.2g}); use hf, or attn_implementation=eager in model_args"
            )
        self._agrees = True

    @torch.inference_mode()  # type: ignore[untyped-decorator,unused-ignore]
    def _score(self, trees: Sequence[_Tree]) -> list[tuple[int, tuple[float, bool]]]:
        """Request and answer of every choice of these documents, which go through the model one after the other in a row."""
        width = sum(map(len, trees))
        tokens: list[int] = []
        positions: list[int] = []
        sees = torch.zeros((width, width), dtype=torch.bool)
        asked: list[tuple[int, list[int], list[int]]] = []
        for tree in trees:
            first, shared = len(tokens), len(tree.shared)
            tokens += tree.shared
            positions += range(shared)
            sees[first : first + shared, first : first + shared] = _causal(shared)
            for index, own, scored in zip(tree.requests, tree.own, tree.scored_from, strict=True):
                start, length = len(tokens), len(own) - 1
                tokens += own[:-1]
                positions += range(shared, shared + length)
                sees[start : start + length, first : first + shared] = True
                sees[start : start + length, start : start + length] = _causal(length)
                places = [*range(first, first + shared), *range(start, start + length)]
                asked.append((index, places[scored - 1 :], (tree.shared + own)[scored:]))
        mask = torch.zeros(sees.shape, dtype=self.model.dtype)
        mask.masked_fill_(~sees, torch.finfo(mask.dtype).min)
        needed = sorted({place for _, places, _ in asked for place in places})
        device = self.device
        logits = self.model(
            input_ids=torch.tensor([tokens], device=device),
            position_ids=torch.tensor([positions], device=device),
            attention_mask=mask[None, None].to(device),
            use_cache=False,
            logits_to_keep=torch.tensor(needed, device=device),
        ).logits[0]
        row = {place: number for number, place in enumerate(needed)}
        rows = torch.tensor([row[place] for _, places, _ in asked for place in places], device=device)
        wanted = torch.tensor([token for _, _, many in asked for token in many], device=device)
        total, likeliest = logits.float().logsumexp(1), logits.argmax(1)
        scores = (logits[rows, wanted].float() - total[rows]).cpu()
        greedy = (likeliest[rows] == wanted).cpu()
        sizes = [len(many) for _, _, many in asked]
        return [
            (index, (float(mine.sum()), bool(best.all())))
            for (index, _, _), mine, best in zip(asked, scores.split(sizes), greedy.split(sizes), strict=True)
        ]


def _causal(length: int) -> torch.Tensor:
    return torch.ones((length, length), dtype=torch.bool).tril()


def _tree(requests: Sequence[Request], indices: Sequence[int]) -> _Tree:
    """The choices of a document, with as many shared tokens as they have and at least one of its own each."""
    whole = [requests[i][1] + requests[i][2] for i in indices]
    shared = 0
    for column in zip(*(tokens[:-1] for tokens in whole), strict=False):
        if len(set(column)) > 1:
            break
        shared += 1
    scored = [len(requests[i][1]) for i in indices]
    return _Tree(tuple(indices), whole[0][:shared], [tokens[shared:] for tokens in whole], scored)


def _batches(trees: Sequence[_Tree], tokens: int) -> Iterator[list[_Tree]]:
    """Documents in order, of at most so many tokens together, one at least."""
    batch: list[_Tree] = []
    for tree in trees:
        if batch and sum(map(len, batch)) + len(tree) > tokens:
            yield batch
            batch = []
        batch.append(tree)
    if batch:
        yield batch
