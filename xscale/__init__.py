"""xscale: what more English intermediate-task data buys in zero-shot cross-lingual accuracy.

`run`, `evaluate`, `add`, `board`, `answer`, `compare`, `report` and `read_predictions` are what is meant for use (see
`xscale.api`); all raise `UserError`.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
_MEANT_FOR_USE = {
    name: "xscale.api"
    for name in ("add", "answer", "board", "compare", "evaluate", "read_predictions", "report", "run")
} | {"UserError": "xscale.errors", "JobsFailed": "xscale.errors"}


def __getattr__(name: str) -> Any:  # importing xscale must not import what only some of it needs
    if name in _MEANT_FOR_USE:
        return getattr(import_module(_MEANT_FOR_USE[name]), name)
    raise AttributeError(f"module 'xscale' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*_MEANT_FOR_USE, "__version__"])
