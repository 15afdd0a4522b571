"""A killed training goes on to the same weights, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tiny import make_base, make_recipe

from xscale.errors import UserError
from xscale.experiment import Development, Target
from xscale.files import sha256_of_folder
from xscale.training import loop, phases

TRAIN = """
import sys, json
from pathlib import Path
from xscale.experiment import Recipe
from xscale.training import loop
from xscale.training.phases import train_recipe
recipe = Recipe.model_validate_json(Path(sys.argv[1]).read_text())
print("ready", flush=True)
loop.SAVING_SHARE = 1.0  # a state after every update
train_recipe(recipe, Path(sys.argv[2]), save_seconds=0.0)
"""


def recipe_of(base: Path) -> object:
    return make_recipe(
        base,
        size=96,
        targets={
            "xnli": Target(train=["bundled_nli_target"], size=64),
            "xcopa": Target(train=["bundled_copa", "bundled_copa"], size=32),
        },
        development=Development(choose="best", times=3, rows=20, validation_rows=0),
        phase={"epochs": 2},
    )


@pytest.fixture(autouse=True)
def a_state_after_every_update(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where `save_seconds` is 0, whatever writing takes."""
    monkeypatch.setattr(loop, "SAVING_SHARE", 1.0)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def whole(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, float]:
    """The hash of an uninterrupted training in a process of its own, and how long it took after the imports."""
    folder = tmp_path_factory.mktemp("whole")
    process = start(base, folder)
    begin = time.monotonic()
    assert process.wait(300) == 0
    return sha256_of_folder(folder / "checkpoints" / "tiny"), time.monotonic() - begin


def start(base: Path, folder: Path) -> subprocess.Popen[bytes]:
    """A training process, started and past its imports."""
    (folder / "recipe.json").write_text(recipe_of(base).model_dump_json())  # type: ignore[attr-defined]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(phases.__file__).parents[2])}
    process = subprocess.Popen(
        [sys.executable, "-c", TRAIN, str(folder / "recipe.json"), str(folder / "checkpoints" / "tiny")],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


def test_killed_at_random_moments_it_ends_with_the_same_weights(
    base: Path, whole: tuple[str, float], tmp_path: Path
) -> None:
    expected, seconds = whole
    chance = random.Random(3)
    resumed = 0
    for _ in range(3):
        process = start(base, tmp_path)
        while not begun(tmp_path) and process.poll() is None:
            time.sleep(0.01)
        time.sleep(seconds * chance.uniform(0.05, 0.7))
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        resumed += begun(tmp_path)
        if (tmp_path / "checkpoints" / "tiny").exists():
            break
    assert resumed, "no kill met a training at work"
    assert start(base, tmp_path).wait(300) == 0
    assert sha256_of_folder(tmp_path / "checkpoints" / "tiny") == expected
    assert_nothing_is_left(tmp_path / "checkpoints")


def begun(folder: Path) -> bool:
    return any((folder / "checkpoints").glob(".units/*"))


def assert_nothing_is_left(checkpoints: Path) -> None:
    assert {path.name for path in checkpoints.iterdir()} - {".shared", ".units", ".tiny.lock"} == {"tiny"}
    units = json.loads((checkpoints / "tiny" / "recipe.json").read_text())["units"]
    assert {p.name for p in (checkpoints / ".units").iterdir() if p.is_dir()} == set(units.values())
    inside = {path.name for path in (checkpoints / "tiny").iterdir()}
    assert inside == {"encoder", "xnli", "xcopa", "recipe.json", "README.md"}


class Stop(BaseException):
    """As KeyboardInterrupt: not an Exception."""


def interrupted(monkeypatch: pytest.MonkeyPatch, recipe: object, folder: Path, at: int) -> None:
    """Train with an interruption when the `at`-th state has been written."""
    original, count = phases.torch.save, 0

    def save(*arguments: object, **options: object) -> None:
        nonlocal count
        original(*arguments, **options)
        count += 1
        if count == at:
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(phases.torch, "save", save)
        with pytest.raises(Stop):
            phases.train_recipe(recipe, folder, save_seconds=0.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("at", [1, 9, 25, 38, 41, 44])
def test_interrupted_in_any_phase_it_ends_with_the_same_weights(
    at: int, base: Path, whole: tuple[str, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, folder = recipe_of(base), tmp_path / "checkpoints" / "tiny"
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        interrupted(monkeypatch, recipe, folder, at)
        assert not folder.exists()
        record = phases.train_recipe(recipe, folder, save_seconds=0.0)  # type: ignore[arg-type]
    finally:
        torch.set_num_threads(threads)
    assert sha256_of_folder(folder) == whole[0]
    assert [phase["phase"] for phase in record["phases"]] == ["intermediate", "xnli", "xcopa", "xcopa"]
    assert set(record["development"]) == {"xnli", "xcopa"}
    assert_nothing_is_left(tmp_path / "checkpoints")


def test_a_state_of_another_recipe_is_not_taken(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "checkpoints" / "tiny"
    interrupted(monkeypatch, make_recipe(base, seed=2), folder, 3)
    record = phases.train_recipe(make_recipe(base, seed=1), folder)
    assert record["recipe"]["seed"] == 1
    fresh = tmp_path / "fresh" / "tiny"
    phases.train_recipe(make_recipe(base, seed=1), fresh)
    assert sha256_of_folder(fresh) == sha256_of_folder(folder)


def test_a_full_disk_is_said_and_leaves_nothing_torn(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, folder = make_recipe(base), tmp_path / "checkpoints" / "tiny"
    original, count = phases.torch.save, 0

    def save(state: object, path: Path) -> None:
        nonlocal count
        count += 1
        if count == 4:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        original(state, path)

    with monkeypatch.context() as patch:
        patch.setattr(phases.torch, "save", save)
        with pytest.raises(UserError, match="the disk is full .*training goes on from its last state"):
            phases.train_recipe(recipe, folder, save_seconds=0.0)
    assert not folder.exists()
    phases.train_recipe(recipe, folder)
    whole = tmp_path / "whole" / "tiny"
    phases.train_recipe(recipe, whole)
    assert sha256_of_folder(whole) == sha256_of_folder(folder)


def test_training_twice_gives_the_same_weights_and_another_seed_others(base: Path, tmp_path: Path) -> None:
    first, second, other = (tmp_path / name / "tiny" for name in ("a", "b", "c"))
    phases.train_recipe(make_recipe(base), first)
    phases.train_recipe(make_recipe(base), second)
    phases.train_recipe(make_recipe(base, seed=2), other)
    assert sha256_of_folder(first) == sha256_of_folder(second) != sha256_of_folder(other)
    weights = load_file(first / "xnli" / "model-00001-of-00001.safetensors")
    assert any("classifier" in name for name in weights)
    one, three = (json.loads((folder / "recipe.json").read_text()) for folder in (first, other))
    assert one["digest"] == three["digest"]  # of everything but size and seed
    assert not set(one["units"].values()) & set(three["units"].values())
