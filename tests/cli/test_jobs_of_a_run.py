"""While it works, a run says which of its jobs it is at; what another run did is not reported as done here."""

import io
import re
from pathlib import Path

import pytest

pytest.importorskip("torch")

from rich.console import Console
from tiny_model import call, make_base, make_head, write_experiment

from xscale import pipeline, progress
from xscale.evaluation import sweep
from xscale.journal import journal_of, read_events
from xscale.manifest import Entry, add_entries, read_manifest
from xscale.workspace import Workspace


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


def test_lines_of_a_run_say_which_job_of_how_many(tmp_path: Path, base: Path) -> None:
    experiment = write_experiment(tmp_path, base, "[0, 32]")
    manifest = tmp_path / "checkpoints_manifest.json"
    code, _, err = call("run", experiment, "--manifest", manifest)
    assert code == 0, err
    numbered = re.findall(r"^\[(\d)/(\d)\] (train|evaluate) (\S+?):", err, re.MULTILINE)
    jobs = list(dict.fromkeys((int(job), kind, name) for job, _, kind, name in numbered))
    assert jobs == [
        (1, "train", "tiny-0-seed1"),
        (2, "train", "tiny-32-seed1"),
        (3, "evaluate", "tiny-0-seed1"),
        (4, "evaluate", "tiny-32-seed1"),
    ]
    assert {total for _, total, _, _ in numbered} == {"4"}
    results = tmp_path / "results" / "tiny-0-seed1"
    for path in results.glob("*"):
        path.rename(tmp_path / path.name)  # one job is left
    err = call("run", experiment, "--manifest", manifest)[2]
    assert re.findall(r"^\[(\d/\d)\] evaluate tiny-0-seed1: xnli: done", err, re.MULTILINE) == ["1/1"]


def test_a_terminal_shows_the_whole_below_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=screen, force_terminal=True, width=80))
    name = "train some-experiment-some-arm-16384-seed3: intermediate on 16,384 of a-set-with-a-name"
    with progress.counted_jobs(12):
        progress.job_done(4)
        with progress.progress(name, 1000) as advance:
            advance(500)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert re.search(r"jobs of this run +\S+ +4/12 ", text)
    shown = [line for line in re.split(r"[\r\n]+", text) if line.startswith("train some")]
    assert shown and all(len(line.rstrip()) <= 80 for line in shown)
    assert re.search(
        r"train some-experiment-some-arm-16384-seed3: … \S{16} +\d+/1000 ", text
    )  # cut, not the bar


def test_what_another_run_did_meanwhile_is_not_done_here(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = make_head(tmp_path / "head", base)
    workspace = Workspace(tmp_path / "m.json")
    entry = Entry(id="mine", model="xscale", model_args={"pretrained": str(head)}, targets={"xnli": []})
    add_entries(workspace.manifest, [entry])
    entries, selection = list(read_manifest(workspace.manifest).entries), {"xnli": (("en",), 4)}
    real = sweep.evaluate_entries

    def after_another_run(*arguments: object, **options: object) -> list[str]:
        assert real(*arguments, **options) == ["mine"]  # the other run's
        return real(*arguments, **options)

    monkeypatch.setattr(sweep, "evaluate_entries", after_another_run)
    assert pipeline.evaluate(entries, selection, "bundled", workspace) == []
    events = [event["event"] for event in read_events(journal_of(workspace.manifest))]
    assert "done" not in events and "failed" not in events
    assert "interrupted" not in call("status", "--manifest", workspace.manifest)[1]
