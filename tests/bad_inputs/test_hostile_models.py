"""Model folders that a stranger made: refused in one line before any library opens them, and never waited for."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from xscale.errors import UserError
from xscale.model_files import check_model_folder

CONFIG = {
    "model_type": "bert",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "vocab_size": 99,
    "id2label": {"0": "entailment", "1": "neutral", "2": "contradiction"},
    "pad_token_id": 0,
    "max_position_embeddings": 64,
}
TOKENIZER = {
    "tokenizer_class": "BertTokenizerFast",
    "model_max_length": 10**30,
    "tokenizer_file": "/root/.cache/gone",
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "xnli").mkdir(parents=True)
    (folder / "xnli" / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    (folder / "xnli" / "tokenizer_config.json").write_text(json.dumps(TOKENIZER), encoding="utf-8")
    (folder / "xnli" / "model.safetensors").write_bytes(b"\0" * 8)
    return folder


def test_a_usual_folder_is_taken(model: Path) -> None:
    (model / "xnli" / "training_args.bin").write_bytes(b"")  # is never opened
    check_model_folder(model, "here")


@pytest.mark.parametrize(
    ("file", "fields", "said"),
    [
        ("config", {"id2label": {"5": "entailment", "6": "neutral", "7": "contradiction"}}, "id2label"),
        ("config", {"id2label": {"0": "a", "1": "b", "7": "c"}}, "id2label"),
        ("config", {"id2label": {"-1": "a", "0": "b", "1": "c"}}, "id2label"),
        ("config", {"id2label": {"a": "a", "b": "b"}}, "id2label"),
        ("config", {"id2label": ["a", "b", "c"]}, "id2label"),
        ("config", {"id2label": {"0": ["a"], "1": None}}, "id2label"),
        ("config", {"id2label": {"00": "a"}}, "id2label"),
        ("config", {"num_hidden_layers": 10**9}, "beyond any model"),
        ("config", {"text_config": {"n_layers": 10**6}}, "beyond any model"),
        ("config", {"vocab_size": 10**12}, "beyond any model"),
        ("config", {"hidden_size": 10**40}, "beyond any model"),
        ("config", {"hidden_size": "16"}, "a whole number"),
        ("config", {"hidden_size": [16]}, "a whole number"),
        ("config", {"hidden_size": float("nan")}, "a whole number"),
        ("config", {"hidden_size": float("inf")}, "a whole number"),
        ("config", {"pad_token_id": [1]}, "a whole number"),
        ("config", {"pad_token_id": True}, "a whole number"),
        ("config", {"max_position_embeddings": {}}, "a whole number"),
        ("config", {"xscale_max_length": "x"}, "a whole number"),
        ("config", {"xscale_max_length": -1}, "xscale_max_length"),
        ("config", {"xscale_max_length": 10**9}, "xscale_max_length"),
        ("config", {"transformers_weights": "w.bin"}, "as weights"),
        ("config", {"transformers_weights": "../w.safetensors"}, "as weights"),
        ("config", {"attn_implementation": "someone/kernel"}, "code of the hub"),
        ("config", {"text_config": {"_attn_implementation": "someone/kernel"}}, "code of the hub"),
        ("config", {"attn_implementation": {"text_config": "someone/kernel"}}, "code of the hub"),
        ("config", {"_attn_implementation_internal": "someone/kernel"}, "code of the hub"),
        ("config", {"experts_implementation": "someone/kernel"}, "code of the hub"),
        ("tokenizer_config", {"model_max_length": [1]}, "model_max_length"),
        ("tokenizer_config", {"model_max_length": "many"}, "model_max_length"),
        ("tokenizer_config", {"model_max_length": {"a": 1}}, "model_max_length"),
        ("tokenizer_config", {"model_max_length": -1}, "model_max_length"),
        ("tokenizer_config", {"model_max_length": True}, "model_max_length"),
        ("tokenizer_config", {"vocab_file": "../../elsewhere.txt"}, "a file elsewhere"),
    ],
)
def test_a_configuration_that_no_model_has(model: Path, file: str, fields: dict, said: str) -> None:
    (model.parent / "elsewhere.txt").write_text("")
    path = model / "xnli" / f"{file}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields), encoding="utf-8")
    with pytest.raises(UserError, match=said) as caught:
        check_model_folder(model, "here")
    assert str(caught.value).startswith(f"here: {path}: ") or str(caught.value).startswith(
        f"here: {path} names"
    )
    assert len(str(caught.value)) < 400 + len(str(path))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "5",
        '"x"',
        "null",
        '{"a":' * 100_000,
        "[" * 100_000,
        '{"a": ' + "9" * 5000 + "}",
        "\0",
        '{"a": NaN',
    ],
)
@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "model.safetensors.index.json"])
def test_a_file_that_is_no_json_object(model: Path, file: str, text: str) -> None:
    path = model / "xnli" / file
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="here: ") as caught:
        check_model_folder(model, "here")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def _fifo(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def _link(to: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.unlink(missing_ok=True)
        path.symlink_to(to)

    return make


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "tokenizer.json", "vocab.txt", "anything"]
)
@pytest.mark.parametrize("make", [_fifo, _link("/dev/zero"), _link("nowhere"), _link("anything")])
def test_pipes_devices_and_links_to_nothing_are_not_waited_for(
    model: Path, name: str, make: Callable[[Path], None]
) -> None:
    make(model / "xnli" / name)
    with pytest.raises(UserError, match="pipe, device or socket|leads nowhere"):
        check_model_folder(model, "here")


def test_an_adapter_without_safetensors_is_a_pickle_whatever_lies_beside_it(model: Path) -> None:
    (model / "xnli" / "adapter_config.json").write_text("{}")
    (model / "xnli" / "adapter_model.bin").write_bytes(b"")
    with pytest.raises(UserError, match="is a pickle"):
        check_model_folder(model, "here")
