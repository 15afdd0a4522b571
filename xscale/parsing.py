"""Strict reading of YAML and JSON, under its former name: see `harness_tasks.parsing`."""

from harness_tasks.parsing import explain_defect, parse_model, read_model, read_text

__all__ = ["explain_defect", "parse_model", "read_model", "read_text"]
