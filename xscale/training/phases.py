"""One recipe, trained: base -> intermediate task -> each target, written as one checkpoint folder.

checkpoints/<id>/encoder/   the encoder after the intermediate phase
checkpoints/<id>/xnli/      the encoder with its fine-tuned head; likewise xcopa/
checkpoints/<id>/recipe.json
checkpoints/<id>/README.md  model card

While it is trained, all of this grows in checkpoints/.<id>.training/, with the state that a killed run goes on from; the
folder gets its name when everything is there.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from transformers import AutoConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from xscale.adapters import save_adapters, with_adapters
from xscale.base_models import resolve_base
from xscale.encoding import takes_token_types
from xscale.errors import UserError
from xscale.experiment import Recipe
from xscale.files import disk_errors, refuse_link, whole_file, whole_folder, write_text
from xscale.precision import effective_precision
from xscale.progress import console, progress, say
from xscale.tokenizer_files import published_tokenizer
from xscale.training.card import model_card
from xscale.training.development import DevelopmentSet, development_set, other_languages, scoring_of
from xscale.training.heads import encode, freeze, input_length, model_with_head, save_model, share_encoder
from xscale.training.loop import (
    STATE_FIELDS,
    Saving,
    State,
    TrainingSet,
    plan_batches,
    train_steps,
)
from xscale.training.records import development_record, phase_record
from xscale.training.samples import (
    Sample,
    as_prompts,
    intermediate_samples,
    rows_in_common,
    target_samples,
    texts_sample,
)
from xscale.training.tasks import training_task
from xscale.training.tracking import start_trackers, trackers
from xscale.training.trunk import cut

SAVE_SECONDS = 120.0
_LIBRARIES = ("torch", "transformers", "tokenizers", "accelerate", "datasets", "numpy", "safetensors")
_STATE, _PROGRESS = "state.pt", "progress.json"


@dataclass
class _Run:
    """What all phases of one recipe's training share."""

    recipe: Recipe
    work: Path
    store: Path
    base: str
    tokenizer: PreTrainedTokenizerBase
    accelerator: Accelerator
    save_seconds: float
    record: dict[str, Any]
    done: list[str]


def train_recipe(recipe: Recipe, folder: Path, save_seconds: float = SAVE_SECONDS) -> dict[str, Any]:
    """Train one recipe into `folder`, which appears whole or not at all; returns what `recipe.json` holds.

    A killed or failed training goes on from its last state, written every `save_seconds`. At most one training of a folder
    may run at a time (hold a lock). Raises `UserError` when data, base model or sizes do not fit, or the disk is full.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    start = time.monotonic()
    accelerator = Accelerator(log_with=trackers() or None, project_dir=str(folder.parent.parent / "logs"))
    start_trackers(accelerator, recipe)
    console.quiet = not accelerator.is_main_process
    base = resolve_base(recipe.base)
    work = folder.with_name(f".{folder.name}.training")
    key = {"digest": recipe.digest(), "libraries": {name: version(name) for name in _LIBRARIES}}
    with disk_errors(work):
        record, done = _resume_or_begin(work, key, recipe, accelerator)
        run = _Run(
            recipe,
            work,
            folder.parent / ".shared",
            base,
            load_tokenizer(base),
            accelerator,
            save_seconds,
            record,
            done,
        )
        for unit in ("encoder", *recipe.targets) if recipe.objective == "heads" else ("model",):
            if unit in run.done:
                continue
            before = time.monotonic()
            if unit == "model":
                model = _train_causal(run)
            else:
                model = _train_encoder(run) if unit == "encoder" else _train_target(run, unit)
            if accelerator.is_main_process:
                _save(run, model, unit, round(time.monotonic() - before, 1))
            accelerator.wait_for_everyone()
            del model
        if accelerator.is_main_process:
            record["seconds"] = round(time.monotonic() - start, 1)
            record["hardware"] = {
                "device": str(accelerator.device),
                "processes": accelerator.num_processes,
                "cpus": os.cpu_count(),
                "threads": torch.get_num_threads(),
                "machine": platform.machine(),
            }
            _finish(work, folder, record)
        accelerator.wait_for_everyone()
    if accelerator.trackers:
        accelerator.end_training()
    return record


def load_tokenizer(pretrained: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a base model, which gives token types only if the model takes them. Raises `UserError` when it
    cannot be had.
    """
    try:
        tokenizer = published_tokenizer(pretrained)
        if not takes_token_types(AutoConfig.from_pretrained(pretrained, trust_remote_code=False)):
            tokenizer.model_input_names = [n for n in tokenizer.model_input_names if n != "token_type_ids"]
        return tokenizer
    except (OSError, ValueError) as error:
        raise UserError(
            f"base {pretrained!r}: cannot be loaded ({str(error).splitlines()[0]}); check the name, the network, "
            "or give a local folder as ./path"
        ) from None


