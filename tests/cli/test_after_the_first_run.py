"""What status, check, add and plan say of work that was stopped, entries that cannot work, and data that is in use."""

import os
from pathlib import Path

import pyarrow as pa
import pytest
from filelock import FileLock
from tiny_model import call

from xscale.evaluation.predictions import write_predictions
from xscale.journal import journal_of, write_event
from xscale.manifest import Entry, add_entries
from xscale.status import status_lines
from xscale.workspace import Workspace

SERVER = {"model": "local-completions", "model_args": {"model": "m", "base_url": "http://127.0.0.1:1/v1"}}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / "checkpoints_manifest.json")
    add_entries(made.manifest, [Entry(id="mine", **SERVER)])
    return made


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_training_that_was_stopped_did_not_fail(workspace: Workspace, stop: type[BaseException]) -> None:
    from xscale.pipeline import _logged_training

    journal = journal_of(workspace.manifest)
    write_event(journal, "planned", experiment="s", recipes=[["s-0-seed1", 0]], command="xscale run s.yaml")
    with pytest.raises(stop), _logged_training(workspace, "s-0-seed1") as begins:
        begins("encoder", "ab12")
        raise stop
    lines = status_lines(workspace, "")
    assert lines[0] == "s: 1 interrupted, 1 left" and "  interrupted: train s-0-seed1" in lines
    assert not any("failed" in line or stop.__name__ in line for line in lines)
    with pytest.raises(ValueError), _logged_training(workspace, "s-0-seed1"):
        raise ValueError("the loss is nan")
    assert status_lines(workspace, "")[0] == "s: 1 failed, 1 left"


def test_the_time_left_of_what_is_known(workspace: Workspace) -> None:
    """All trainings come first: what they still take is known before the first evaluation is done."""
    journal = journal_of(workspace.manifest)
    write_event(
        journal, "planned", experiment="s", recipes=[[f"s-0-seed{n}", 0] for n in (1, 2, 3)], command="x"
    )
    write_event(journal, "done", kind="train", id="s-0-seed1", seconds=90)
    (workspace.checkpoints / "s-0-seed1").mkdir(parents=True)
    (workspace.checkpoints / "s-0-seed1" / "recipe.json").write_text("{}")
    (line,) = [line for line in status_lines(workspace, "") if "time left" in line]
    assert line.endswith("train 0:03:00, evaluate unknown before a first one is done")


def test_an_evaluation_of_its_own_is_seen(workspace: Workspace) -> None:
    journal = journal_of(workspace.manifest)
    write_event(journal, "started", kind="evaluate", id="mine")
    write_event(journal, "progress", what="evaluate mine: xnli", done=30, total=120)
    workspace.results.mkdir()
    with FileLock(workspace.results / ".mine.lock"):
        assert status_lines(workspace, "") == ["running: evaluate mine 25%"]
    (line,) = status_lines(workspace, " --manifest m.json")
    assert line == "interrupted: evaluate mine; this goes on: xscale eval mine --manifest m.json"
    write_event(journal, "failed", kind="evaluate", id="mine", problem="no server")
    assert status_lines(workspace, "")[0].startswith("failed: evaluate mine: no server")
    write_event(journal, "done", kind="evaluate", id="mine", seconds=3)
    assert status_lines(workspace, "")[0].startswith("no run is known here")


def test_check_names_entries_that_can_never_be_evaluated(workspace: Workspace) -> None:
    assert call("check", "--manifest", workspace.manifest)[0] == 0
    add_entries(workspace.manifest, [Entry(id="broken", model="nosuch", model_args={"pretrained": "a/b"})])
    (workspace.manifest.parent / "plain").mkdir()
    (workspace.manifest.parent / "plain" / "config.json").write_text(
        '{"architectures": ["XLMRobertaForSequenceClassification"], "id2label": {"0": "LABEL_0", "1": "LABEL_1"}}'
    )
    add_entries(workspace.manifest, [Entry(id="plain", model="xscale", model_args={"pretrained": "./plain"})])
    code, shown, _ = call("check", "--manifest", workspace.manifest)
    lines = shown.splitlines()
    assert code == 2 and len(lines) == 2
    assert lines[0].startswith("broken: cannot be evaluated") and "no such model type" in lines[0]
    assert lines[1].startswith("plain: cannot be evaluated") and "LABEL_0" in lines[1]


def test_after_add_comes_a_command_with_the_data_in_use(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XSCALE_DATA", raising=False)
    server = ("--model", "local-completions", "--model-args", "model=m,base_url=http://127.0.0.1:1/v1")
    add = ("add", *server, "--manifest", workspace.manifest, "--id")
    first = call(*add, "one")[1].splitlines()
    assert first[-1].endswith("(from the hub; --data bundled needs no network)")
    assert first[0] == "one: base not known"
    columns = {
        "target": ["xnli"], "task": ["xnli_ood_en"], "language": ["en"], "row": [0], "label": [0],
        "prediction": [0], "logprobs": [[-1.0, -1.0, -1.0]],
    }  # fmt: skip
    mirror = workspace.manifest.parent / "my mirror"
    mirror.mkdir()
    for name, source in (("mine", "bundled"), ("other", f"mirror:{mirror}")):
        path = workspace.results / name / "predictions.parquet"
        path.parent.mkdir(parents=True)
        write_predictions(path, pa.table(columns), {"source": source})
        moment = path.stat().st_mtime_ns + (10**10 if name == "other" else 0)
        os.utime(path, ns=(moment, moment))
        if name == "mine":
            assert call(*add, "two")[1].rstrip().endswith("--data bundled")
    assert call(*add, "three")[1].rstrip().endswith(f"--data '{mirror}'")
    mirror.rmdir()  # a result of another machine names a folder that is not here
    assert call(*add, "gone")[1].rstrip().endswith("--data bundled")
    monkeypatch.setenv("XSCALE_DATA", "bundled")
    assert "--data" not in call(*add, "four")[1]


def test_what_measures_a_throughput_is_a_command(tmp_path: Path) -> None:
    from tiny_model import make_base, write_experiment

    experiment = write_experiment(tmp_path, make_base(tmp_path / "base"))
    code, _, errors = call(
        "plan", experiment, "--cost", "--data", "bundled", "--manifest", tmp_path / "m.json"
    )
    assert code == 2 and "give --examples-per-second" in errors
    command = f"xscale run {experiment} --data bundled --manifest {tmp_path / 'm.json'} --size 0"
    assert errors.rstrip().endswith(command)
