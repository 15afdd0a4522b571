"""Records of Every Eval Ever: what its schema 0.2.1 asks for (in our words, of the fields that we write), and figures by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
from synthetic import LANGUAGES, entry, predictions, store
from tiny_model import call

from xscale.errors import UserError
from xscale.every_eval_ever import write_records
from xscale.manifest import add_entries
from xscale.workspace import Workspace

TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
HUB_SET = {
    "required": ["dataset_name", "source_type"],
    "properties": {
        "source_type": {"const": "hf_dataset"},
        "hf_repo": {"type": "string"},
        "hf_split": {"type": "string"},
        "samples_number": {"type": "integer"},
        "additional_details": TEXTS,
    },
}
OTHER_SET = {
    "required": ["dataset_name", "source_type"],
    "properties": {"source_type": {"const": "other"}, "additional_details": TEXTS},
}
INTERVAL = {
    "required": ["lower", "upper"],
    "properties": {
        **{key: {"type": "number"} for key in ("lower", "upper")},
        "confidence_level": {"type": "number", "minimum": 0, "maximum": 1},
        "method": {"type": "string"},
    },
}
RESULT = {
    "required": ["evaluation_name", "source_data", "metric_config", "score_details"],
    "properties": {
        "evaluation_name": {"type": "string"},
        "source_data": {"oneOf": [HUB_SET, OTHER_SET]},
        "metric_config": {  # min_score and max_score are required of a continuous score
            "required": ["lower_is_better", "score_type", "min_score", "max_score"],
            "properties": {
                "lower_is_better": {"type": "boolean"},
                "score_type": {"const": "continuous"},
                **{key: {"type": "number"} for key in ("min_score", "max_score")},
            },
        },
        "score_details": {
            "required": ["score"],
            "properties": {
                "score": {"type": "number"},
                "details": TEXTS,
                "uncertainty": {
                    "properties": {
                        "confidence_interval": INTERVAL,
                        **{key: {"type": "integer"} for key in ("num_samples", "num_bootstrap_samples")},
                    }
                },
            },
        },
    },
}
SCHEMA = {
    "type": "object",
    "required": [
        "schema_version",
        "evaluation_id",
        "retrieved_timestamp",
        "source_metadata",
        "model_info",
        "eval_library",
        "evaluation_results",
    ],
    "additionalProperties": False,
    "properties": {
        **{
            key: {"type": "string"}
            for key in ("evaluation_id", "retrieved_timestamp", "evaluation_timestamp")
        },
        "schema_version": {"const": "0.2.1"},
        "source_metadata": {
            "required": ["source_type", "source_organization_name", "evaluator_relationship"],
            "properties": {
                "source_type": {"enum": ["documentation", "evaluation_run"]},
                "evaluator_relationship": {"enum": ["first_party", "third_party", "collaborative", "other"]},
            },
        },
        "eval_library": {
            "required": ["name", "version"],
            "properties": {"version": {"type": "string"}, "additional_details": TEXTS},
        },
        "model_info": {
            "required": ["name", "id"],
            "properties": {
                **{key: {"type": "string"} for key in ("name", "id", "developer")},
                "inference_engine": {"type": "object"},
                "additional_details": TEXTS,
            },
        },
        "evaluation_results": {"type": "array", "items": RESULT, "minItems": 1},
    },
}


@pytest.fixture
def workspace(tmp_path: Path) -> tuple[Workspace, dict[str, np.ndarray]]:
    """One checkpoint of this folder and one of the hub, both evaluated on 60 rows in four languages."""
    made = Workspace(tmp_path / "ws" / "checkpoints_manifest.json")
    made.manifest.parent.mkdir()
    (made.checkpoints / "mine").mkdir(parents=True)
    (made.checkpoints / "mine" / "recipe.json").write_text("{}")
    entries = [
        entry("mine", size=512, intermediate=["snli"], model_args={"pretrained": "checkpoints/mine"}),
        entry("theirs", model="hf", base=None, targets={}, model_args={"pretrained": "owner/name"}),
        entry("later", model="hf", base=None, targets={}, model_args={"pretrained": "owner/later"}),
    ]
    add_entries(made.manifest, entries)
    generator = np.random.default_rng(0)
    right = {}
    for each in entries[:2]:
        right[each.id] = generator.random((60, 4)) < 0.6
        store(made.results, each, predictions(right[each.id], identity=each.id))
    return made, right


def test_records_fit_the_schema_and_have_the_figures(
    workspace: tuple[Workspace, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    made, right = workspace
    written = write_records(made, (), tmp_path / "out", now=1e9)
    assert {path.relative_to(tmp_path / "out").parts[:3] for path in written} == {
        ("xnli", "local", "mine"),
        ("xnli", "owner", "name"),
    }
    for path in written:
        record = json.loads(path.read_text())
        jsonschema.validate(record, SCHEMA)
        answers = right[record["model_info"]["name"]]
        scores = {
            (r["evaluation_name"], r["score_details"]["details"]["subset"]): r["score_details"]["score"]
            for r in record["evaluation_results"]
        }
        assert scores["xnli_ood", "all"] == pytest.approx(answers.mean(), abs=1e-6)
        for column, code in enumerate(LANGUAGES):
            assert scores[f"xnli_ood_{code}", "all"] == pytest.approx(answers[:, column].mean(), abs=1e-6)
        interval = record["evaluation_results"][0]["score_details"]["uncertainty"]["confidence_interval"]
        assert interval["lower"] < answers.mean() < interval["upper"]
        assert record["evaluation_id"] == f"xnli_ood/{record['model_info']['id']}/1000000000.000"
        assert str(tmp_path) not in path.read_text()
    mine = json.loads(next(path for path in written if "mine" in path.parts).read_text())
    assert mine["source_metadata"]["evaluator_relationship"] == "first_party"
    assert mine["model_info"]["additional_details"]["intermediate_examples"] == "512"
    assert mine["evaluation_results"][0]["source_data"]["hf_repo"] == "facebook/xnli"


def test_the_command_writes_the_same_files_again(
    workspace: tuple[Workspace, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    made, _ = workspace
    command = ("export", "mine", "--to", "every-eval-ever", tmp_path / "eee", "--manifest", made.manifest)
    assert call(*command)[:2] == (
        0,
        f"1 records in {tmp_path / 'eee'}; say in source_organization_name who you are "
        "before you submit them\n",
    )
    before = sorted((tmp_path / "eee").rglob("*.json"))
    assert call(*command)[0] == 0 and sorted((tmp_path / "eee").rglob("*.json")) == before
    code, _, errors = call("export", "mine", "--to", "helm", tmp_path / "eee", "--manifest", made.manifest)
    assert code == 2 and "every-eval-ever" in errors
    code, _, errors = call("export", "--manifest", made.manifest)
    assert code == 2 and "name the entries" in errors


def test_what_has_no_results_is_refused(
    workspace: tuple[Workspace, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    made, _ = workspace
    with pytest.raises(UserError, match="later: not evaluated yet"):
        write_records(made, ["later"], tmp_path / "out")
    with pytest.raises(UserError, match="no entry 'typo'"):
        write_records(made, ["typo"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
