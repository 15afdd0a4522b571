"""What a study's page states is what its stored answers give, and a study is nothing but answers."""

import re
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import measured  # noqa: E402

STUDIES = sorted(path.parent for path in ROOT.glob("studies/*/README.md"))
PAGES = [*(study / "README.md" for study in STUDIES), ROOT / "docs" / "leaderboard.md"]
FIGURE = re.compile(r"(?<![\w.])[+−-]?\d+\.\d+(?!\w)")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.parent.name)
def test_blocks_are_what_their_commands_print(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert measured.BLOCK.search(text)
    assert measured.filled(text) == text


def test_a_changed_figure_is_noticed(tmp_path: Path) -> None:
    block = "<!-- measured: xscale --version -->\n```text\n$ xscale --version\nxscale 99.9\n```\n<!-- end -->"
    assert "99.9" not in measured.filled(block)


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.name)
def test_figures_in_words_stand_in_a_block(study: Path) -> None:
    """Under Results, every decimal figure outside the blocks is one that a block has."""
    text = (study / "README.md").read_text(encoding="utf-8")
    blocks = " ".join(found.group() for found in measured.BLOCK.finditer(text))
    known = {figure.lstrip("+−-") for figure in FIGURE.findall(blocks)}
    results = measured.BLOCK.sub("", text[text.index("\n## Results") :])
    stated = {figure.lstrip("+−-") for figure in FIGURE.findall(results)}
    assert stated
    assert not stated - known


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.name)
def test_a_study_is_answers_only(study: Path) -> None:
    """No weights, no text of a data set, no path of a machine, and small enough for a repository."""
    files = [path for path in study.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 30 * 2**20
    assert {path.suffix for path in files} <= {".md", ".yaml", ".json", ".parquet", ".svg", ".png", ".csv"}
    for path in files:
        assert not re.search(rb"(?<![\w:/.])/(home|root|work|tmp|Users|mnt)/", path.read_bytes()), path
    for path in study.rglob("*.parquet"):
        texts = [field.name for field in pq.read_schema(path) if str(field.type) == "string"]
        assert texts == ["target", "task", "language"]
