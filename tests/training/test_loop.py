"""The training loop against a plain one, and what must not change its gradient: parts, memory running out, fp16, saving."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from tiny import make_base

from xscale.errors import UserError
from xscale.experiment import Phase
from xscale.training import heads, loop
from xscale.training.heads import collate, encode, loss_of, model_with_head
from xscale.training.loop import Outcome, Saving, Scoring, TrainingSet, plan_batches, train_steps
from xscale.training.phases import load_tokenizer
from xscale.training.records import is_collapsed
from xscale.training.tasks import Example

WORDS = "the dog saw a man in old house and it was not far".split()
# every value is one that is felt within a few updates
PHASE = Phase(
    learning_rate=2e-3,
    epochs=3,
    batch_size=8,
    warmup=0.3,
    weight_decay=0.2,
    adam_epsilon=1e-3,
    max_gradient_norm=0.3,
    max_length=32,
    dropout=0.0,
    precision="fp32",
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


def examples(count: int, labels: int = 3) -> list[Example]:
    chance = random.Random(5)

    def text() -> str:
        return " ".join(chance.choices(WORDS, k=chance.randint(2, 9)))

    return [Example([(text(), text())], chance.randrange(labels)) for _ in range(count)]


def weights_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def far(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> float:
    return max(float((one[name] - two[name]).abs().max()) for name in one)


def train(
    base: Path, phase: Phase, head: Any = "pair_classification", **options: Any
) -> tuple[dict[str, torch.Tensor], Outcome]:
    """Weights after training on 44 examples, and what the loop says."""
    tokenizer = load_tokenizer(str(base))
    inputs = encode(tokenizer, examples(44), head, phase.max_length)
    model = model_with_head(str(base), head, ("a", "b", "c"), 1, 0.0)
    outcome = train_steps(
        [TrainingSet("task", head, model, inputs)],
        plan_batches([inputs], phase, 1),
        phase,
        1,
        tokenizer,
        Accelerator(),
        lambda count: None,
        **options,
    )
    return weights_of(model), outcome


def plainly(base: Path, phase: Phase) -> dict[str, torch.Tensor]:
    """The same training as anyone would write it down."""
    tokenizer = load_tokenizer(str(base))
    inputs = encode(tokenizer, examples(44), "pair_classification", phase.max_length)
    model = model_with_head(str(base), "pair_classification", ("a", "b", "c"), 1, 0.0).train()
    model.set_attn_implementation("eager")
    named = list(model.named_parameters())
    spared = [p for name, p in named if name.endswith(".bias") or "LayerNorm" in name]
    decayed = [p for name, p in named if not (name.endswith(".bias") or "LayerNorm" in name)]
    groups = [{"params": decayed, "weight_decay": phase.weight_decay}, {"params": spared, "weight_decay": 0}]
    optimizer = torch.optim.AdamW(groups, eps=phase.adam_epsilon)
    batches = plan_batches([inputs], phase, 1)
    warm = round(len(batches) * phase.warmup)
    for step, (_, rows) in enumerate(batches):
        up, down = (step + 1) / (warm + 1), (len(batches) - step) / (len(batches) - warm)
        for group in optimizer.param_groups:
            group["lr"] = phase.learning_rate * min(up, down)
        optimizer.zero_grad()
        model(**collate([inputs[row] for row in rows], "pair_classification", tokenizer)).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), phase.max_gradient_norm)
        optimizer.step()
    return weights_of(model)


def test_the_loop_gives_the_weights_of_a_plain_one(base: Path) -> None:
    ours, _ = train(base, PHASE)
    assert far(ours, plainly(base, PHASE)) < 2e-6
    assert far(ours, weights_of(model_with_head(str(base), "pair_classification", "abc", 1, 0.0))) > 1e-3


@pytest.mark.parametrize(
    "change",
    [
        {"max_gradient_norm": 1e6},
        {"warmup": 0.0},
        {"weight_decay": 0.02},
        {"adam_epsilon": 1e-4},
        {"learning_rate": 1.9e-3},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_hyper_parameter_is_felt_in_that_comparison(change: dict[str, float], base: Path) -> None:
    """Or the test above could not see one that does not reach the optimiser."""
    ours, _ = train(base, PHASE)
    assert far(ours, plainly(base, PHASE.model_copy(update=change))) > 1e-4


def out_of_memory_above(rows: int) -> Callable[..., torch.Tensor]:
    def loss(model: Any, head: Any, inputs: dict[str, torch.Tensor], device: torch.device) -> torch.Tensor:
        result = loss_of(model, head, inputs, device)
        if len(inputs["input_ids"]) > rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return result

    return loss


def test_where_memory_runs_out_the_batch_is_halved_and_the_gradient_stays(
    base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expected, whole = train(base, PHASE)
    monkeypatch.setattr(loop, "loss_of", out_of_memory_above(2))
    ours, outcome = train(base, PHASE)
    assert far(ours, expected) < 2e-6
    assert (whole.parts, outcome.parts) == (1, 4)
    assert outcome.losses == pytest.approx(whole.losses, abs=1e-5)
    assert "out of memory; going on with batches in 4 parts" in " ".join(capsys.readouterr().err.split())


def test_with_dropout_it_goes_on_as_if_it_had_been_cut_from_the_start(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phase = PHASE.model_copy(update={"dropout": 0.1})
    expected, _ = train(base, phase.model_copy(update={"accumulate": 4}))
    monkeypatch.setattr(loop, "loss_of", out_of_memory_above(2))
    assert far(train(base, phase)[0], expected) == 0.0


def test_one_row_that_does_not_fit_is_said_with_what_helps(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "loss_of", out_of_memory_above(0))
    with pytest.raises(UserError, match="one row at a time; set gradient_checkpointing"):
        train(base, PHASE)


def test_memory_that_runs_out_for_the_optimiser_is_said(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(torch.optim.AdamW, "step", full)
    with pytest.raises(UserError, match=r"Adam's two moments of [\d,]+ trained parameters; freeze some"):
        train(base, PHASE)


def test_development_scores_are_the_same_in_batches_that_fit(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xscale.training import development

    tokenizer = load_tokenizer(str(base))
    english = development.development_set("xnli", "en", "pair_classification", 70, "bundled", tokenizer, 48)
    names = ("entailment", "neutral", "contradiction")
    model = model_with_head(str(base), "pair_classification", names, 1, 0.0)
    whole = development.accuracy(model, english, tokenizer, torch.device("cpu"), "fp32")
    original, sizes = development.call, []

    def call(model: Any, inputs: dict[str, torch.Tensor]) -> Any:
        sizes.append(len(inputs["input_ids"]))
        if sizes[-1] > 20:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return original(model, inputs)

    monkeypatch.setattr(development, "call", call)
    assert development.accuracy(model, english, tokenizer, torch.device("cpu"), "fp32") == whole
    assert sizes[0] > 20 and [size for size in sizes if size <= 20] == [16, len(english.inputs) - 16]


def test_other_errors_are_not_taken_for_memory(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> torch.Tensor:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(loop, "loss_of", broken)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        train(base, PHASE)


def test_fp16_scales_its_loss_and_trains_nearly_as_fp32(base: Path) -> None:
    """The scale (65,536) is taken out again before gradients are clipped: else every update would be clipped to nothing but its
    direction, and with an epsilon of 1e-3 other weights would come out."""
    expected, _ = train(base, PHASE)
    start = weights_of(model_with_head(str(base), "pair_classification", "abc", 1, 0.0))
    ours, outcome = train(base, PHASE.model_copy(update={"precision": "fp16"}))
    assert all(math.isfinite(loss) for loss in outcome.losses)
    assert 0 < far(ours, expected) < 0.1 * far(ours, start)


def test_an_overflow_in_fp16_leaves_that_update_out(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    phase, calls = PHASE.model_copy(update={"precision": "fp16", "max_gradient_norm": 1e9}), 0
    after: dict[int, dict[str, torch.Tensor]] = {}

    def overflowing(model: Any, head: Any, inputs: Any, device: torch.device) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls in (3, 4):
            after[calls] = weights_of(model)
        loss = loss_of(model, head, inputs, device)
        huge = next(p for p in model.parameters() if p.requires_grad).sum() * 2e34
        return loss + (huge - huge.detach()) if calls == 3 else loss

    monkeypatch.setattr(loop, "loss_of", overflowing)
    weights, outcome = train(base, phase)
    assert far(after[3], after[4]) == 0.0
    assert all(tensor.isfinite().all() for tensor in weights.values()) and far(weights, after[4]) > 1e-3
    assert all(math.isfinite(loss) for loss in outcome.losses)


@pytest.mark.parametrize("architecture", ["bert", "xlm-roberta", "deberta-v2"])
def test_masked_lm_has_the_loss_and_gradient_of_all_positions_from_the_masked_ones(
    architecture: str, tmp_path: Path
) -> None:
    base = make_base(tmp_path / "base", architecture)
    tokenizer = load_tokenizer(str(base))
    inputs = collate(encode(tokenizer, examples(12), "masked_lm", 32), "masked_lm", tokenizer, seed=3)
    model = model_with_head(str(base), "masked_lm", (), 1, 0.0).eval()
    seen: list[int] = []
    model.get_output_embeddings().register_forward_hook(lambda m, a, output: seen.append(output.numel()))
    whole = model(**inputs).loss
    whole.backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    loss = loss_of(model, "masked_lm", inputs, torch.device("cpu"))
    loss.backward()
    assert loss.item() == pytest.approx(whole.item(), abs=1e-5)
    assert {name for name, p in model.named_parameters() if p.grad is not None} == set(expected)
    assert all(
        torch.allclose(p.grad, expected[name], atol=1e-5)
        for name, p in model.named_parameters()
        if p.grad is not None
    )
    masked = int((inputs["labels"] != heads.IGNORED).sum())
    if seen:  # DeBERTa's newer head has no such layer
        assert seen == [inputs["input_ids"].numel() * len(tokenizer), masked * len(tokenizer)]
    again = model(**inputs).loss
    assert again.item() == pytest.approx(whole.item(), abs=1e-5)  # nothing stays on the model


def test_states_take_a_twentieth_of_the_time_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock by hand: an update takes a second, a state forty."""
    now = 0.0
    monkeypatch.setattr(loop.time, "monotonic", lambda: now)
    saving, written, accelerator = Saving(lambda state: None, 5.0), 0, Accelerator()
    for step in range(4000):
        now += 1.0
        if saving.due(step, accelerator):
            written += 1
            now += 40.0
            saving.wrote(40.0)
    assert 3 <= written <= 6
    assert 40.0 * (written - 1) <= 0.05 * now  # what the first one takes is not known before


