"""One recipe, trained: base -> intermediate task -> each target. Each piece is a unit, made once; the checkpoint links to them.

checkpoints/<id>/encoder/   the encoder after the intermediate phase: the whole base with its own pooler (none at size 0)
checkpoints/<id>/xnli/      the encoder with its fine-tuned head; likewise xcopa/
checkpoints/<id>/recipe.json
checkpoints/<id>/README.md  model card
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import broadcast_object_list
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoModel, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from harness_tasks.targets import get_target
from xscale.adapters import check_adapters, save_adapters, with_adapters
from xscale.base_models import base_content, resolve_base
from xscale.encoding import takes_token_types
from xscale.errors import UserError
from xscale.experiment import LoRA, Recipe
from xscale.files import disk_errors, refuse_link, whole_file, whole_folder, write_text
from xscale.precision import effective_precision
from xscale.progress import console, progress, say
from xscale.tokenizer_files import published_tokenizer
from xscale.training.card import model_card
from xscale.training.development import DevelopmentSet, development_set, other_languages, scoring_of
from xscale.training.heads import (
    encode,
    encoder_of,
    freeze,
    has_head,
    input_length,
    model_with_head,
    save_model,
    share_encoder,
)
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
from xscale.training.tasks import Head, training_task
from xscale.training.tracking import start_trackers, trackers
from xscale.training.trunk import cut
from xscale.training.units import (
    CAUSAL,
    ENCODER,
    MODEL,
    UNIT,
    UNITS,
    Unit,
    checkpoint_record,
    digest_of,
    drop_unit,
    link_unit,
    lock_of,
    recipe_digest,
    same_libraries,
    unit_record,
    units_of,
    work_of_unit,
)

SAVE_SECONDS = 120.0
_LIBRARIES = ("torch", "transformers", "tokenizers", "accelerate", "datasets", "numpy", "safetensors")
_STATE = "state.pt"

Keep = Literal["predictions", "heads", "all"]
Begins = Callable[[str, str], None]  # told (part, digest) when a unit is begun


@dataclass
class _Run:
    """What the phases of one unit's training share. `work`: where it grows; `encoder`: what a head starts from, None at size 0;
    `record`: what was done."""

    recipe: Recipe
    part: str
    work: Path
    shared: Path
    base: str
    encoder: Path | None
    tokenizer: PreTrainedTokenizerBase
    accelerator: Accelerator
    save_seconds: float
    record: dict[str, Any] = field(default_factory=lambda: {"phases": []})


def train_recipe(
    recipe: Recipe,
    folder: Path,
    save_seconds: float = SAVE_SECONDS,
    *,
    keep: Keep = "all",
    wait: bool = True,
    begins: Begins = lambda part, digest: None,
) -> dict[str, Any] | None:
    """Make the units of a recipe that are not there, then the checkpoint `folder`, whole or not at all; returns what its
    `recipe.json` holds.

    A killed or failed training goes on from its last state, written every `save_seconds`. A unit that another process is making
    is waited for; without `wait`, everything else is done and None is returned. With `keep` other than all the checkpoint has no
    encoder, and its unit goes when the heads are there. Raises `UserError` when data, base model or sizes do not fit, or the
    disk is full.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    console.quiet = not _is_first()
    checkpoints = folder.parent
    store = checkpoints / UNITS
    with disk_errors(checkpoints):
        for place in (checkpoints, store):
            refuse_link(place)
            place.mkdir(parents=True, exist_ok=True)
        precision = precision_here()
        units = units_of(recipe, precision)
        digests = {part: digest_of(unit) for part, unit in units.items()}
        make = partial(_make, recipe, units, digests, checkpoints, save_seconds, begins)
        heads = [part for part in units if part != ENCODER]
        taken = False
        if ENCODER in units and (
            keep == "all" or not _from_first(lambda: all(unit_record(store, digests[p]) for p in heads))
        ):
            taken = not _once(store, digests[ENCODER], wait, partial(make, ENCODER))
        for part in () if taken else heads:
            taken = not _once(store, digests[part], wait, partial(make, part)) or taken
        if taken:
            return None
        record = _from_first(
            lambda: _checkpoint(recipe, folder, digests, keep, recipe_digest(recipe, precision))
        )
    return record


def precision_here() -> Callable[[str], str]:
    """What a phase's `precision` comes to on the device that this process trains on."""
    return lambda asked: effective_precision(asked, _processes().device)


