"""What `xscale push` adds to a checkpoint: a card with its figures, and results as the hub's model pages read them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml
from synthetic import LANGUAGES, answers, entry, info, store, table
from tiny_model import call

from harness_tasks.subsets.membership import facts_by_row, shipped
from xscale.evaluation.predictions import Predictions
from xscale.manifest import add_entries
from xscale.published import published_results
from xscale.workspace import Workspace

CARD = "---\nlibrary_name: transformers\ntags:\n- xscale\n---\n\n# mine\n\nWhat it is.\n"


@pytest.fixture
def made(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path / "checkpoints_manifest.json")
    folder = workspace.checkpoints / "mine"
    (folder / "xnli").mkdir(parents=True)
    (folder / "xnli" / "config.json").write_text("{}")
    (folder / "recipe.json").write_text("{}")
    (folder / "README.md").write_text(CARD)
    add_entries(workspace.manifest, [entry("mine", size=512, intermediate=["snli"])])
    return workspace


def stored(workspace: Workspace, rows: int = 5010, **fields: object) -> np.ndarray:
    """Answers to XNLI's first test rows in four languages; which of them are right."""
    right = np.random.default_rng(1).random((rows, 4)) < 0.6
    truth = np.array(facts_by_row("xnli", "test")["label"][:rows])
    made = table({"xnli": (LANGUAGES, np.arange(rows), truth, answers(right, truth))})
    clusters = pa.array(np.tile(np.arange(rows) // 3, 4), pa.int32())  # a premise has three hypotheses
    made = made.set_column(made.schema.get_field_index("cluster"), "cluster", clusters)
    about = info("mine", {"xnli": LANGUAGES}, anchors={"xnli": shipped("xnli")["test"]["anchor"]}, **fields)
    store(workspace.results, entry("mine"), Predictions(made, about))
    return right


def test_a_published_test_set(made: Workspace) -> None:
    from huggingface_hub import ModelCard

    right = stored(made)
    files = published_results(made, "mine")
    assert set(files) == {"README.md", ".eval_results/xnli.yaml"}
    listed = yaml.safe_load(files[".eval_results/xnli.yaml"])
    assert [item["dataset"]["id"] for item in listed] == ["facebook/xnli"] * 4
    assert {item["dataset"]["task_id"]: item["value"] for item in listed} == {
        code: round(100 * right[:, column].mean(), 2) for column, code in enumerate(LANGUAGES)
    }
    assert all(set(item) <= {"dataset", "value", "date", "source", "notes", "verifyToken"} for item in listed)
    card = ModelCard(files["README.md"])
    assert card.data.library_name == "transformers" and card.data.tags == ["xscale"]
    found = {result.dataset_config: result.metric_value for result in card.data.eval_results}
    assert found == {c: pytest.approx(right[:, n].mean(), abs=1e-6) for n, c in enumerate(LANGUAGES)}
    assert "What it is." in card.text and f"{100 * right.mean():.1f} acc" in card.text
    assert "| ood |" in card.text
    assert (made.checkpoints / "mine" / "README.md").read_text() == CARD  # whose hash the manifest may have


@pytest.mark.parametrize(
    "fields", [{"source": "bundled"}, {"limit": {"xnli": 90}, "rows": 90}], ids=["bundled", "limited"]
)
def test_what_is_no_result_on_the_published_set_stands_in_the_card_only(
    made: Workspace, fields: dict
) -> None:
    stored(made, **fields)
    files = published_results(made, "mine")
    assert set(files) == {"README.md"} and "model-index" not in files["README.md"]
    assert ("not XNLI" in files["README.md"]) == ("limit" not in fields)


def test_without_results_nothing_is_added(made: Workspace) -> None:
    assert published_results(made, "mine") == {}


def test_the_list_names_what_would_go(made: Workspace) -> None:
    stored(made)
    code, shown, errors = call("push", "mine", "me/mine", "--dry-run", "--manifest", made.manifest)
    assert code == 0, errors
    assert ".eval_results/xnli.yaml" in shown
    sizes = {line.split()[-1]: line.split()[0] for line in shown.splitlines()[:-1]}
    assert int(sizes["README.md"].replace(",", "")) > len(CARD)
