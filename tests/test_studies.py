"""What a study's page states is what its stored answers give, and a study is nothing but answers."""

import csv
import re
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from harness_tasks.subsets.membership import shipped_membership
from xscale.evaluation.predictions import read_predictions
from xscale.manifest import read_manifest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import measured  # noqa: E402

STUDIES = sorted(path.parent for path in ROOT.glob("studies/*/README.md"))
PAGES = [*(study / "README.md" for study in STUDIES), ROOT / "docs" / "leaderboard.md"]
HEADLINES = sorted(ROOT.glob("studies/*/figures/headline.csv"))
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


@pytest.mark.parametrize("path", HEADLINES, ids=lambda path: path.parent.parent.name)
def test_the_headline_figure_is_of_the_answers(path: Path) -> None:
    """The plotted deltas are the means over seeds of accuracies recounted here; each interval holds its delta."""
    study = path.parent.parent
    entries = {entry.id: entry for entry in read_manifest(study / "checkpoints_manifest.json").entries}
    right: dict[tuple[str, str], float] = {}
    for name in entries:
        stored = read_predictions(study / "results" / name / "predictions.parquet")
        told: dict[str, list[bool]] = {}
        ood = {
            target: set(shipped_membership(target, anchor)["ood"].tolist())
            for target, anchor in stored.info["anchors"].items()
        }
        for line in stored.table.select(["target", "row", "label", "prediction"]).to_pylist():
            if line["row"] in ood[line["target"]]:
                told.setdefault(line["target"], []).append(line["label"] == line["prediction"])
        right |= {(name, target): 100 * sum(each) / len(each) for target, each in told.items()}
    with path.open(encoding="utf-8", newline="") as file:
        marks = [mark for mark in csv.DictReader(file) if mark["subset"] == "ood"]
    assert len(marks) > 10
    for mark in marks:
        deltas = [
            right[name, mark["target"]] - right[str(entry.baseline), mark["target"]]
            for name, entry in entries.items()
            if (entry.arm, str(entry.size)) == (mark["arm"], mark["size"])
        ]
        assert float(mark["delta"]) == pytest.approx(sum(deltas) / len(deltas), abs=1e-4)
        assert float(mark["low"]) < float(mark["delta"]) < float(mark["high"]) and len(deltas) == int(
            mark["seeds"]
        )


def test_figures_of_the_docs_are_the_studys() -> None:
    figures = sorted((ROOT / "docs" / "figures").glob("*.svg"))
    assert figures
    for path in figures:
        assert path.read_bytes() == (STUDIES[0] / "figures" / path.name).read_bytes(), path.name
