"""The targets as data: one file a target, a registry, and how their rows are read."""

from harness_tasks.targets.reading import read_target
from harness_tasks.targets.record import Place, Subset, Target
from harness_tasks.targets.registry import (
    all_language_groups,
    asked_as,
    doc_to_choice,
    doc_to_target,
    doc_to_text,
    document_pairs,
    get_target,
    language_groups,
    languages,
    location,
    shipped_targets,
    targets,
    use_targets_file,
)

__all__ = [
    "Place",
    "Subset",
    "Target",
    "all_language_groups",
    "asked_as",
    "doc_to_choice",
    "doc_to_target",
    "doc_to_text",
    "document_pairs",
    "get_target",
    "language_groups",
    "languages",
    "location",
    "read_target",
    "shipped_targets",
    "targets",
    "use_targets_file",
]
