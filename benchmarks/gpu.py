"""What a GPU reaches, in one table: `python benchmarks/gpu.py --data MIRROR --write FILE`, at most eight minutes.

Nothing is downloaded: models are made from configurations with random weights (speed does not depend on their values), texts
are rows of the mirror, or of the bundled suite. Every figure is a ratio of two things measured one after the other in this
process, or says its unit. `--shapes tiny` runs all of it with tiny models in a minute, also without a GPU.
"""

from __future__ import annotations

import argparse
import gc
import platform
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoTokenizer,
    XLMRobertaConfig,
    XLMRobertaForMultipleChoice,
    XLMRobertaForSequenceClassification,
)

from harness_tasks.rows import Options, build_documents
from harness_tasks.targets import get_target, targets
from xscale.evaluation.batches import batch_plan
from xscale.evaluation.encoder_lm import EncoderLM
from xscale.evaluation.sweep import evaluate_entries
from xscale.manifest import Entry

SECONDS = 480.0
SHAPES = {  # layers, width, heads, words
    "XLM-R base": (12, 768, 12, 250_002),
    "XLM-R large": (24, 1024, 16, 250_002),
    "tiny": (2, 32, 2, 9_000),
}


@dataclass(frozen=True)
class Figure:
    """One line of the table; `goal` is None where there is none."""

    name: str
    value: float
    unit: str
    goal: float | None = None

    def row(self) -> str:
        met = (
            "" if self.goal is None else f"≥ {self.goal:g}: {'met' if self.value >= self.goal else 'missed'}"
        )
        return f"| {self.name} | {self.value:.3g} | {self.unit} | {met} |"


def main() -> None:
    """Measure and print the table, or write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", default="bundled", help="mirror folder with real rows, or bundled")
    parser.add_argument("--shapes", choices=("real", "tiny"), default="real")
    parser.add_argument("--write", type=Path, help="file for the table")
    arguments = parser.parse_args()
    text = table(arguments.data, arguments.shapes)
    if arguments.write:
        arguments.write.write_text(text, encoding="utf-8")
    sys.stdout.write(text)


def table(source: str, shapes: str) -> str:
    """The table as Markdown; what does not fit into the time is left out and named."""
    begin = time.monotonic()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    names = ["tiny"] if shapes == "tiny" else ["XLM-R base", "XLM-R large"]
    figures: list[Figure] = []
    skipped: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(Path(scratch), source, device, shapes == "tiny")
        steps: list[tuple[str, Callable[[], Iterator[Figure]]]] = []
        for name in names:
            steps.append((f"evaluation of {name}", lambda name=name: bench.evaluation(name)))
            steps.append((f"training of {name}", lambda name=name: bench.training(name)))
        steps += [
            ("CPU against device", lambda: bench.numbers(names[0])),
            ("shared lower layers", lambda: bench.shared(names[0])),
            ("causal model", bench.causal),
            ("everything", lambda: bench.everything(names[-1])),
        ]
        for what, step in steps:
            if time.monotonic() - begin > SECONDS * 0.85:
                skipped.append(what)
                continue
            figures += step()
            gc.collect()
            if device.type == "cuda":
                torch.cuda.empty_cache()
    head = [
        f"`{' '.join(['python', *sys.argv])}`; {date.today()}; {device_name(device)}; torch {torch.__version__}; "
        f"{time.monotonic() - begin:.0f} s; rows: {'bundled suite' if source == 'bundled' else 'mirror'}",
        "",
        "| what | measured | unit | goal |",
        "| --- | ---: | --- | --- |",
    ]
    left_out = [f"\nLeft out for want of time: {', '.join(skipped)}."] if skipped else []
    return "\n".join([*head, *(figure.row() for figure in figures), *left_out]) + "\n"


def device_name(device: torch.device) -> str:
    """The card, or the processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU ({platform.machine()})"


