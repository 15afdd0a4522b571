"""The error that is meant for a person."""


class UserError(Exception):
    """A defect in what the user gave: one line that says what, where, and what to do (exit code 2)."""
