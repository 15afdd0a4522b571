"""Two processes on CPU (gloo) give the weights of one with the same global batch."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import make_base, make_recipe

from xscale.experiment import Recipe, Target
from xscale.training import phases
from xscale.training.phases import train_recipe

# Adam divides by a gradient's size: where that is zero but for rounding (key biases), the usual epsilon of 1e-8 would make
# whole steps of the rounding, in one process as well as in two.
PHASE = {"dropout": 0.0, "adam_epsilon": 1e-4}

TRAIN = """
import sys
from pathlib import Path
from xscale.experiment import Recipe
from xscale.training.phases import train_recipe
train_recipe(Recipe.model_validate_json(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
"""


def two_processes(recipe: Recipe, folder: Path) -> None:
    """Train as `accelerate launch --num_processes 2 --cpu` would start it."""
    file = folder.parent / "recipe.json"
    file.write_text(recipe.model_dump_json())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(phases.__file__).parents[2]),
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TRAIN, str(file), str(folder)],
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
        )
        for rank in (0, 1)
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=300)
            assert process.returncode == 0, errors.decode()[-2000:]
    finally:
        for process in processes:
            process.kill()


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


def test_two_processes_give_the_weights_of_one(tmp_path: Path) -> None:
    """Batches of 7 divide into 4 and 3, and last ones are of one row, so that a process may have none."""
    recipe = make_recipe(
        make_base(tmp_path / "base"),
        size=43,
        targets={"xnli": Target(train=["bundled_nli_target"], size=22)},
        phase={"batch_size": 7} | PHASE,
    )
    one, two, whole = (tmp_path / name / "tiny" for name in ("one", "two", "base-only"))
    train_recipe(recipe, one)
    two.parent.mkdir()
    two_processes(recipe, two)
    assert differences(one, two) < 2e-6
    train_recipe(recipe.model_copy(update={"size": 0}), whole)
    assert differences(one, whole) > 1e-3  # training moved the weights by far more than that


@pytest.mark.parametrize("head", ["classification", "tokens"])
def test_accumulated_gradients_are_those_of_the_whole_batch(head: str, tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    changes = {"intermediate": ["bundled_nli"]}
    if head == "tokens":
        from xscale.experiment import OwnTask

        rows = '{"tokens": ["the", "dog"], "tags": ["D", "N"]}\n{"tokens": ["far", "it", "saw"], "tags": ["A", "P", "V"]}\n'
        (tmp_path / "own.jsonl").write_text(rows * 20)
        own = OwnTask(file=str(tmp_path / "own.jsonl"), head="token_classification")
        changes = {"intermediate": ["own"], "tasks": {"own": own}}  # type: ignore[dict-item]
    folders = []
    for parts in (1, 3):
        phase = PHASE | {"accumulate": parts, "gradient_checkpointing": parts > 1}
        folders.append(tmp_path / str(parts) / "tiny")
        train_recipe(make_recipe(base, size=36, phase=phase, **changes), folders[-1])
    assert differences(*folders) < 2e-6
