"""What the files of a model may be, looked at before any library opens them: bases and checkpoints alike."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness_tasks.parsing import read_bytes, read_json
from xscale.errors import UserError

PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
_SHARD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.safetensors")
# far beyond any model; a library would build the layers, or fill the memory, before it notices
_MOST, _MOST_LAYERS = 10**9, 10_000
_NUMBERS = ("vocab_size", "hidden_size", "max_position_embeddings", "pad_token_id", "xscale_max_length")
_TOKENIZER_FILES = ("vocab_file", "merges_file", "tokenizer_file", "spm_file", "sentencepiece_model_file")


def check_model_folder(folder: Path, where: str) -> None:
    """Raise `UserError` when `folder`, or a folder in it, has weights that only unpickling could read, an index that names files
    that are not safetensors beside it, pipes or devices, or a configuration that no model has. `where` begins the message."""
    for inner in (folder, *sorted(path for path in folder.iterdir() if path.is_dir())):
        names = sorted(path.name for path in inner.iterdir())
        for name in names:
            _refuse_special(inner / name, where)
        pickled = [name for name in names if name.endswith(PICKLE_SUFFIXES)]
        adapter = "adapter_config.json" in names and "adapter_model.safetensors" not in names
        if pickled and (adapter or not any(name.endswith(".safetensors") for name in names)):
            raise UserError(
                f"{where}: {inner / pickled[0]} is a pickle, which can run code when it is loaded, and there are no "
                "safetensors beside it; convert it where you trust it: model.save_pretrained(folder) of transformers"
            )
        for name in names:
            if name.endswith(".safetensors.index.json"):
                _check_index(inner / name, where)
            elif name == "config.json":
                _check_config(inner / name, where)
            elif name == "tokenizer_config.json":
                _check_tokenizer(inner / name, where)


def _refuse_special(path: Path, where: str) -> None:
    try:
        mode = path.stat().st_mode
    except OSError:
        raise UserError(f"{where}: {path}: a link that leads nowhere; remove it") from None
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise UserError(f"{where}: {path}: a pipe, device or socket, which no checkpoint has; remove it")


def _check_index(path: Path, where: str) -> None:
    try:
        named = set(read_json(path)["weight_map"].values())
        wrong = sorted(str(n) for n in named if not isinstance(n, str) or not _SHARD.fullmatch(n))
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{where}: {path}: not an index of weights ({type(error).__name__}); restore it"
        ) from None
    if wrong:
        raise UserError(
            f"{where}: {path} names {wrong[0][:100]!r}, which is not a safetensors file beside it; only those are loaded"
        )


def _check_config(path: Path, where: str) -> None:
    config = _object(path, where)
    for name, value in _fields(config):
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        most = _MOST_LAYERS if "layer" in name and isinstance(value, int) else _MOST
        if isinstance(value, int) and not -most <= value <= most:
            raise UserError(
                f"{where}: {path}: {name}: {str(value)[:40]} is beyond any model; restore the file"
            )
    for name in _NUMBERS:
        value = config.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise UserError(
                f"{where}: {path}: {name}: a whole number is expected, not {str(value)[:60]!r}; restore the file"
            )
    length = config.get("xscale_max_length")
    if length is not None and not 8 <= length <= 2**17:
        raise UserError(
            f"{where}: {path}: xscale_max_length: {length} tokens; restore the file, or train it again"
        )
    labels = config.get("id2label")
    if labels is not None and not _are_labels(labels):
        raise UserError(
            f"{where}: {path}: id2label: names for 0 to n-1 are expected, the columns of the head, not {str(labels)[:100]}"
        )
    weights = config.get("transformers_weights")
    if weights is not None and not (isinstance(weights, str) and _SHARD.fullmatch(weights)):
        raise UserError(
            f"{where}: {path} names {str(weights)[:100]!r} as weights; only safetensors beside it are loaded"
        )
    for name, value in _fields(config):  # of attention or experts, in a nested configuration or by it
        if "implementation" in name and "/" in str(value):
            raise UserError(f"{where}: {path}: {name} {str(value)[:100]!r} is code of the hub; take it out")


def _are_labels(labels: Any) -> bool:
    return (
        isinstance(labels, dict)
        and set(labels) == {str(number) for number in range(len(labels))}
        and all(isinstance(name, str | int) for name in labels.values())
    )


def _check_tokenizer(path: Path, where: str) -> None:
    settings = _object(path, where)
    length = settings.get("model_max_length")
    if length is not None and (
        isinstance(length, bool) or not isinstance(length, int | float) or not length >= 8
    ):
        raise UserError(
            f"{where}: {path}: model_max_length: a number of tokens is expected, not {str(length)[:60]!r}; restore the file"
        )
    for name in _TOKENIZER_FILES:
        named = settings.get(name)
        if isinstance(named, str) and os.sep in named and os.path.lexists(path.parent / named):
            raise UserError(
                f"{where}: {path}: {name} is {named[:100]!r}, a file elsewhere whose content can change unseen; take it out"
            )


def _object(path: Path, where: str) -> dict[str, Any]:
    """A JSON object of any numbers: tokenizers have lengths of thirty digits."""
    try:
        data = json.loads(read_bytes(path))
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: {path}: not JSON ({str(error)[:100]}); restore the file") from None
    if not isinstance(data, dict):
        raise UserError(f"{where}: {path}: a JSON object is expected; restore the file")
    return data


def _fields(config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """All fields, of nested configurations too."""
    left = [config]
    while left:
        for name, value in left.pop().items():
            if isinstance(value, dict):
                left.append(value)
            yield name, value
