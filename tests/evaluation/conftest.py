"""A cache for each test, and checkpoints for all of them."""

import os

os.environ.setdefault("TQDM_DISABLE", "1")

from pathlib import Path

import pytest
import tiny_model
from small_checkpoints import make_checkpoint

from xscale.manifest import Entry


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees what another one left in the cache, on disk or in memory."""
    from xscale.evaluation import tokens

    monkeypatch.setenv("XSCALE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tokens, "_memory", type(tokens._memory)())
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.make_base(tmp_path_factory.mktemp("base") / "base", token_types=True)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint") / "both", tiny_base)


@pytest.fixture
def entry(checkpoint: Path) -> Entry:
    return Entry(id="both", model="xscale", model_args={"pretrained": str(checkpoint)})
