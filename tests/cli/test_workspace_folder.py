"""A workspace named by its folder: what somebody else published is shown without going there."""

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from xscale.cli.main import app
from xscale.manifest import Manifest, write_manifest
from xscale.workspace import RESULTS

sys.path.insert(0, str(Path(__file__).parent.parent / "leaderboard"))
from synthetic import predictions, store, two_sizes


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    entries, right = two_sizes()
    folder = tmp_path / "studies" / "mine"
    folder.mkdir(parents=True)
    write_manifest(folder / "checkpoints_manifest.json", Manifest(entries=entries))
    for made in entries:
        store(folder / RESULTS, made, predictions(right[made.id], identity=made.id))
    monkeypatch.chdir(tmp_path)
    return folder


def test_the_board_of_a_folder(published: Path) -> None:
    runner = CliRunner()
    named = runner.invoke(app, ["board", "studies/mine", "--draws", "200"])
    there = runner.invoke(
        app, ["board", "--manifest", "studies/mine/checkpoints_manifest.json", "--draws", "200"]
    )
    assert named.exit_code == 0 and "512" in named.output
    assert named.output == there.output
    one = runner.invoke(app, ["board", "studies/mine", "snli-0-s0", "--draws", "200", "--format", "csv"])
    assert one.exit_code == 0 and "snli-0-s0" in one.output and "snli-512-s0" not in one.output
    assert runner.invoke(app, ["ls", "--manifest", "studies/mine"]).output.count("snli-") >= 2


def test_the_report_of_a_folder(published: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    done = CliRunner().invoke(
        app, ["report", "studies/mine", "--out", "page", "--draws", "200", "--no-examples"]
    )
    assert done.exit_code == 0, done.output
    assert (tmp_path / "page" / "index.html").is_file()


def test_an_entry_is_not_taken_for_a_folder(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of an entry's name, without a manifest in it, changes nothing."""
    monkeypatch.chdir(published)
    (published / "snli-0-s0").mkdir()
    (published / "snli-512-s0").write_text("a file of mine", encoding="utf-8")
    assert CliRunner().invoke(app, ["board", "snli-512-s0", "--draws", "200"]).exit_code == 0
    done = CliRunner().invoke(app, ["board", "snli-0-s0", "--draws", "200"])
    assert done.exit_code == 0, done.output
