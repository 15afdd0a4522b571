"""The evaluation tasks that lm-evaluation-harness calls: XNLI and XCOPA on all test rows, with subsets.

Importing this package is cheap: `datasets` is only imported when rows are read, `lm_eval` only by
:mod:`harness_tasks.lm_eval_task`.
"""

from __future__ import annotations

TYPE_CHECKING = False  # this package is imported whenever Python starts: see lm_eval_discovery
if TYPE_CHECKING:
    from typing import Any

__all__ = ["documents"]


def __getattr__(name: str) -> Any:
    if name == "documents":
        from harness_tasks.rows import documents

        return documents
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