def _resume_or_begin(
    work: Path, key: dict[str, Any], recipe: Recipe, accelerator: Accelerator
) -> tuple[dict[str, Any], list[str]]:
    """The record and the finished parts of an earlier training of the same recipe with the same libraries, or none."""
    record: dict[str, Any] = {
        "recipe": recipe.model_dump(),
        "digest": key["digest"],
        "libraries": key["libraries"],
        "phases": [],
    }
    done: list[str] = []
    try:
        stored = json.loads((work / _PROGRESS).read_text(encoding="utf-8"))
        if stored["key"] == key:
            record, done = stored["record"], stored["done"]
        usable = bool(stored["key"] == key)
    except (OSError, ValueError, KeyError, TypeError):
        usable = False
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        refuse_link(work)
        if not usable:
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True, exist_ok=True)
            _write_progress(work, key, record, done)
        for left in work.glob(".*.part"):  # of a killed process
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)
    accelerator.wait_for_everyone()
    return record, done


def _write_progress(work: Path, key: dict[str, Any], record: dict[str, Any], done: list[str]) -> None:
    text = json.dumps({"key": key, "record": record, "done": done}, ensure_ascii=False)
    write_text(work / _PROGRESS, text + "\n")


def _save(run: _Run, model: PreTrainedModel, unit: str, seconds: float) -> None:
    """Write a finished part, then say so, then drop its state: killed in between, the part is only made again."""
    with whole_folder(run.work / unit) as temporary:
        if run.recipe.lora is None or run.recipe.objective == "causal_lm":
            save_model(model, run.tokenizer, temporary, run.store)
        else:
            save_adapters(model, run.tokenizer, temporary, run.recipe.base)
    run.done.append(unit)
    key = {"digest": run.record["digest"], "libraries": run.record["libraries"]}
    _write_progress(run.work, key, run.record, run.done)
    (run.work / _STATE).unlink(missing_ok=True)


