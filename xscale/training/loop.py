"""The training loop: batches, updates, and a state from which a killed run goes on to the same weights.

Batches are a pure function of the seed, so a state needs the weights, the optimiser, the number of the step and the random
generators' states. A batch belongs to all processes together: each takes its share of the rows, and the shares' gradients
are added up, weighted by the number of targets, which gives the gradient of the whole batch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from xscale.errors import UserError
from xscale.experiment import Phase
from xscale.precision import Precision, autocast, effective_precision
from xscale.progress import Advance, say
from xscale.training.dropout import BulkDropout
from xscale.training.gradient_sums import GradientSums
from xscale.training.heads import Encoded, collate, counted, loss_of
from xscale.training.tasks import Head
from xscale.training.trunk import Trunk, frozen_part, with_states

BATCHES_IN_A_POOL = 50  # batches are of similar length within pools of this many
SAVING_SHARE = 0.05  # of the time, at most, goes into writing states
_STEPS_A_LOG = 10
_STEPS_A_LOOK = 20  # at the clock, with several processes

State = dict[str, Any]
STATE_FIELDS = frozenset(
    ("step", "weights", "optimizer", "scaler", "random", "losses", "scores", "best_step", "parts", "kept")
)


@dataclass(frozen=True)
class TrainingSet:
    """One task's inputs, and the model that they train (tasks of one phase share its encoder)."""

    name: str
    head: Head
    model: PreTrainedModel
    inputs: Sequence[Encoded]


@dataclass
class Saving:
    """States are written `seconds` after the end of the last one, and never so often that writing takes more than a
    twentieth of the time."""

    write: Callable[[State], None]
    seconds: float
    next: float = field(init=False)

    def __post_init__(self) -> None:
        self.next = time.monotonic() + self.seconds

    def due(self, step: int, accelerator: Accelerator) -> bool:
        """Whether a state is to be written after that step, alike in all processes: the first one's clock decides."""
        late = time.monotonic() >= self.next
        if accelerator.num_processes == 1:
            return late
        return step % _STEPS_A_LOOK == 0 and bool(broadcast_object_list([late])[0])

    def wrote(self, seconds: float) -> None:
        """A state was written, which took so long: the next one is due when nineteen times as long has gone by."""
        self.next = time.monotonic() + max(self.seconds, seconds * (1 / SAVING_SHARE - 1))


Scores = dict[str, float]  # by language; English chooses


@dataclass
class Scoring:
    """Scores while training: `score()` after each of `steps`. `keep`: the weights to end with: those of the step with the
    best English score (the first of equals), of the last step, or the mean over the scored steps (Schmidt et al. 2023, arXiv
    2305.16834)."""

    score: Callable[[], Scores]
    steps: frozenset[int]
    keep: Literal["best", "last", "average"]


@dataclass
class Outcome:
    """What a phase's training gives besides the weights. `losses`: one an update; `best_step`: the step whose weights were
    kept, where one was chosen; `kept_scores`: those of the mean weights; `parts`: pieces that a process cuts its share of a
    batch into, in the end."""

    losses: list[float] = field(default_factory=list)
    scores: list[tuple[int, Scores]] = field(default_factory=list)
    best_step: int | None = None
    kept_scores: Scores | None = None
    parts: int = 1


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
    trunk: Trunk | None = None,
) -> Outcome:
    """Train the sets' models in place over `plan`, (set, rows) for each update; from `state` on where one is given.

    AdamW without weight decay on biases and norms, linear warm-up then linear decay to zero, gradients clipped. A batch that
    does not fit into memory is computed in twice as many parts, with the same gradient. A state may be of another number of
    processes: dropout's random numbers are then others from there on. Raises `UserError` when the loss is not finite, or
    one row alone does not fit into memory. With `trunk` the models are cut, and it gives what their frozen layers make of a
    batch.
    """
    device = accelerator.device
    module = torch.nn.ModuleList(list(dict.fromkeys(item.model for item in sets))).to(device)
    torch.manual_seed(seed + accelerator.process_index)
    bulk = device.type == "cpu" and not phase.gradient_checkpointing
    compute = _Compute(device, effective_precision(phase.precision, device), phase.accumulate, bulk)
    run = _begin(module, phase, compute)
    if state is not None:
        _go_on(run, state, accelerator, seed)
        compute.parts = run.outcome.parts
        advance(run.step)
    attention = _begin_training(module, phase, device)
    still = [] if trunk else [part for model in module for part in frozen_part(model, phase)]
    _train_mode(module, still)
    compute.sums = GradientSums() if accelerator.num_processes > 1 else None
    total = len(plan)
    pending: list[torch.Tensor] = []
    for step in range(run.step, total):
        rate = phase.learning_rate * learning_rate_factor(step, total, phase.warmup)
        which, rows = plan[step]
        item = sets[which]
        batch = [item.inputs[row] for row in rows]
        inputs = collate(batch, item.head, tokenizer, seed=seed + step)
        if trunk is not None:
            inputs |= with_states(inputs, batch, item.head, trunk)
        compute.seed = (seed, step, accelerator.process_index)
        pending.append(_gradients_that_fit(item, _share_of(inputs, accelerator), compute, run))
        _update(run, rate, phase.max_gradient_norm)
        run.step = step + 1
        advance(1)
        if run.step % _STEPS_A_LOG == 0 and accelerator.trackers:
            accelerator.log({f"{item.name}/loss": float(pending[-1]), "learning_rate": rate}, step=run.step)
        if scoring is not None and run.step in scoring.steps:
            _look(run, scoring)
            _train_mode(module, still)
        if saving is not None and run.step < total and saving.due(run.step, accelerator):
            began = time.monotonic()
            run.outcome.losses += _finite(pending, sets)
            pending = []
            randoms = gather_object([_random_state()])
            if accelerator.is_main_process:
                saving.write(_state_of(run, randoms))
            saving.wrote(time.monotonic() - began)
    run.outcome.losses += _finite(pending, sets)
    if scoring is not None:
        _keep(run, scoring)
    if compute.sums is not None:
        compute.sums.close()
    _end_training(module, phase, attention)
    return run.outcome


