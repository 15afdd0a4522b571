"""Encoder checkpoints of the hub, from a hub cache that is made here: what a download would have left."""

import shutil
from pathlib import Path

import pytest
import tiny_model
from loopback_hub import LoopbackHub
from small_checkpoints import SELECTION

from xscale.evaluation.answers import evaluate_entry
from xscale.evaluation.predictions import PREDICTIONS, read_predictions
from xscale.manifest import Entry, read_manifest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def on_hub(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The checkpoint as someone/nli, whose branch main is at COMMIT."""
    from huggingface_hub import constants

    repository = tmp_path / "hub" / "models--someone--nli"
    shutil.copytree(checkpoint, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return repository / "snapshots" / COMMIT


def add(manifest: Path, arguments: str) -> tuple[int, str, str]:
    return tiny_model.call("add", "--model", "xscale", "--model-args", arguments, "--manifest", manifest)


def test_it_is_pinned_to_its_commit_and_scored_like_its_folder(
    on_hub: Path, checkpoint: Path, tmp_path: Path
) -> None:
    manifest = tmp_path / "m.json"
    code, _, errors = add(manifest, "pretrained=someone/nli")
    assert code == 0, errors
    (entry,) = read_manifest(manifest).entries
    assert entry.model_args == {"pretrained": "someone/nli", "revision": COMMIT} and entry.sha256
    here = Entry(id="here", model="xscale", model_args={"pretrained": str(checkpoint)})
    rows = []
    for made in (entry, here):
        evaluate_entry(made, SELECTION, "bundled", manifest, tmp_path / "results")
        rows.append(read_predictions(tmp_path / "results" / made.id / PREDICTIONS).table.to_pylist())
    assert rows[0] == rows[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("pretrained=someone/other", "hub model someone/other at main: "),
        ("pretrained=someone/nli,revision=v2", "hub model someone/nli at v2: "),
        ("pretrained=someone/nli,revision=../../main", "'../../main' is no revision"),
        ("pretrained=no folder", "no folder 'no folder'; check the path"),
    ],
)
def test_what_is_not_there_is_refused(on_hub: Path, tmp_path: Path, arguments: str, message: str) -> None:
    code, _, errors = add(tmp_path / "m.json", arguments)
    assert code == 2 and message in errors and "Traceback" not in errors
    assert not (tmp_path / "m.json").exists()


def test_a_pickle_is_refused(on_hub: Path, tmp_path: Path) -> None:
    for file in on_hub.rglob("*.safetensors"):
        file.rename(file.with_name("pytorch_model.bin"))
    code, _, errors = add(tmp_path / "m.json", "pretrained=someone/nli")
    assert code == 2 and "is a pickle" in errors


def test_a_cached_file_that_is_not_what_the_hub_sent_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    hub = LoopbackHub(tmp_path / "hub")
    try:
        files = {
            path.relative_to(checkpoint).as_posix(): path for path in checkpoint.rglob("*") if path.is_file()
        }
        hub.commit("models/someone/nli", {name: path.read_bytes() for name, path in files.items()})
        arguments = ("add", "--model", "xscale", "--model-args", "pretrained=someone/nli", "--manifest")
        first = hub.call(tmp_path / "cache", *arguments, tmp_path / "first.json")
        assert first.returncode == 0, first.stderr
        blobs = (tmp_path / "cache" / "hub" / "models--someone--nli" / "blobs").iterdir()
        blob = max(blobs, key=lambda path: path.stat().st_size)  # the weights
        data = bytearray(blob.read_bytes())
        data[-1024:] = bytes(1024)
        blob.write_bytes(data)
        for offline in ("0", "1"):
            done = hub.call(tmp_path / "cache", *arguments, tmp_path / "second.json", HF_HUB_OFFLINE=offline)
            assert done.returncode == 2 and "damaged" in done.stderr and "model.safetensors" in done.stderr
            assert not (tmp_path / "second.json").exists()
    finally:
        hub.close()


def test_a_language_model_of_the_hub_is_pinned_too(tmp_path: Path) -> None:
    hub = LoopbackHub(tmp_path / "hub")

    def added(name: str, pretrained: str, **environment: str) -> tuple[dict | None, str]:
        """The entry's model_args, None where it was refused, and what was said."""
        arguments = ("--model", "hf", "--model-args", f"pretrained={pretrained}", "--manifest")
        manifest = tmp_path / f"{name}.json"
        done = hub.call(tmp_path / "cache", "add", *arguments, manifest, **environment)
        if done.returncode:
            assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
            return None, done.stderr
        return read_manifest(manifest).entries[0].model_args, done.stderr

    try:
        old = hub.commit("models/someone/lm", {"config.json": "{}"})
        new = hub.commit("models/someone/lm", {"config.json": "{ }"})
        assert added("main", "someone/lm")[0] == {"pretrained": "someone/lm", "revision": new}
        assert added("old", f"someone/lm,revision={old}")[0]["revision"] == old
        assert "no such model" in added("none", "someone/nothing")[1]
        assert "no such revision" in added("gone", f"someone/lm,revision={'0' * 40}")[1]
        loaded = hub.python(
            tmp_path / "cache",
            "from huggingface_hub import hf_hub_download; hf_hub_download('someone/lm', 'config.json')",
        )
        assert loaded.returncode == 0
        assert added("cached", "someone/lm", HF_HUB_OFFLINE="1")[0]["revision"] == new
        unpinned, said = added("unknown", "someone/other", HF_HUB_OFFLINE="1")
        assert unpinned == {"pretrained": "someone/other"} and "not pinned to a commit" in said
    finally:
        hub.close()
