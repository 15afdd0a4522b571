"""Label names decide, never their order: of a set that trains XNLI, of tasks that share a head, of a development score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import make_base, make_recipe

from harness_tasks.sources import read_rows
from xscale.errors import UserError
from xscale.experiment import Mixing, OwnTask, Target
from xscale.training.heads import model_with_head
from xscale.training.phases import load_tokenizer, train_recipe
from xscale.training.samples import check_recipe, intermediate_samples, target_samples

NAMES = ["entailment", "neutral", "contradiction"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


def own(folder: Path, labels: list[Any], count: int = 300, name: str = "mine") -> dict[str, OwnTask]:
    """The bundled set's first rows as a user's file; `labels[i]` is what the file has for entailment, neutral, …"""
    rows = read_rows("xscale/nli", "default", "train", "bundled")[:count]
    path = folder / f"{name}.jsonl"
    with path.open("w") as file:
        for row in rows:
            label = labels[row["label"]]
            file.write(
                json.dumps({"text1": row["premise"], "text2": row["hypothesis"], "label": label}) + "\n"
            )
    return {name: OwnTask(file=str(path), head="pair_classification")}


def gold(recipe: Any) -> dict[tuple[str, str], str]:
    """What each pair is trained to be, by name."""
    return {
        sample.examples[row].pairs[0]: sample.labels[sample.examples[row].label]
        for sample in target_samples(recipe, "xnli")
        for row in sample.order
    }


@pytest.mark.parametrize("labels", [NAMES, ["Entailment", " neutral ", "CONTRADICTION"]])
def test_a_users_labels_are_numbered_as_the_targets_answers(
    labels: list[str], base: Path, tmp_path: Path
) -> None:
    """Sorted by name, as the file's own labels are, contradiction would come first."""
    tasks = own(tmp_path, labels)
    targets = {"xnli": Target(train=["bundled_nli", "mine"])}
    recipe = make_recipe(base, tasks=tasks, targets=targets)
    check_recipe(recipe)
    for sample in target_samples(recipe, "xnli"):
        assert sample.labels == tuple(NAMES)
    theirs = gold(recipe.model_copy(update={"targets": {"xnli": Target(train=["mine"])}}))
    builtin = gold(recipe.model_copy(update={"targets": {"xnli": Target(train=["bundled_nli"])}}))
    shared = theirs.keys() & builtin.keys()
    assert len(shared) > 250
    assert all(theirs[pair] == builtin[pair] for pair in shared)


def test_numbers_have_the_names_that_the_experiment_gives_them(base: Path, tmp_path: Path) -> None:
    tasks = own(tmp_path, [2, 0, 1])
    recipe = make_recipe(base, tasks=tasks, targets={"xnli": Target(train=["mine"])})
    with pytest.raises(
        UserError, match=r"targets.xnli.train: mine: its labels are '0', '1', '2'; entailment"
    ):
        check_recipe(recipe)
    named = tasks["mine"].model_copy(update={"labels": ["neutral", "contradiction", "entailment"]})
    recipe = recipe.model_copy(update={"tasks": {"mine": named}})
    check_recipe(recipe)
    builtin = gold(recipe.model_copy(update={"targets": {"xnli": Target(train=["bundled_nli"])}}))
    assert all(builtin[pair] == label for pair, label in gold(recipe).items() if pair in builtin)


@pytest.mark.parametrize("labels", [["yes", "maybe", "no"], ["entailment", "neutral", "neutral"]])
def test_other_labels_are_refused_before_training(labels: list[str], base: Path, tmp_path: Path) -> None:
    recipe = make_recipe(base, tasks=own(tmp_path, labels), targets={"xnli": Target(train=["mine"])})
    with pytest.raises(UserError, match=r"targets.xnli.train: mine: .*entailment, neutral, contradiction"):
        check_recipe(recipe)


def test_tasks_that_share_a_head_have_the_same_labels_in_the_same_order(base: Path, tmp_path: Path) -> None:
    tasks = own(tmp_path, NAMES) | own(tmp_path, ["entailment", "neutral", "other"], name="mine@de")
    recipe = make_recipe(
        base, tasks=tasks, intermediate=["mine", "mine@de"], mixing=Mixing(rule="uniform"), size=20
    )
    with pytest.raises(UserError, match=r"intermediate: mine and mine@de share a head"):
        check_recipe(recipe)
    (tmp_path / "same").mkdir()
    alike = own(tmp_path, NAMES) | own(tmp_path / "same", NAMES, name="mine@de")
    same = recipe.model_copy(update={"tasks": alike})
    assert len({sample.labels for sample in intermediate_samples(same)}) == 1


def test_a_development_score_goes_by_the_names_of_the_models_labels(base: Path) -> None:
    """One model, its columns in two orders, each named rightly: one accuracy."""
    from xscale.training.development import accuracy, development_set

    tokenizer = load_tokenizer(str(base))
    english = development_set("xnli", "en", "pair_classification", 150, "bundled", tokenizer, 48)
    order = [2, 0, 1]
    scores = []
    model = model_with_head(str(base), "pair_classification", NAMES, 1, 0.0)
    torch.nn.init.normal_(model.classifier.out_proj.weight, std=2.0, generator=torch.manual_seed(2))
    scores.append(accuracy(model, english, tokenizer, torch.device("cpu"), "fp32"))
    for parameter in (model.classifier.out_proj.weight, model.classifier.out_proj.bias):
        parameter.data = parameter.data[order].clone()
    wrong = accuracy(model, english, tokenizer, torch.device("cpu"), "fp32")  # the names stay: another model
    model.config.id2label = {i: NAMES[j] for i, j in enumerate(order)}
    scores.append(accuracy(model, english, tokenizer, torch.device("cpu"), "fp32"))
    assert scores[0] == scores[1] != wrong


def test_a_users_file_trains_the_same_head_as_the_built_in_set(base: Path, tmp_path: Path) -> None:
    """The checkpoint's label names and the development score, from training to the folder that is evaluated."""
    from transformers import AutoConfig

    recipe = make_recipe(
        base, tasks=own(tmp_path, NAMES), targets={"xnli": Target(train=["mine"], size=32)}, size=0
    )
    train_recipe(recipe, tmp_path / "checkpoints" / "tiny")
    config = AutoConfig.from_pretrained(tmp_path / "checkpoints" / "tiny" / "xnli")
    assert config.id2label == dict(enumerate(NAMES))
