"""What a manifest's arguments name is one thing, whoever asks from wherever: hub models without a revision, relative paths."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from loopback_hub import LoopbackHub

from xscale.errors import UserError
from xscale.evaluation import models
from xscale.evaluation.answers import result_key
from xscale.evaluation.predictions import PREDICTIONS, prediction_files, read_predictions, write_predictions
from xscale.hub import hub_state
from xscale.leaderboard.panels import build_panels, load_results
from xscale.manifest import Entry, Manifest, make_entry, write_manifest

FEW = {"xcopa": (("en",), 3)}
FIRST, SECOND = "1" * 40, "2" * 40


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub's cache, offline; `someone/lm` and `someone/adapter` are in it."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for name in ("lm", "adapter"):
        set_main(tmp_path / "hub", name, FIRST)
    return tmp_path / "hub"


def set_main(hub: Path, name: str, commit: str) -> None:
    """As a download would have left it; a process that asks now is a new one."""
    repository = hub / f"models--someone--{name}"
    (repository / "snapshots" / commit).mkdir(parents=True, exist_ok=True)
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "snapshots" / commit / "config.json").write_text("{}")
    (repository / "refs" / "main").write_text(commit)
    hub_state.cache_clear()


def test_answers_of_a_hub_model_without_revision_count_by_its_commit(cache: Path, tmp_path: Path) -> None:
    entry = Entry(id="lm", model="hf", model_args={"pretrained": "someone/lm", "peft": "someone/adapter"})
    keys = []
    for name, commit in (("lm", FIRST), ("lm", SECOND), ("adapter", SECOND)):
        set_main(cache, name, commit)
        keys.append(result_key(entry, FEW, "bundled", tmp_path / "m.json"))
    assert [key["weights"] for key in keys] == [FIRST, SECOND, SECOND]
    assert [key["files"] for key in keys] == [
        {"peft": f"commit {commit}"} for commit in (FIRST, FIRST, SECOND)
    ]
    pinned = entry.model_copy(update={"model_args": entry.model_args | {"revision": FIRST}})
    key = result_key(pinned, FEW, "bundled", tmp_path / "m.json")
    assert (key["weights"], key["files"]) == (FIRST, {"peft": f"commit {SECOND}"})


def test_what_is_loaded_is_the_commit_that_answers_are_stored_by(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = loaded(monkeypatch)
    entry = Entry(id="lm", model="hf", model_args={"pretrained": "someone/lm", "peft": "someone/adapter"})
    models.build_model(entry, tmp_path / "m.json")
    assert told["revision"] == FIRST and told["pretrained"] == "someone/lm"
    assert told["peft"] == str(cache / "models--someone--adapter" / "snapshots" / FIRST)


def loaded(monkeypatch: pytest.MonkeyPatch) -> dict:
    """The arguments that lm_eval's model class is made with."""
    told: dict = {}

    class Model:
        @classmethod
        def create_from_arg_obj(cls, arguments: dict, more: dict) -> Model:
            told.update(arguments)
            return cls()

    import lm_eval.api.registry

    monkeypatch.setattr(lm_eval.api.registry, "get_model", lambda name: Model)
    return told


