"""Training on rows of the hub says at which commit it read them."""

import json

import pytest
import tiny_model
from loopback_hub import LoopbackHub, card, parquet

from harness_tasks.hub import revision_of
from harness_tasks.sources import read_rows

pytest.importorskip("torch")
pytestmark = pytest.mark.slow


def test_the_commit_of_a_set_is_recorded(tmp_path):
    hub = LoopbackHub(tmp_path / "hub")
    try:
        rows = read_rows("xscale/nli", "default", "train", "bundled")[:64]
        commit = revision_of("nyu-mll/glue")[1]
        files = {
            "README.md": card({"mnli": {"train": "mnli/train-*"}}),
            "mnli/train-0.parquet": parquet(rows),
        }
        hub.commit("datasets/nyu-mll/glue", files, digest=commit)
        base = tiny_model.make_base(tmp_path / "base")
        text = tiny_model.EXPERIMENT.format(base=base, sizes="[0, 16]").replace("bundled_nli", "mnli")
        text = text.replace("mnli_target", "bundled_nli_target").replace("data: bundled", "data: hub")
        (tmp_path / "tiny.yaml").write_text(text)
        done = hub.call(
            tmp_path / "cache", "train", tmp_path / "tiny.yaml", "--manifest", tmp_path / "m.json"
        )
        assert done.returncode == 0, done.stderr
        (recipe,) = (tmp_path / "checkpoints").glob("tiny*16-seed1/recipe.json")
        phases = {phase["task"]: phase for phase in json.loads(recipe.read_text())["phases"]}
        assert phases["mnli"]["commits"] == {"nyu-mll/glue": commit}
        assert "commits" not in phases["bundled_nli_target"]
    finally:
        hub.close()