def test_a_quick_state_is_written_as_often_as_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(loop.time, "monotonic", lambda: now)
    saving, written = Saving(lambda state: None, 5.0), 0
    for step in range(100):
        now += 1.0
        if saving.due(step, Accelerator()):
            written += 1
            saving.wrote(0.01)
    assert written == 20


def test_average_is_the_mean_of_the_weights_at_all_looks(base: Path) -> None:
    """Seen through the scoring function, which can look at the model; other languages decide nothing."""
    tokenizer = load_tokenizer(str(base))
    inputs = encode(tokenizer, examples(44), "pair_classification", 32)
    model = model_with_head(str(base), "pair_classification", ("a", "b", "c"), 1, 0.0)
    plan = plan_batches([inputs], PHASE, 1)
    looks: list[dict[str, torch.Tensor]] = []

    def score() -> dict[str, float]:
        looks.append(weights_of(model))
        return {"en": 0.5, "sw": 0.1 * len(looks)}

    steps = frozenset({4, 9, len(plan)})
    outcome = train_steps(
        [TrainingSet("task", "pair_classification", model, inputs)],
        plan,
        PHASE,
        1,
        tokenizer,
        Accelerator(),
        lambda count: None,
        scoring=Scoring(score, steps, "average"),
    )
    *scored, final = looks  # the mean itself is scored at the end
    assert [step for step, _ in outcome.scores] == sorted(steps) and len(scored) == 3
    for name, tensor in weights_of(model).items():
        if tensor.is_floating_point():
            assert torch.allclose(tensor, torch.stack([look[name] for look in scored]).mean(0), atol=1e-6)
    assert far(final, weights_of(model)) == 0.0
    assert outcome.kept_scores == {"en": 0.5, "sw": pytest.approx(0.4)}
    assert far(scored[0], scored[2]) > 1e-3


