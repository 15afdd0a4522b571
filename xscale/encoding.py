"""How an example becomes text pairs for an encoder, the same in training and in evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NLI_LABELS = ("entailment", "neutral", "contradiction")


def nli_pair(premise: str, hypothesis: str) -> tuple[str, str]:
    """One pair a document: premise, hypothesis."""
    return premise, hypothesis


def copa_pairs(premise: str, choices: list[str], question: str) -> list[tuple[str, str]]:
    """One pair a choice, the cause before the effect, so that no question text in some language is needed.

    Raises ValueError when `question` is neither `cause` nor `effect`.
    """
    if question == "cause":
        return [(choice, premise) for choice in choices]
    if question == "effect":
        return [(premise, choice) for choice in choices]
    raise ValueError(f"question is 'cause' or 'effect', not {question!r}")


def takes_token_types(config: Any) -> bool:
    """Whether a model with that transformers configuration can be told which text of a pair a token is of (BERT's
    segments, Devlin et al. 2019); others have no or one such embedding."""
    return (getattr(config, "type_vocab_size", None) or 0) > 1


def document_pairs(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The pairs of a task document: one for XNLI, one for each choice of XCOPA."""
    if document["target"] == "xnli":
        return [nli_pair(document["premise"], document["hypothesis"])]
    return copa_pairs(document["premise"], [document["choice1"], document["choice2"]], document["question"])
