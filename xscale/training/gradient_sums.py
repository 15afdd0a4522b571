"""Gradients of several processes added up while the backward pass is still under way."""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed
from transformers import PreTrainedModel

BUCKET_BYTES = 25 << 20


class GradientSums:
    """Sums over all processes of a model's gradients, in buckets of about 25 MB, the last layers' first.

    The first time a model is met shows which parameters get a gradient (the same in all processes, as they run the same
    model); from then on a bucket is sent as soon as its gradients are complete. Buckets are sent in one order everywhere.
    """

    def __init__(self) -> None:
        self._buckets: dict[PreTrainedModel, list[list[torch.nn.Parameter]]] = {}
        self._sent: list[tuple[torch.Tensor, Any]] = []  # of the step under way
        self._current: list[list[torch.nn.Parameter]] = []
        self._waiting: list[
            set[torch.nn.Parameter]
        ] = []  # for each bucket those whose gradient is not complete
        self._where: dict[torch.nn.Parameter, int] = {}
        self._hooks: dict[torch.nn.Parameter, Any] = {}

    def begin(self) -> None:
        """A step's gradients are computed, or computed again after it ran out of memory: what was sent before stays as it is,
        those gradients were complete."""
        self._waiting, self._where = [], {}

    def last_part(self, model: PreTrainedModel) -> None:
        """The next backward pass of the model completes its gradients."""
        self._current = self._buckets.get(model, [])
        self._waiting = [set(bucket) for bucket in self._current]
        self._where = {p: number for number, bucket in enumerate(self._current) for p in bucket}

    def finish(self, model: PreTrainedModel, total: torch.Tensor) -> None:
        """Send what is left, wait, and leave the sums in the gradients and in `total`."""
        self._send_ready(all_of_them=True)
        known = {parameter for bucket in self._current for parameter in bucket}
        new = [p for p in model.parameters() if p.grad is not None and p not in known]
        flat = torch.cat([p.grad.reshape(-1) for p in new if p.grad is not None] + [total.reshape(1)])
        distributed.all_reduce(flat)
        for bucket, (summed, work) in zip(self._current, self._sent, strict=True):
            work.wait()
            _give(bucket, summed)
        _give(new, flat)
        total.copy_(flat[-1])
        if new:
            self._learn(model, [*new, *known])
        self._current, self._sent = [], []
        self.begin()

    def close(self) -> None:
        """Take the hooks off the parameters."""
        for hook in self._hooks.values():
            hook.remove()
        self._hooks = {}

    def _learn(self, model: PreTrainedModel, with_gradient: list[torch.nn.Parameter]) -> None:
        buckets: list[list[torch.nn.Parameter]] = []
        size, chosen = BUCKET_BYTES, set(with_gradient)
        for parameter in reversed(list(model.parameters())):
            if parameter not in chosen:
                continue
            if size >= BUCKET_BYTES:
                buckets.append([])
                size = 0
            buckets[-1].append(parameter)
            size += parameter.numel() * parameter.element_size()
            if parameter not in self._hooks:
                self._hooks[parameter] = parameter.register_post_accumulate_grad_hook(self._arrived)
        self._buckets[model] = buckets

    def _arrived(self, parameter: torch.nn.Parameter) -> None:
        if parameter in self._where:
            self._waiting[self._where[parameter]].discard(parameter)
            self._send_ready()

    def _send_ready(self, all_of_them: bool = False) -> None:
        while len(self._sent) < len(self._current):
            number = len(self._sent)
            if self._waiting[number] and not all_of_them:
                return
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self._current[number]]
            flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
            self._sent.append((flat, distributed.all_reduce(flat, async_op=True)))


def _give(parameters: list[torch.nn.Parameter], flat: torch.Tensor) -> None:
    position = 0
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.copy_(flat[position : position + parameter.numel()].view_as(parameter))
        position += parameter.numel()
