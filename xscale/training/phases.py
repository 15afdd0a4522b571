"""One recipe, trained: base -> intermediate task -> each target, written as one checkpoint folder.

checkpoints/<id>/encoder/   the encoder after the intermediate phase
checkpoints/<id>/xnli/      the encoder with its fine-tuned head; likewise xcopa/
checkpoints/<id>/recipe.json
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from harness_tasks.sources import source_name
from xscale.base_models import resolve_base
from xscale.errors import UserError
from xscale.experiment import TARGET_HEADS, Phase, Recipe
from xscale.files import whole_folder
from xscale.progress import Advance, progress
from xscale.training.heads import collate, freeze_embeddings, model_with_head, save_model, tokenise
from xscale.training.ladder import nested_sample
from xscale.training.tasks import Example, TrainingTask, load_examples, training_task

_LIBRARIES = ("torch", "transformers", "tokenizers", "accelerate", "datasets", "numpy", "safetensors")
_BATCHES_IN_A_POOL = 50  # batches are of similar length within pools of this many


def check_recipe(recipe: Recipe) -> None:
    """Raise `UserError` for what can be known before training: unknown tasks, heads that do not fit, sizes too large."""
    names = [recipe.intermediate, *(name for target in recipe.targets.values() for name in target.train)]
    tasks = {name: training_task(name) for name in names}
    for target, plan in recipe.targets.items():
        for name in plan.train:
            if tasks[name].head != TARGET_HEADS[target]:
                raise UserError(
                    f"targets.{target}.train: {name!r} is a {tasks[name].head} task, {target} needs {TARGET_HEADS[target]}"
                )
            _sample(tasks[name], plan.size, recipe.seed, recipe.data, f"targets.{target}.size")
    if recipe.size:
        _sample(tasks[recipe.intermediate], recipe.size, recipe.seed, recipe.data, "sizes")


def train_recipe(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Train one recipe into `folder`, which appears whole or not at all; returns what `recipe.json` holds.

    Raises `UserError` when data, base model or sizes do not fit.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    start = time.monotonic()
    accelerator = Accelerator()
    base = resolve_base(recipe.base)
    tokenizer = load_tokenizer(base)
    store = folder.parent / ".shared"
    record: dict[str, Any] = {"recipe": recipe.model_dump(), "digest": recipe.digest(), "phases": []}
    with whole_folder(folder) as temporary:
        encoder = temporary / "encoder"
        intermediate = training_task(recipe.intermediate)
        phase = recipe.phases["intermediate"]
        model = model_with_head(
            base,
            intermediate.head,
            intermediate.labels,
            _phase_seed(recipe.seed, "intermediate"),
            phase.dropout,
        )
        if phase.freeze == "embeddings":
            freeze_embeddings(model)
        if recipe.size:
            model = _train_on(
                model,
                intermediate,
                recipe.size,
                recipe,
                phase,
                "intermediate",
                tokenizer,
                accelerator,
                record,
            )
        save_model(model.base_model, tokenizer, encoder, store)
        for target, plan in recipe.targets.items():
            phase = recipe.phases[target]
            task = training_task(plan.train[0])
            model = model_with_head(
                str(encoder), task.head, task.labels, _phase_seed(recipe.seed, target), phase.dropout
            )
            if phase.freeze == "embeddings":
                freeze_embeddings(model)
            for name in plan.train:
                model = _train_on(
                    model,
                    training_task(name),
                    plan.size,
                    recipe,
                    phase,
                    target,
                    tokenizer,
                    accelerator,
                    record,
                )
            model.config.xscale_max_length = phase.max_length
            save_model(model, tokenizer, temporary / target, store)
        record["seconds"] = round(time.monotonic() - start, 1)
        record["libraries"] = {name: version(name) for name in _LIBRARIES}
        record["hardware"] = {
            "device": str(accelerator.device),
            "cpus": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "machine": platform.machine(),
        }
        (temporary / "recipe.json").write_text(
            json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    return record


def load_tokenizer(pretrained: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a base model. Raises `UserError` when it cannot be had."""
    try:
        return AutoTokenizer.from_pretrained(pretrained)
    except (OSError, ValueError) as error:
        raise UserError(
            f"base {pretrained!r}: cannot be loaded ({str(error).splitlines()[0]}); check the name, the network, "
            "or give a local folder as ./path"
        ) from None


def _sample(
    task: TrainingTask, size: int | None, seed: int, source: str, field: str
) -> tuple[list[Example], np.ndarray]:
    examples = load_examples(task, source)
    labels = [example.label for example in examples]
    try:
        return examples, nested_sample(labels, len(labels) if size is None else size, seed, task.name)
    except UserError as error:
        raise UserError(f"{field}: {error}") from None