def _make(
    recipe: Recipe,
    units: dict[str, Unit],
    digests: dict[str, str],
    checkpoints: Path,
    save_seconds: float,
    begins: Begins,
    part: str,
) -> None:
    """Train one unit into the store; hold its lock."""
    start = time.monotonic()
    store, digest = checkpoints / UNITS, digests[part]
    if _is_first():
        begins(part, digest)
    accelerator = Accelerator(log_with=trackers() or None, project_dir=str(checkpoints.parent / "logs"))
    start_trackers(accelerator, recipe)
    base = resolve_base(recipe.base)
    work = work_of_unit(store, digest)
    encoder = store / digests[ENCODER] / MODEL if ENCODER in digests and part != ENCODER else None
    run = _Run(
        recipe,
        part,
        work,
        checkpoints / ".shared",
        base,
        encoder,
        load_tokenizer(base),
        accelerator,
        save_seconds,
    )
    if accelerator.is_main_process:
        refuse_link(work)
        work.mkdir(exist_ok=True)
        for left in work.glob(".*.part"):  # of a killed process
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)
    accelerator.wait_for_everyone()
    train = {ENCODER: _train_encoder, CAUSAL: _train_causal}.get(part, _train_target)
    model = train(run)
    if accelerator.is_main_process:
        with whole_folder(work / MODEL) as temporary:
            if recipe.lora is None or part == CAUSAL:
                save_model(model, run.tokenizer, temporary, run.shared)
            else:
                save_adapters(model, run.tokenizer, temporary, recipe.base)
        record = {
            "digest": digest,
            "part": part,
            "made_for": recipe.id,
            "unit": units[part].model_dump(mode="json", exclude_defaults=True),
            "seconds": round(time.monotonic() - start, 1),
            "libraries": _libraries(),
            "hardware": {
                "device": str(accelerator.device),
                "processes": accelerator.num_processes,
                "cpus": os.cpu_count(),
                "threads": torch.get_num_threads(),
                "machine": platform.machine(),
            },
            **run.record,
        }
        write_text(work / UNIT, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
        (work / _STATE).unlink(missing_ok=True)
        if (store / digest).exists():
            shutil.rmtree(store / digest)  # it had no usable record
        os.replace(work, store / digest)
    accelerator.wait_for_everyone()
    if accelerator.trackers:
        accelerator.end_training()


def _once(store: Path, digest: str, wait: bool, make: Callable[[], None]) -> bool:
    """Make a unit unless it is there, under its lock; False where another run has the lock and we do not `wait`.

    Of several processes that train together the first one holds the lock, and all do the same.
    """
    with contextlib.ExitStack() as held:

        def look() -> str:
            if unit_record(store, digest):
                return "there"
            try:
                held.enter_context(_locked(lock_of(store, digest), wait))
            except Timeout:
                return "taken"
            return "there" if unit_record(store, digest) else "missing"

        found = _from_first(look)
        if found == "missing":
            make()
        return bool(found != "taken")


@contextlib.contextmanager
def _locked(path: Path, wait: bool) -> Iterator[None]:
    refuse_link(path)
    with FileLock(path, timeout=-1 if wait else 0):
        yield


def _processes() -> PartialState:
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    return PartialState(cpu=True) if several and not torch.cuda.is_available() else PartialState()


def _is_first() -> bool:
    return int(os.environ.get("RANK", "0")) == 0


def _from_first(look: Callable[[], Any]) -> Any:
    """What the first of several processes that train together finds, in all of them."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return look()
    _processes()
    return broadcast_object_list([look() if _is_first() else None])[0]


def _libraries() -> dict[str, str]:
    return {name: version(name) for name in _LIBRARIES}


def _checkpoint(
    recipe: Recipe, folder: Path, digests: dict[str, str], keep: Keep, recipe_sha: str
) -> dict[str, Any]:
    """Link the units into the checkpoint's folder; what is there with the same units stays as it is."""
    store = folder.parent / UNITS
    kept = {part: digest for part, digest in digests.items() if part != ENCODER or keep == "all"}
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        there = checkpoint_record(folder)
        if (
            there is not None
            and there.get("units") == kept
            and all((folder / part).is_dir() for part in kept)
        ):
            return there
        made = {part: unit_record(store, digest) for part, digest in digests.items()}
        record: dict[str, Any] = {
            "recipe": recipe.model_dump(),
            "digest": recipe_sha,
            "base": base_content(recipe.base),
            "units": kept,
            "phases": [phase for unit in made.values() if unit for phase in unit["phases"]],
            "made": {
                part: {name: unit[name] for name in ("seconds", "libraries", "hardware")}
                for part, unit in made.items()
                if unit
            },
        }
        looks = {part: unit["development"] for part, unit in made.items() if unit and "development" in unit}
        if looks:
            record["development"] = looks
        record["seconds"] = round(sum(one["seconds"] for one in record["made"].values()), 1)
        for part, one in record["made"].items():
            others = same_libraries(one, _libraries())
            if others:
                say(f"{recipe.id}: {part} was made with {'; '.join(others)}; it is taken as it is")
        with whole_folder(folder) as temporary:
            for part, digest in kept.items():
                link_unit(store, digest, temporary / part)
            write_text(temporary / "recipe.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n")
            write_text(temporary / "README.md", model_card(record))
    if ENCODER in digests and keep != "all":
        drop_unit(folder.parent, digests[ENCODER])
    return record


def check_base(recipe: Recipe) -> None:
    """Raise `UserError` for what can be known of the base before training: it cannot be loaded, has too few layers to freeze, too
    few positions, no such head, no layers for the adapters, or peft is not installed."""
    folder = resolve_base(recipe.base)
    heads: list[Any] = [get_target(name).head for name in recipe.targets if get_target(name).is_trained]
    if recipe.objective == "causal_lm":
        heads = ["causal_lm"]
    elif recipe.size:
        heads += [training_task(name, recipe.tasks).head for name in recipe.intermediate]
        heads += ["masked_lm"] if recipe.masked_lm is not None else []
    _check_base_once(
        folder,
        recipe.base,
        tuple(dict.fromkeys(heads)),
        max((phase.freeze_layers for phase in recipe.phases.values()), default=0),
        max(
            (
                (max(phase.max_length, phase.window or 0), f"training.{name}")
                for name, phase in recipe.phases.items()
                if recipe.size or name != "intermediate"
            ),
            default=(0, ""),
        ),
        None if recipe.lora is None else recipe.lora.model_dump_json(),
    )


@lru_cache(maxsize=64)
def _check_base_once(
    folder: str,
    base: str,
    heads: tuple[Head, ...],
    freeze_layers: int,
    longest: tuple[int, str],
    lora: str | None,
) -> None:
    if lora and importlib.util.find_spec("peft") is None:
        raise UserError('lora: peft is not installed; pip install "xscale[lora]"')
    tokenizer = load_tokenizer(folder, base)
    if "masked_lm" in heads and tokenizer.mask_token_id is None:
        raise UserError(
            f"base {base!r}: its tokenizer has no mask token, which masked_lm needs; choose another base"
        )
    _check_weights(Path(folder), base)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    for head in heads:
        if not has_head(config, head):
            raise UserError(
                f"base {base!r}: transformers has no {head.replace('_', ' ')} head for {config.model_type} models; choose "
                "another base, or tasks that need another head"
            )
    layers = getattr(config, "num_hidden_layers", None)
    if layers is not None and freeze_layers > layers:
        raise UserError(f"freeze_layers: {freeze_layers} layers to freeze, {base!r} has {layers}")
    _check_layers(config, base, longest, None if lora is None else LoRA.model_validate_json(lora))


def _check_layers(config: Any, base: str, longest: tuple[int, str], lora: LoRA | None) -> None:
    """What only the model's layers tell; they are made without weights."""
    try:
        with torch.device("meta"):
            model = AutoModel.from_config(config, trust_remote_code=False)
    except Exception:  # model classes raise many kinds of it; what is wrong is said when the model is loaded
        return
    tokens, phase = longest
    for name, layer in model.named_modules():
        if name.endswith(("position_embeddings", "wpe")) and isinstance(layer, torch.nn.Embedding):
            # RoBERTa's positions begin after the padding token's id
            most = layer.num_embeddings - (0 if layer.padding_idx is None else layer.padding_idx + 1)
            if tokens > most:
                raise UserError(
                    f"{phase}: texts of {tokens} tokens (max_length, window), base {base!r} has positions for {most}; lower it"
                )
    if lora is not None:
        check_adapters(model, lora, base)


def _check_weights(folder: Path, base: str) -> None:
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise UserError(f"base {base!r}: no safetensors in {folder}; check the path")
    for file in files:
        try:
            with safe_open(file, framework="pt") as weights:
                weights.keys()
        except (OSError, SafetensorError) as error:
            raise UserError(f"base {base!r}: {file.name} is damaged ({error}); get it again") from None


def load_tokenizer(pretrained: str, base: str | None = None) -> PreTrainedTokenizerBase:
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
            f"base {base or pretrained!r}: cannot be loaded ({str(error).splitlines()[0]}); check the name, the network, "
            "or give a local folder as ./path"
        ) from None


