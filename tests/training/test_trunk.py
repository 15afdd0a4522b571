"""Frozen lower layers computed once: the same weights, nothing twice, a bounded store."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from tiny import make_base, make_recipe

from xscale import hidden_states
from xscale.errors import UserError
from xscale.experiment import Development, MaskedLM, Mixing, OwnTask, Phase, Target
from xscale.hidden_states import HiddenStates, name_of
from xscale.training import trunk as trunk_module
from xscale.training.heads import Encoded, model_with_head
from xscale.training.phases import train_recipe
from xscale.training.trunk import Trunk, cut

# as in test_processes: Adam must not make whole steps of rounding
PHASE: dict[str, Any] = {"freeze": "embeddings", "freeze_layers": 1, "adam_epsilon": 1e-4, "epochs": 2}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XSCALE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "hidden_states"


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of rows of each pass through frozen layers."""
    seen: list[int] = []
    original = Trunk._run

    def counted(self: Trunk, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        seen.append(len(inputs["input_ids"]))
        return original(self, inputs)

    monkeypatch.setattr(Trunk, "_run", counted)
    return seen


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {
        f"{file.parent.name}/{name}": tensor
        for file in sorted(folder.glob("*/*.safetensors"))
        for name, tensor in load_file(file).items()
    }


def differences(first: Path, second: Path) -> float:
    one, two = weights(first), weights(second)
    assert one.keys() == two.keys() and len(one) > 60
    return max(float((one[name] - two[name]).abs().max()) for name in one)


def everything(base: Path, folder: Path, **changes: Any) -> Any:
    """Pairs, choices, spans and masked LM at once, then both targets, with dropout above the cut and scores on the way."""
    row = {"question": "the dog", "context": "the dog saw a man", "answer": "a man", "answer_start": 12}
    (folder / "span.jsonl").write_text((json.dumps(row) + "\n") * 20)
    (folder / "texts").mkdir(exist_ok=True)
    (folder / "texts" / "de.txt").write_text("the dog saw a man\nthe old house was not far\n" * 10)
    fields = {
        "intermediate": ["bundled_nli", "bundled_copa", "spans"],
        "tasks": {"spans": OwnTask(file=str(folder / "span.jsonl"), head="span")},
        "mixing": Mixing(rule="uniform"),
        "masked_lm": MaskedLM(texts=str(folder / "texts"), ratio=0.2),
        "targets": {
            "xnli": Target(train=["bundled_nli_target"], size=32),
            "xcopa": Target(train=["bundled_copa"], size=16),
        },
        "development": Development(choose="best", times=2, rows=30, validation_rows=4),
        "size": 48,
        "phase": PHASE,
    }
    return make_recipe(base, **(fields | changes))


@pytest.mark.parametrize("architecture", ["bert", "xlm-roberta"])
def test_weights_and_scores_are_those_of_a_training_that_keeps_nothing(
    architecture: str, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = everything(make_base(tmp_path / "base", architecture), tmp_path)
    kept, plain = (tmp_path / name / "tiny" for name in ("kept", "plain"))
    record = train_recipe(recipe, kept)
    assert list(own_cache.glob("*/*/states.npy"))
    monkeypatch.setenv("XSCALE_HIDDEN_STATES", "0")
    expected = train_recipe(recipe, plain)
    assert differences(kept, plain) < 1e-6
    assert record["development"] == expected["development"]
    monkeypatch.delenv("XSCALE_HIDDEN_STATES")
    whole = tmp_path / "whole" / "tiny"
    train_recipe(recipe.model_copy(update={"size": 0}), whole)
    before = weights(whole)
    moved = [name for name, t in weights(kept).items() if name in before and not torch.equal(t, before[name])]
    assert any("layer.1." in name for name in moved) and not any("layer.0." in name for name in moved)


def test_other_sizes_seeds_arms_and_phases_compute_only_new_texts(
    tmp_path: Path, own_cache: Path, runs: list[int]
) -> None:
    base = make_base(tmp_path / "base")
    options: dict[str, Any] = {
        "intermediate": ["bundled_nli"],
        "tasks": {},
        "mixing": None,
        "masked_lm": None,
    }
    recipe = everything(base, tmp_path, **options)
    train_recipe(recipe, tmp_path / "a" / "tiny")
    assert len(list(own_cache.iterdir())) == 1  # one key for both phases
    first = len(runs)
    train_recipe(recipe, tmp_path / "b" / "tiny")
    assert len(runs) - first == 3  # a phase asks for its dtype once
    before = sum(len(np.load(file)) for file in own_cache.glob("*/*/names.npy"))
    larger = recipe.model_copy(update={"size": 60})
    train_recipe(larger, tmp_path / "c" / "tiny")
    after = sum(len(np.load(file)) for file in own_cache.glob("*/*/names.npy"))
    assert 0 < after - before <= 12  # the 12 rows that are new
    assert differences(tmp_path / "a" / "tiny", tmp_path / "b" / "tiny") == 0.0


def test_weights_do_not_depend_on_what_was_kept_before_to_the_last_bit(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an empty store, in one that a smaller size has filled, and in one without room."""
    base = make_base(tmp_path / "base")
    recipe = everything(base, tmp_path)
    train_recipe(recipe, tmp_path / "fresh" / "tiny")
    monkeypatch.setenv("XSCALE_CACHE", str(tmp_path / "other"))
    train_recipe(recipe.model_copy(update={"size": 20, "seed": 4}), tmp_path / "small" / "tiny")
    train_recipe(recipe, tmp_path / "filled" / "tiny")
    monkeypatch.setenv("XSCALE_CACHE", str(tmp_path / "full"))
    monkeypatch.setenv("XSCALE_HIDDEN_STATES", "0.00000001")
    train_recipe(recipe, tmp_path / "none" / "tiny")
    assert not list((tmp_path / "full").rglob("states.npy"))
    for name in ("filled", "none"):
        assert differences(tmp_path / "fresh" / "tiny", tmp_path / name / "tiny") == 0.0


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_texts_states_are_those_that_the_model_makes_of_it(precision: Any, tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", "bert")
    model = model_with_head(str(base), "pair_classification", ("a", "b"), 1, None).eval()
    chance = np.random.default_rng(1)
    ids = [chance.integers(5, 30, length).tolist() for length in (3, 7, 7, 7, 7, 7, 12)]
    inputs = [Encoded([row], 0, [[0] * (len(row) // 2) + [1] * (len(row) - len(row) // 2)]) for row in ids]
    phase = Phase(learning_rate=1e-3, epochs=1, freeze="embeddings", freeze_layers=1)
    expected = []
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
        for item in inputs:
            out = model.base_model(
                input_ids=torch.tensor(item.ids),
                token_type_ids=torch.tensor(item.types),
                output_hidden_states=True,
            )
            expected.append(out.hidden_states[1][0])
    with cut([model], phase, torch.device("cpu"), precision) as trunk:
        assert trunk is not None and len(model.base_model.encoder.layer) == 1
        trunk.prepare(inputs[:5], "test", Accelerator())
        assert trunk.computed == 5
        states = trunk.states(inputs)
        for row, wanted in enumerate(expected):
            assert states.dtype == wanted.dtype
            got = states[row, : len(wanted)]
            assert torch.allclose(got, wanted, atol=1e-6 if precision == "fp32" else 3e-2)
            assert torch.equal(got, trunk.states([inputs[row]])[0])
        assert (states[0, 3:] == 0).all()
    assert (
        len(model.base_model.encoder.layer) == 2 and model.base_model.embeddings.word_embeddings is not None
    )
    assert model.base_model.encoder.layer[0].attention.self.config is model.config


def test_dropout_is_off_below_the_cut_where_nothing_is_kept_too(tmp_path: Path) -> None:
    """DeBERTa's layers are frozen, but not kept: its frozen layers must be as still as those of the others."""
    from xscale.training import loop

    seen: set[tuple[bool, bool, bool]] = set()
    original = loop.loss_of

    def looking(model: Any, *rest: Any) -> torch.Tensor:
        layers = model.base_model.encoder.layer
        seen.add((model.base_model.embeddings.training, layers[0].training, layers[1].training))
        return original(model, *rest)

    recipe = make_recipe(
        make_base(tmp_path / "base", "deberta-v2"),
        phase=PHASE,
        development=Development(choose="best", times=2, rows=6, validation_rows=0),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "loss_of", looking)
        train_recipe(recipe, tmp_path / "checkpoints" / "tiny")
    assert seen == {(False, False, True)}


def test_the_store_is_bounded_and_what_was_not_used_for_longest_goes(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(key: str) -> HiddenStates:
        store = HiddenStates(key, 64, "<f4")
        names = [name_of([number], None) for number in range(10)]
        blocks = ((number, np.full((100, 64), number, dtype=np.float32)) for number in reversed(range(10)))
        assert store.add(names, [100] * 10, blocks)
        return store

    a_key = 10 * 100 * 64 * 4
    monkeypatch.setattr(hidden_states, "limit", lambda: int(3.2 * a_key))
    for number, key in enumerate("abc"):
        fill(key)
        for segment in (own_cache / key).iterdir():
            os.utime(segment, (1000 + number, 1000 + number))
    HiddenStates("a", 64, "<f4")  # read again: now b is the oldest
    store = fill("d")
    assert {path.name for path in own_cache.iterdir() if any(path.iterdir())} == {"a", "c", "d"}
    assert (store.get(name_of([7], None)) == 7).all() and name_of([11], None) not in store
    again = HiddenStates("d", 64, "<f4")
    assert (again.get(name_of([3], None)) == 3).all()
    assert not store.add([name_of([99], None)], [100_000], iter(()))  # more than fits beside what is in use


def test_a_torn_segment_is_passed_over(own_cache: Path) -> None:
    store = HiddenStates("k", 2, "<f4")
    name = name_of([1, 2], [0, 1])
    assert store.add([name], [2], [(0, np.ones((2, 2), dtype=np.float32))])
    (file,) = own_cache.glob("k/*/states.npy")
    file.write_bytes(file.read_bytes()[:-4])
    assert name not in HiddenStates("k", 2, "<f4")
    assert name_of([1, 2], [0, 1]) != name_of([1, 2], None) != name_of([1], [2])


def test_a_wrong_bound_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XSCALE_HIDDEN_STATES", "lots")
    with pytest.raises(UserError, match="XSCALE_HIDDEN_STATES: a number of GiB"):
        hidden_states.limit()


def test_two_models_of_other_frozen_weights_do_not_share_states(tmp_path: Path) -> None:
    keys = set()
    phase = Phase(learning_rate=1e-3, epochs=1, freeze="embeddings", freeze_layers=1)
    for change in (None, "embeddings.word_embeddings.weight", "encoder.layer.0.output.dense.bias", "upper"):
        model = model_with_head(
            str(make_base(tmp_path / str(change))), "pair_classification", ("a", "b"), 1, None
        )
        with torch.no_grad():
            if change == "upper":
                model.base_model.encoder.layer[1].output.dense.bias += 1
            elif change:
                model.base_model.get_parameter(change)[0] += 1
        with cut([model], phase, torch.device("cpu"), "fp32") as trunk:
            assert trunk is not None
            keys.add(trunk._key())
    assert len(keys) == 3
    assert trunk_module.MODEL_TYPES
