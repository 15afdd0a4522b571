"""A collapsed training, and rows that both phases had, are said from recipe.json to the manifest, `status` and the board."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tiny import make_base, make_recipe

from xscale.evaluation.predictions import PREDICTIONS, SCHEMA, Predictions, write_predictions
from xscale.experiment import Development, Target
from xscale.journal import journal_of, write_event
from xscale.leaderboard.panels import Result, build_panels, scores_of
from xscale.leaderboard.table import make_board
from xscale.manifest import Entry, read_manifest
from xscale.pipeline import Workspace, register
from xscale.status import status_lines
from xscale.training.phases import train_recipe


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A run that learns nothing and is tuned on what it has seen, and a good one beside it in the manifest."""
    folder = tmp_path_factory.mktemp("marks")
    found = Workspace(folder / "checkpoints_manifest.json")
    recipe = make_recipe(
        make_base(folder / "base"),
        id="bad-700",
        intermediate=["bundled_nli_target"],
        size=700,
        targets={"xnli": Target(train=["bundled_nli_target"], size=200)},
        development=Development(choose="last", rows=90, validation_rows=0),
        phase={"learning_rate": 1e-9},
    )
    train_recipe(recipe, found.checkpoints / recipe.id)
    register([recipe], found, {recipe.id})
    return found


def test_the_manifest_has_both(workspace: Workspace) -> None:
    (entry,) = read_manifest(workspace.manifest).entries
    assert entry.collapsed == ["xnli"]
    assert entry.repeated == {"xnli": 700 + 200 - 767}


def test_status_names_the_collapsed_run(workspace: Workspace) -> None:
    write_event(journal_of(workspace.manifest), event="planned", experiment="bad", recipes=[["bad-700", 700]])
    text = "\n".join(status_lines(workspace, ""))
    assert "collapsed: bad-700: xnli" in text


def test_status_names_a_run_of_one_answer_whose_training_nobody_scored(tmp_path: Path) -> None:
    """`choose: none` looks at no development set: the stored answers tell."""
    found = Workspace(tmp_path / "m.json")
    (found.checkpoints / "none-700").mkdir(parents=True)
    (found.checkpoints / "none-700" / "recipe.json").write_text(json.dumps({"development": {}}))
    write_event(journal_of(found.manifest), event="planned", experiment="e", recipes=[["none-700", 700]])
    rows = np.arange(60)
    for answers, collapsed in ((np.ones(60, int), True), (rows % 3, False)):
        columns = {
            "target": ["xnli"] * 60,
            "task": ["xnli_ood_en"] * 60,
            "language": ["en"] * 60,
            "row": rows,
            "label": rows % 3,
            "prediction": answers,
            "logprobs": [[-1.0, -1.0, -1.0]] * 60,
        }
        write_predictions(found.results / "none-700" / PREDICTIONS, pa.table(columns), {})
        text = "\n".join(status_lines(found, ""))
        assert ("collapsed: none-700: xnli gives nearly always the same answer" in text) is collapsed


def test_the_board_says_it_below_its_table(workspace: Workspace) -> None:
    entries = [
        *read_manifest(workspace.manifest).entries,
        Entry(id="good", model="hf", model_args={"pretrained": "x"}),
    ]
    rows = np.arange(60)
    results = []
    for entry in entries:
        columns = {
            "target": ["xnli"] * 60,
            "task": ["xnli_ood_en"] * 60,
            "language": ["en"] * 60,
            "row": rows.tolist(),
            "label": (rows % 3).tolist(),
            "prediction": (rows // 2 % 3).tolist(),
            "logprobs": [[-1.0, -1.0, -1.0]] * 60,
        }
        table = pa.table({name: columns[name] for name in SCHEMA.names if name in columns})
        info = {
            "checkpoint": entry.id,
            "source": "hub",
            "fingerprints": {"xnli": {"en": "f"}},
            "anchors": {"xnli": "a" * 64},
            "task_versions": {"xnli": "1.0"},
            "limit": {"xnli": None},
        }
        results.append(Result(entry, "ok", scores=scores_of(Predictions(table, info)), info=info))
    panels = build_panels(results, membership=lambda target, anchor: {"id": rows[::2], "ood": rows[1::2]})
    notes = "\n".join(make_board(panels, results, draws=200).tables[0].notes)
    assert "no better than the commonest label in English: bad-700" in notes
    assert "fine-tuned on rows that the intermediate phase had, too" in notes and "bad-700 (133)" in notes
    assert "good" not in notes
    assert json.loads(Path(workspace.manifest).read_text())["version"] == 1
