"""What a terminal of 80 columns shows of lists, and that names one needs for the next command are whole."""

from pathlib import Path

import pytest
from tiny_model import call

from xscale.manifest import Entry, add_entries
from xscale.terminal import wrapped

LONG = "sweep-" + "mnli-and-much-more-" * 2 + "4096-seed1"


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoints_manifest.json"
    model = {"model": "hf", "model_args": {"pretrained": "someone/model"}}
    tasks = ["first_intermediate_task", "second_intermediate_task", "third_intermediate_task"]
    add_entries(
        path, [Entry(id=LONG, intermediate=tasks, size=4096, seed=1, **model), Entry(id="b", **model)]
    )
    return path


def test_ls_keeps_ids_whole(manifest: Path) -> None:
    code, shown, _ = call("ls", "--manifest", manifest)
    lines = shown.splitlines()
    assert code == 0 and max(map(len, lines)) <= 80
    assert lines[2].split()[0] == LONG and lines[3].split()[0] == "b"
    assert lines[0].split()[-1] == "results" and "4,096" in lines[2]


def test_ls_of_no_entries(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text('{"version": 1, "entries": []}')
    assert call("ls", "--manifest", tmp_path / "m.json")[0] == 0


def test_plan_wraps_between_words(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from tiny_model import make_base, write_experiment

    experiment = write_experiment(tmp_path, make_base(tmp_path / "base"))
    code, shown, errors = call("plan", experiment, "--manifest", tmp_path / "m.json")
    assert code == 0, errors
    assert max(map(len, shown.splitlines())) <= 80
    assert "bundled_nli_target" in shown and "bundled_nli" in shown  # no word is cut


def test_wrapping_leaves_long_words_whole() -> None:
    path = "/" + "x" * 100
    assert wrapped(f"see {path} now").split() == ["see", path, "now"]


def test_examples_of_help_can_be_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    from xscale.cli.main import app

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    for command in app.registered_commands:
        name = command.name or command.callback.__name__.replace("_", "-")
        if name == "lm-eval":  # which shows lm_eval's own
            continue
        lines = call(name, "--help")[1].splitlines()
        assert max(map(len, lines)) <= 80, name
        assert f"  {command.epilog}" in lines, name  # in one line, broken nowhere
        assert "list[str]" not in "".join(lines).partition("Options:")[2], name


def test_what_is_wrong_is_said_in_plain_words(tmp_path: Path) -> None:
    code, _, errors = call("board", "--format", "nosuch")
    assert code == 2 and "'--format': 'nosuch' is not one of 'simple'" in errors
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: x\nbase: a/b\nsize: [0, 8]\nintermediate: snli\ntargets: {xnli: {train: [mnli]}}\n"
    )
    code, _, errors = call("plan", path)
    assert code == 2 and "mine.yaml:3: size: unknown field; did you mean 'sizes'?" in errors
