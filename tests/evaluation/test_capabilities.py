"""`xscale add` finds out what a checkpoint can do, and refuses at once what could never be evaluated."""

import json
import shutil
from pathlib import Path

import pytest
from tiny_model import call

from xscale.evaluation.predictions import PREDICTIONS, read_predictions
from xscale.manifest import read_manifest


def add(workspace: Path, folder: Path, *more: object, model: str = "xscale") -> tuple[int, str]:
    arguments = ("--model", model, "--model-args", f"pretrained={folder}", "--id", "it")
    code, _, errors = call("add", *arguments, *more, "--manifest", workspace / "m.json")
    assert "Traceback" not in errors
    return code, errors


def configured(folder: Path, **changes: object) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


@pytest.fixture
def plain(checkpoint: Path, tmp_path: Path) -> Path:
    """A classifier as people publish them: no head folders, labels with names."""
    return Path(shutil.copytree(checkpoint / "xnli", tmp_path / "plain"))


def test_a_plain_classifier_is_scored_on_what_it_can_do(plain: Path, tmp_path: Path) -> None:
    """The README's own case, by the commands alone."""
    code, errors = add(tmp_path, plain)
    assert code == 0, errors
    assert read_manifest(tmp_path / "m.json").entries[0].targets == {"xnli": []}
    code, output, errors = call(
        "eval", "it", "--data", "bundled", "--limit", 6, "--manifest", tmp_path / "m.json"
    )
    assert code == 0, errors
    stored = read_predictions(tmp_path / "results/it" / PREDICTIONS)
    assert set(stored.table.column("target").to_pylist()) == {"xnli"}
    assert "it" in output


def test_a_manifest_that_does_not_say_it_does_as_well(plain: Path, tmp_path: Path) -> None:
    """An entry of before, without targets."""
    add(tmp_path, plain)
    manifest = tmp_path / "m.json"
    data = json.loads(manifest.read_text())
    del data["entries"][0]["targets"]
    manifest.write_text(json.dumps(data))
    code, _, errors = call("eval", "it", "--data", "bundled", "--limit", 3, "--manifest", manifest)
    assert code == 0, errors
    assert (tmp_path / "results/it" / PREDICTIONS).exists()


def test_a_target_may_be_said(checkpoint: Path, plain: Path, tmp_path: Path) -> None:
    code, errors = add(tmp_path, checkpoint, "--target", "xnli=mnli+snli")
    assert code == 0, errors
    assert read_manifest(tmp_path / "m.json").entries[0].targets == {"xnli": ["mnli", "snli"]}
    code, errors = add(tmp_path / "other", plain, "--target", "xcopa")
    assert code == 2 and "has no head for it, but for xnli" in errors


@pytest.mark.parametrize(
    ("changes", "gone", "model", "message"),
    [
        (
            {"id2label": {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}},
            "",
            "xscale",
            "its labels are LABEL_0",
        ),
        ({"id2label": {"0": "good", "1": "bad"}}, "", "xscale", "its labels are good, bad"),
        ({"architectures": ["BertModel"]}, "", "xscale", "BertModel has no head"),
        ({"architectures": ["BertLMHeadModel"]}, "", "xscale", "a language model (BertLMHeadModel)"),
        ({}, "tokenizer*", "xscale", "no tokenizer in it"),
        ({}, "config.json", "xscale", "no config.json and no head folder"),
        ({}, "", "hf", "a classifier (BertForSequenceClassification)"),
        ({"architectures": ["GPT2LMHeadModel"]}, "tokenizer*", "hf", "no tokenizer in it"),
        ({}, "", "no-such-type", "lm_eval has no such model type"),
    ],
)
def test_what_could_never_be_evaluated_is_refused_at_once(
    plain: Path, tmp_path: Path, changes: dict, gone: str, model: str, message: str
) -> None:
    configured(plain, **changes)
    for path in plain.glob(gone) if gone else ():
        path.unlink()
    for path in plain.glob("vocab*") if gone.startswith("tokenizer") else ():
        path.unlink()
    code, errors = add(tmp_path, plain, model=model)
    assert code == 2 and message in errors and len(errors.splitlines()) == 1
    assert not (tmp_path / "m.json").exists()


def test_labels_may_be_told(plain: Path, tmp_path: Path) -> None:
    configured(plain, id2label={"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"})
    arguments = f"pretrained={plain},label=0:entailment;1:neutral;2:contradiction"
    code, _, errors = call(
        "add", "--model", "xscale", "--model-args", arguments, "--id", "it", "--manifest", tmp_path / "m.json"
    )
    assert code == 0, errors


def test_an_encoder_takes_no_examples(plain: Path, tmp_path: Path) -> None:
    for option in (("--num-fewshot", 2), ("--apply-chat-template",)):
        code, errors = add(tmp_path, plain, *option)
        assert code == 2 and "takes no few-shot examples" in errors
