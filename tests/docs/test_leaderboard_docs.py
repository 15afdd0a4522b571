"""`tools/leaderboard_docs.py` fills the page on the leaderboard from a first run."""

import importlib.util
import re
import shutil
import sys
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")
ROOT = Path(__file__).resolve().parents[2]


def test_the_page_shows_what_the_run_made(
    first_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.spec_from_file_location("leaderboard_docs", ROOT / "tools/leaderboard_docs.py")
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.rmtree(tmp_path / "docs/figures")
    monkeypatch.setattr(tool, "DOCS", tmp_path / "docs")
    monkeypatch.setattr(sys, "argv", ["leaderboard_docs.py", str(first_run / "checkpoints_manifest.json")])
    tool.main()
    page = (tmp_path / "docs/leaderboard.md").read_text(encoding="utf-8")
    assert "$ xscale compare first-run-0-seed1 first-run-nli-4096-seed1" in page and "4 languages" in page
    for figure in re.findall(r"\]\(figures/([^)]+)\)", page):
        assert (tmp_path / "docs/figures" / figure).is_file()
    assert (
        page.partition("<!-- measured")[0]
        == (ROOT / "docs/leaderboard.md").read_text().partition("<!-- measured")[0]
    )
