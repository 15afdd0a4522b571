"""The former name of `answers` and `models`."""

from xscale.evaluation.answers import PARTIAL, RESULTS, Selection, evaluate_entry, is_current, result_key
from xscale.evaluation.models import build_model, load_tasks

__all__ = [
    "PARTIAL",
    "RESULTS",
    "Selection",
    "build_model",
    "evaluate_entry",
    "is_current",
    "load_tasks",
    "result_key",
]
