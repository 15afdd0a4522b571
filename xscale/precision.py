"""In which number format a model computes on a device: one rule for training and evaluation.

Weights and optimiser stay in fp32; lower precision means autocast. `auto` is bf16 where the device has matrix units for it, and
fp16 on CUDA devices that have matrix units for fp16 only (V100, T4: bf16 would be emulated there, slower and coarser).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal, get_args

import torch

from xscale.errors import UserError

Precision = Literal["fp32", "bf16", "fp16"]
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_FP16_UNITS = (7, 0)  # CUDA compute capability


def effective_precision(asked: str, device: torch.device, cpu_units: bool = True) -> Precision:
    """The precision that `asked` (auto, fp32, bf16, fp16) comes to on that device.

    `cpu_units`: whether auto uses a CPU's bf16 units. Training does; evaluation only when asked, so that scores of all CPUs
    agree but for rounding in fp32. Raises `UserError` for another word, and for what the device has no units for.
    """
    if asked not in ("auto", *get_args(Precision)):
        raise UserError(f"precision is auto, fp32, bf16 or fp16, not {asked!r}")
    if asked == "fp32":
        return "fp32"
    if device.type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        if asked == "bf16" and not has_bf16:
            raise UserError("precision bf16: this CUDA device has no units for it; use fp16, fp32 or auto")
        if has_bf16 and asked != "fp16":
            return "bf16"
        has_fp16 = torch.cuda.get_device_capability(device) >= _FP16_UNITS
        return "fp16" if asked == "fp16" or has_fp16 else "fp32"
    if device.type != "cpu":
        if asked != "auto":
            raise UserError(
                f"precision {asked}: on {device.type} devices xscale computes in fp32; leave it out"
            )
        return "fp32"
    if asked == "auto":
        tells = hasattr(torch.cpu, "get_capabilities")  # torch 2.6 does not: fp32
        units = cpu_units and tells and bool(torch.cpu.get_capabilities().get("amx_bf16"))
        return "bf16" if units else "fp32"
    return "bf16" if asked == "bf16" else "fp16"


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[None]:
    """The context in which a model computes in that precision; fp32 leaves it as it is."""
    return torch.autocast(device.type, dtype=_DTYPES[precision], enabled=precision != "fp32")
