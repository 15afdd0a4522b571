"""Shared fixtures. The hub is never asked by a test: it could change, and it may not be reachable."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The mirror folder with the real data sets (``real_data.parent`` has the tables of facts about rows)."""
    given = os.environ.get("XSCALE_TEST_DATA")
    folder = Path(given) if given else ROOT.parent / "shared" / "data" / "hub"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; XSCALE_TEST_DATA names a mirror folder")
    return folder.resolve()
