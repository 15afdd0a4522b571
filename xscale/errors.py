"""The errors that are meant for a person."""

from harness_tasks.errors import UserError

__all__ = ["JobsFailed", "UserError"]


class JobsFailed(UserError):
    """Some jobs of a run failed, the others were done: one line that names each with its reason (exit code 2)."""
