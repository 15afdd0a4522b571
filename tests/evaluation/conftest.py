"""A cache for each test, and checkpoints for all of them."""

import os

os.environ.setdefault("TQDM_DISABLE", "1")

from pathlib import Path

import pytest
import tiny_model
from small_checkpoints import make_checkpoint

from xscale.manifest import Entry


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees what another one left in the cache, on disk or in memory."""
    from xscale.evaluation import tokens

    monkeypatch.setenv("XSCALE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tokens, "_memory", type(tokens._memory)())
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.make_base(tmp_path_factory.mktemp("base") / "base", token_types=True)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint") / "both", tiny_base)


@pytest.fixture
def entry(checkpoint: Path) -> Entry:
    return Entry(id="both", model="xscale", model_args={"pretrained": str(checkpoint)})


@pytest.fixture(scope="module")
def causal_lm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 of one layer with random weights over bytes."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("lm")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(
        models.BPE({c: i for i, c in enumerate(["<|endoftext|>", *alphabet])}, [], unk_token=None)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|endoftext|>", bos_token="<|endoftext|>"
    )
    torch.manual_seed(3)
    config = GPT2Config(
        vocab_size=257, n_positions=512, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
    )
    model = GPT2LMHeadModel(config)
    for parameter in model.parameters():
        if parameter.dim() == 2:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder
