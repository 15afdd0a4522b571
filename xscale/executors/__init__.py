"""Where jobs run: here, one after the other, or on a cluster (`ray`). A job is a function of a module, by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field


class Resources(BaseModel):
    """What one job takes. Less than one GPU: several jobs share it. More than one: one job on several, by accelerate."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    cpus: Annotated[float, Field(gt=0, le=100_000)] = 1
    gpus: Annotated[float, Field(ge=0, le=10_000)] = 0
    memory_gib: Annotated[float, Field(gt=0, le=10**6)] | None = None


@dataclass(frozen=True)
class Job:
    """`function` ("module:name") called with `arguments` (plain values) once the jobs of `needs` are done."""

    id: str
    function: str
    arguments: dict[str, Any]
    needs: tuple[str, ...] = ()
    resources: Resources = field(default_factory=Resources)
