"""Heads of targets without choices: a record each, by the name that targets have for it."""

from __future__ import annotations

from xscale.heads.record import Document, Forward, Head, Inputs, Tensors, Text, padded_texts
from xscale.heads.retrieval import RETRIEVAL
from xscale.heads.span import SPAN
from xscale.heads.tags import TAGS

__all__ = ["HEADS", "Document", "Forward", "Head", "Inputs", "Tensors", "Text", "padded_texts"]

HEADS: dict[str, Head] = {head.name: head for head in (SPAN, TAGS, RETRIEVAL)}
