"""Choices that share a context, scored in one pass, get the log-probabilities of lm_eval's own `hf`."""

from pathlib import Path

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    MambaConfig,
    PreTrainedTokenizerFast,
)

from harness_tasks.rows import Options, build_documents
from harness_tasks.targets import get_target
from xscale.errors import UserError
from xscale.evaluation.shared_context import SharedContextLM

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
CONFIGS = {
    "llama": lambda words: LlamaConfig(vocab_size=words, max_position_embeddings=1024, **SIZES),
    "gpt2": lambda words: GPT2Config(vocab_size=words, n_positions=1024, n_embd=32, n_layer=2, n_head=4),
    "mamba": lambda words: MambaConfig(vocab_size=words, hidden_size=32, num_hidden_layers=2, state_size=4),
}


def saved(folder: Path, kind: str) -> str:
    alphabet = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<|endoftext|>"]
    bytewise = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    bytewise.pre_tokenizer, bytewise.decoder = (
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        decoders.ByteLevel(),
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bytewise, eos_token="<|endoftext|>")
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(CONFIGS[kind](len(tokenizer)))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)  # far from uniform answers
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def requests() -> list[Instance]:
    found = []
    for name, language in (("xcopa", "et"), ("xnli", "de"), ("xnli", "th")):
        target = get_target(name)
        documents = build_documents(name, language, "test", Options(data="bundled"))[:12]
        for number, document in enumerate(documents):
            context = target.context(document, target.words(language))
            for k, choice in enumerate(target.choices(document, target.words(language))):
                text = f" {choice}" if context else choice
                place = (f"{name}_{language}", number, 1)
                found.append(Instance("loglikelihood", document, (context, text), k, place))
    return found


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_equal_to_hf(kind: str, tmp_path: Path) -> None:
    arguments = {"pretrained": saved(tmp_path, kind), "device": "cpu", "dtype": "float32", "batch_size": 4}
    asked = requests()
    expected = HFLM(**arguments).loglikelihood(asked, disable_tqdm=True)
    got = SharedContextLM(**arguments).loglikelihood(asked, disable_tqdm=True)
    assert len(got) == len(asked)
    for (score, greedy), (wanted, as_greedy) in zip(got, expected, strict=True):
        assert score == pytest.approx(wanted, rel=1e-5, abs=1e-5) and greedy == as_greedy
    assert len({round(score, 3) for score, _ in got}) > len(got) / 2  # not all alike


def test_requests_longer_than_the_model_takes_are_cut_as_hf_cuts_them(tmp_path: Path) -> None:
    arguments = {"pretrained": saved(tmp_path, "llama"), "device": "cpu", "dtype": "float32", "batch_size": 4}
    arguments["max_length"] = 120
    asked = requests()
    stock = HFLM(**arguments)
    fits = [r for r in asked if len(stock.tok_encode(r.args[1])) <= 119]
    assert len(fits) > 10
    expected = stock.loglikelihood(fits, disable_tqdm=True)
    got = SharedContextLM(**arguments).loglikelihood(fits, disable_tqdm=True)
    assert [s for s, _ in got] == pytest.approx([s for s, _ in expected], rel=1e-5, abs=1e-5)


def test_a_model_with_a_state_instead_of_attention_is_refused(tmp_path: Path) -> None:
    model = SharedContextLM(pretrained=saved(tmp_path, "mamba"), device="cpu", dtype="float32", batch_size=4)
    with pytest.raises(UserError, match="use hf"):
        model.loglikelihood(requests(), disable_tqdm=True)
