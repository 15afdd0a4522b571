"""The model card, and what `xscale push` would upload. The hub itself is not asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from tiny import make_base, make_recipe
from typer.testing import CliRunner

from xscale.cli.main import app
from xscale.errors import UserError
from xscale.training.card import model_card
from xscale.training.phases import train_recipe
from xscale.training.push import files_to_push, push


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parent = tmp_path_factory.mktemp("push")
    train_recipe(make_recipe(make_base(parent / "base")), parent / "checkpoints" / "tiny")
    return parent / "checkpoints" / "tiny"


def test_the_card_has_the_hubs_metadata_and_what_was_trained(folder: Path) -> None:
    from huggingface_hub import ModelCard

    card = ModelCard.load(folder / "README.md")
    assert card.data.library_name == "transformers"
    assert "en" in card.data.language and "sw" in card.data.language
    assert "base_model" not in yaml.safe_load(str(card.data))  # a local folder is no hub model
    assert "`base` after intermediate training" in card.text  # of which others need not know where it lay
    assert "64 examples of bundled_nli, seed 1" in card.text
    assert "| intermediate | bundled_nli | 64 | 7,200 | 0 | 8 |" in card.text
    assert "| xnli | bundled_nli_target | 32 | 768 | 1 | 4 |" in card.text


def test_the_card_has_the_licence_that_a_users_set_was_given(folder: Path) -> None:
    record = json.loads((folder / "recipe.json").read_text())
    record["phases"][0]["task"] = "mine"
    record["recipe"]["tasks"] = {"mine": {"file": "mine.jsonl", "licence": "CC0"}, "other": {}}
    assert "| CC0 |" in model_card(record)
    record["recipe"]["tasks"]["mine"]["licence"] = None
    assert "| not said |" in model_card(record)


def test_a_dry_run_lists_all_files_and_uploads_nothing(folder: Path) -> None:
    names = [name for name, size in files_to_push(folder) if size]
    assert {"recipe.json", "README.md", "xnli/config.json", "encoder/tokenizer.json"} <= set(names)
    assert any(name.startswith("xnli/model") and name.endswith(".safetensors") for name in names)
    manifest = folder.parent.parent / "checkpoints_manifest.json"
    result = CliRunner().invoke(app, ["push", "tiny", "me/tiny", "--manifest", str(manifest), "--dry-run"])
    assert result.exit_code == 0
    assert [line.split()[-1] for line in result.output.splitlines()[:-1]] == names
    assert "would go to https://huggingface.co/me/tiny; nothing was uploaded" in result.output


def test_what_is_uploaded_is_the_folder(folder: Path) -> None:
    seen = []

    def upload(what: Path, repository: str, private: bool, more: dict) -> str:
        seen.append((what, repository, private))
        return "https://huggingface.co/me/tiny"

    assert push(folder, "me/tiny", True, upload=upload) == "https://huggingface.co/me/tiny"
    assert seen == [(folder, "me/tiny", True)]


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not a checkpoint of xscale \(no recipe.json\)"):
        push(tmp_path, "me/x", False)


def test_the_hubs_refusal_is_one_line(folder: Path) -> None:
    def upload(what: Path, repository: str, private: bool, more: dict) -> str:
        raise ConnectionError("no route\nto host")

    with pytest.raises(UserError, match="push to me/tiny: no route; log in"):
        push(folder, "me/tiny", False, upload=upload)
