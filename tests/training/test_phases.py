"""Whole trainings of tiny models: architectures, several tasks at once, masked LM, translations, choosing a step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny import make_base, make_recipe

from xscale.errors import UserError
from xscale.experiment import Development, MaskedLM, Mixing, OwnTask, Phase, Target
from xscale.training.heads import collate, encode, mask_tokens, model_with_head, share_encoder
from xscale.training.loop import learning_rate_factor, plan_batches
from xscale.training.phases import load_tokenizer, train_recipe
from xscale.training.samples import check_recipe
from xscale.training.tasks import Example


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


def all_weights(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}


def moved(encoder: Path, base: Path, part: str) -> bool:
    """Whether any encoder weight whose name has `part` after a dot differs from the base's."""
    one, two = all_weights(encoder), all_weights(base)
    names = [name for name in one if f".{part}" in f".{name}" and name in two]
    assert names
    return any(not torch.equal(one[name], two[name]) for name in names)


@pytest.mark.parametrize("architecture", ["bert", "xlm-roberta", "deberta-v2"])
def test_every_architecture_trains_and_loads_as_an_ordinary_checkpoint(
    architecture: str, tmp_path: Path
) -> None:
    from transformers import AutoModel, AutoModelForMultipleChoice, AutoModelForSequenceClassification

    base = make_base(tmp_path / "base", architecture)
    targets = {
        "xnli": Target(train=["bundled_nli_target"], size=16),
        "xcopa": Target(train=["bundled_copa"], size=16),
    }
    recipe = make_recipe(base, targets=targets, phase={"freeze": "embeddings", "freeze_layers": 1})
    check_recipe(recipe)
    folder, baseline = tmp_path / "checkpoints" / "tiny", tmp_path / "checkpoints" / "zero"
    train_recipe(recipe, folder)
    train_recipe(recipe.model_copy(update={"size": 0}), baseline)
    assert not (baseline / "encoder").exists()  # it is the base
    assert not moved(folder / "encoder", base, "embeddings.")
    assert not moved(folder / "encoder", base, "layer.0.")
    assert moved(folder / "encoder", base, "layer.1.")
    ids = torch.tensor([[0, 5, 6, 2]])
    assert AutoModel.from_pretrained(folder / "encoder")(input_ids=ids).last_hidden_state.shape == (1, 4, 32)
    model = AutoModelForSequenceClassification.from_pretrained(folder / "xnli")
    assert model(input_ids=ids).logits.shape == (1, 3)
    assert model.config.id2label == {0: "entailment", 1: "neutral", 2: "contradiction"}
    assert model.config.xscale_max_length == 48
    choice = AutoModelForMultipleChoice.from_pretrained(folder / "xcopa")
    assert choice(input_ids=ids[:, None].expand(1, 2, 4)).logits.shape == (1, 2)


def test_bert_is_told_which_text_of_a_pair_a_token_is_of_and_others_are_not(tmp_path: Path) -> None:
    """Only where the model has more than one type embedding, whatever its tokenizer says."""
    name = "embeddings.token_type_embeddings.weight"
    for architecture, told in (("bert", True), ("xlm-roberta", False), ("deberta-v2", False)):
        base = make_base(tmp_path / architecture, architecture)
        tokenizer = load_tokenizer(str(base))
        (item,) = encode(tokenizer, [Example([("the dog", "a man saw")], 0)], "pair_classification", 32)
        inputs = collate([item], "pair_classification", tokenizer)
        if not told:
            assert "token_type_ids" not in inputs
            continue
        expected = tokenizer("the dog", "a man saw", return_tensors="pt")
        assert torch.equal(inputs["token_type_ids"], expected["token_type_ids"])
        assert 0 < int(inputs["token_type_ids"].sum()) < item.length
        train_recipe(make_recipe(base), tmp_path / "checkpoints" / architecture)
        before, after = (
            all_weights(folder)[name] for folder in (base, tmp_path / "checkpoints" / "bert" / "encoder")
        )
        assert not torch.equal(before[1], after[1])  # the second text's embedding was trained


