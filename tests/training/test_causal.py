"""Causal language models: trained on the prompts that the tasks are scored with, and scored by lm_eval's hf."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import make_recipe, make_tokenizer

from harness_tasks.rows import Options, build_documents
from harness_tasks.targets import doc_to_choice, doc_to_text
from xscale.encoding import document_pairs
from xscale.errors import UserError
from xscale.experiment import Mixing, Target
from xscale.training.phases import train_recipe
from xscale.training.prompts import prompt_of
from xscale.training.samples import check_recipe
from xscale.training.tasks import TASKS, Example, load_examples


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("causal")
    documents = build_documents("xnli", "en", "validation", Options(data="bundled"))
    tokenizer = make_tokenizer([doc["premise"] for doc in documents])
    tokenizer.add_special_tokens({"bos_token": "<s>", "eos_token": "</s>"})
    tokenizer.model_max_length = 512
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=512,
        n_embd=32,
        n_layer=2,
        n_head=2,
        bos_token_id=0,
        eos_token_id=2,
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def causal_recipe(base: Path, **changes: Any) -> Any:
    targets = {"xnli": Target(train=[]), "xcopa": Target(train=[])}
    return make_recipe(base, objective="causal_lm", targets=targets, **changes)


@pytest.mark.parametrize("target", ["xnli", "xcopa"])
def test_the_text_is_the_tasks_prompt_with_the_right_answer(target: str) -> None:
    task = TASKS["mnli" if target == "xnli" else "copa"]
    for document in build_documents(target, "en", "validation", Options(data="bundled"))[:40]:
        example = Example(document_pairs(document), document["label"])
        if target == "xnli":
            expected = doc_to_choice(document)[document["label"]]
        else:
            expected = f"{doc_to_text(document)} {doc_to_choice(document)[document['label']]}"
        assert prompt_of(example, task) == expected


def test_a_ladder_of_causal_models_trains(base: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    recipe = causal_recipe(
        base, size=200, intermediate=["bundled_nli"], phase={"epochs": 2, "learning_rate": 3e-3}
    )
    check_recipe(recipe)
    record = train_recipe(recipe, tmp_path / "checkpoints" / "tiny")
    (phase,) = record["phases"]
    assert phase["loss_last"] < 0.9 * phase["loss_first"]
    folder = tmp_path / "checkpoints" / "tiny"
    assert {path.name for path in folder.iterdir()} == {"model", "recipe.json", "README.md"}
    text = load_examples(TASKS["bundled_nli"], "bundled").examples[5]
    from xscale.training.phases import load_tokenizer

    ids = load_tokenizer(str(folder / "model"))(prompt_of(text, TASKS["bundled_nli"]), return_tensors="pt")[
        "input_ids"
    ]
    losses = [
        AutoModelForCausalLM.from_pretrained(path)(input_ids=ids, labels=ids).loss.item()
        for path in (base, folder / "model")
    ]
    assert losses[1] < 0.9 * losses[0]


def test_adapters_train_a_causal_model_and_are_merged_into_an_ordinary_checkpoint(
    base: Path, tmp_path: Path
) -> None:
    """Only adapters get a gradient and Adam's moments; what they change is just the matrices that they stand beside."""
    pytest.importorskip("peft")
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    from xscale.experiment import LoRA
    from xscale.training import loop

    trained: set[str] = set()
    original = loop._optimizer

    def optimizer(parameters: dict[str, Any], phase: Any) -> Any:
        trained.update(parameters)
        return original(parameters, phase)

    recipe = causal_recipe(
        base,
        size=200,
        intermediate=["bundled_nli", "bundled_copa"],
        mixing=Mixing(rule="uniform"),
        lora=LoRA(rank=4),
        phase={"epochs": 2, "learning_rate": 1e-2},
    )
    check_recipe(recipe)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_optimizer", optimizer)
        record = train_recipe(recipe, tmp_path / "checkpoints" / "tiny")
    assert trained and all(".lora_" in name for name in trained)
    assert record["phases"][0]["loss_last"] < record["phases"][0]["loss_first"]
    folder = tmp_path / "checkpoints" / "tiny" / "model"
    before = load_file(base / "model.safetensors")
    after = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {f"transformer.h.{layer}.attn.c_attn.weight" for layer in (0, 1)}
    assert not list((tmp_path / "checkpoints").glob(".shared/*"))


def test_a_text_begins_with_the_token_that_lm_eval_puts_before_it(base: Path) -> None:
    from xscale.training.heads import encode
    from xscale.training.phases import load_tokenizer

    tokenizer = load_tokenizer(str(base))
    tokenizer.backend_tokenizer.post_processor = None  # as GPT-2's: nothing is added
    (item,) = encode(tokenizer, [Example([("the dog", "")], 0)], "causal_lm", 16)
    assert item.ids[0][0] == tokenizer.bos_token_id and item.ids[0].count(tokenizer.bos_token_id) == 1


def test_what_has_no_prompt_or_is_no_causal_model_is_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="freezing is for encoders"):
        train_recipe(causal_recipe(base, phase={"freeze": "embeddings"}), tmp_path / "a")
    tagged = Example([("a b", "")], 0, tags=(0, 1))
    with pytest.raises(UserError, match=r"ccg \(token_classification\) has no prompt"):
        prompt_of(tagged, TASKS["ccg"])


def test_a_whole_run_is_scored_by_hf(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from xscale.cli.main import app

    experiment = {
        "name": "causal",
        "data": "bundled",
        "base": str(base),
        "objective": "causal_lm",
        "intermediate": "bundled_nli",
        "sizes": [0, 64],
        "targets": {"xnli": {"train": []}},
        "training": {"intermediate": {"epochs": 1, "freeze": "nothing", "max_length": 64}},
        "evaluation": {"xnli": {"languages": ["en"], "limit": 12}},
    }
    (tmp_path / "causal.yaml").write_text(json.dumps(experiment))
    manifest = tmp_path / "m.json"
    result = CliRunner().invoke(
        app, ["run", str(tmp_path / "causal.yaml"), "--manifest", str(manifest)], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    entries = json.loads(manifest.read_text())["entries"]
    assert [entry["model"] for entry in entries] == ["hf", "hf"]
    assert entries[1]["model_args"] == {"pretrained": "checkpoints/causal-64-seed1/model"}
    assert (tmp_path / "results" / "causal-64-seed1" / "predictions.parquet").exists()
