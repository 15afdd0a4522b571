"""What `xscale status` and `xscale plan --cost` say, against figures worked out by hand."""

from pathlib import Path

import pyarrow as pa
import pytest
import tiny_model
from filelock import FileLock

from harness_tasks.targets import get_target
from xscale.costs import Throughput, cost_lines, documents_of, measured, training_examples
from xscale.errors import UserError
from xscale.evaluation.predictions import write_predictions
from xscale.experiment import Experiment, plan
from xscale.journal import journal_of, write_event
from xscale.manifest import Entry, Manifest, write_manifest
from xscale.pipeline import selection
from xscale.status import jobs, seconds_left, status_lines
from xscale.workspace import Workspace

EXPERIMENT = {
    "name": "sweep",
    "base": "FacebookAI/xlm-roberta-large",
    "intermediate": "mnli",
    "sizes": [0, 1000, 4000],
    "seeds": [1, 2],
    "targets": {"xnli": {"train": ["mnli"], "size": 1000}, "xcopa": {"train": ["social_iqa", "copa"]}},
    "recipe": "paper",  # 2 epochs; xcopa: 5
    "evaluation": {"xnli": {"languages": ["en", "de"], "limit": 100}},
}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "checkpoints_manifest.json")


def test_costs_by_hand() -> None:
    experiment = Experiment.model_validate(EXPERIMENT)
    recipes = plan(experiment, "hub")
    assert training_examples(recipes) == {
        "intermediate": 2 * (1000 + 4000) * 2,
        "xnli": 6 * 1000 * 2,
        "xcopa": 6 * (33_410 + 400) * 5,
    }
    assert documents_of(selection(experiment), "hub") == 2 * 100 + 12 * 500
    lines = cost_lines(recipes, selection(experiment), Throughput(100, 1000, 2**30), "hub", at_once=2)
    hours = (20_000 + 12_000 + 1_014_300) / 100 / 3600 + 6 * 6200 / 1000 / 3600
    assert lines[0].startswith("6 checkpoints of base FacebookAI/xlm-roberta-large")
    assert any(line.split()[:2] == ["all", f"{hours:.1f}"] for line in lines)
    assert any(line.split()[0] == f"{hours / 2:.1f}" for line in lines)
    assert any(line.startswith("disk: 6.0 GiB") for line in lines)


def test_a_limit_that_takes_as_long_as_a_larger_one() -> None:
    def said(limit: int, **more: object) -> list[str]:
        evaluation = {"xnli": {"languages": ["en", "de"], "limit": limit}}
        experiment = Experiment.model_validate(EXPERIMENT | {"evaluation": evaluation, **more})
        lines = cost_lines(plan(experiment, "hub"), selection(experiment), Throughput(1, 1), "hub")
        return [line for line in lines if "blocks" in line]

    begins = "xnli: limit {} takes as long as {}:".format
    assert [line.startswith(begins("600", "1,024")) for line in said(600)] == [True]
    assert [line.startswith(begins("2,000", "5,010")) for line in said(2000)] == [
        True
    ]  # 914 are no block of their own
    assert said(1024) == said(256) == said(5010) == []


def test_unknown_throughput_is_not_guessed(workspace: Workspace) -> None:
    experiment = Experiment.model_validate(EXPERIMENT)
    known = measured(workspace, experiment.base)
    with pytest.raises(UserError, match="give --examples-per-second"):
        cost_lines(plan(experiment, "hub"), selection(experiment), known, "hub")


def test_what_arms_share_costs_once() -> None:
    """Nine arms of one size, one baseline: ten times the targets, not eighteen."""
    arms = {f"arm{n}": {"intermediate": "mnli", "training": {"epochs": n}} for n in range(1, 10)}
    fields = EXPERIMENT | {"sizes": [0, 1000], "seeds": [1], "arms": arms, "recipe": "laptop"}
    recipes = plan(Experiment.model_validate(fields | {"intermediate": None}), "hub")
    assert training_examples(recipes)["xnli"] == 10 * 1000 * 3
    assert training_examples([*recipes, *recipes]) == training_examples(recipes)
    assert training_examples(recipes)["intermediate"] == 1000 * sum(range(1, 10))


def test_documents_are_those_of_the_data_source() -> None:
    """The bundled suite is far smaller than the official sets; short times are given in minutes."""
    from harness_tasks.sources import read_rows
    from harness_tasks.targets import get_target

    fields = EXPERIMENT | {
        "evaluation": {"xnli": {"languages": ["en", "de"]}},
        "targets": {"xnli": {"train": ["mnli"], "size": 8}},
    }
    experiment = Experiment.model_validate(fields)
    place = get_target("xnli").places["en"]
    rows = len(read_rows(place.dataset, place.config, place.test, "bundled"))
    assert documents_of(selection(experiment), "bundled") == 2 * rows < 2 * 5010
    assert documents_of(selection(experiment), "hub") == 2 * 5010
    lines = cost_lines(plan(experiment, "bundled"), selection(experiment), Throughput(1000, 100), "bundled")
    (evaluation,) = [line for line in lines if line.startswith("evaluate")]
    assert evaluation.split()[1:3] == [f"{6 * 2 * rows / 100 / 60:.1f}", "min"]