@dataclass
class _Compute:
    """How a batch is computed; `parts` grows where memory runs out. `seed`: of the update's dropout, drawn in bulk."""

    device: torch.device
    precision: Precision
    parts: int
    bulk_dropout: bool
    seed: tuple[int, ...] = ()
    sums: GradientSums | None = None


@dataclass
class _Run:
    """Where a training is. `kept`: the weights of the best look, or the sum of those of all looks."""

    parameters: dict[str, torch.nn.Parameter]
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    outcome: Outcome
    step: int = 0
    kept: dict[str, torch.Tensor] = field(default_factory=dict)


def _begin(module: torch.nn.Module, phase: Phase, compute: _Compute) -> _Run:
    parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
    scaler = torch.amp.GradScaler(compute.device.type, enabled=compute.precision == "fp16")
    return _Run(parameters, _optimizer(parameters, phase), scaler, Outcome(parts=compute.parts))


def _go_on(run: _Run, state: State, accelerator: Accelerator, seed: int) -> None:
    """Take up a state, of as many processes or others."""
    run.step, run.kept = state["step"], state["kept"]
    _load(run.parameters, state["weights"])
    run.optimizer.load_state_dict(state["optimizer"])
    run.scaler.load_state_dict(state["scaler"])
    scores = [(step, dict(values)) for step, values in state["scores"]]
    run.outcome = Outcome(state["losses"], scores, state["best_step"], parts=state["parts"])
    if len(state["random"]) == accelerator.num_processes:
        _set_random_state(state["random"][accelerator.process_index])
    else:
        torch.manual_seed(seed + run.step * accelerator.num_processes + accelerator.process_index)


def _state_of(run: _Run, randoms: list[dict[str, Any]]) -> State:
    return {
        "step": run.step,
        "weights": {name: p.detach().cpu() for name, p in run.parameters.items()},
        "optimizer": run.optimizer.state_dict(),
        "scaler": run.scaler.state_dict(),
        "random": randoms,
        "losses": run.outcome.losses,
        "scores": run.outcome.scores,
        "best_step": run.outcome.best_step,
        "parts": run.outcome.parts,
        "kept": run.kept,
    }


def _look(run: _Run, scoring: Scoring) -> None:
    """Score the weights as they are, and keep them or add them up, as is wanted."""
    scores = scoring.score()
    is_best = all(scores["en"] > earlier["en"] for _, earlier in run.outcome.scores)
    run.outcome.scores.append((run.step, scores))
    if scoring.keep == "best" and is_best:
        run.outcome.best_step, run.kept = run.step, _copy(run.parameters)
    if scoring.keep == "average":
        now = _copy(run.parameters)
        run.kept = {name: run.kept[name] + now[name] for name in now} if run.kept else now


def _keep(run: _Run, scoring: Scoring) -> None:
    """Give the model the weights that were wanted of all looks."""
    if scoring.keep == "best":
        _load(run.parameters, run.kept)
    if scoring.keep == "average":
        _load(run.parameters, {name: sums / len(run.outcome.scores) for name, sums in run.kept.items()})
        run.outcome.kept_scores = scoring.score()


def _begin_training(models: torch.nn.ModuleList, phase: Phase, device: torch.device) -> list[str]:
    """Give the models the attention that the phase asks for; returns what they used before.

    On a CPU, the backward pass of PyTorch's fused attention takes longer than all matrix products at these lengths, so
    the plain one is used there. Raises `UserError` when a model has no such attention.
    """
    before = [model.config._attn_implementation for model in models]
    wanted = "eager" if phase.attention == "auto" and device.type == "cpu" else phase.attention
    if wanted != "auto":
        try:
            _set_attention(models, [wanted] * len(models))
        except (ValueError, ImportError) as error:
            raise UserError(f"attention: {wanted}: {str(error).splitlines()[0]}") from None
        for model in models:  # transformers only warns where a model has but its own
            if model.config._attn_implementation != wanted and phase.attention != "auto":
                raise UserError(
                    f"attention: {wanted}: {type(model).__name__} has only {model.config._attn_implementation}; leave it out"
                )
    if phase.gradient_checkpointing:
        _checkpoint_gradients(models, True)
    return before


