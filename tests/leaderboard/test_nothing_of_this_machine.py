"""What is exported or pushed has no path of the machine that it was made on, and is still known for what it is."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from synthetic import entry, predictions, store

from xscale.evaluation.predictions import read_predictions
from xscale.leaderboard.panels import load_results
from xscale.manifest import add_entries, read_manifest
from xscale.published import published_results
from xscale.sharing import export_entries, merge
from xscale.workspace import Workspace, data_in_use

HOME = "/home/ann/some data"
RESULTS = {
    "results": {},
    "configs": {
        "xnli_ood_de": {"metadata": {"data": f"{HOME}/hub", "config_source": f"{HOME}/xnli_de.yaml"}}
    },
    "xscale": {"source": f"mirror:{HOME}/hub"},
}
RECORD = {
    "recipe": {"base": f"{HOME}/xlmr", "data": f"{HOME}/hub"},
    "phases": [{"source": f"mirror:{HOME}/hub"}],
}


@pytest.fixture
def made(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path / "ours" / "checkpoints_manifest.json")
    mine = entry("mine", model_args={"pretrained": f"{HOME}/mine", "dtype": "float32"}, base=f"{HOME}/xlmr")
    add_entries(workspace.manifest, [mine])
    right = np.random.default_rng(1).random((90, 4)) < 0.6
    about = predictions(
        right, identity="mine", source=f"mirror:{HOME}/hub", model_args={"peft": f"{HOME}/lora"}
    )
    store(workspace.results, mine, about)
    (workspace.results / "mine" / "results.json").write_text(json.dumps(RESULTS))
    folder = workspace.checkpoints / "mine"
    folder.mkdir(parents=True)
    (folder / "recipe.json").write_text(json.dumps(RECORD))
    (folder / "README.md").write_text(
        "---\ntags:\n- xscale\n---\n\n# mine\n\n`/home/ann/xlmr` after 512 examples; https://a.org/b/c\n"
    )
    return workspace


def test_an_archive_names_no_path_and_no_owner(made: Workspace, tmp_path: Path) -> None:
    export_entries(made, ["mine"], tmp_path / "out.tar.gz", weights=True)
    with tarfile.open(tmp_path / "out.tar.gz") as packed:
        packed.extractall(tmp_path / "out", filter="data")
        assert {(m.uname, m.gname, m.uid) for m in packed.getmembers()} == {("", "", 0)}
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(files) == 5
    assert not [path for path in files if b"ann" in path.read_bytes()]
    stored = read_predictions(tmp_path / "out" / "results" / "mine" / "predictions.parquet")
    assert stored.info["source"] == "mirror:hub" and stored.info["model_args"] == {"peft": "./lora"}
    assert stored.table.equals(read_predictions(made.results / "mine" / "predictions.parquet").table)
    there = json.loads((tmp_path / "out" / "results" / "mine" / "results.json").read_text())
    metadata = {"data": "mirror:hub", "config_source": "xnli_de.yaml"}
    assert there["configs"]["xnli_ood_de"]["metadata"] == metadata
    record = json.loads((tmp_path / "out" / "checkpoints" / "mine" / "recipe.json").read_text())
    assert record == {"recipe": {"base": "xlmr", "data": "mirror:hub"}, "phases": [{"source": "mirror:hub"}]}
    listed = read_manifest(tmp_path / "out" / "checkpoints_manifest.json").entries[0]
    assert listed.model_args == {"pretrained": "./mine", "dtype": "float32"} and listed.base == "xlmr"


def test_it_is_merged_as_what_it_is(made: Workspace, tmp_path: Path) -> None:
    export_entries(made, ["mine"], tmp_path / "out.tar.gz")
    theirs = Workspace(tmp_path / "theirs" / "checkpoints_manifest.json")
    assert merge(theirs, tmp_path / "out.tar.gz").added == ("mine",)
    assert [result.status for result in load_results(read_manifest(theirs.manifest), theirs.results)] == [
        "ok"
    ]
    assert data_in_use(theirs) is None  # a name is no place that `--data` could take
    back = merge(made, tmp_path / "out.tar.gz")  # where it came from
    assert back.unchanged == ("mine",) and back.conflicts == ()


def test_what_is_pushed_names_no_path(made: Workspace) -> None:
    files = published_results(made, "mine")
    assert not [name for name, text in files.items() if "ann" in text]
    assert json.loads(files["recipe.json"])["recipe"] == {"base": "xlmr", "data": "mirror:hub"}
    assert "`xlmr` after 512 examples; https://a.org/b/c" in files["README.md"]
