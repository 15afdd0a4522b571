"""The precision that a device gives, by the capabilities that torch reports of it."""

from __future__ import annotations

import pytest
import torch

from xscale.errors import UserError
from xscale.precision import autocast, effective_precision

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch):
    """A CUDA device as torch would report it: emulated bf16 counts where a caller lets it."""

    def make(bf16: bool, capability: tuple[int, int]) -> None:
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16 or including_emulation
        )
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)

    return make


@pytest.mark.parametrize(
    ("name", "bf16", "capability", "expected"),
    [
        ("A100", True, (8, 0), "bf16"),
        ("V100", False, (7, 0), "fp16"),
        ("T4", False, (7, 5), "fp16"),
        ("P40", False, (6, 1), "fp32"),
    ],
)
def test_auto_on_cuda(gpu, name: str, bf16: bool, capability: tuple[int, int], expected: str) -> None:
    gpu(bf16, capability)
    assert effective_precision("auto", CUDA) == expected
    assert effective_precision("auto", CUDA, cpu_units=False) == expected  # evaluation's is training's
    assert effective_precision("fp32", CUDA) == "fp32"
    assert effective_precision("fp16", CUDA) == "fp16"
    if bf16:
        assert effective_precision("bf16", CUDA) == "bf16"
    else:
        with pytest.raises(UserError, match="no units for it; use fp16"):
            effective_precision("bf16", CUDA)


@pytest.mark.parametrize("units", [True, False])
def test_auto_on_a_cpu(monkeypatch: pytest.MonkeyPatch, units: bool) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": units}, raising=False)
    assert effective_precision("auto", CPU) == ("bf16" if units else "fp32")
    assert effective_precision("auto", CPU, cpu_units=False) == "fp32"
    assert effective_precision("bf16", CPU, cpu_units=False) == "bf16"  # asked for


def test_other_devices_and_words() -> None:
    assert effective_precision("auto", torch.device("mps")) == "fp32"
    with pytest.raises(UserError, match="on mps devices"):
        effective_precision("bf16", torch.device("mps"))
    with pytest.raises(UserError, match="auto, fp32, bf16 or fp16, not 'fp8'"):
        effective_precision("fp8", CPU)


def test_autocast_computes_in_that_precision() -> None:
    layer = torch.nn.Linear(4, 4)
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)):
        with autocast(CPU, precision):  # type: ignore[arg-type]
            assert layer(torch.zeros(1, 4)).dtype == dtype


def test_auto_on_a_cpu_where_torch_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert effective_precision("auto", torch.device("cpu")) == "fp32"