@pytest.mark.parametrize(
    ("accuracy", "commonest", "rows", "collapsed"),
    [
        (0.335, 1 / 3, 2490, True),
        (0.30, 1 / 3, 2490, True),
        (0.45, 1 / 3, 2490, False),
        (0.6, 0.55, 100, True),
    ],
)
def test_a_run_that_is_no_better_than_the_commonest_label_is_collapsed(
    accuracy: float, commonest: float, rows: int, collapsed: bool
) -> None:
    assert is_collapsed(accuracy, commonest, rows) is collapsed


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_attention_is_the_one_asked_for_while_training_and_the_models_own_after(
    attention: str, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = set()

    def looking(model: Any, *rest: Any) -> torch.Tensor:
        seen.add(model.config._attn_implementation)
        return loss_of(model, *rest)

    monkeypatch.setattr(loop, "loss_of", looking)
    ours, _ = train(base, PHASE.model_copy(update={"attention": attention}))
    assert seen == {attention}
    assert far(ours, plainly(base, PHASE)) < 1e-4


@pytest.mark.parametrize(
    ("attention", "message"),
    [("sdpa", "attention: sdpa: DebertaV2.* has only eager"), ("flash_attention_2", "attention: flash")],
)
def test_an_attention_that_cannot_be_had_is_said(attention: str, message: str, tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", "deberta-v2")
    with pytest.raises(UserError, match=message):
        train(base, PHASE.model_copy(update={"attention": attention}))


class Waits(torch.utils._python_dispatch.TorchDispatchMode):
    """Counts the operations that make a GPU wait for its host's question, within a model's forward and backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function._schema.name
        if name in ("aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero", "aten::masked_select"):
            self.names.append(name)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("head", ["pair_classification", "masked_lm"])
@pytest.mark.parametrize("architecture", ["bert", "xlm-roberta"])
def test_an_update_asks_the_device_nothing(
    architecture: str, head: Any, padded: bool, tmp_path: Path
) -> None:
    """With PyTorch's attention, as on a GPU; what is counted and masked is counted on the host before."""
    base = make_base(tmp_path / "base", architecture)
    tokenizer = load_tokenizer(str(base))
    batch = examples(12) if padded else [examples(1)[0]] * 2
    model = model_with_head(str(base), head, ("a", "b", "c"), 1, 0.0)
    model.set_attn_implementation("sdpa")
    inputs = collate(encode(tokenizer, batch, head, 32), head, tokenizer)
    expected = model(**inputs).loss.item()
    seen: list[str] = []
    forward = model.forward

    def watched(*arguments: Any, **named: Any) -> Any:
        with Waits() as waits:
            result = forward(*arguments, **named)
        seen.extend(waits.names)
        return result

    model.forward = watched  # type: ignore[method-assign]
    loss = loss_of(model, head, inputs, torch.device("cpu"))
    with Waits() as waits:
        loss.backward()
    assert seen == waits.names == []
    assert loss.item() == pytest.approx(expected, abs=1e-6)
