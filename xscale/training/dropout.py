"""Dropout on a CPU with random numbers drawn in bulk: PyTorch draws them one after the other, a fifth of a training step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

_STEPS = 1 << 16  # probabilities are multiples of its inverse


class BulkDropout(TorchFunctionMode):
    """While it is on, `torch.nn.functional.dropout` (and what uses it, such as `torch.nn.Dropout`) drops elements by a generator
    of its own, which depends on `seed` alone: a step that is computed again drops the same ones.

    A forward pass that is repeated to save memory (gradient checkpointing) would draw others: not to be used there.
    """

    def __init__(self, seed: Sequence[int]) -> None:
        super().__init__()
        self._generator = np.random.SFC64(list(seed))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.nn.functional.dropout:
            return self._dropout(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _dropout(
        self, input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> torch.Tensor:
        dropped = round(p * _STEPS)
        if not training or not dropped:
            return input
        if dropped == _STEPS:
            return input * 0.0
        count = input.numel()
        drawn = self._generator.random_raw(-(-count // 4)).view(np.uint16)[:count]
        scale = np.float32(_STEPS / (_STEPS - dropped))
        mask = torch.from_numpy(np.multiply(drawn >= dropped, scale, dtype=np.float32)).view(input.shape)
        return input * mask.to(input.dtype)
