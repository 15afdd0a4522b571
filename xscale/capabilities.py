"""What a checkpoint's files say it can be evaluated on, and what could never be: looked at before it is in a manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness_tasks.parsing import read_json
from harness_tasks.targets import Target, get_target, targets
from xscale.errors import UserError
from xscale.manifest import LOCAL_MODEL, Entry, checkpoint_folder

_TOKENIZER_FILES = ("tokenizer.*", "vocab.*", "*.model")
_LANGUAGE_MODELS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
_CLASSIFIERS = (
    "ForSequenceClassification",
    "ForMultipleChoice",
    "ForTokenClassification",
    "ForQuestionAnswering",
)


def verified(entry: Entry, manifest: Path, given: Sequence[str] = ()) -> Entry:
    """The entry with the targets that it can be evaluated on: those `given` (`target` or `target=set+set`), else, of an
    encoder checkpoint, those that its folder has heads for.

    Raises `UserError` for what could never be evaluated: an unknown model type, a folder without tokenizer, an encoder
    checkpoint without a head of a target or whose labels have no names, a language model as encoder or the reverse.
    """
    _check_model_type(entry)
    named = _named(given)
    folder = checkpoint_folder(entry, manifest)
    if folder is not None and entry.model == LOCAL_MODEL:
        found = targets_in(folder, str(entry.model_args.get("label") or "") or None)
        for name in named:
            if name not in found:
                raise UserError(f"--target {name}: {folder} has no head for it, but for {', '.join(found)}")
        named = named or {name: [] for name in found}
    elif folder is not None:
        _check_language_model(entry, folder)
    return entry.model_copy(update={"targets": named or entry.targets})


def _named(given: Sequence[str]) -> dict[str, list[str]]:
    named = {}
    for text in given:
        name, _, sets = text.partition("=")
        named[get_target(name.strip()).name] = [part.strip() for part in sets.split("+") if part.strip()]
    return named


def targets_in(folder: Path, label: str | None = None) -> list[str]:
    """The targets that an encoder checkpoint has a head for: its head folders, or what a plain classifier's labels answer.

    `label` is the model argument of that name. Raises `UserError` when there are none, and says why.
    """
    heads = [name for name in targets() if (folder / name / "config.json").is_file()]
    for name in heads:
        _check_tokenizer(folder / name)
    if heads:
        return heads
    config = _config(folder)
    kinds = [str(kind) for kind in config.get("architectures") or []]
    if any(kind.endswith(_LANGUAGE_MODELS) for kind in kinds):
        raise UserError(
            f"{folder}: a language model ({kinds[0]}), which model type xscale, for encoders, cannot score; use --model hf"
        )
    if any(kind.endswith("ForMultipleChoice") for kind in kinds):
        found = [target for target in targets().values() if target.head == "multiple_choice"]
    elif not kinds or any(kind.endswith("ForSequenceClassification") for kind in kinds):
        found = _of_labels(folder, config, label)
    elif any(kind.endswith("ForQuestionAnswering") for kind in kinds):
        found = [target for target in targets().values() if target.head == "span"]
    elif any(kind.endswith("ForTokenClassification") for kind in kinds):
        found = _of_tags(folder, config)
    else:
        raise UserError(
            f"{folder}: {', '.join(kinds)} has no head that classifies pairs or scores choices; fine-tune it first"
        )
    _check_tokenizer(folder)
    return [target.name for target in found]


def _of_tags(folder: Path, config: Mapping[str, Any]) -> list[Target]:
    names = config.get("id2label")
    labels = sorted(map(str, names.values())) if isinstance(names, dict) else []
    found = [target for target in targets().values() if target.tags and sorted(target.tags) == labels]
    if not found:
        known = "; ".join(
            f"{target.name}: {', '.join(target.tags)}" for target in targets().values() if target.tags
        )
        raise UserError(
            f"{folder}: its labels are {', '.join(labels[:8]) or 'not named'}; needed are those of a target ({known}); set "
            "id2label in its config.json"
        )
    return found


def _of_labels(folder: Path, config: Mapping[str, Any], label: str | None) -> list[Target]:
    names = config.get("id2label")
    labels = [part.partition(":")[2] for part in label.split(";")] if label else []
    if not label and isinstance(names, dict):
        labels = [str(name) for name in names.values()]
    known = {str(name).strip().lower() for name in labels}
    found = [
        target
        for target in targets().values()
        if target.head == "pair_classification" and {answer.lower() for answer in target.answers} == known
    ]
    if found:
        return found
    choices = [target for target in targets().values() if target.head == "pair_classification"]
    wanted = " or ".join(", ".join(target.answers) for target in choices)
    example = ";".join(f"{number}:{answer}" for number, answer in enumerate(choices[0].answers))
    raise UserError(
        f"{folder}: its labels are {', '.join(map(str, labels)) or 'not named'}; {wanted} are needed: set id2label in its "
        f"config.json, or give model_args label={example} (in the order of its logits)"
    )


def _check_model_type(entry: Entry) -> None:
    if entry.model == LOCAL_MODEL:
        return
    import lm_eval.models  # noqa: F401  (registers lm_eval's model types)
    from lm_eval.api.registry import model_registry

    known = sorted({*model_registry.keys(), LOCAL_MODEL, "hf-shared-context"})
    if entry.model not in known:
        raise UserError(f"--model {entry.model}: lm_eval has no such model type; it has: {', '.join(known)}")


def _check_language_model(entry: Entry, folder: Path) -> None:
    config = _config(folder)
    for kind in map(str, config.get("architectures") or []):
        if kind.endswith(_CLASSIFIERS):
            raise UserError(
                f"{folder}: a classifier ({kind}), which model type {entry.model}, for language models, cannot score; use "
                "--model xscale"
            )
    if not {"tokenizer", "gguf_file"} & entry.model_args.keys():
        _check_tokenizer(folder)


def _check_tokenizer(folder: Path) -> None:
    if not any(any(folder.glob(pattern)) for pattern in _TOKENIZER_FILES):
        raise UserError(
            f"{folder}: no tokenizer in it (tokenizer.json, vocab.txt, ...); save its tokenizer there"
        )


def _config(folder: Path) -> Mapping[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        heads = ", ".join(targets())
        raise UserError(f"{folder}: no config.json and no head folder ({heads}) in it; it is no checkpoint")
    return read_json(path)
