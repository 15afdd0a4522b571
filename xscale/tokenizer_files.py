"""The tokenizer of a model as its files describe it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_CONVERTED, _SENTENCEPIECE = "tokenizer.json", "spm.model"


def published_tokenizer(model: str | Path) -> Any:
    """The fast tokenizer of a folder or hub id, with the normalisation of its files.

    transformers 5 gives every DeBERTa-v2 and -v3 tokenizer one of its own (NFC) instead of the published one (mDeBERTa-v3:
    SentencePiece's nmt_nfkc), so that the full-width punctuation of Chinese or Thai's sara am become other tokens than those
    that the model was trained on. That is put right here; all other tokenizers are what transformers makes of them.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
    if type(tokenizer).__name__ == "DebertaV2Tokenizer":
        normalizer = _published_normalizer(str(model))
        if normalizer is not None:
            tokenizer.backend_tokenizer.normalizer = normalizer
    return tokenizer


def _published_normalizer(model: str) -> Any:
    """Of `tokenizer.json`, or of `spm.model` where there is none; None where the model has neither."""
    from tokenizers import Regex, Tokenizer, normalizers

    converted, sentencepiece = (_file(model, name) for name in (_CONVERTED, _SENTENCEPIECE))
    if converted is not None:
        return Tokenizer.from_file(str(converted)).normalizer
    if sentencepiece is None:
        return None
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(sentencepiece.read_bytes())
    charsmap = proto.normalizer_spec.precompiled_charsmap
    return normalizers.Sequence(
        [
            normalizers.Strip(),
            *([normalizers.Precompiled(charsmap)] if charsmap else []),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )


def _file(model: str, name: str) -> Path | None:
    if Path(model).is_dir():
        path = Path(model) / name
        return path if path.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(model, name)
    return Path(found) if isinstance(found, str) else None