def _train_encoder(run: _Run) -> PreTrainedModel:
    recipe, phase = run.recipe, run.recipe.phases["intermediate"]
    seed = _phase_seed(recipe.seed, "intermediate")
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
    encoder = encoder_of(run.base, seed, phase.dropout)
    share_encoder(whole, encoder)
    freeze(encoder, phase.freeze == "embeddings", phase.freeze_layers)
    return encoder


def _train_causal(run: _Run) -> PreTrainedModel:
    """A causal language model after training on the intermediate tasks' prompts; at size 0 the base as it is."""
    recipe = run.recipe
    if not recipe.size:
        return model_with_head(run.base, "causal_lm", (), 0, None)
    phase = recipe.phases["intermediate"]
    if phase.freeze != "nothing" or phase.freeze_layers:
        raise UserError(
            "objective: causal_lm: freezing is for encoders; set training.intermediate.freeze: nothing"
        )
    model = model_with_head(
        run.base, "causal_lm", (), _phase_seed(recipe.seed, "intermediate"), phase.dropout
    )
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


def _train_target(run: _Run) -> PreTrainedModel:
    target = run.part
    recipe, phase = run.recipe, run.recipe.phases[target]
    if not get_target(target).is_trained:  # with an intermediate phase its unit is the encoder's
        return encoder_of(run.base, 0, None)
    samples = target_samples(recipe, target)
    head, labels, seed = samples[0].task.head, samples[0].labels, _phase_seed(recipe.seed, target)
    if recipe.lora is not None:
        model = model_with_head(run.base, head, labels, seed, phase.dropout)
        model = with_adapters(model, recipe.lora, seed, start=run.encoder)
    else:
        model = model_with_head(str(run.encoder or run.base), head, labels, seed, phase.dropout)
        freeze(model, phase.freeze == "embeddings", phase.freeze_layers)
    state = _stored_state(run, target)
    begin = state["stage"] if state else 0
    for stage, sample in enumerate(samples):
        if stage >= begin:
            _train_on(run, target, stage, [sample], [model], last=stage == len(samples) - 1)
    model.config.xscale_max_length = input_length(phase, head)
    if head == "span" and any(
        sample.examples[row].span is None for sample in samples for row in sample.order
    ):
        model.config.xscale_no_answer = True
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
        run.record["development"] = development_record(
            recipe.development.choose, outcome, len(plan), looks[0], recipe.development.validation_rows
        )


