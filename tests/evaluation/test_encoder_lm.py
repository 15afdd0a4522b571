"""The encoder model type against plain loops over the same documents."""

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from small_checkpoints import SELECTION, make_checkpoint
from tiny_model import make_base
from transformers import (
    AutoModelForMultipleChoice,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    pipeline,
)

from harness_tasks.rows import Options, build_documents
from xscale.errors import UserError
from xscale.evaluation.answers import evaluate_entry
from xscale.evaluation.batches import Section
from xscale.evaluation.encoder_lm import EncoderLM
from xscale.evaluation.predictions import PREDICTIONS, read_predictions
from xscale.manifest import Entry

BUNDLED = Options(data="bundled")
PREMISE_FIRST = {"cause": (1, 0), "effect": (0, 1)}


def plain_loop(checkpoint: Path, target: str, language: str, limit: int) -> dict[int, list[float]]:
    """Row -> log-probabilities, one document at a time, without anything of xscale's evaluation."""
    model_class = AutoModelForSequenceClassification if target == "xnli" else AutoModelForMultipleChoice
    model = model_class.from_pretrained(checkpoint / target, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(checkpoint / target)
    result = {}
    for document in build_documents(target, language, "test", BUNDLED)[:limit]:
        if target == "xnli":
            inputs = tokenizer(
                document["premise"], document["hypothesis"], truncation=True, return_tensors="pt"
            )
            with torch.no_grad():
                logits = model(**inputs).logits[0]
        else:  # the cause comes before the effect
            pairs = [(document["premise"], document[choice]) for choice in ("choice1", "choice2")]
            a, b = PREMISE_FIRST[document["question"]]
            inputs = tokenizer([(p[a], p[b]) for p in pairs], padding=True, return_tensors="pt")
            with torch.no_grad():
                logits = model(**{k: v[None] for k, v in inputs.items()}).logits[0]
        result[document["row"]] = torch.log_softmax(logits.double(), -1).tolist()
    return result


def evaluate(checkpoint: Path, results: Path, selection: dict = SELECTION, **arguments: object) -> tuple:
    entry = Entry(id="m", model="xscale", model_args={"pretrained": str(checkpoint), **arguments})
    output = evaluate_entry(entry, selection, "bundled", results / "manifest.json", results)
    return output, read_predictions(results / "m" / PREDICTIONS).table.to_pylist()


def by_row(rows: list[dict]) -> dict:
    return {(row["target"], row["language"], row["row"]): row for row in rows}


@pytest.fixture(scope="module")
def untold(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that is not told which text of a pair each token is of."""
    base = make_base(tmp_path_factory.mktemp("untold"))
    return make_checkpoint(tmp_path_factory.mktemp("untold") / "both", base)


@pytest.mark.parametrize("which", ["checkpoint", "untold"])
def test_equal_to_an_unbatched_loop_and_to_a_count_by_hand(
    which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    checkpoint = request.getfixturevalue(which)
    output, rows = evaluate(checkpoint, tmp_path)
    assert len(rows) == sum(len(languages) * limit for languages, limit in SELECTION.values())
    assert len(Counter(row["prediction"] for row in rows if row["target"] == "xnli")) > 1
    stored = by_row(rows)
    for target, (languages, limit) in SELECTION.items():
        for language in languages:
            expected = plain_loop(checkpoint, target, language, limit)
            correct: dict[str, list[bool]] = {"acc": []}
            for document in build_documents(target, language, "test", BUNDLED)[:limit]:
                row = stored[target, language, document["row"]]
                np.testing.assert_allclose(row["logprobs"], expected[document["row"]], atol=1e-5)
                scores = np.array(expected[document["row"]])
                assert scores[row["prediction"]] > scores.max() - 1e-5  # unknown words alone can make a tie
                assert row["label"] == document["label"]
                for name in ("acc", *(f"acc_{subset}" for subset in document["subsets"])):
                    correct.setdefault(name, []).append(row["prediction"] == document["label"])
            scores = output["results"][f"{target}_ood_{language}"]
            assert {"acc", "acc_id", "acc_ood"} <= set(correct)
            for name, hits in correct.items():
                assert scores[f"{name},none"] == pytest.approx(sum(hits) / len(hits))


@pytest.mark.parametrize(
    ("arguments", "selection"),
    [
        ({"tokens_a_batch": 1}, SELECTION),
        ({"tokens_a_batch": 150}, SELECTION),
        ({}, {"xcopa": (("qu", "en"), 14), "xnli": (("sw", "en", "de"), 20)}),
        ({}, {"xnli": (("de",), 7)}),
    ],
    ids=["one at a time", "small batches", "another order", "fewer documents"],
)
def test_batches_order_and_limit_change_no_prediction(
    checkpoint: Path, tmp_path: Path, arguments: dict, selection: dict
) -> None:
    reference = by_row(evaluate(checkpoint, tmp_path / "a")[1])
    other = by_row(evaluate(checkpoint, tmp_path / "b", selection, **arguments)[1])
    assert len(other) == sum(len(languages) * limit for languages, limit in selection.values())
    for key, row in other.items():
        np.testing.assert_allclose(row["logprobs"], reference[key]["logprobs"], atol=1e-5)
        best, second = sorted(reference[key]["logprobs"])[-1:-3:-1]
        assert row["prediction"] == reference[key]["prediction"] or best - second < 1e-5  # unknown words tie


def copy_with_labels(checkpoint: Path, folder: Path, names: list[str], order: list[int]) -> Path:
    """The XNLI head with its output columns in another order."""
    shutil.copytree(checkpoint / "xnli", folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        model.classifier.weight.copy_(model.classifier.weight[order].clone())
        model.classifier.bias.copy_(model.classifier.bias[order].clone())
    model.config.id2label = dict(enumerate(names))
    model.config.label2id = {name: i for i, name in enumerate(names)}
    model.save_pretrained(folder)
    return folder


def test_labels_are_matched_by_name(checkpoint: Path, tmp_path: Path) -> None:
    selection = {"xnli": (("en",), 30)}
    reference = evaluate(checkpoint, tmp_path / "a", selection)[1]
    names = ["Contradiction", "ENTAILMENT", "neutral"]
    plain = copy_with_labels(checkpoint, tmp_path / "plain", names, [2, 0, 1])
    other = evaluate(plain, tmp_path / "b", selection)[1]
    for row, expected in zip(other, reference, strict=True):
        np.testing.assert_allclose(row["logprobs"], expected["logprobs"], atol=1e-6)
    unnamed = copy_with_labels(checkpoint, tmp_path / "unnamed", ["LABEL_0", "LABEL_1", "LABEL_2"], [2, 0, 1])
    with pytest.raises(UserError, match="LABEL_0.*id2label"):
        evaluate(unnamed, tmp_path / "c", selection)
    told = evaluate(unnamed, tmp_path / "d", selection, label="0:contradiction;1:entailment;2:neutral")[1]
    assert [row["prediction"] for row in told] == [row["prediction"] for row in reference]


def test_truncated_texts_are_counted(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "short"
    shutil.copytree(checkpoint, folder)
    config = json.loads((folder / "xnli/config.json").read_text())
    documents = build_documents("xnli", "en", "test", BUNDLED)[:40]
    tokenizer = AutoTokenizer.from_pretrained(checkpoint / "xnli")
    lengths = [len(tokenizer(doc["premise"], doc["hypothesis"])["input_ids"]) for doc in documents]
    limit = sorted(lengths)[20]  # some texts have just this length: they are not cut
    (folder / "xnli/config.json").write_text(json.dumps(config | {"xscale_max_length": limit}))
    output, _ = evaluate(folder, tmp_path, {"xnli": (("en",), 40)})
    assert output["config"]["truncated_pairs"] == {"xnli": sum(length > limit for length in lengths)}
    assert 0 < sum(length > limit for length in lengths) < sum(length >= limit for length in lengths)


def test_other_tasks_and_missing_heads_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    from lm_eval.api.instance import Instance

    model = EncoderLM(str(checkpoint), device="cpu")
    for document in ({"question": "?"}, {"target": "other"}, "text"):
        request = Instance("loglikelihood", document, ("", "a"), 0, metadata=("arc", 0, 1))
        with pytest.raises(UserError, match="'arc' is not an xnli_ood or xcopa_ood task"):
            model.loglikelihood([request])
    with pytest.raises(UserError, match="multiple-choice"):
        model.generate_until([])
    shutil.copytree(checkpoint / "xnli", tmp_path / "one/xnli")
    with pytest.raises(UserError, match="no head for xcopa"):
        evaluate(tmp_path / "one", tmp_path, {"xcopa": (("en",), 3)})


def test_a_head_that_was_never_trained_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_base, tmp_path / "base")
    config = json.loads((tmp_path / "base/config.json").read_text())
    config["id2label"] = {"0": "entailment", "1": "neutral", "2": "contradiction"}
    (tmp_path / "base/config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="no trained head for xnli"):
        evaluate(tmp_path / "base", tmp_path, {"xnli": (("en",), 3)})


def test_a_pipeline_of_transformers_gives_the_same_answers(checkpoint: Path, tmp_path: Path) -> None:
    """As a checkpoint's author would score it: token types and all. Without them the answers are others."""
    rows = [row for row in evaluate(checkpoint, tmp_path)[1] if row["target"] == "xnli"]
    classify = pipeline("text-classification", model=str(checkpoint / "xnli"), device="cpu", top_k=None)
    documents = {
        (language, document["row"]): {"text": document["premise"], "text_pair": document["hypothesis"]}
        for language in SELECTION["xnli"][0]
        for document in build_documents("xnli", language, "test", BUNDLED)
    }
    model, tokenizer = classify.model, classify.tokenizer
    without = []
    for row in rows:
        inputs = documents[row["language"], row["row"]]
        scores = {found["label"]: found["score"] for found in classify(inputs)}
        expected = [scores[label] for label in ("entailment", "neutral", "contradiction")]
        np.testing.assert_allclose(np.exp(row["logprobs"]), expected, atol=1e-5)
        bare = tokenizer(**inputs, return_tensors="pt", return_token_type_ids=False)
        with torch.no_grad():
            without.append(torch.softmax(model(**bare).logits[0], -1).numpy())
    assert np.abs(np.exp([row["logprobs"] for row in rows]) - without).max() > 0.01


def test_batches_are_halved_when_memory_runs_out(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = by_row(evaluate(checkpoint, tmp_path / "a")[1])
    called = []
    real = EncoderLM._call

    def limited(self: EncoderLM, call: object, batch: dict[str, torch.Tensor]) -> object:
        size = batch["input_ids"].numel()
        called.append(size)
        if size > 300:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, call, batch)

    monkeypatch.setattr(EncoderLM, "_call", limited)
    other = by_row(evaluate(checkpoint, tmp_path / "b")[1])
    assert sum(size > 300 for size in called) < 8  # found out once, not for every batch
    for key, row in other.items():
        np.testing.assert_allclose(row["logprobs"], reference[key]["logprobs"], atol=1e-5)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_lm_evals_default_device_is_the_cpu_where_there_is_no_other(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """lm_eval's command line passes cuda:0 where nobody gave --device; its own models then go on with the CPU, too."""
    assert EncoderLM(str(checkpoint), device="cuda:0").device.type == "cpu"
    assert "device cuda:0 is not there; going on with the CPU" in capsys.readouterr().err


def test_precision_is_checked(checkpoint: Path) -> None:
    assert EncoderLM(str(checkpoint), device="cpu").precision == "fp32"
    for wrong in ("fp16", "fp8"):
        with pytest.raises(UserError, match="precision"):
            EncoderLM(str(checkpoint), device="cpu", precision=wrong)


def test_choices_that_are_one_text_to_the_tokenizer_are_an_exact_tie(checkpoint: Path) -> None:
    """Whatever batches they are in; the first one is then the prediction."""
    document = {"target": "xcopa", "language": "en", "premise": "a", "question": "effect", "label": 1}
    documents = [{**document, "choice1": text, "choice2": text} for text in ("q", "q q q", "z " * 9)]
    model = EncoderLM(str(checkpoint), device="cpu", tokens_a_batch=1)
    (scores,) = model.answers("xcopa", [Section(documents, range(3))])
    assert all(row[0] == row[1] for row in scores.values()) and len(scores) == 3


def test_bf16_on_a_cpu_is_used_when_asked_for_and_recorded(checkpoint: Path, tmp_path: Path) -> None:
    _, rows = evaluate(checkpoint, tmp_path / "bf16", precision="bf16", device="cpu")
    _, exact = evaluate(checkpoint, tmp_path / "fp32", device="cpu")
    assert read_predictions(tmp_path / "bf16" / "m" / PREDICTIONS).info["precision"] == "bf16"
    differences = [abs(a["logprobs"][0] - b["logprobs"][0]) for a, b in zip(rows, exact, strict=True)]
    assert 0 < max(differences) < 0.3
    with pytest.raises(UserError, match="fp16 is for CUDA"):
        evaluate(checkpoint, tmp_path / "fp16", precision="fp16", device="cpu")
