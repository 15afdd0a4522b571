"""`xscale fetch`: a mirror folder from a hub, whole and checked, also when it was killed half way."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tiny_model
from loopback_hub import LoopbackHub, card, parquet

from harness_tasks.hub import revision_of
from harness_tasks.sources import read_rows

LANGUAGES = ("en", "de", "sw")
SPLITS = ("test", "validation")


def rows_of(language: str, split: str) -> list[dict]:
    """Three rows; the Swahili test rows have 9 MB, so that a slow hub takes a second for them."""
    random = np.random.default_rng(1)
    long = language == "sw" and split == "test"
    text = [
        random.integers(33, 126, 3_000_000, dtype=np.uint8).tobytes().decode() if long else language
        for _ in range(3)
    ]
    return [{"premise": f"{t} {i}", "hypothesis": split, "label": i} for i, t in enumerate(text)]


@pytest.fixture
def hub(tmp_path):
    hub = LoopbackHub(tmp_path / "hub")
    readme = card({code: {split: f"{code}/{split}-*" for split in SPLITS} for code in LANGUAGES})
    files = {
        f"{code}/{split}-0.parquet": parquet(rows_of(code, split)) for code in LANGUAGES for split in SPLITS
    }
    commit = revision_of("facebook/xnli")[1]
    hub.commit("datasets/facebook/xnli", {"README.md": readme, **files}, digest=commit)
    yield hub
    hub.close()


def fetch(hub: LoopbackHub, tmp_path, *options) -> subprocess.CompletedProcess:
    arguments = ("fetch", "--target", "xnli", "--languages", "de,sw", "--to", tmp_path / "mirror", *options)
    return hub.call(tmp_path / "cache", *arguments)


def test_the_mirror_has_the_rows_and_the_record_their_checksums(hub, tmp_path):
    done = fetch(hub, tmp_path)
    assert done.returncode == 0, done.stderr
    mirror = tmp_path / "mirror"
    for code in LANGUAGES:  # English too: subsets are decided there
        for split in SPLITS:
            assert read_rows("facebook/xnli", code, split, str(mirror)) == rows_of(code, split)
    record = json.loads((mirror / "fetched.json").read_text())
    assert set(record) == {f"facebook/xnli/{code}/{split}.parquet" for code in LANGUAGES for split in SPLITS}
    for name, of in record.items():
        data = (mirror / name).read_bytes()
        assert (of["bytes"], of["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        assert of["commit"] == revision_of("facebook/xnli")[1] and of["rows"] == 3
    hub.requests.clear()
    again = fetch(hub, tmp_path)
    assert again.stdout.count("kept ") == 6 and not hub.requests


def test_a_killed_fetch_goes_on_where_it_was(hub, tmp_path):
    hub.trouble["facebook/xnli"] = "slow"
    program = "from xscale.cli.main import main; main()"
    arguments = ["fetch", "--target", "xnli", "--languages", "de,sw", "--to", str(tmp_path / "mirror")]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        env=hub.environment(tmp_path / "cache"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not _asked_for(hub, "sw/test-0.parquet") and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = set((tmp_path / "mirror").rglob("*.parquet"))
    assert len(before) == 4
    hub.trouble.clear()
    hub.requests.clear()
    done = fetch(hub, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("kept ") == 4 and done.stdout.count("fetched ") == 2
    assert not _asked_for(hub, "en/") and not _asked_for(hub, "de/") and _asked_for(hub, "sw/test-0.parquet")
    for split in SPLITS:
        assert read_rows("facebook/xnli", "sw", split, str(tmp_path / "mirror")) == rows_of("sw", split)


def _asked_for(hub: LoopbackHub, path: str) -> bool:
    commit = revision_of("facebook/xnli")[1]
    return any(f"GET /datasets/facebook/xnli/resolve/{commit}/{path}" in request for request in hub.requests)


def test_what_is_damaged_is_fetched_again_and_what_is_not_ours_is_left(hub, tmp_path):
    assert fetch(hub, tmp_path).returncode == 0
    folder = tmp_path / "mirror" / "facebook" / "xnli"
    changed = folder / "de" / "test.parquet"
    changed.write_bytes(b"edited")
    own = folder / "sw" / "test.jsonl"
    (folder / "sw" / "test.parquet").rename(tmp_path / "elsewhere")
    own.write_text('{"premise": "yangu", "hypothesis": "wangu", "label": 0}\n')
    done = fetch(hub, tmp_path)
    assert done.returncode == 0, done.stderr
    assert read_rows("facebook/xnli", "de", "test", str(tmp_path / "mirror")) == rows_of("de", "test")
    assert (folder / "de" / "test.parquet.set-aside-1").read_bytes() == b"edited"
    assert "not ours facebook/xnli/sw/test.jsonl" in done.stdout
    assert not (folder / "sw" / "test.parquet").exists() and "yangu" in own.read_text()


def test_a_download_that_is_not_what_the_hub_has_is_refused(hub, tmp_path):
    assert fetch(hub, tmp_path).returncode == 0
    (blob,) = (p for p in (tmp_path / "cache").rglob("blobs/*") if p.stat().st_size > 500_000)
    data = bytearray(blob.read_bytes())
    data[1000] ^= 1
    blob.write_bytes(data)
    for file in (tmp_path / "mirror").rglob("*.parquet"):
        file.unlink()
    done = fetch(hub, tmp_path)
    assert done.returncode == 2 and "damaged, " in done.stderr and "delete this folder" in done.stderr
    assert not list((tmp_path / "mirror").rglob("test.parquet"))


def test_an_experiment_brings_its_base(hub, tmp_path):
    base = tiny_model.make_base(tmp_path / "base")
    files = {path.name: path.read_bytes() for path in base.iterdir()}
    commit = hub.commit("models/owner/tiny", {**files, "pytorch_model.bin": b"pickle"})
    hub.commit("models/owner/tiny", {"config.json": "{}"})  # main has moved on
    text = tiny_model.EXPERIMENT.format(base=f"owner/tiny@{commit}", sizes="[0, 8]").replace(
        "[en, de]", "[de]"
    )
    experiment = tmp_path / "tiny.yaml"
    experiment.write_text(text)
    arguments = ("fetch", "--experiment", experiment, "--to", tmp_path / "mirror")
    done = hub.call(tmp_path / "cache", *arguments)
    assert done.returncode == 0, done.stderr
    model = tmp_path / "mirror" / "models" / "owner" / "tiny"
    assert {path.name for path in model.iterdir()} == set(files)  # and no pickle
    assert f"base: {model}" in done.stdout
    record = json.loads((tmp_path / "mirror" / "fetched.json").read_text())
    assert record["models/owner/tiny"]["commit"] == commit
    assert "facebook/xnli/de/test.parquet" in record and "facebook/xnli/sw/test.parquet" not in record
    assert "kept     models/owner/tiny" in hub.call(tmp_path / "cache", *arguments).stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "say what: --target NAME"),
        (("--target", "nothing"), "unknown target task 'nothing'"),
        (("--task", "nothing"), "training task 'nothing': unknown"),
        (("--target", "xnli", "--languages", "xx"), "no language 'xx'"),
    ],
)
def test_what_is_not_there_is_refused_before_anything_is_written(tmp_path, options, message):
    code, _, errors = tiny_model.call("fetch", "--to", tmp_path / "mirror", *options)
    assert code == 2 and message in errors and not (tmp_path / "mirror").exists()


def test_names_that_leave_the_folder_are_refused(tmp_path):
    from xscale.errors import UserError
    from xscale.fetch import fetch as fetch_into
    from xscale.splits import Split

    split = Split("mine", "owner/name", "../../elsewhere", "test", None, lambda rows: None)
    with pytest.raises(UserError, match="not a name of a set"):
        fetch_into([split], tmp_path / "mirror")
