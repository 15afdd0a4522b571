"""Subsets of the test rows: the registry, which rows belong, the command that builds it."""

from harness_tasks.subsets.membership import anchor_fingerprint
from harness_tasks.subsets.registry import REGISTRY, Subset, subsets_of
from harness_tasks.subsets.user import load_membership

__all__ = ["REGISTRY", "Subset", "anchor_fingerprint", "load_membership", "subsets_of"]