def test_relative_folders_count_from_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For every argument, in what is loaded and in what results count by; never from the current folder."""
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        (folder / "adapter").mkdir(parents=True)
        (folder / "adapter" / "adapter_model.safetensors").write_text(folder.name)
    (here / "only").mkdir()
    monkeypatch.chdir(here)
    told = loaded(monkeypatch)

    def entry(**arguments: str) -> Entry:
        return Entry(id="x", model="hf", model_args={"pretrained": "a/b", **arguments})

    for argument in ("peft", "delta", "tokenizer", "lora_local_path"):
        for path in ("adapter", "./adapter"):
            keys = [
                result_key(entry(**{argument: name}), FEW, "bundled", there / "m.json")["files"]
                for name in (path, str(there / "adapter"))
            ]
            assert keys[0] == keys[1] and keys[0]
            models.build_model(entry(**{argument: path}), there / "m.json")
            assert Path(told[argument]) == there / "adapter"
        for path in ("only", "./only", "../here/adapter"):
            with pytest.raises(UserError, match=f"model_args.{argument}: .*write the absolute path"):
                result_key(entry(**{argument: path}), FEW, "bundled", there / "m.json")
            with pytest.raises(UserError, match="write the absolute path"):
                models.build_model(entry(**{argument: path}), there / "m.json")


def test_add_writes_folders_as_the_manifest_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work" / "adapter").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    entry = make_entry(
        tmp_path / "work" / "m.json", model="hf", id="x", base=None, intermediate=[], size=None, seed=None,
        baseline=None, note=None,
        model_args=f"pretrained=a/b,revision={FIRST},peft=../work/adapter,tokenizer=../other",
    )  # fmt: skip
    assert entry.model_args["peft"] == "./adapter"
    assert entry.model_args["tokenizer"] == str(tmp_path / "other")


def test_the_board_says_where_the_state_of_a_hub_model_is_not_known(tmp_path: Path) -> None:
    entry = Entry(id="lm", model="hf", model_args={"pretrained": "someone/lm"})

    def notes(*states: str) -> str:
        shutil.rmtree(tmp_path / "results", ignore_errors=True)
        for number, state in enumerate(states, 1):
            rows = list(range(9))
            columns = {
                "target": ["xcopa"] * 9,
                "task": ["xcopa_ood_en"] * 9,
                "language": ["en"] * 9,
                "row": rows,
                "label": [0] * 9,
                "prediction": [row % 2 for row in rows],
                "logprobs": [[-1.0, -1.0]] * 9,
            }
            import pyarrow as pa

            info = {
                "weights": state,
                "fingerprints": {"xcopa": {"en": str(number)}},
                "anchors": {"xcopa": "a" * 64},
                "task_versions": {"xcopa": "1.0"},
                "limit": {"xcopa": None},
            }
            name = PREDICTIONS if number == len(states) else f"predictions-{number + 1}.parquet"
            write_predictions(tmp_path / "results" / "lm" / name, pa.table(columns), info)
        results = load_results(Manifest(entries=[entry]), tmp_path / "results")
        assert results[0].status == "ok"
        return "\n".join(
            note
            for panel in build_panels(results, membership=lambda t, a: {"ood": np.arange(9)})
            for note in panel.notes
        )

    assert notes(FIRST) == ""
    assert "lm: answered by a hub model whose commit is not known" in notes("main")
    both = notes(FIRST, SECOND)
    assert both.count("its answers are of 2 states of a model of the hub: 222222222222, 111111111111") == 2


@pytest.mark.slow
def test_a_hub_model_that_changes_between_two_evaluations(causal_lm: Path, tmp_path: Path) -> None:
    """Its answers are never a mixture: other weights on the branch, and everything is asked anew."""
    from safetensors.numpy import load, save

    hub = LoopbackHub(tmp_path / "hub")
    manifest = tmp_path / "m.json"
    entry = Entry(id="lm", model="hf", model_args={"pretrained": "someone/lm", "dtype": "float32"})
    write_manifest(manifest, Manifest(entries=[entry]))
    files = {path.name: path.read_bytes() for path in causal_lm.iterdir()}
    found = []
    try:
        for limit in (4, 8):
            commit = hub.commit("models/someone/lm", files)
            options = ("--languages", "en", "--limit", limit, "--data", "bundled")
            done = hub.call(tmp_path / "cache", "eval", *options, "--manifest", manifest)
            assert done.returncode == 0, done.stderr
            stored = read_predictions(tmp_path / "results" / "lm" / PREDICTIONS)
            assert stored.info["weights"] == commit
            found.append({(row["target"], row["row"]): row["logprobs"] for row in stored.table.to_pylist()})
            weights = {name: value * 1.5 for name, value in load(files["model.safetensors"]).items()}
            files["model.safetensors"] = save(weights, metadata={"format": "pt"})
    finally:
        hub.close()
    assert found[0].keys() < found[1].keys() and len(found[1]) == 16
    assert all(found[0][row] != found[1][row] for row in found[0])
    assert len(prediction_files(tmp_path / "results" / "lm")) >= 2  # what was answered before stays
    assert json.loads(manifest.read_text())["entries"][0]["model_args"]["pretrained"] == "someone/lm"
