"""What a person sees before any page of the documentation: help, version, and `xscale` alone."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from xscale.cli.main import app
from xscale.journal import journal_of, write_event
from xscale.manifest import Entry, add_entries
from xscale.workspace import Workspace


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.chdir(tmp_path)
    return Workspace(Path("checkpoints_manifest.json"))


def output(*arguments: str) -> str:
    result = CliRunner(env={"COLUMNS": "80"}).invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return result.output


def test_nothing_here_yet(here: Workspace) -> None:
    assert "nothing here yet" in output() and "xscale run " in output()
    assert list(Path().iterdir()) == []


def test_entries_without_results_are_to_be_evaluated(here: Workspace) -> None:
    add_entries(here.manifest, [Entry(id="a", model="hf", model_args={"pretrained": "b/c"})])
    assert "none evaluated yet" in output() and "xscale eval" in output()
    (here.results / "a").mkdir(parents=True)
    assert "1 with results" in output() and "xscale board" in output()


def test_a_run_half_done_goes_on(here: Workspace) -> None:
    add_entries(here.manifest, [Entry(id="t-0-seed1", model="hf", model_args={"pretrained": "b/c"})])
    write_event(journal_of(here.manifest), "planned", experiment="t", recipes=[["t-0-seed1", 0]], command="x")
    assert "xscale run t " in output() and "0 of 2 steps" in output()


def test_a_damaged_manifest_is_said(here: Workspace) -> None:
    here.manifest.write_text(json.dumps({"version": 1, "entries": [{}]}))
    assert "cannot be read" in output()


def test_versions_and_help_fit_the_screen(here: Workspace) -> None:
    assert output("--version").startswith("xscale ")
    listed = output("--help")
    assert "..." not in listed.partition("Commands:")[2]  # no summary is cut
    assert "--install-completion" in listed
    assert max(map(len, (listed + output()).splitlines())) <= 80