def _finish(work: Path, folder: Path, record: dict[str, Any]) -> None:
    write_text(work / "recipe.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    write_text(work / "README.md", model_card(record))
    (work / _STATE).unlink(missing_ok=True)
    (work / _PROGRESS).unlink(missing_ok=True)
    if folder.exists():
        shutil.rmtree(folder)
    os.replace(work, folder)


def _train_encoder(run: _Run) -> PreTrainedModel:
    recipe, phase = run.recipe, run.recipe.phases["intermediate"]
    seed = _phase_seed(recipe.seed, "intermediate")
    if not recipe.size:
        task = training_task(recipe.intermediate[0], recipe.tasks)
        labels = task.labels or ("0", "1")
        model = model_with_head(run.base, task.head, labels, seed, phase.dropout)
        if recipe.lora is not None:
            return with_adapters(model, recipe.lora, seed)
        freeze(model, phase.freeze == "embeddings", phase.freeze_layers)
        return model.base_model
    samples = intermediate_samples(recipe)
    if recipe.lora is not None:
        (sample,) = samples
        model = model_with_head(run.base, sample.task.head, sample.labels, seed, phase.dropout)
        model = with_adapters(model, recipe.lora, seed)
        _train_on(run, "intermediate", 0, samples, [model])
        return model
    models: dict[str, PreTrainedModel] = {}
    for sample in samples:
        if sample.task.family not in models:
            models[sample.task.family] = model_with_head(
                run.base, sample.task.head, sample.labels, seed, phase.dropout
            )
    masked = texts_sample(recipe.masked_lm, recipe) if recipe.masked_lm else None
    if masked is not None:
        models["masked_lm"] = model_with_head(run.base, "masked_lm", (), seed, phase.dropout)
        samples = [*samples, masked]
    whole = max(models.values(), key=lambda model: len(list(model.base_model.parameters())))
    for model in models.values():
        if model is not whole:
            share_encoder(whole, model)
    for model in models.values():
        freeze(model, phase.freeze == "embeddings", phase.freeze_layers)
    by_sample = [models["masked_lm" if sample is masked else sample.task.family] for sample in samples]
    _train_on(run, "intermediate", 0, samples, by_sample)
    return whole.base_model


def _train_causal(run: _Run) -> PreTrainedModel:
    """A causal language model after training on the intermediate tasks' prompts."""
    recipe, phase = run.recipe, run.recipe.phases["intermediate"]
    model = model_with_head(
        run.base, "causal_lm", (), _phase_seed(recipe.seed, "intermediate"), phase.dropout
    )
    if phase.freeze != "nothing" or phase.freeze_layers:
        raise UserError(
            "objective: causal_lm: freezing is for encoders; set training.intermediate.freeze: nothing"
        )
    if not recipe.size:
        return model
    samples = [as_prompts(sample) for sample in intermediate_samples(recipe)]
    if recipe.lora is None:
        _train_on(run, "intermediate", 0, samples, [model] * len(samples))
        return model
    adapted = with_adapters(model, recipe.lora, _phase_seed(recipe.seed, "intermediate"), heads=False)
    _train_on(run, "intermediate", 0, samples, [adapted] * len(samples))
    merged = adapted.merge_and_unload()
    for parameter in merged.parameters():
        parameter.requires_grad_(True)  # what is frozen would be stored once for all checkpoints
    return merged


def _train_target(run: _Run, target: str) -> PreTrainedModel:
    recipe, phase = run.recipe, run.recipe.phases[target]
    samples = target_samples(recipe, target)
    head, labels, seed = samples[0].task.head, samples[0].labels, _phase_seed(recipe.seed, target)
    encoder = run.work / "encoder"
    if recipe.lora is not None:
        model = model_with_head(run.base, head, labels, seed, phase.dropout)
        model = with_adapters(model, recipe.lora, seed, start=encoder)
    else:
        model = model_with_head(str(encoder), head, labels, seed, phase.dropout)
        freeze(model, phase.freeze == "embeddings", phase.freeze_layers)
    state = _stored_state(run, target)
    begin = state["stage"] if state else 0
    for stage, sample in enumerate(samples):
        if stage >= begin:
            _train_on(run, target, stage, [sample], [model], last=stage == len(samples) - 1)
    model.config.xscale_max_length = phase.max_length
    return model


def _train_on(
    run: _Run,
    name: str,
    stage: int,
    samples: Sequence[Sample],
    models: Sequence[PreTrainedModel],
    last: bool = True,
) -> None:
    """Train a phase (or one stage of it) and add what was done to the record."""
    recipe, phase, accelerator = run.recipe, run.recipe.phases[name], run.accelerator
    start = time.monotonic()
    inputs = [
        encode(
            run.tokenizer,
            [sample.examples[row] for row in sample.order],
            sample.task.head,
            input_length(phase, sample.task.head),
        )
        for sample in samples
    ]
    sets = [
        TrainingSet(sample.task.name, sample.task.head, model, encoded)
        for sample, model, encoded in zip(samples, models, inputs, strict=True)
    ]
    ratio = recipe.masked_lm.ratio if recipe.masked_lm and name == "intermediate" else None
    seed = _phase_seed(recipe.seed, name)
    plan = plan_batches(inputs, phase, seed, ratio)
    state = _stored_state(run, name, stage)
    if state is not None:
        run.record["phases"] = state["phases"]
        say(f"{recipe.id}: {name} goes on from step {state['step']} of {len(plan)}")
    precision = effective_precision(phase.precision, accelerator.device)
    looks = _development_sets(run, name) if name != "intermediate" and last else []
    rows, names = sum(len(sample.order) for sample in samples), "+".join(s.task.name for s in samples)
    what = f"{recipe.id}: {name} on {rows} of {names}"
    with cut(models, phase, accelerator.device, precision) as trunk:
        if trunk is not None:
            texts = [text for item in sets if item.head != "masked_lm" for text in item.inputs]
            trunk.prepare(texts + [text for look in looks for text in look.inputs], what, accelerator)
        scoring = (
            scoring_of(
                recipe.development,
                looks,
                models[0],
                len(plan),
                run.tokenizer,
                accelerator.device,
                precision,
                trunk,
            )
            if looks
            else None
        )
        with progress(f"train {what}", len(plan)) as advance:
            outcome = train_steps(
                sets,
                plan,
                phase,
                seed,
                run.tokenizer,
                accelerator,
                advance,
                state,
                _saving(run, name, stage),
                scoring,
                trunk,
            )
    seconds = round(time.monotonic() - start, 1)
    for number, (sample, encoded) in enumerate(zip(samples, inputs, strict=True)):
        made = phase_record(name, number, sample, encoded, plan, outcome, phase, recipe.data)
        if name != "intermediate":
            before = intermediate_samples(recipe) if recipe.size else []
            made["rows_also_intermediate"] = rows_in_common(sample, before)
        run.record["phases"].append(made | {"precision": precision, "seconds": seconds})
    if looks:
        run.record.setdefault("development", {})[name] = development_record(
            recipe.development.choose, outcome, len(plan), looks[0], recipe.development.validation_rows
        )


def _development_sets(run: _Run, target: str) -> list[DevelopmentSet]:
    """English, then the other languages; none where nothing is to be scored."""
    recipe, wanted = run.recipe, run.recipe.development
    if wanted.choose == "none":
        return []
    head = training_task(recipe.targets[target].train[0], recipe.tasks).head
    rest = (recipe.data, run.tokenizer, recipe.phases[target].max_length)
    return [
        development_set(target, "en", head, wanted.rows, *rest),
        *other_languages(target, head, wanted.validation_rows, *rest),
    ]


def _saving(run: _Run, name: str, stage: int) -> Saving:
    def write(state: State) -> None:
        with whole_file(run.work / _STATE) as temporary:
            torch.save(state | {"unit": name, "stage": stage, "phases": run.record["phases"]}, temporary)

    return Saving(write, run.save_seconds)


def _stored_state(run: _Run, name: str, stage: int | None = None) -> State | None:
    """The state of that phase (and stage), if the training was stopped there; a damaged one is said, and not taken."""
    path = run.work / _STATE
    if not path.exists():
        return None
    try:
        state: State = torch.load(path, map_location="cpu", weights_only=True)
        if not STATE_FIELDS | {"unit", "stage", "phases"} <= state.keys():
            raise ValueError("a field is missing")
    except Exception as error:  # torch raises a dozen unrelated types for damaged files
        reason = (str(error) or type(error).__name__).splitlines()[0]
        say(f"{run.recipe.id}: {path.name} is damaged ({reason}); {name} is trained from its start")
        return None
    return state if state["unit"] == name and stage in (None, state["stage"]) else None


def _phase_seed(seed: int, phase: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {phase}".encode()).digest()[:4], "little")
