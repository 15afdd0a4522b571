"""The training loop: batches, updates, and a state from which a killed run goes on to the same weights.

Batches are a pure function of the seed, so a state needs the weights, the optimiser, the number of the step and the random
generators' states. A batch belongs to all processes together: each takes its share of the rows, and the shares' gradients
are added up, weighted by the number of targets, which gives the gradient of the whole batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from xscale.errors import UserError
from xscale.experiment import Phase
from xscale.progress import Advance
from xscale.training.heads import Encoded, collate, counted
from xscale.training.tasks import Head

BATCHES_IN_A_POOL = 50  # batches are of similar length within pools of this many
_STEPS_A_LOG = 10

State = dict[str, Any]


@dataclass(frozen=True)
class TrainingSet:
    """One task's inputs, and the model that they train (tasks of one phase share its encoder)."""

    name: str
    head: Head
    model: PreTrainedModel
    inputs: Sequence[Encoded]


@dataclass
class Saving:
    """Where states go. `due(step)` says whether one is to be written after that step, alike in all processes."""

    write: Callable[[State], None]
    due: Callable[[int], bool]


@dataclass
class Scoring:
    """Scores while training: `score()` after each of `steps`; `keep_best` ends with the weights of the best of them."""

    score: Callable[[], float]
    steps: frozenset[int]
    keep_best: bool


@dataclass
class Outcome:
    """What a phase's training gives besides the weights."""

    losses: list[float] = field(default_factory=list)
    scores: list[tuple[int, float]] = field(default_factory=list)
    best_step: int | None = None


def train_steps(
    sets: Sequence[TrainingSet],
    plan: Sequence[tuple[int, list[int]]],
    phase: Phase,
    seed: int,
    tokenizer: PreTrainedTokenizerBase,
    accelerator: Accelerator,
    advance: Advance,
    state: State | None = None,
    saving: Saving | None = None,
    scoring: Scoring | None = None,
) -> Outcome:
    """Train the sets' models in place over `plan`, (set, rows) for each update; from `state` on where one is given.

    AdamW without weight decay on biases and norms, linear warm-up then linear decay to zero, gradients clipped.
    Raises `UserError` when the loss is not finite.
    """
    module = torch.nn.ModuleList(list(dict.fromkeys(item.model for item in sets))).to(accelerator.device)
    torch.manual_seed(seed + accelerator.process_index)
    parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
    optimizer = _optimizer(parameters, phase)
    total, start, outcome = len(plan), 0, Outcome()
    best: dict[str, torch.Tensor] = {}
    if state is not None:
        start = state["step"]
        _load(parameters, state["weights"])
        optimizer.load_state_dict(state["optimizer"])
        outcome = Outcome(state["losses"], [tuple(pair) for pair in state["scores"]], state["best_step"])
        best = state["best"]
        _set_random_state(state["random"][accelerator.process_index])
        advance(start)
    attention = _begin_training(module, phase, accelerator.device)
    pending: list[torch.Tensor] = []
    use_bf16 = uses_bf16(phase, accelerator.device)
    for step in range(start, total):
        rate = phase.learning_rate * learning_rate_factor(step, total, phase.warmup)
        which, rows = plan[step]
        item = sets[which]
        inputs = collate([item.inputs[row] for row in rows], item.head, tokenizer, seed=seed + step)
        pending.append(_gradients(item.model, inputs, phase.accumulate, use_bf16, accelerator))
        _update(optimizer, rate, phase.max_gradient_norm)
        done = step + 1
        advance(1)
        if done % _STEPS_A_LOG == 0 and accelerator.trackers:
            accelerator.log({f"{item.name}/loss": float(pending[-1]), "learning_rate": rate}, step=done)
        if scoring is not None and done in scoring.steps:
            score = scoring.score()
            module.train()
            if scoring.keep_best and (not best or score > max(s for _, s in outcome.scores)):
                outcome.best_step, best = done, _copy(parameters)
            outcome.scores.append((done, score))
        if saving is not None and done < total and saving.due(done):
            outcome.losses += _finite(pending, sets)
            pending = []
            random = gather_object([_random_state()])
            if accelerator.is_main_process:
                weights = {name: p.detach().cpu() for name, p in parameters.items()}
                state = {
                    "step": done,
                    "weights": weights,
                    "optimizer": optimizer.state_dict(),
                    "random": random,
                }
                saving.write(state | vars(outcome) | {"best": best})
    outcome.losses += _finite(pending, sets)
    if best:
        _load(parameters, best)
    _end_training(module, phase, attention)
    return outcome


