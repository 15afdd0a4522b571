"""Many entries in one sweep: shared lower layers, weights loaded ahead, several processes; the numbers stay the same."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from small_checkpoints import SELECTION, make_checkpoint
from transformers import BertConfig

from xscale.errors import UserError
from xscale.evaluation import answers, encoder_lm, models, trunk
from xscale.evaluation.answers import PARTIAL
from xscale.evaluation.predictions import PREDICTIONS, read_predictions
from xscale.evaluation.sweep import evaluate_entries
from xscale.manifest import Entry
from xscale.pipeline import evaluate as evaluate_workspace
from xscale.workspace import Workspace


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> list[Entry]:
    """Four checkpoints: a, b and c have the same embeddings and lower three of four layers, d has its own."""
    from transformers import AutoTokenizer, BertModel

    folder = tmp_path_factory.mktemp("family")
    torch.manual_seed(5)
    config = BertConfig.from_pretrained(tiny_base, num_hidden_layers=4)
    BertModel(config, add_pooling_layer=False).save_pretrained(folder / "base")
    AutoTokenizer.from_pretrained(tiny_base).save_pretrained(folder / "base")
    first = make_checkpoint(folder / "a", folder / "base")
    entries = [Entry(id="a", model="xscale", model_args={"pretrained": str(first)})]
    for number, name in enumerate("bcd"):
        shutil.copytree(first, folder / name)
        for target, model_class in (
            ("xnli", encoder_lm.AutoModelForSequenceClassification),
            ("xcopa", encoder_lm.AutoModelForMultipleChoice),
        ):
            model = model_class.from_pretrained(first / target)
            torch.manual_seed(number)
            own = ("layer.0", "layer.3") if name == "d" else ("layer.3",)
            for parameter_name, parameter in model.named_parameters():
                if "classifier" in parameter_name or any(part in parameter_name for part in own):
                    torch.nn.init.normal_(parameter, std=0.3)
            model.save_pretrained(folder / name / target)
        entries.append(Entry(id=name, model="xscale", model_args={"pretrained": str(folder / name)}))
    return entries


def sweep(entries: list[Entry], results: Path, **options: bool) -> dict[str, list[dict]]:
    evaluate_entries(
        [(entry, SELECTION) for entry in entries], "bundled", results / "m.json", results, **options
    )
    return {
        entry.id: read_predictions(results / entry.id / PREDICTIONS).table.to_pylist() for entry in entries
    }


def test_one_checkpoint_or_many_give_the_same(family: list[Entry], tmp_path: Path) -> None:
    together = sweep(family, tmp_path / "all", shared_trunk=False)
    for entry in family:
        assert sweep([entry], tmp_path / entry.id)[entry.id] == together[entry.id]


def test_shared_layers_are_computed_once_and_change_nothing(
    family: list[Entry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apart = sweep(family, tmp_path / "apart", shared_trunk=False)
    layers_run: list[int] = []
    monkeypatch.setattr(
        "transformers.models.bert.modeling_bert.BertLayer.forward",
        counting("transformers.models.bert.modeling_bert", layers_run),
    )
    count = {}
    for name, options in (("apart", {"shared_trunk": False}), ("shared", {})):
        layers_run.clear()
        together = sweep(family, tmp_path / f"counted-{name}", **options)
        count[name] = sum(layers_run)
        assert not (tmp_path / f"counted-{name}" / "a" / PARTIAL).exists()
    # a, b, c: three layers once and one each, instead of four each; d: four
    assert count["shared"] / count["apart"] == pytest.approx((3 + 3 * 1 + 4) / (4 * 4))
    for name, rows in apart.items():
        for row, expected in zip(together[name], rows, strict=True):
            np.testing.assert_allclose(row["logprobs"], expected["logprobs"], atol=1e-5)
            assert {**row, "logprobs": 0} == {**expected, "logprobs": 0}
    assert len({str(rows) for rows in apart.values()}) == 4


def test_shared_layers_of_xlm_r(tiny_base: Path, tmp_path: Path) -> None:
    """Its positions come from the token ids, and its head is another one than BERT's."""
    from transformers import AutoTokenizer, XLMRobertaConfig, XLMRobertaModel

    torch.manual_seed(6)
    bert = BertConfig.from_pretrained(tiny_base)
    config = XLMRobertaConfig(
        vocab_size=bert.vocab_size,
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=70,
        pad_token_id=0,
    )
    XLMRobertaModel(config, add_pooling_layer=False).save_pretrained(tmp_path / "base")
    AutoTokenizer.from_pretrained(tiny_base).save_pretrained(tmp_path / "base")
    entries = []
    for name in "ab":
        make_checkpoint(tmp_path / name, tmp_path / "base", seed=1)
        if name == "b":
            model = encoder_lm.AutoModelForSequenceClassification.from_pretrained(tmp_path / name / "xnli")
            torch.nn.init.normal_(model.roberta.encoder.layer[2].output.dense.weight, std=0.3)
            model.save_pretrained(tmp_path / name / "xnli")
        arguments = {"pretrained": str(tmp_path / name)}
        entries.append(Entry(id=name, model="xscale", model_args=arguments))
    models = [encoder_lm.EncoderLM(str(tmp_path / name), device="cpu") for name in "ab"]
    assert [shared for _, shared in trunk.groups(models, "xnli")] == [2]
    apart = sweep(entries, tmp_path / "apart", shared_trunk=False)
    together = sweep(entries, tmp_path / "together")
    for name, rows in apart.items():
        for row, expected in zip(together[name], rows, strict=True):
            np.testing.assert_allclose(row["logprobs"], expected["logprobs"], atol=1e-5)
    assert apart["a"] != apart["b"]


