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


def two_processes(recipe: Recipe, folder: Path, script: str = TRAIN, count: int = 2) -> list[str]:
    """Train as `accelerate launch --num_processes 2 --cpu` would start it; returns what each process said."""
    file = folder.parent / "recipe.json"
    file.write_text(recipe.model_dump_json())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(phases.__file__).parents[2]),
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(file), str(folder)],
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
        )
        for rank in range(count)
    ]
    said = []
    try:
        for process in processes:
            _, errors = process.communicate(timeout=300)
            said.append(errors.decode())
            assert process.returncode == 0, said[-1][-2000:]
        return said
    finally:
        for process in processes:
            process.kill()


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {
        f"{file.parent.name}/{name}": tensor
        for file in sorted(folder.rglob("*.safetensors"))
        for name, tensor in load_file(file).items()
    }


def differences(first: Path, second: Path, folders: int = 2) -> float:
    one, two = weights(first), weights(second)
    assert one.keys() == two.keys() and len(one) > 30 * folders
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
    assert (
        differences(one / "xnli", whole / "xnli", 1) > 1e-3
    )  # training moved the weights by far more than that


def test_two_processes_read_the_states_of_frozen_layers_that_one_has_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XSCALE_CACHE", str(tmp_path / "cache"))
    phase = {"batch_size": 7, "freeze": "embeddings", "freeze_layers": 1} | PHASE
    recipe = make_recipe(make_base(tmp_path / "base"), size=43, phase=phase)
    one, two = (tmp_path / name / "tiny" for name in ("one", "two"))
    two.parent.mkdir()
    two_processes(recipe, two)
    segments = sorted((tmp_path / "cache" / "hidden_states").glob("*/*"))
    assert len(segments) == 2  # one a phase, not one a process
    train_recipe(recipe, one)
    assert differences(one, two) < 2e-6
    assert sorted((tmp_path / "cache" / "hidden_states").glob("*/*")) == segments


STOPPED = """
import sys
from pathlib import Path
from xscale.experiment import Recipe
from xscale.training import loop, phases
loop.SAVING_SHARE, loop._STEPS_A_LOOK = 1.0, 1
write = phases._saving
def once(run, name, stage):
    saving = write(run, name, stage)
    inner = saving.write
    def stop(state):
        inner(state)
        if state["step"] == 3:
            import os
            os._exit(0)
    saving.write = stop
    return saving
phases._saving = once
import torch
gather = loop.gather_object
def counted(values):
    result = gather(values)
    counted.calls += 1
    if counted.calls == 3 and torch.distributed.get_rank():
        import os
        os._exit(0)
    return result
counted.calls = 0
loop.gather_object = counted
phases.train_recipe(Recipe.model_validate_json(Path(sys.argv[1]).read_text()), Path(sys.argv[2]), save_seconds=0.0)
"""


@pytest.mark.parametrize("count", [1, 3])
def test_a_state_of_two_processes_is_taken_up_by_any_other_number(count: int, tmp_path: Path) -> None:
    """Without dropout the weights are those of a whole training, whoever goes on."""
    recipe = make_recipe(make_base(tmp_path / "base"), size=43, phase={"batch_size": 7} | PHASE)
    whole, torn = (tmp_path / name / "tiny" for name in ("whole", "torn"))
    train_recipe(recipe, whole)
    torn.parent.mkdir()
    two_processes(recipe, torn, STOPPED)
    (path,) = torn.parent.glob(".units/.*.training/state.pt")
    state = torch.load(path, weights_only=True)
    assert (state["step"], len(state["random"])) == (3, 2) and not torn.exists()
    if count == 1:
        train_recipe(recipe, torn)
    else:
        said = two_processes(recipe, torn, count=count)
        assert "goes on from step 3" in " ".join(said[0].split())
    assert differences(whole, torn) < 2e-6


OUT_OF_MEMORY = """
import sys, torch
from pathlib import Path
from xscale.experiment import Recipe
from xscale.training import gradient_sums, loop
from xscale.training.phases import train_recipe
gradient_sums.BUCKET_BYTES = 4096  # many buckets: some are sent when memory runs out
original, calls = loop.loss_of, 0
class Fails(torch.autograd.Function):
    @staticmethod
    def forward(context, hidden):
        return hidden.clone()
    @staticmethod
    def backward(context, gradient):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
def loss_of(model, head, inputs, device):
    global calls
    calls += 1
    if torch.distributed.get_rank() == 1 and len(inputs["input_ids"]) > 2 and calls > 2:
        hook = model.base_model.encoder.layer[0].register_forward_hook(
            lambda m, a, o: (Fails.apply(o[0]), *o[1:]) if isinstance(o, tuple) else Fails.apply(o)
        )
        try:
            return original(model, head, inputs, device)
        finally:
            hook.remove()
    return original(model, head, inputs, device)
loop.loss_of = loss_of
train_recipe(Recipe.model_validate_json(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
"""


def test_memory_that_runs_out_in_one_process_after_sums_were_sent_changes_nothing(tmp_path: Path) -> None:
    """In the backward pass of the lowest layer, when the upper layers' gradients are already on their way."""
    recipe = make_recipe(make_base(tmp_path / "base"), size=43, phase={"batch_size": 8} | PHASE)
    one, two = (tmp_path / name / "tiny" for name in ("one", "two"))
    train_recipe(recipe, one)
    two.parent.mkdir()
    two_processes(recipe, two, OUT_OF_MEMORY)
    assert differences(one, two) < 2e-6


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
