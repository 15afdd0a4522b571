"""Several processes that evaluate together (`accelerate launch`, torchrun): who is who, and what each has found."""

from __future__ import annotations

import os
from typing import Any


def processes() -> int:
    """How many processes were started to work together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def process_number() -> int:
    """Which of them this is, from 0, over all nodes."""
    return int(os.environ.get("RANK", "0"))


def several_processes() -> bool:
    """Whether this process was started as one of several."""
    return processes() > 1


def is_first_process() -> bool:
    """Whether this is the process that writes results."""
    return process_number() == 0


def wait_for_all_processes() -> None:
    """Return when every process has come here; at once where there is one."""
    if several_processes():
        import torch
        from accelerate import PartialState

        PartialState(cpu=not torch.cuda.is_available()).wait_for_everyone()


def from_all_processes(part: dict[int, Any]) -> dict[int, Any]:
    """The union of all processes' parts, in every process."""
    if not several_processes():
        return part
    import torch
    from accelerate import PartialState

    PartialState(cpu=not torch.cuda.is_available())

    parts: list[dict[int, Any]] = [{} for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(parts, part)
    return {key: value for one in parts for key, value in one.items()}