def _begin_training(models: torch.nn.ModuleList, phase: Phase, device: torch.device) -> list[str]:
    """Put the models into training mode; returns the attention that they used before.

    On a CPU, the backward pass of PyTorch's fused attention takes longer than all matrix products at these lengths, so
    the plain one is used there.
    """
    before = [model.config._attn_implementation for model in models]
    if device.type == "cpu":
        _set_attention(models, ["eager"] * len(models))
    if phase.gradient_checkpointing:
        _checkpoint_gradients(models, True)
    models.train()
    return before


def _end_training(models: torch.nn.ModuleList, phase: Phase, attention: Sequence[str]) -> None:
    models.eval()
    _set_attention(models, attention)
    if phase.gradient_checkpointing:
        _checkpoint_gradients(models, False)


def _set_attention(models: torch.nn.ModuleList, implementations: Sequence[str]) -> None:
    for model, implementation in zip(models, implementations, strict=True):
        model.set_attn_implementation(implementation)


def _optimizer(parameters: dict[str, torch.nn.Parameter], phase: Phase) -> torch.optim.AdamW:
    groups = [
        {"params": [p for p in parameters.values() if p.ndim > 1], "weight_decay": phase.weight_decay},
        {"params": [p for p in parameters.values() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=phase.learning_rate, eps=phase.adam_epsilon, fused=True)


def _update(optimizer: torch.optim.Optimizer, rate: float, max_gradient_norm: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    torch.nn.utils.clip_grad_norm_(parameters, max_gradient_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _checkpoint_gradients(models: torch.nn.ModuleList, on: bool) -> None:
    for model in models:
        # older transformers have only the second names, newer ones warn about them
        enable = (
            getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        )
        disable = (
            getattr(model, "activation_checkpointing_disable", None) or model.gradient_checkpointing_disable
        )
        if on:
            enable({"use_reentrant": False})
        else:
            disable()


def _copy(parameters: dict[str, torch.nn.Parameter]) -> dict[str, torch.Tensor]:
    return {name: p.detach().cpu().clone() for name, p in parameters.items()}


def learning_rate_factor(step: int, total: int, warmup: float) -> float:
    """Linear warm-up over the first `warmup` share of the updates, then linear decay to zero after the last."""
    rising = round(total * warmup)
    if step < rising:
        return (step + 1) / (rising + 1)
    return (total - step) / max(1, total - rising)


def plan_batches(
    sets: Sequence[Sequence[Encoded]], phase: Phase, seed: int, masked_lm_ratio: float | None = None
) -> list[tuple[int, list[int]]]:
    """(set, row numbers) for every update.

    Every epoch is shuffled, rows of similar length come together, a batch is of one set, and batches are in random order, so
    that each set is met in proportion to its rows. With `masked_lm_ratio` the last set is the masked LM's: its batches
    are added, evenly spread, until they are that share of all updates; the others stay as they are without it.
    """
    generator = np.random.default_rng(seed)
    mains = list(sets if masked_lm_ratio is None else sets[:-1])
    per_epoch = sum(math.ceil(len(inputs) / phase.batch_size) for inputs in mains)
    total = phase.budget or max(1, math.ceil(per_epoch * phase.epochs))
    plan: list[tuple[int, list[int]]] = []
    while len(plan) < total:
        epoch = [
            (number, rows)
            for number, inputs in enumerate(mains)
            for rows in _epoch(inputs, phase.batch_size, generator)
        ]
        plan += [epoch[i] for i in generator.permutation(len(epoch))]
    plan = plan[:total]
    if masked_lm_ratio is None:
        return plan
    extra = round(total * masked_lm_ratio / (1 - masked_lm_ratio))
    texts: list[list[int]] = []
    while len(texts) < extra:
        epoch_of_texts = _epoch(sets[-1], phase.batch_size, generator)
        texts += [epoch_of_texts[i] for i in generator.permutation(len(epoch_of_texts))]
    due = np.concatenate([(np.arange(total) + 0.5) / total, (np.arange(extra) + 0.5) / max(1, extra)])
    both = plan + [(len(sets) - 1, rows) for rows in texts[:extra]]
    return [both[i] for i in np.argsort(due, kind="stable")]


def uses_bf16(phase: Phase, device: torch.device) -> bool:
    """Whether the phase computes in bf16 on that device (weights and optimiser stay fp32)."""
    if phase.precision != "auto":
        return phase.precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16"))


def _epoch(inputs: Sequence[Encoded], batch_size: int, generator: np.random.Generator) -> list[list[int]]:
    order = generator.permutation(len(inputs))
    batches: list[list[int]] = []
    for start in range(0, len(order), pool := batch_size * BATCHES_IN_A_POOL):
        rows = sorted(order[start : start + pool], key=lambda row: inputs[row].length)
        batches += [[int(row) for row in rows[i : i + batch_size]] for i in range(0, len(rows), batch_size)]
    return batches


def _gradients(
    model: PreTrainedModel,
    inputs: dict[str, torch.Tensor],
    accumulate: int,
    use_bf16: bool,
    accelerator: Accelerator,
) -> torch.Tensor:
    """Leave the gradient of the whole batch's mean loss in the parameters, the same in all processes; returns that loss."""
    size, targets = len(inputs["input_ids"]), counted(inputs)
    rows = math.ceil(size / (accelerator.num_processes * accumulate))
    first = accelerator.process_index * accumulate * rows
    starts = [start for start in range(first, first + accumulate * rows, rows) if start < size]
    total = torch.zeros((), device=accelerator.device)
    for start in starts or [0]:
        part = {name: tensor[start : start + rows] for name, tensor in inputs.items()}
        share = counted(part) / max(1, targets) if starts else 0.0
        if share == 0.0 and len(starts) > 1:
            continue
        part = {name: tensor.to(accelerator.device, non_blocking=True) for name, tensor in part.items()}
        with torch.autocast(accelerator.device.type, dtype=torch.bfloat16, enabled=use_bf16):
            loss = model(**part).loss
        loss = torch.nan_to_num(loss) * 0.0 if share == 0.0 else loss * share
        loss.backward()
        total += loss.detach()
    if accelerator.num_processes > 1:
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients] + [total.reshape(1)])
        torch.distributed.all_reduce(flat)
        position = 0
        for gradient in gradients:
            gradient.copy_(flat[position : position + gradient.numel()].view_as(gradient))
            position += gradient.numel()
        total = flat[-1].clone()
    return total


def _finite(losses: Sequence[torch.Tensor], sets: Sequence[TrainingSet]) -> list[float]:
    values = torch.stack(list(losses)).tolist() if losses else []
    for value in values:
        if not math.isfinite(value):
            names = "+".join(item.name for item in sets)
            raise UserError(f"training on {names}: the loss is {value}; lower the learning rate")
    return values


def _load(parameters: dict[str, torch.nn.Parameter], weights: dict[str, torch.Tensor]) -> None:
    if set(parameters) != set(weights):
        raise UserError("the saved training state is of another model; delete it to train from the start")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])


def _random_state() -> dict[str, Any]:
    state: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _set_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