def counting(module: str, layers_run: list[int]) -> object:
    layer = sys.modules[module].BertLayer
    real = layer.forward

    def forward(self: object, hidden: torch.Tensor, *args: object, **kwargs: object) -> object:
        layers_run.append(hidden.shape[0])
        return real(self, hidden, *args, **kwargs)

    return forward


def test_adapters_share_nothing_whatever_their_files_say(family: list[Entry], tmp_path: Path) -> None:
    """The lower layers of a LoRA checkpoint are its base's, which its own files do not show."""
    models = []
    for name in "ab":
        shutil.copytree(str(family[0].model_args["pretrained"]), tmp_path / name)
        (tmp_path / name / "xnli" / "adapter_config.json").write_text("{}")
        models.append(encoder_lm.EncoderLM(str(tmp_path / name), device="cpu"))
    assert trunk.groups(models, "xnli") == []
    assert trunk.groups(models, "xcopa") != []


def test_groups(family: list[Entry], checkpoint: Path) -> None:
    def models(entries: list[Entry]) -> list[encoder_lm.EncoderLM]:
        return [
            encoder_lm.EncoderLM(str(entry.model_args["pretrained"]), device="cpu", description=entry.id)
            for entry in entries
        ]

    for target in ("xnli", "xcopa"):
        ((members, shared),) = trunk.groups(models(family), target)
        assert ([member.description for member in members], shared) == (["a", "b", "c"], 3)
    twice = models([family[0], family[0]])
    assert [shared for _, shared in trunk.groups(twice, "xnli")] == [4]
    twice[1].tokens_a_batch = 99  # other batches
    assert trunk.groups(twice, "xnli") == []
    other = Entry(id="x", model="xscale", model_args={"pretrained": str(checkpoint)})
    assert trunk.groups(models([family[0], other]), "xnli") == []