def test_status_of_nothing(workspace: Workspace) -> None:
    assert status_lines(workspace, "")[0].startswith("no run is known here")


def test_status_by_hand(workspace: Workspace) -> None:
    journal = journal_of(workspace.manifest)
    recipes = [["s-0-seed1", 0], ["s-100-seed1", 100], ["s-200-seed1", 200], ["s-300-seed1", 300]]
    write_event(journal, "planned", experiment="s", recipes=recipes, command="xscale run s.yaml")
    for name, size in recipes[:2]:
        write_event(journal, "started", kind="train", id=name)
        write_event(journal, "done", kind="train", id=name, seconds=10 + size)
        (workspace.checkpoints / name).mkdir(parents=True)
        (workspace.checkpoints / name / "recipe.json").write_text("{}")
    write_event(journal, "failed", kind="train", id="s-200-seed1", problem="the loss is nan")
    write_event(journal, "started", kind="train", id="s-300-seed1", part="encoder", unit="ab12")
    write_event(journal, "progress", what="train s-300-seed1: intermediate on 300 of x", done=1, total=4)
    write_event(journal, "done", kind="evaluate", id="s-0-seed1", seconds=5)
    answers(workspace, "s-0-seed1", {})
    (workspace.checkpoints / ".units").mkdir()
    with FileLock(workspace.checkpoints / ".units" / ".ab12.lock"):
        found = jobs(workspace)
        states = {(job.kind, job.id): job.state for job in found}
        assert states == {
            ("train", "s-0-seed1"): "done",
            ("train", "s-100-seed1"): "done",
            ("train", "s-200-seed1"): "failed",
            ("train", "s-300-seed1"): "running",
            ("evaluate", "s-0-seed1"): "done",
            ("evaluate", "s-100-seed1"): "left",
            ("evaluate", "s-200-seed1"): "left",
            ("evaluate", "s-300-seed1"): "left",
        }
        # 10 s + 1 s an example: 210 for the failed one, three quarters of 310, three evaluations of 5
        assert seconds_left(found, workspace) == pytest.approx(210 + 0.75 * 310 + 15, rel=1e-6)
        lines = status_lines(workspace, "")
        assert lines[0] == "s: 3 done, 1 running, 1 failed, 3 left"
        assert "  running: train s-300-seed1 25%" in lines
        assert "  failed: train s-200-seed1: the loss is nan" in lines
        assert not any("nothing is running" in line for line in lines)
    assert status_lines(workspace, "")[-1].endswith("this does just what is not done: xscale run s.yaml")


def answers(workspace: Workspace, name: str, info: dict) -> None:
    """Results whose description is `info`; the answers themselves are not looked at."""
    columns = {
        "target": ["xnli"] * 3, "task": ["xnli_ood_en"] * 3, "language": ["en"] * 3, "row": [0, 1, 2],
        "label": [0, 1, 2], "prediction": [0, 1, 2], "logprobs": [[-1.0, -1.0, -1.0]] * 3,
    }  # fmt: skip
    write_predictions(workspace.results / name / "predictions.parquet", pa.table(columns), info)


@pytest.mark.parametrize(
    ("change", "words", "done"),
    [
        ({}, "yes (bundled)", True),
        ({"limit": {"xnli": 2}}, "in part (bundled): xnli: the first 2 rows", False),
        ({"fingerprints": {"xnli": {"en": "f"}}}, "in part (bundled): xnli: 1 of 15 languages", False),
        ({"source": "hub"}, "yes", False),  # all of it, but to other data than the run is on
        ({"weights": "2" * 64}, "of other weights", False),
        ({"fingerprints": {"xcopa": {"en": "f"}}}, "in part (bundled): no xnli", False),
    ],
)
def test_results_of_other_data_or_weights_or_of_a_part_are_not_all_of_it(
    workspace: Workspace, change: dict, words: str, done: bool
) -> None:
    name, languages = "s-0-seed1", get_target("xnli").languages
    write_event(
        journal_of(workspace.manifest), "planned", experiment="s", recipes=[[name, 0]], data="bundled",
        asks={"xnli": [list(languages), None]},
    )  # fmt: skip
    (workspace.checkpoints / name).mkdir(parents=True)
    (workspace.checkpoints / name / "recipe.json").write_text("{}")
    fields = {"model_args": {"pretrained": "x"}, "targets": {"xnli": []}, "sha256": "1" * 64}
    entry = Entry(id=name, model="xscale", **fields)
    write_manifest(workspace.manifest, Manifest(entries=[entry]))
    info = {
        "weights": "1" * 64,
        "source": "bundled",
        "limit": {"xnli": None},
        "fingerprints": {"xnli": dict.fromkeys(languages, "f")},
    }
    answers(workspace, name, info | change)
    states = {job.kind: job.state for job in jobs(workspace)}
    assert states == {"train": "done", "evaluate": "done" if done else "left"}
    code, output, _ = tiny_model.call("ls", "--manifest", workspace.manifest)
    assert code == 0 and output.splitlines()[-1].endswith(words)