def test_several_tasks_train_one_encoder(base: Path, tmp_path: Path) -> None:
    rows = [
        {"question": "the dog", "context": "the dog saw a man", "answer": "a man", "answer_start": 12}
    ] * 40
    (tmp_path / "span.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    own = {"spans": OwnTask(file=str(tmp_path / "span.jsonl"), head="span")}
    names = ["bundled_nli", "bundled_copa", "spans"]
    recipe = make_recipe(base, intermediate=names, size=90, tasks=own, mixing=Mixing(rule="uniform"))
    check_recipe(recipe)
    record = train_recipe(recipe, tmp_path / "checkpoints" / "tiny")
    rows_by_task = {
        phase["task"]: phase["rows"] for phase in record["phases"] if phase["phase"] == "intermediate"
    }
    assert rows_by_task == {"bundled_nli": 30, "bundled_copa": 30, "spans": 30}
    larger = recipe.model_copy(update={"size": 180})
    record = train_recipe(larger, tmp_path / "checkpoints" / "larger")
    rows_by_task = {
        phase["task"]: phase["rows"] for phase in record["phases"] if phase["phase"] == "intermediate"
    }
    assert rows_by_task == {"bundled_nli": 70, "bundled_copa": 70, "spans": 40}  # all 40 there are


def test_a_shared_encoder_is_one(base: Path) -> None:
    first = model_with_head(str(base), "multiple_choice", (), 1, None)
    others = [
        model_with_head(str(base), head, ("a", "b"), 1, None) for head in ("pair_classification", "masked_lm")
    ]
    for other in others:
        share_encoder(first, other)
        assert other.base_model.embeddings is first.base_model.embeddings
        assert other.base_model.encoder is first.base_model.encoder
    decoder = others[1].get_output_embeddings().weight
    assert decoder is first.base_model.embeddings.word_embeddings.weight  # tied to the shared embeddings


def test_masked_lm_trains_beside_the_intermediate_task(base: Path, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    for language in ("de", "sw"):
        (tmp_path / "texts" / f"{language}.txt").write_text(
            "the dog saw a man\nthe old house was not far\n" * 10
        )
    masked = MaskedLM(texts=str(tmp_path / "texts"), ratio=0.25)
    recipe = make_recipe(base, size=48, masked_lm=masked)
    check_recipe(recipe)
    record = train_recipe(recipe, tmp_path / "checkpoints" / "tiny")
    phases = {phase["task"]: phase for phase in record["phases"] if phase["phase"] == "intermediate"}
    assert phases["masked_lm"]["rows"] == 40
    assert (
        phases["bundled_nli"]["steps"] == 6 + 2
    )  # 48 rows in batches of 8, and a quarter of all updates on texts


def test_losses_and_work_are_recorded_for_each_task_of_a_mixture(base: Path, tmp_path: Path) -> None:
    """Pairs begin near ln 3, choices near ln 2, and a row of two choices is two sequences."""
    import math

    recipe = make_recipe(
        base,
        intermediate=["bundled_nli", "bundled_copa"],
        size=160,
        mixing=Mixing(rule="uniform"),
        phase={"learning_rate": 1e-6, "epochs": 2},
    )
    record = train_recipe(recipe, tmp_path / "checkpoints" / "tiny")
    nli, copa, target = record["phases"]
    assert (nli["updates"], copa["updates"], nli["steps"]) == (20, 20, 40)
    assert (nli["sequences"], copa["sequences"]) == (160, 320)
    assert 160 * 4 < nli["tokens"] < 160 * 48 and target["updates"] == target["steps"]
    assert abs(nli["loss_first"] - math.log(3)) < abs(nli["loss_first"] - math.log(2))
    assert abs(copa["loss_first"] - math.log(2)) < abs(copa["loss_first"] - math.log(3))


def test_all_languages_are_scored_at_every_look_and_a_collapsed_run_is_marked(
    base: Path, tmp_path: Path
) -> None:
    recipe = make_recipe(
        base,
        size=0,
        development=Development(choose="average", times=3, rows=60, validation_rows=10),
        phase={"learning_rate": 1e-9},
    )
    record = train_recipe(recipe, tmp_path / "checkpoints" / "tiny")
    scores = record["development"]["xnli"]
    assert [step for step, _ in scores["validation_scores"]] == [1, 3, 4]
    assert all(len(others) == 14 and "en" not in others for _, others in scores["validation_scores"])
    assert scores["collapsed"] is True and scores["commonest_label"] == pytest.approx(1 / 3, abs=0.1)
    card = (tmp_path / "checkpoints" / "tiny" / "README.md").read_text()
    assert "the mean of the weights at 3 steps of 4 was kept (average)" in card
    assert "This training of xnli collapsed" in card


def test_a_target_is_not_tuned_on_the_rows_of_the_intermediate_phase(base: Path, tmp_path: Path) -> None:
    """Of one set: disjoint while there are rows enough, and counted where there are not."""
    recipe = make_recipe(
        base,
        intermediate=["bundled_nli_target"],
        size=500,
        targets={"xnli": Target(train=["bundled_nli_target"], size=200)},
    )
    record = train_recipe(recipe, tmp_path / "checkpoints" / "tiny")
    assert record["phases"][1]["rows_also_intermediate"] == 0
    usable = 767
    large = recipe.model_copy(update={"size": 700, "phases": recipe.phases})
    record = train_recipe(large, tmp_path / "checkpoints" / "large")
    assert record["phases"][1]["rows_also_intermediate"] == 700 + 200 - usable
    card = (tmp_path / "checkpoints" / "large" / "README.md").read_text()
    assert "133 of its 200 rows of bundled_nli_target were trained on in the intermediate phase, too" in card


def test_the_size_of_the_whole_set_is_all_that_may_be_trained_on(base: Path) -> None:
    """One of 768 rows is in the targets' evaluation sets; a ladder's last point can still be the whole set."""
    from xscale.training.samples import intermediate_samples

    recipe = make_recipe(base, intermediate=["bundled_nli_target"], size=768)
    (sample,) = intermediate_samples(recipe)
    assert (len(sample.order), sample.rows_here) == (767, 768)


def test_masked_lm_from_a_set_of_the_mirror(base: Path, tmp_path: Path, real_data: Path) -> None:
    masked = MaskedLM(
        dataset="google/xtreme",
        configs=["tatoeba.deu", "tatoeba.swh"],
        split="validation",
        field="source_sentence",
        rows=40,
    )
    recipe = make_recipe(base, size=16, masked_lm=masked, data=str(real_data), intermediate=["snli"])
    record = train_recipe(recipe, tmp_path / "checkpoints" / "tiny")
    assert [phase["rows"] for phase in record["phases"]][:2] == [16, 80]


def test_translated_rows_are_read_and_mixed(base: Path, tmp_path: Path) -> None:
    rows = [{"premise": f"der Hund {i}", "hypothesis": "ein Tier", "label": i % 3} for i in range(30)]
    folder = tmp_path / "mirror" / "facebook" / "xnli" / "de"
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = make_recipe(
        base,
        intermediate=["bundled_nli", "mnli@de"],
        mixing=Mixing(rule="uniform"),
        size=40,
        data=str(tmp_path / "mirror"),
        targets={"xnli": Target(train=["bundled_nli_target"], size=16)},
    )
    record = train_recipe(recipe, tmp_path / "checkpoints" / "tiny")
    assert [(phase["task"], phase["rows"]) for phase in record["phases"]][:2] == [
        ("bundled_nli", 20),
        ("mnli@de", 20),
    ]
    assert "facebook/xnli de test" in record["phases"][1]["leakage_not_checked"]


def test_fixed_updates_are_the_same_for_every_size(base: Path, tmp_path: Path) -> None:
    for size in (24, 96):
        recipe = make_recipe(base, size=size, phase={"updates": "fixed", "budget": 9})
        record = train_recipe(recipe, tmp_path / str(size) / "tiny")
        assert [phase["steps"] for phase in record["phases"]] == [9, 9]


def test_the_best_step_is_chosen_by_the_english_development_set(base: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"rows": 60, "validation_rows": 10}
    recipe = make_recipe(
        base,
        development=Development(choose="best", times=4, **options),
        phase={"epochs": 4, "learning_rate": 3e-3},
    )
    record = train_recipe(recipe, tmp_path / "best" / "tiny")
    scores = record["development"]["xnli"]
    assert [step for step, _ in scores["english_scores"]] == [4, 8, 12, 16]
    best = max(score for _, score in scores["english_scores"])
    assert scores["english"] == best == dict(scores["english_scores"])[scores["step"]]
    assert scores["step"] == next(step for step, score in scores["english_scores"] if score == best)
    assert len(scores["validation"]) == 14 and "en" not in scores["validation"]
    last = recipe.model_copy(update={"development": Development(choose="last", **options)})
    scores = train_recipe(last, tmp_path / "last" / "tiny")["development"]["xnli"]
    assert scores["step"] == 16 and len(scores["english_scores"]) == 1
    none = recipe.model_copy(update={"development": Development(choose="none")})
    assert "development" not in train_recipe(none, tmp_path / "none" / "tiny")
    one, two = (all_weights(tmp_path / name / "tiny" / "xnli") for name in ("last", "none"))
    assert all(torch.equal(one[name], two[name]) for name in one)  # looking does not change what is trained


def test_the_kept_weights_are_those_of_the_best_step(base: Path, tmp_path: Path) -> None:
    """They give the score that chose them when the checkpoint is loaded and scored again."""
    from transformers import AutoModelForSequenceClassification

    from xscale.training.development import accuracy, development_set

    recipe = make_recipe(
        base,
        development=Development(choose="best", times=8, rows=150, validation_rows=0),
        phase={"epochs": 4, "learning_rate": 3e-3},
    )
    record = train_recipe(recipe, tmp_path / "best" / "tiny")
    head = tmp_path / "best" / "tiny" / "xnli"
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(head), load_tokenizer(str(head))
    english = development_set("xnli", "en", "pair_classification", 150, "bundled", tokenizer, 48)
    scores = record["development"]["xnli"]
    assert accuracy(model, english, tokenizer, torch.device("cpu"), "fp32") == scores["english"]
    assert len({score for _, score in scores["english_scores"]}) > 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 10**6}, r"sizes: size 1000000 is larger than bundled_nli, which has 7200 usable rows"),
        ({"intermediate": ["nli"]}, r"training task 'nli': unknown"),
        (
            {"targets": {"xnli": Target(train=["bundled_copa"])}},
            r"'bundled_copa' is a multiple_choice task, xnli needs",
        ),
        (
            {"targets": {"xnli": Target(train=["bundled_nli_target"], size=769)}},
            r"767 usable .*1 that are in the",
        ),
        ({"base": "./nowhere"}, r"no transformers checkpoint"),
    ],
)
def test_what_does_not_fit_is_said_before_training(
    changes: dict[str, Any], message: str, base: Path, tmp_path: Path
) -> None:
    recipe = make_recipe(base).model_copy(update=changes)
    with pytest.raises(UserError, match=message):
        check_recipe(recipe)
        train_recipe(recipe, tmp_path / "checkpoints" / "tiny")
    assert not (tmp_path / "checkpoints" / "tiny").exists()