class Bench:
    """Models and rows that the steps share."""

    def __init__(self, folder: Path, source: str, device: torch.device, tiny: bool) -> None:
        self.folder, self.source, self.device, self.tiny = folder, source, device, tiny
        self.languages = get_target("xnli").languages[: 3 if tiny else None]
        self.limit = 8 if tiny else 400
        self.tokenizer = self._tokenizer()
        self._counter = 0

    def evaluation(self, name: str) -> Iterator[Figure]:
        """Documents a second against plain forward passes over the same batches, and against a pipeline."""
        from transformers import pipeline

        entry = self.checkpoint(name, "xnli")
        documents = [
            document
            for language in self.languages
            for document in build_documents("xnli", language, options=Options(data=self.source))[: self.limit]
        ]
        pairs = [get_target("xnli").pairs(document)[0] for document in documents]
        folder = Path(str(entry.model_args["pretrained"])) / "xnli"
        loaded = EncoderLM(**entry.model_args, description=name).preload(["xnli"])
        model, precision = loaded._models["xnli"], loaded.precision
        ids = [
            self.tokenizer(a, b, truncation="longest_first", max_length=128)["input_ids"] for a, b in pairs
        ]
        batches = []
        for rows in batch_plan(np.array([len(text) for text in ids]), loaded.tokens_a_batch):
            longest = max(len(ids[i]) for i in rows)
            tokens = torch.tensor([ids[i] + [1] * (longest - len(ids[i])) for i in rows], device=self.device)
            batches.append((tokens, (tokens != 1).long()))
        half = self._type_of(precision)

        def ceiling() -> None:
            with torch.no_grad(), torch.autocast(self.device.type, half, enabled=half is not None):
                for tokens, mask in batches:
                    model(input_ids=tokens, attention_mask=mask)

        ours = self._evaluate(entry, {"xnli": (self.languages, self.limit)})
        best = self.best(ceiling, 3)
        seconds = self.best(ours, 3)
        yield Figure(f"{name}: documents a second, {precision}", len(documents) / seconds, "1/s")
        yield Figure(f"{name}: of the forward ceiling in {precision}", best / seconds, "ratio", 0.85)
        sample = min(len(pairs), 32 if self.tiny else 1000)
        classify = pipeline(
            "text-classification",
            model=XLMRobertaForSequenceClassification.from_pretrained(folder),
            tokenizer=self.tokenizer,
            batch_size=32,
            device=self.device,
        )
        inputs = [{"text": a, "text_pair": b} for a, b in pairs[:sample]]
        pipeline_seconds = self.best(lambda: classify(inputs, truncation=True, max_length=128), 1)
        ratio = (pipeline_seconds / sample) / (seconds / len(documents))
        yield Figure(f"{name}: times transformers' pipeline", ratio, "ratio", 3)
        if self.device.type == "cuda":
            yield Figure(
                f"{name}: peak memory of evaluation", torch.cuda.max_memory_allocated() / 2**30, "GiB"
            )

    def training(self, name: str) -> Iterator[Figure]:
        """Examples a second against transformers' Trainer with length groups, and the share of the matrix-product peak."""
        from accelerate import Accelerator
        from datasets import Dataset
        from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

        from xscale.experiment import RECIPES
        from xscale.precision import effective_precision
        from xscale.training.heads import encode
        from xscale.training.loop import TrainingSet, plan_batches, train_steps
        from xscale.training.tasks import Example

        phase = next(iter(RECIPES["paper"].values())).model_copy(
            update={"epochs": 1.0, "batch_size": 8 if self.tiny else 32, "max_length": 128}
        )
        rows = build_documents("xnli", "en", options=Options(data=self.source))[: 24 if self.tiny else 2048]
        examples = [Example(get_target("xnli").pairs(row), row["label"]) for row in rows]
        folder = Path(str(self.checkpoint(name, "xnli").model_args["pretrained"])) / "xnli"

        def fresh() -> Any:
            return XLMRobertaForSequenceClassification.from_pretrained(folder).to(self.device)

        def ours(model: Any) -> None:
            inputs = encode(self.tokenizer, examples, "pair_classification", phase.max_length)
            sets = [TrainingSet("nli", "pair_classification", model, inputs)]
            plan = plan_batches([inputs], phase, 1)
            train_steps(sets, plan, phase, 1, self.tokenizer, Accelerator(), lambda count: None)

        def trainer(model: Any) -> None:
            data = Dataset.from_dict(
                dict(
                    self.tokenizer(
                        *map(list, zip(*(e.pairs[0] for e in examples), strict=True)),
                        truncation=True,
                        max_length=128,
                    )
                )
                | {"label": [example.label for example in examples]}
            )
            settings = TrainingArguments(
                str(self.folder / "trainer"),
                per_device_train_batch_size=phase.batch_size,
                num_train_epochs=1,
                learning_rate=phase.learning_rate,
                bf16=half == "bf16",
                fp16=half == "fp16",
                use_cpu=self.device.type == "cpu",
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
                logging_strategy="no",
                train_sampling_strategy="group_by_length",
            )
            Trainer(
                model=model,
                args=settings,
                train_dataset=data,
                data_collator=DataCollatorWithPadding(self.tokenizer),
            ).train()

        half = effective_precision(phase.precision, self.device)
        seconds = {}
        for which, work in (("trainer", trainer), ("ours", ours)):
            work(fresh())  # kernels are chosen, memory is taken
            model = fresh()
            seconds[which] = self.best(lambda work=work, model=model: work(model), 1)
        yield Figure(f"{name}: training examples a second, {half}", len(examples) / seconds["ours"], "1/s")
        yield Figure(
            f"{name}: times Trainer with length groups", seconds["trainer"] / seconds["ours"], "ratio", 1.3
        )
        layers, width, _, _ = SHAPES[name]
        lengths = [
            len(self.tokenizer(*example.pairs[0], truncation=True, max_length=128)["input_ids"])
            for example in examples
        ]
        products = 2 * layers * (sum(lengths) * 12 * width**2 + 2 * width * sum(n * n for n in lengths))
        share = 3 * products / seconds["ours"] / self.peak(self._type_of(str(half)) or torch.float32)
        yield Figure(f"{name}: share of the measured matrix-product peak, {half}", share, "ratio", 0.35)
        if self.device.type == "cuda":
            yield Figure(
                f"{name}: peak memory of training, 32 × 128", torch.cuda.max_memory_allocated() / 2**30, "GiB"
            )

    def numbers(self, name: str) -> Iterator[Figure]:
        """What precision and device change: predictions that differ, and the largest difference of a log-probability."""
        entry = self.checkpoint(name, "xnli", std=0.05)
        rows = {}
        for label, device, precision in (
            ("CPU fp32", "cpu", "fp32"),
            ("device fp32", self.device.type, "fp32"),
            ("device bf16", self.device.type, "bf16"),
        ):
            chosen = entry.model_copy(
                update={
                    "id": label.replace(" ", "-"),
                    "model_args": entry.model_args | {"device": device, "precision": precision},
                }
            )
            rows[label] = self._answers(chosen, {"xnli": (self.languages[:3], self.limit // 2)})
        for label in ("device fp32", "device bf16"):
            difference = np.abs(rows[label] - rows["CPU fp32"])
            flips = (rows[label].argmax(1) != rows["CPU fp32"].argmax(1)).mean()
            yield Figure(f"{name}: predictions of {label} that differ from CPU fp32", float(flips), "share")
            yield Figure(
                f"{name}: largest difference of a log-probability, {label}", float(difference.max()), "nats"
            )

    def shared(self, name: str) -> Iterator[Figure]:
        """Ten checkpoints with two thirds of their layers in common, against one."""
        layers = SHAPES[name][0]
        entries = [
            self.checkpoint(name, "xnli", own=layers - layers * 2 // 3, seed=seed) for seed in range(10)
        ]
        chosen = {"xnli": (self.languages, self.limit // 4)}
        self._sweep(entries[:1], chosen)()
        one = self.best(self._sweep(entries[:1], chosen), 1)
        ten = self.best(self._sweep(entries, chosen), 1)
        yield Figure(f"{name}: ten checkpoints with a shared trunk, times one", ten / one, "ratio")

    def causal(self) -> Iterator[Figure]:
        """lm_eval's hf through the harness against its log-likelihoods asked directly; and shared contexts against hf."""
        from lm_eval.api.instance import Instance
        from lm_eval.models.huggingface import HFLM
        from transformers import LlamaConfig, LlamaForCausalLM

        from xscale.evaluation.shared_context import MODEL, SharedContextLM

        width, layers = (32, 2) if self.tiny else (2048, 16)
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(self.tokenizer), hidden_size=width, num_hidden_layers=layers,
            num_attention_heads=width // 16 if self.tiny else 32, intermediate_size=4 * width, max_position_embeddings=512,
        )  # fmt: skip
        folder = self.folder / "causal"
        LlamaForCausalLM(config).to(
            torch.bfloat16 if self.device.type == "cuda" else torch.float32
        ).save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        arguments = {"pretrained": str(folder), "device": self.device.type, "dtype": "auto", "batch_size": 32}
        limit, target = self.limit // 2, get_target("xcopa")
        words = target.words("et")
        requests = []
        for number, document in enumerate(
            build_documents("xcopa", "et", options=Options(data=self.source))[:limit]
        ):
            for choice_number, choice in enumerate(target.choices(document, words)):
                texts = (target.context(document, words), f" {choice}")
                requests.append(
                    Instance("loglikelihood", document, texts, choice_number, ("xcopa_et", number, 1))
                )
        stock, ours = HFLM(**arguments), SharedContextLM(**arguments)
        direct = self.best(lambda: stock.loglikelihood(requests, disable_tqdm=True), 2)
        together = self.best(lambda: ours.loglikelihood(requests, disable_tqdm=True), 2)
        entry = Entry(id="causal", model="hf", model_args=arguments)
        through = self.best(self._evaluate(entry, {"xcopa": (("et",), limit)}), 1)
        yield Figure(
            "causal model: hf through the harness, times direct (loading included)", through / direct, "ratio"
        )
        yield Figure(f"causal model: {MODEL}, times hf", direct / together, "ratio", 1.8)

    def everything(self, name: str) -> Iterator[Figure]:
        """All XNLI and XCOPA documents of the source for one checkpoint."""
        targets_scored = ("xnli", "xcopa")
        entry = self.checkpoint(name, *targets_scored)
        few = 3 if self.tiny else None
        limit = self.limit if self.tiny else None
        chosen = {name: (get_target(name).languages[:few], limit) for name in targets_scored}
        yield Figure(f"{name}: all of XNLI and XCOPA", self.best(self._evaluate(entry, chosen), 1), "s")

    def checkpoint(
        self, name: str, *heads: str, own: int | None = None, seed: int = 1, std: float = 0.02
    ) -> Entry:
        """A checkpoint of that shape with random weights; its lowest layers but `own` are the same for every seed."""
        layers, width, attention_heads, words = SHAPES[name]
        self._counter += 1
        folder = self.folder / f"checkpoint-{self._counter}"
        for head in heads:
            labels = get_target(head).answers if head == "xnli" else ("score",)
            torch.manual_seed(0)
            kind = XLMRobertaForSequenceClassification if head == "xnli" else XLMRobertaForMultipleChoice
            model = kind(
                XLMRobertaConfig(
                    vocab_size=words, hidden_size=width, num_hidden_layers=layers, num_attention_heads=attention_heads,
                    intermediate_size=4 * width, max_position_embeddings=514, type_vocab_size=1, initializer_range=std,
                    id2label=dict(enumerate(labels)), pad_token_id=1, bos_token_id=0, eos_token_id=2,
                )
            )  # fmt: skip
            torch.manual_seed(seed)
            for number, layer in enumerate(model.roberta.encoder.layer):
                if own is not None and number >= layers - own:
                    for parameter in layer.parameters():
                        torch.nn.init.normal_(parameter, std=std)
            model.save_pretrained(folder / head)
            self.tokenizer.save_pretrained(folder / head)
        return Entry(
            id=f"checkpoint-{self._counter}",
            model="xscale",
            model_args={"pretrained": str(folder), "device": self.device.type},
            targets={head: [] for head in heads},
        )

    def best(self, work: Callable[[], object], rounds: int) -> float:
        """The shortest of some rounds, in seconds, the device's queue emptied."""
        seconds = []
        for _ in range(rounds):
            if self.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
                torch.cuda.synchronize()
            start = time.perf_counter()
            work()
            if self.device.type == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
        return min(seconds)

    def peak(self, kind: torch.dtype) -> float:
        """FLOP/s of a large matrix product in that type, measured."""
        size = 256 if self.tiny else 8192
        a = torch.randn(size, size, dtype=kind, device=self.device)
        torch.mm(a, a)
        return 2.0 * size**3 / self.best(lambda: torch.mm(a, a), 5)

    @staticmethod
    def _type_of(precision: str) -> torch.dtype | None:
        return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)

    def _evaluate(self, entry: Entry, chosen: Any) -> Callable[[], None]:
        return self._sweep([entry], chosen)

    def _sweep(self, entries: Sequence[Entry], chosen: Any) -> Callable[[], None]:
        def work() -> None:
            self._counter += 1
            results = self.folder / f"results-{self._counter}"
            evaluate_entries([(entry, chosen) for entry in entries], self.source, results / "m.json", results)

        return work

    def _answers(self, entry: Entry, chosen: Any) -> np.ndarray:
        from xscale.evaluation.predictions import PREDICTIONS, read_predictions

        self._counter += 1
        results = self.folder / f"results-{self._counter}"
        evaluate_entries([(entry, chosen)], self.source, results / "m.json", results)
        stored = read_predictions(results / entry.id / PREDICTIONS).table.sort_by(
            [("task", "ascending"), ("row", "ascending")]
        )
        return np.array(stored.column("logprobs").to_pylist())

    def _tokenizer(self) -> Any:
        """Words of the rows cut into pieces of three characters, about as many tokens as XLM-R's tokenizer makes."""
        from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
        from transformers import PreTrainedTokenizerFast

        pieces = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
        most = min(words for _, _, _, words in SHAPES.values())
        for name in ("xnli", "xcopa"):
            for language in targets()[name].languages:
                for document in build_documents(name, language, options=Options(data=self.source))[:200]:
                    for field in targets()[name].text_fields:
                        for piece in re.findall(r"\w{1,3}|[^\w\s]", document[field].lower()):
                            if len(pieces) < most:
                                pieces.setdefault(piece, len(pieces))
        made = Tokenizer(models.WordLevel(pieces, unk_token="<unk>"))
        made.normalizer = normalizers.Lowercase()
        made.pre_tokenizer = pre_tokenizers.Split(Regex(r"\w{1,3}|[^\w\s]"), "removed", invert=True)
        made.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
        )
        fast = PreTrainedTokenizerFast(
            tokenizer_object=made, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>",
            model_max_length=512, model_input_names=["input_ids", "attention_mask"],
        )  # fmt: skip
        fast.save_pretrained(self.folder / "tokenizer")
        return AutoTokenizer.from_pretrained(self.folder / "tokenizer")


if __name__ == "__main__":
    main()
