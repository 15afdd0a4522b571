"""Training speed: our loop against transformers' Trainer on the same rows of real SNLI, and the share of the machine's
matrix-product rate that a step reaches.

All train the same model (the embedded base, embeddings frozen) in the same precision with batches of 32, in one process,
one after the other. `padded to 128` is the transformers' text-classification example as it is written; `length groups` is
Trainer with its two options against padding.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from datasets import Dataset
from torch.profiler import ProfilerActivity, profile
from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

from xscale.base_models import EMBEDDED_E5, resolve_base
from xscale.experiment import RECIPES
from xscale.precision import effective_precision
from xscale.training.heads import encode, freeze, model_with_head
from xscale.training.loop import TrainingSet, plan_batches, train_steps
from xscale.training.phases import load_tokenizer
from xscale.training.tasks import load_examples, training_task

ROWS = 512
PHASE = RECIPES["laptop"]["intermediate"].model_copy(update={"epochs": 1.0})


@pytest.fixture(scope="module")
def setting(rows_source: str) -> dict[str, Any]:
    if rows_source == "bundled":
        pytest.skip("no real data; XSCALE_TEST_DATA names a mirror folder")
    base = resolve_base(EMBEDDED_E5)
    examples = load_examples(training_task("snli"), rows_source).examples
    step = len(examples) // ROWS
    return {"base": base, "tokenizer": load_tokenizer(base), "examples": examples[::step][:ROWS]}


def new_model(setting: dict[str, Any]) -> Any:
    model = model_with_head(setting["base"], "pair_classification", ("e", "n", "c"), 1, None)
    freeze(model, True, 0)
    return model


def ours(setting: dict[str, Any]) -> None:
    """Tokenising, planning and training, as `xscale train` does them for a phase."""
    model, tokenizer = setting["model"], setting["tokenizer"]
    inputs = encode(tokenizer, setting["examples"], "pair_classification", PHASE.max_length)
    sets = [TrainingSet("snli", "pair_classification", model, inputs)]
    train_steps(
        sets, plan_batches([inputs], PHASE, 1), PHASE, 1, tokenizer, Accelerator(), lambda count: None
    )


def trainer(setting: dict[str, Any], folder: Path, padded: bool) -> None:
    """Tokenising and training by Trainer, with padding to 128 or with length groups."""
    tokenizer = setting["tokenizer"]
    pairs = [example.pairs[0] for example in setting["examples"]]
    encoded = tokenizer(
        [first for first, _ in pairs],
        [second for _, second in pairs],
        truncation=True,
        max_length=128,
        padding="max_length" if padded else False,
    )
    data = Dataset.from_dict(dict(encoded) | {"label": [example.label for example in setting["examples"]]})
    grouped = {} if padded else {"train_sampling_strategy": "group_by_length"}
    arguments = TrainingArguments(
        str(folder),
        per_device_train_batch_size=PHASE.batch_size,
        num_train_epochs=1,
        learning_rate=PHASE.learning_rate,
        bf16=effective_precision(PHASE.precision, torch.device("cpu")) == "bf16",
        use_cpu=True,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        logging_strategy="no",
        **grouped,
    )
    setting["model"].set_attn_implementation("eager")  # the faster one here, and what our loop uses
    collator = None if padded else DataCollatorWithPadding(tokenizer)
    Trainer(model=setting["model"], args=arguments, train_dataset=data, data_collator=collator).train()


@pytest.mark.benchmark(group="training")
def test_against_trainer(
    benchmark: Any, goal: Callable[..., None], setting: dict[str, Any], tmp_path: Path
) -> None:
    """Goals: 1.6 times Trainer with length groups, 6 times with every text padded to 128; taken in turns."""
    seconds: dict[str, list[float]] = {"ours": [], "grouped": [], "padded": []}

    def timed(name: str, work: Callable[[], None]) -> None:
        setting["model"] = new_model(setting)
        start = time.perf_counter()
        work()
        seconds[name].append(time.perf_counter() - start)

    for _ in range(2):
        timed("grouped", lambda: trainer(setting, tmp_path, padded=False))
        timed("ours", lambda: ours(setting))
        timed("padded", lambda: trainer(setting, tmp_path, padded=True))
    setting["model"] = new_model(setting)
    benchmark.pedantic(ours, args=(setting,), rounds=1)
    best = {name: min(values) for name, values in seconds.items()}
    best["ours"] = min(best["ours"], benchmark.stats.stats.min)
    goal("training: times Trainer, length groups", best["grouped"] / best["ours"], at_least=1.6)
    goal("training: times Trainer, padded to 128", best["padded"] / best["ours"], at_least=6)
    benchmark.extra_info.update(rows=ROWS, examples_a_second=ROWS / best["ours"])


def encoder_flops(config: Any, tokens: int, squares: int) -> float:
    """Of a forward pass over `tokens` padded tokens in rows whose squared lengths sum to `squares`: two for each
    multiplication of the layers' matrices, and of attention's two products."""
    hidden, feed_forward = config.hidden_size, config.intermediate_size
    matrices = 4 * hidden * hidden + 2 * hidden * feed_forward
    return 2.0 * config.num_hidden_layers * (tokens * matrices + 2 * squares * hidden)


@pytest.mark.benchmark(group="training")
def test_share_of_the_matrix_product_rate(benchmark: Any, setting: dict[str, Any]) -> None:
    """A step counts three forward passes (one forward, two backward), but for the lowest layer's input, which is frozen."""
    setting["model"] = new_model(setting)
    config = setting["model"].config
    inputs = encode(setting["tokenizer"], setting["examples"], "pair_classification", PHASE.max_length)
    tokens = squares = 0
    for _, rows in plan_batches([inputs], PHASE, 1):
        longest = max(inputs[row].length for row in rows)
        tokens += longest * len(rows)
        squares += longest * longest * len(rows)
    benchmark.pedantic(ours, args=(setting,), rounds=3)
    reached = 3 * encoder_flops(config, tokens, squares) / benchmark.stats.stats.min
    possible = matrix_rate(config, tokens // len(plan_batches([inputs], PHASE, 1)))
    benchmark.extra_info["padding"] = round(1 - sum(item.length for item in inputs) / tokens, 3)
    benchmark.extra_info["gflops_reached"] = round(reached / 1e9, 1)
    benchmark.extra_info["gflops_of_products"] = round(possible / 1e9, 1)
    benchmark.extra_info["share"] = round(reached / possible, 3)
    setting["model"] = new_model(setting)
    benchmark.extra_info |= where_the_time_goes(lambda: ours(setting))


def where_the_time_goes(work: Callable[[], object]) -> dict[str, float]:
    """The shares of time of the operators that take most of it, by PyTorch's profiler; `matrix products` are three."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        work()
    spent = {event.key: event.self_cpu_time_total for event in profiled.key_averages()}
    total = sum(spent.values())
    products = sum(spent.pop(f"aten::{name}", 0.0) for name in ("mm", "addmm", "bmm"))
    most = sorted(spent, key=lambda name: -spent[name])[:6]
    shares = {"matrix products": products} | {name.removeprefix("aten::"): spent[name] for name in most}
    return {f"time in {name}": round(value / total, 3) for name, value in shares.items()}


def matrix_rate(config: Any, tokens: int) -> float:
    """FLOP/s of a product of the feed-forward layer's shape with as many rows as a batch has tokens, in the same type."""
    bf16 = effective_precision(PHASE.precision, torch.device("cpu")) == "bf16"
    left = torch.randn(tokens, config.hidden_size, dtype=torch.bfloat16 if bf16 else torch.float32)
    right = torch.randn(config.hidden_size, config.intermediate_size, dtype=left.dtype)
    best = float("inf")
    for _ in range(30):
        start = time.perf_counter()
        torch.mm(left, right)
        best = min(best, time.perf_counter() - start)
    return 2.0 * tokens * config.hidden_size * config.intermediate_size / best