def test_the_learning_rate_rises_and_falls_linearly() -> None:
    factors = [learning_rate_factor(step, 20, 0.25) for step in range(20)]
    assert factors[:5] == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6])
    assert factors[5:] == pytest.approx([(20 - step) / 15 for step in range(5, 20)])
    assert learning_rate_factor(0, 1, 0.1) == 1.0


def test_every_epoch_meets_every_row_once_in_batches_of_similar_length() -> None:
    from xscale.training.heads import Encoded

    inputs = [Encoded([[1] * (1 + i % 40)], 0) for i in range(403)]
    phase = Phase(learning_rate=1e-3, epochs=2, batch_size=10)
    plan = plan_batches([inputs], phase, 1)
    assert len(plan) == 82
    for epoch in (plan[:41], plan[41:]):
        assert sorted(row for _, rows in epoch for row in rows) == list(range(403))
    spread = [max(inputs[r].length for r in rows) - min(inputs[r].length for r in rows) for _, rows in plan]
    assert sorted(spread)[len(spread) // 2] <= 2
    assert plan == plan_batches([inputs], phase, 1) != plan_batches([inputs], phase, 2)


def test_masking_follows_bert(base: Path) -> None:
    tokenizer = load_tokenizer(str(base))
    ids = torch.randint(5, len(tokenizer), (200, 100), generator=torch.Generator().manual_seed(0))
    ids[:, 0], ids[:, -1] = 0, 2
    masked, labels = mask_tokens(ids, tokenizer, 1)
    chosen = labels != -100
    assert 0.14 < chosen[:, 1:-1].float().mean() < 0.16
    assert not chosen[:, 0].any() and not chosen[:, -1].any() and chosen.any(dim=1).all()
    assert torch.equal(labels[chosen], ids[chosen]) and torch.equal(masked[~chosen], ids[~chosen])
    assert 0.77 < (masked[chosen] == tokenizer.mask_token_id).float().mean() < 0.83
    _, labels = mask_tokens(torch.tensor([[0, 7, 2, 1], [0, 8, 9, 2]]), tokenizer, 1)
    assert (labels != -100).any(dim=1).all()


def test_adapters_are_trained_saved_and_evaluated(tmp_path: Path) -> None:
    """A checkpoint is its adapters: merged into the base they answer as the trained model did, which is not as the base."""
    pytest.importorskip("peft")
    from harness_tasks.rows import Options, build_documents
    from xscale.evaluation.batches import Section
    from xscale.evaluation.encoder_lm import EncoderLM
    from xscale.experiment import LoRA

    base = make_base(tmp_path / "base")
    targets = {
        "xnli": Target(train=["bundled_nli_target"], size=64),
        "xcopa": Target(train=["bundled_copa"], size=32),
    }
    recipe = make_recipe(
        base,
        targets=targets,
        lora=LoRA(rank=4),
        development=Development(choose="last", rows=90, validation_rows=0),
        phase={"learning_rate": 1e-2, "epochs": 3},
    )
    check_recipe(recipe)
    folder = tmp_path / "checkpoints" / "tiny"
    record = train_recipe(recipe, folder)
    files = {file.name: file.stat().st_size for file in (folder / "xnli").iterdir()}
    assert "adapter_model.safetensors" in files and not any(name.startswith("model") for name in files)
    for target in ("xnli", "xcopa"):
        documents = build_documents(target, "en", "validation", Options(data="bundled"))[:90]
        (found,) = EncoderLM(str(folder)).answers(target, [Section(documents, range(len(documents)))])
        answers = [int(found[position].argmax()) for position in range(len(documents))]
        accuracy = sum(a == doc["label"] for a, doc in zip(answers, documents, strict=True)) / len(documents)
        assert accuracy == pytest.approx(record["development"][target]["english"])
    adapters, encoder = all_weights(folder / "xnli"), all_weights(folder / "encoder")
    assert any(not torch.equal(adapters[name], encoder[name]) for name in encoder if "lora_B" in name)
