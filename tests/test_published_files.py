"""Base models as they are published: mDeBERTa-v3 has its tokenizer as spm.model only."""

import json
from pathlib import Path

import pytest
import tiny_model

from harness_tasks.sources import read_rows

LANGUAGES = ("de", "en", "hi", "sw", "th", "zh")


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """A folder laid out like microsoft/mdeberta-v3-base: config.json, spm.model, tokenizer_config.json and weights; small."""
    sentencepiece = pytest.importorskip("sentencepiece")
    torch = pytest.importorskip("torch")
    from transformers import DebertaV2Config, DebertaV2Model

    folder = tmp_path_factory.mktemp("mdeberta")
    texts = [
        row["premise"] for code in LANGUAGES for row in read_rows("facebook/xnli", code, "test", "bundled")
    ]
    (folder / "texts").write_text("\n".join(texts), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "texts"),
        model_prefix=str(folder / "spm"),
        vocab_size=1000,
        model_type="unigram",
        character_coverage=0.9995,
        pad_id=0,
        bos_id=1,
        eos_id=2,
        unk_id=3,
        pad_piece="[PAD]",
        bos_piece="[CLS]",
        eos_piece="[SEP]",
        unk_piece="[UNK]",
        minloglevel=2,
    )
    (folder / "texts").unlink()
    (folder / "spm.vocab").unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False, "vocab_type": "spm"}))
    torch.manual_seed(0)
    config = DebertaV2Config(
        vocab_size=1001,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        type_vocab_size=0,
        relative_attention=True,
        position_buckets=16,
        pos_att_type=["p2c", "c2p"],
        position_biased_input=False,
        pad_token_id=0,
        pooler_hidden_size=16,
    )
    DebertaV2Model(config).save_pretrained(folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "spm.model",
        "tokenizer_config.json",
    ]
    return folder


def test_its_tokens_are_those_of_sentencepiece(published, tmp_path):
    import sentencepiece

    from xscale.tokenizer_files import published_tokenizer

    theirs = sentencepiece.SentencePieceProcessor(model_file=str(published / "spm.model"))
    tokenizer = published_tokenizer(published)
    full_width = "下雨了，他说。"  # nmt_nfkc makes the comma another
    assert tokenizer(full_width)["input_ids"][1:-1] == theirs.encode(full_width)
    tokenizer.save_pretrained(tmp_path)  # as a checkpoint keeps it
    (tmp_path / "config.json").write_text((published / "config.json").read_text())
    again = published_tokenizer(tmp_path)
    assert again(full_width)["input_ids"] == tokenizer(full_width)["input_ids"]
    for code in LANGUAGES:
        for row in read_rows("facebook/xnli", code, "validation", "bundled")[:20]:
            ids = tokenizer(row["premise"], row["hypothesis"])["input_ids"]
            first, second = theirs.encode(row["premise"]), theirs.encode(row["hypothesis"])
            assert ids == [1, *first, 2, *second, 2], code


def test_it_is_trained_and_scored(published, tmp_path):
    experiment = tmp_path / "tiny.yaml"
    experiment.write_text(tiny_model.EXPERIMENT.format(base=published, sizes="[0, 16]"))
    code, _, errors = tiny_model.call("run", experiment, "--manifest", tmp_path / "m.json")
    assert code == 0, errors
    assert len(list((tmp_path / "results").glob("*/predictions.parquet"))) == 2
