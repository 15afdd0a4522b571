"""How an example becomes text pairs for an encoder, the same in training and in evaluation."""

from __future__ import annotations

from typing import Any

from harness_tasks.targets import document_pairs
from harness_tasks.targets.forms import NLI_LABELS, copa_pairs, nli_pair

# Goes up when the tokens of a document, or what the model is told of them, could change: answers count by it.
ENCODING_VERSION = 1

__all__ = ["ENCODING_VERSION", "NLI_LABELS", "copa_pairs", "document_pairs", "nli_pair", "takes_token_types"]


def takes_token_types(config: Any) -> bool:
    """Whether a model with that transformers configuration can be told which text of a pair a token is of (BERT's
    segments, Devlin et al. 2019); others have no or one such embedding."""
    return (getattr(config, "type_vocab_size", None) or 0) > 1