def _train_mode(module: torch.nn.Module, still: Sequence[torch.nn.Module]) -> None:
    """Dropout on, but in the frozen layers below the cut, so that what they make of a text is always the same."""
    module.train()
    for part in still:
        part.eval()


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


def _update(run: _Run, rate: float, max_gradient_norm: float) -> None:
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    run.scaler.unscale_(run.optimizer)
    torch.nn.utils.clip_grad_norm_(run.parameters.values(), max_gradient_norm)
    try:
        run.scaler.step(run.optimizer)
    except RuntimeError as error:
        if not should_reduce_batch_size(error):
            raise
        raise UserError(
            f"out of memory for Adam's two moments of {sum(p.numel() for p in run.parameters.values()):,} trained parameters; "
            "freeze some, or use lora or a smaller base"
        ) from None
    run.scaler.update()
    run.optimizer.zero_grad(set_to_none=True)


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


def _epoch(inputs: Sequence[Encoded], batch_size: int, generator: np.random.Generator) -> list[list[int]]:
    order = generator.permutation(len(inputs))
    batches: list[list[int]] = []
    for start in range(0, len(order), pool := batch_size * BATCHES_IN_A_POOL):
        rows = sorted(order[start : start + pool], key=lambda row: inputs[row].length)
        batches += [[int(row) for row in rows[i : i + batch_size]] for i in range(0, len(rows), batch_size)]
    return batches


@dataclass(frozen=True)
class _Share:
    """A process's rows of a batch, on the CPU; `targets` are the whole batch's. `mine`: False where the rows are another's,
    so that all processes add gradients up, and the loss is not to count."""

    inputs: dict[str, torch.Tensor]
    targets: int
    mine: bool

    @property
    def rows(self) -> int:
        return len(self.inputs["input_ids"])


def _share_of(inputs: dict[str, torch.Tensor], accelerator: Accelerator) -> _Share:
    size = len(inputs["input_ids"])
    rows = math.ceil(size / accelerator.num_processes)
    first = accelerator.process_index * rows
    mine = first < size
    first = first if mine else 0
    return _Share(
        {name: tensor[first : first + rows] for name, tensor in inputs.items()}, counted(inputs), mine
    )


def _gradients_that_fit(item: TrainingSet, share: _Share, compute: _Compute, run: _Run) -> torch.Tensor:
    """`_gradients`, in twice as many parts as often as memory runs out; the gradient is the same."""
    random = _random_state()
    while True:
        try:
            with BulkDropout(compute.seed) if compute.bulk_dropout else nullcontext():
                return _gradients(item, share, compute, run.scaler)
        except RuntimeError as error:
            if not should_reduce_batch_size(error):
                raise
        if compute.parts >= share.rows:
            raise UserError(
                f"training on {item.name}: out of memory with one row at a time; set gradient_checkpointing: true or a "
                "smaller max_length for this phase, or use lora or a smaller base"
            )
        run.optimizer.zero_grad(set_to_none=True)
        clear_device_cache(garbage_collection=True)
        _set_random_state(random)
        compute.parts = run.outcome.parts = compute.parts * 2
        say(f"training on {item.name}: out of memory; going on with batches in {compute.parts} parts")


def _gradients(
    item: TrainingSet, share: _Share, compute: _Compute, scaler: torch.amp.GradScaler
) -> torch.Tensor:
    """Leave the gradient of the whole batch's mean loss, times the scaler's scale, in the parameters, the same in all
    processes; returns that loss."""
    rows = math.ceil(share.rows / compute.parts)
    cut = [
        {name: tensor[start : start + rows] for name, tensor in share.inputs.items()}
        for start in range(0, share.rows, rows)
    ]
    weights = [counted(part) / max(1, share.targets) if share.mine else 0.0 for part in cut]
    todo = [number for number, weight in enumerate(weights) if weight] or [0]
    total = torch.zeros((), device=compute.device)
    if compute.sums is not None:
        compute.sums.begin()
    for number in todo:
        if compute.sums is not None and number == todo[-1]:
            compute.sums.last_part(item.model)
        with autocast(compute.device, compute.precision):
            loss = loss_of(item.model, item.head, cut[number], compute.device)
        weight = weights[number]
        loss = torch.nan_to_num(loss) * 0.0 if weight == 0.0 else loss * weight
        scaler.scale(loss).backward()
        total += loss.detach()
    if compute.sums is not None:
        compute.sums.finish(item.model, total)
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