def _development_sets(run: _Run, target: str) -> list[DevelopmentSet]:
    """English, then the other languages; none where nothing is to be scored, or the target has no English rows for it."""
    recipe, wanted = run.recipe, run.recipe.development
    if wanted.choose == "none" or get_target(target).place_of("en", "validation")[1] is None:
        return []
    head = training_task(recipe.targets[target].train[0], recipe.tasks).head
    rest = (recipe.data, run.tokenizer, input_length(recipe.phases[target], head))
    return [
        development_set(target, "en", head, wanted.rows, *rest),
        *other_languages(target, head, wanted.validation_rows, *rest),
    ]


def _saving(run: _Run, name: str, stage: int) -> Saving:
    def write(state: State) -> None:
        with whole_file(run.work / _STATE) as temporary:
            made = {"unit": name, "stage": stage, "phases": run.record["phases"], "libraries": _libraries()}
            torch.save(state | made, temporary)

    return Saving(write, run.save_seconds)


def _stored_state(run: _Run, name: str, stage: int | None = None) -> State | None:
    """The state of that phase (and stage), if the training was stopped there; a damaged one is said, and not taken."""
    path = run.work / _STATE
    if not path.exists():
        return None
    try:
        state: State = torch.load(path, map_location="cpu", weights_only=True)
        if not STATE_FIELDS | {"unit", "stage", "phases", "libraries"} <= state.keys():
            raise ValueError("a field is missing")
    except Exception as error:  # torch raises a dozen unrelated types for damaged files
        reason = (str(error) or type(error).__name__).splitlines()[0]
        say(f"{run.recipe.id}: {path.name} is damaged ({reason}); {name} is trained from its start")
        return None
    others = same_libraries(state, _libraries())
    if others:
        say(f"{run.recipe.id}: the state is of {'; '.join(others)}; {name} is trained from its start")
        return None
    return state if state["unit"] == name and stage in (None, state["stage"]) else None


def _phase_seed(seed: int, phase: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {phase}".encode()).digest()[:4], "little")