def test_a_shared_computation_that_is_stopped_goes_on(
    family: list[Entry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = [
        entry.model_copy(update={"model_args": {**entry.model_args, "tokens_a_batch": 200}})
        for entry in family[:3]
    ]
    reference = sweep(entries, tmp_path / "whole")
    real, calls = encoder_lm.EncoderLM._call, []

    def call(self: object, *args: object) -> object:
        calls.append(1)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return real(self, *args)

    monkeypatch.setattr(encoder_lm.EncoderLM, "_call", call)
    with pytest.raises(KeyboardInterrupt):
        sweep(entries, tmp_path / "stopped")
    calls.clear()
    monkeypatch.setattr(
        encoder_lm.EncoderLM, "_call", lambda self, *args: calls.append(1) or real(self, *args)
    )
    assert sweep(entries, tmp_path / "stopped") == reference
    resumed = len(calls)
    calls.clear()
    sweep(entries, tmp_path / "again")
    assert len(calls) == resumed + 6


def test_weights_load_beside_the_running_one(
    family: list[Entry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = threading.current_thread()
    loaded = []
    real = encoder_lm.load_model

    def load(head: encoder_lm.Head) -> object:
        loaded.append(threading.current_thread() is main)
        return real(head)

    monkeypatch.setattr(encoder_lm, "load_model", load)
    sweep(family, tmp_path, shared_trunk=False)
    assert loaded == [False] * 8  # two heads each, none twice


@pytest.mark.parametrize("shared_trunk", [False, True])
def test_an_entry_that_fails_leaves_the_others_finished(
    family: list[Entry], tmp_path: Path, shared_trunk: bool
) -> None:
    broken = Entry(id="broken", model="xscale", model_args={"pretrained": str(tmp_path / "nowhere")})
    with pytest.raises(UserError, match="nowhere"):
        sweep([family[0], broken, family[1]], tmp_path, shared_trunk=shared_trunk)
    assert (tmp_path / "a" / PREDICTIONS).exists() and (tmp_path / "b" / PREDICTIONS).exists()


def test_an_entry_with_other_weights_is_the_one_that_is_blamed(family: list[Entry], tmp_path: Path) -> None:
    """Also where it would be computed together with others."""
    changed = family[1].model_copy(update={"sha256": "0" * 64})
    workspace = Workspace(tmp_path / "m.json")
    with pytest.raises(UserError, match=r"^1 of 3 jobs failed: b: .*sha256 differs.*the same command"):
        evaluate_workspace([changed, family[0], family[2]], SELECTION, "bundled", workspace)
    for name, there in (("a", True), ("b", False), ("c", True)):
        assert (workspace.results / name / PREDICTIONS).exists() is there


def test_data_and_requests_are_made_once(
    family: list[Entry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lm_eval.api import task

    from harness_tasks import rows

    models._load_tasks.cache_clear()
    answers._record.cache_clear()
    read, built = [], []
    real_read, real_build = rows.read_target, task.Task.build_all_requests
    monkeypatch.setattr(rows, "read_target", lambda *a, **k: read.append(a) or real_read(*a, **k))
    monkeypatch.setattr(
        task.Task, "build_all_requests", lambda *a, **k: built.append(a[0]) or real_build(*a, **k)
    )
    sweep(family, tmp_path, shared_trunk=False)
    assert len(built) == sum(len(languages) for languages, _ in SELECTION.values())
    once = len(read)
    sweep(family, tmp_path / "more", shared_trunk=False)
    assert len(read) == once


@pytest.mark.slow
def test_two_processes_give_what_one_gives(family: list[Entry], tmp_path: Path) -> None:
    """`accelerate launch` with two CPU processes."""
    pytest.importorskip("accelerate")
    reference = sweep(family[:2], tmp_path / "one")
    program = tmp_path / "program.py"
    program.write_text(
        f"""
import sys
from pathlib import Path
sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1]), str(Path(answers.__file__).parents[2])]!r}
from xscale.evaluation.sweep import evaluate_entries
from xscale.manifest import Entry
entries = [Entry(**fields) for fields in {[entry.model_dump() for entry in family[:2]]!r}]
results = Path({str(tmp_path / "two")!r})
evaluate_entries([(entry, {SELECTION!r}) for entry in entries], "bundled", results / "m.json", results)
"""
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--nproc-per-node=2",
            "--standalone",
            str(program),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    for entry in family[:2]:
        rows = read_predictions(tmp_path / "two" / entry.id / PREDICTIONS).table.to_pylist()
        for row, expected in zip(rows, reference[entry.id], strict=True):
            np.testing.assert_allclose(row["logprobs"], expected["logprobs"], atol=1e-5)
            assert {**row, "logprobs": 0} == {**expected, "logprobs": 0}


def test_the_pipeline_evaluates_what_is_missing(family: list[Entry], tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "m.json")
    assert evaluate_workspace(family[:2], SELECTION, "bundled", workspace) == ["a", "b"]
    assert evaluate_workspace(family[:3], SELECTION, "bundled", workspace) == ["c"]
