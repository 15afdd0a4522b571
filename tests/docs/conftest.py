"""A workspace as a first run leaves it, with a base of a few thousand weights: made once, each page of the docs gets a copy."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from tiny_model import call, make_base

from harness_tasks.sources import BUNDLED

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the shipped first experiment, run to its end: same arms and sizes, but the tiny base, one epoch, 24
    documents a language. `first-run` is its file, so that `xscale run` in a copy goes on with it."""
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("docs") / "work"
    folder.mkdir()
    make_base(folder / "base")
    experiment = yaml.safe_load((ROOT / "experiments/first-run.yaml").read_text(encoding="utf-8"))
    experiment |= {
        "base": "./base",
        "training": {
            "intermediate": {"epochs": 1, "batch_size": 128, "max_length": 32},
            "xnli": {"epochs": 1, "batch_size": 64, "max_length": 32},
            "xcopa": {"epochs": 1, "batch_size": 64, "max_length": 32},
        },
        "evaluation": {
            "xnli": {"languages": ["en", "de", "sw", "ur"], "limit": 24},
            "xcopa": {"languages": ["en", "sw", "qu"], "limit": 24},
        },
    }
    (folder / "first-run").write_text(yaml.safe_dump(experiment), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        code, out, err = call("run", "first-run")
    assert code == 0, err
    (folder.parent / "printed").write_text(out, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mirror folder: the bundled suite under the real sets' names, with MNLI's and SNLI's training rows from it."""
    folder = tmp_path_factory.mktemp("mirror") / "mirror"
    shutil.copytree(BUNDLED, folder)
    rows = (BUNDLED / "xscale/nli/default/train.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    for name in ("nyu-mll/glue/mnli", "stanfordnlp/snli/plain_text"):
        (folder / name).mkdir(parents=True)
        (folder / name / "train.jsonl").write_text("".join(rows[:6000]), encoding="utf-8")
    reviews = [
        {"review": a, "claim": "They liked it.", "label": i % 2}
        for i, a in enumerate(["Good soup, we come again.", "Cold soup."] * 10)
    ]
    for code in ("en", "de"):
        path = folder / f"me/reviews/{code}/test.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in reviews), encoding="utf-8")
    return folder


@pytest.fixture
def workspace(first_run: Path, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the first run's folder, as working directory."""
    folder = tmp_path / "work"
    shutil.copytree(first_run, folder)
    (tmp_path / "mirror").symlink_to(mirror)
    monkeypatch.chdir(folder)
    for name in ("XSCALE_TARGETS", "XSCALE_SUBSETS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XSCALE_DATA", "bundled")
    return folder