def _train_on(
    model: PreTrainedModel,
    task: TrainingTask,
    size: int | None,
    recipe: Recipe,
    phase: Phase,
    name: str,
    tokenizer: PreTrainedTokenizerBase,
    accelerator: Accelerator,
    record: dict[str, Any],
) -> PreTrainedModel:
    examples, rows = _sample(task, size, recipe.seed, recipe.data, f"{name}.size")
    chosen = [examples[row] for row in rows]
    ids = tokenise(tokenizer, chosen, phase.max_length)
    total = _steps(len(chosen), phase)
    start = time.monotonic()
    with progress(f"train {recipe.id}: {name} on {len(chosen)} of {task.name}", total) as advance:
        losses = train_phase(
            model,
            ids,
            [e.label for e in chosen],
            task,
            phase,
            _phase_seed(recipe.seed, name),
            tokenizer.pad_token_id,
            accelerator,
            advance,
        )
    content = json.dumps([[e.pairs, e.label] for e in chosen], ensure_ascii=False)
    record["phases"].append(
        {
            "phase": name,
            "task": task.name,
            "source": source_name(recipe.data),
            "rows": len(chosen),
            "rows_here": len(examples),
            "rows_full": task.examples,
            "rows_sha256": hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest(),
            "data_sha256": hashlib.sha256(content.encode()).hexdigest(),
            "steps": total,
            "precision": "bf16" if uses_bf16(phase, accelerator.device) else "fp32",
            "loss_first": round(float(np.mean(losses[:10])), 4),
            "loss_last": round(float(np.mean(losses[-10:])), 4),
            "seconds": round(time.monotonic() - start, 1),
        }
    )
    return model


def train_phase(
    model: PreTrainedModel,
    ids: Sequence[list[list[int]]],
    labels: Sequence[int],
    task: TrainingTask,
    phase: Phase,
    seed: int,
    pad_token_id: int,
    accelerator: Accelerator,
    advance: Advance,
) -> list[float]:
    """Train `model` in place; returns the loss of every step.

    AdamW without weight decay on biases and norms, linear warm-up then linear decay to zero, gradients clipped.
    """
    total = _steps(len(ids), phase)
    torch.manual_seed(seed)
    decayed = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": phase.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=phase.learning_rate, eps=phase.adam_epsilon, fused=True)
    use_bf16 = uses_bf16(phase, accelerator.device)
    warmup = round(total * phase.warmup)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: (step + 1) / (warmup + 1) if step < warmup else (total - step) / max(1, total - warmup),
    )
    prepared, optimizer = accelerator.prepare(model, optimizer)
    prepared.train()
    losses = []
    lengths = [sum(map(len, pairs)) for pairs in ids]
    for batch in _batches(lengths, phase.batch_size, total, seed):
        inputs = collate([ids[i] for i in batch], [labels[i] for i in batch], task.head, pad_token_id)
        inputs = {name: tensor.to(accelerator.device, non_blocking=True) for name, tensor in inputs.items()}
        with torch.autocast(accelerator.device.type, dtype=torch.bfloat16, enabled=use_bf16):
            loss = prepared(**inputs).loss
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(prepared.parameters(), phase.max_gradient_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(float(loss.detach()))
        advance(1)
    accelerator.free_memory()
    model.eval()
    if not math.isfinite(losses[-1]):
        raise UserError(f"training on {task.name}: the loss is {losses[-1]}; lower the learning rate")
    return losses


def uses_bf16(phase: Phase, device: torch.device) -> bool:
    """Whether the phase computes in bf16 on that device (weights and optimiser stay fp32)."""
    if phase.precision != "auto":
        return phase.precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16"))


def _steps(rows: int, phase: Phase) -> int:
    return max(1, math.ceil(math.ceil(rows / phase.batch_size) * phase.epochs))


def _batches(lengths: Sequence[int], batch_size: int, total: int, seed: int) -> list[list[int]]:
    """`total` batches of row numbers: every epoch shuffled, rows of similar length together, batches in random order."""
    generator = np.random.default_rng(seed)
    batches: list[list[int]] = []
    while len(batches) < total:
        order = generator.permutation(len(lengths))
        epoch: list[list[int]] = []
        for start in range(0, len(order), pool := batch_size * _BATCHES_IN_A_POOL):
            rows = sorted(order[start : start + pool], key=lambda row: lengths[row])
            epoch += [[int(row) for row in rows[i : i + batch_size]] for i in range(0, len(rows), batch_size)]
        batches += [epoch[i] for i in generator.permutation(len(epoch))]
    return batches[:total]


def _phase_seed(seed: int, phase: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {phase}".encode()).digest()[:4], "little")
