"""Tiny random base models of several architectures with a whole tokenizer, made on the spot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

SPECIAL = {
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "cls_token": "<s>",
    "sep_token": "</s>",
    "mask_token": "<mask>",
}
_SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 140,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "initializer_range": 0.2,  # so small a model learns little from the usual 0.02
}


def make_tokenizer(texts: Sequence[str], vocabulary: int = 600, token_types: bool = False) -> Any:
    """Byte-pair encoding trained on `texts`, with special tokens around singles and pairs, as XLM-R has them; with
    `token_types` it gives them to the model, as the tokenizers of BERT and DeBERTa do."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"], show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B:1 </s>:1", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=128,
        model_input_names=["input_ids", *(["token_type_ids"] if token_types else []), "attention_mask"],
        **SPECIAL,
    )


def make_base(folder: Path, architecture: str = "xlm-roberta", texts: Sequence[str] = ()) -> Path:
    """A checkpoint of a random model: bert (mBERT), xlm-roberta or deberta-v2 (mDeBERTa-v3)."""
    import torch
    from transformers import AutoConfig, AutoModel

    tokenizer = make_tokenizer(
        texts or ["the dog saw a man in the old house and it was not far"] * 3,
        token_types=architecture != "xlm-roberta",
    )
    torch.manual_seed(0)
    extra: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": 0,
        "eos_token_id": 2,
    }
    if architecture == "deberta-v2":
        extra |= {
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_buckets": 16,
            "type_vocab_size": 0,
        }
    AutoModel.from_config(AutoConfig.for_model(architecture, **_SIZES, **extra)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_recipe(base: Path, **changes: Any) -> Any:
    """A recipe on the bundled suite that trains in a second; `phase` changes the fields of every phase."""
    from xscale.experiment import Phase, Recipe, Target

    phase = {"learning_rate": 1e-3, "epochs": 1, "batch_size": 8, "max_length": 48, "precision": "fp32"}
    phase |= changes.pop("phase", {})
    fields: dict[str, Any] = {
        "id": "tiny",
        "base": str(base),
        "data": "bundled",
        "intermediate": ["bundled_nli"],
        "size": 64,
        "seed": 1,
        "targets": {"xnli": Target(train=["bundled_nli_target"], size=32)},
        "baseline": None,
    } | changes
    names = ("intermediate", *fields["targets"])
    return Recipe(phases={name: Phase(**phase) for name in names}, **fields)
