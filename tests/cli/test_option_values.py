"""Wrong option values are refused before any result is read, and before heavy libraries are loaded."""

import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from xscale.cli import leaderboard as cli
from xscale.leaderboard.render import FORMATS
from xscale.leaderboard.table import BREAKDOWNS, SORTS

ROOT = Path(__file__).resolve().parents[2]
WATCHED = """
import sys
from xscale.cli.main import main
sys.argv = ["xscale", *sys.argv[1:]]
try:
    main()
finally:
    print("loaded:", *sorted({"torch", "lm_eval", "scipy", "matplotlib", "pyarrow"} & sys.modules.keys()))
"""


def refused(folder: Path, *arguments: str, **environment: str) -> tuple[str, str]:
    """What a command that must fail with code 2 says, and which heavy libraries it loaded."""
    ended = subprocess.run(
        [sys.executable, "-c", WATCHED, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2 and "Traceback" not in ended.stderr, ended.stderr
    return ended.stderr, ended.stdout.partition("loaded:")[2].strip()


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (("board", "--format", "nope"), "'latex_booktabs'"),
        (("board", "--arms", "--format", "csv"), "simple, github, json"),
        (("board", "--sort", "nope"), "'ladder'"),
        (("board", "--by", "nope"), "'script'"),
        (("board", "--subset", "nope"), "negation"),
        (("board", "--delta", "nope"), "negation"),
        (("board", "--by-subset", "nope"), "negation"),
        (("compare", "a", "b", "--format", "html"), "'github'"),
        (("compare", "a", "b", "--subset", "nope"), "negation"),
        (("run", "--executor", "slurm"), "'ray'"),
        (("ls", "nothing"), "'languages'"),
    ],
)
def test_a_wrong_value_is_refused_before_any_work(
    tmp_path: Path, arguments: tuple[str, ...], allowed: str
) -> None:
    said, loaded = refused(tmp_path, *arguments)  # there is not even a manifest
    assert "nope" in said or arguments[-1] in said
    assert allowed in said
    assert loaded == ""


def test_a_report_without_matplotlib_is_refused_before_results_are_read(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(
        "from importlib.machinery import PathFinder\nreal = PathFinder.find_spec\n"
        "PathFinder.find_spec = lambda name, *rest: None if name == 'matplotlib' else real(name, *rest)\n"
    )
    said, loaded = refused(tmp_path, "report", PYTHONPATH=f"{hidden}{os.pathsep}{ROOT}")
    assert "matplotlib" in said and "xscale[report]" in said and loaded == ""


def test_the_values_that_are_offered_are_those_there_are() -> None:
    assert get_args(cli.BoardFormat) == FORMATS
    assert get_args(cli.Order) == SORTS
    assert get_args(cli.Breakdown) == BREAKDOWNS


def test_a_board_needs_no_torch(tmp_path: Path) -> None:
    (tmp_path / "checkpoints_manifest.json").write_text('{"version": 1, "entries": []}')
    ended = subprocess.run(
        [sys.executable, "-c", WATCHED, "board"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "torch" not in ended.stdout and "lm_eval" not in ended.stdout
