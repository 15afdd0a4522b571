"""Subsets of the test rows: which rows belong, a user's own, the command that builds what ships."""

from harness_tasks.subsets.membership import anchor_fingerprint
from harness_tasks.subsets.user import load_membership

__all__ = ["anchor_fingerprint", "load_membership"]
