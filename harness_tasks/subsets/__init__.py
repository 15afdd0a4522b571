"""Subsets of the test rows: registry, membership, and the command that builds it."""

from harness_tasks.subsets.membership import anchor_fingerprint, load_membership
from harness_tasks.subsets.registry import REGISTRY, Subset, subsets_of

__all__ = ["REGISTRY", "Subset", "anchor_fingerprint", "load_membership", "subsets_of"]
