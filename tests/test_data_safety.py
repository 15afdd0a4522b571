"""Nothing that a user made is lost, and nothing outside the workspace is written or deleted."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from tiny_model import call, make_base, write_experiment

from xscale import files
from xscale.base_models import resolve_base
from xscale.check import check_workspace
from xscale.errors import UserError
from xscale.evaluation.scores import Journal
from xscale.files import HALF_WRITTEN, REPLACED, open_own, sha256_of_folder, whole_file, whole_folder
from xscale.journal import journal_of, read_events, write_event
from xscale.manifest import Entry, add_entries, checkpoint_folder, read_manifest, write_manifest
from xscale.training.push import files_to_push
from xscale.workspace import Workspace


@pytest.fixture
def here(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / "checkpoints_manifest.json")
    add_entries(made.manifest, [Entry(id="a", model="hf", model_args={"pretrained": "b/c"})])
    made.checkpoints.mkdir()
    made.results.mkdir()
    return made


def test_fix_leaves_what_xscale_did_not_make(here: Workspace) -> None:
    users = [
        ".bashrc.old",
        ".x.part",
        "checkpoints/.backup.old/data",
        "results/.git.old/HEAD",
        "results/a/.notes.part",
    ]
    users += ["checkpoints/.shared/thesis.txt", "checkpoints/.shared/model.safetensors"]
    for name in users:
        path = here.manifest.parent / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    check_workspace(here, fix=True)
    for name in users:
        assert list(here.manifest.parent.rglob(Path(name).name)), f"{name} is gone"


def test_fix_clears_up_what_xscale_left(here: Workspace) -> None:
    half = here.checkpoints / f".a{HALF_WRITTEN}"
    half.mkdir()
    (here.results / f".x.json.abc{HALF_WRITTEN}").write_text("{")
    assert len(check_workspace(here)) >= 2
    with FileLock(here.checkpoints / ".a.lock"):
        check_workspace(here, fix=True)
        assert half.exists()  # its training is under way
    check_workspace(here, fix=True)
    assert not half.exists() and not list(here.results.glob(f".*{HALF_WRITTEN}"))


def test_the_only_whole_copy_survives_a_kill_between_two_renames(here: Workspace) -> None:
    folder = here.checkpoints / "a"
    with whole_folder(folder) as temporary:
        (temporary / "weights").write_text("first")
    os.replace(
        folder, here.checkpoints / f".a{REPLACED}"
    )  # killed here: the new one has not got its name yet
    check_workspace(here, fix=True)
    assert (folder / "weights").read_text() == "first"
    os.replace(folder, here.checkpoints / f".a{REPLACED}")
    with pytest.raises(RuntimeError), whole_folder(folder):
        raise RuntimeError  # and so does the next one that writes it, also when it fails
    assert (folder / "weights").read_text() == "first"


def test_an_evaluation_that_was_stopped_keeps_its_state(here: Workspace) -> None:
    state = here.results / "a" / ".partial" / "xnli.scores"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"scores")
    assert not check_workspace(here, fix=True)
    assert state.read_bytes() == b"scores"


def test_links_are_not_followed_for_writing(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "thesis").write_text("mine")
    inside = tmp_path / "workspace"
    inside.mkdir()
    (inside / "folder").symlink_to(outside)
    with pytest.raises(UserError, match="symbolic link"), whole_folder(inside / "folder"):
        pass
    (inside / f".next{HALF_WRITTEN}").symlink_to(outside)
    with pytest.raises(UserError, match="symbolic link"), whole_folder(inside / "next"):
        pass
    assert (outside / "thesis").read_text() == "mine"
    log = journal_of(inside / "m.json")
    log.parent.mkdir()
    for link in (log.symlink_to, log.hardlink_to):
        link(outside / "thesis")
        with pytest.raises(UserError, match="link"):
            write_event(log, "started")
        log.unlink()
    assert (outside / "thesis").read_text() == "mine"
    write_event(log, "started")
    assert [event["event"] for event in read_events(log)] == ["started"]
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="plain file"):
        open_own(tmp_path / "pipe", os.O_WRONLY)


def test_a_shared_manifest_behind_a_link_gets_the_entry(tmp_path: Path) -> None:
    shared, link = tmp_path / "shared.json", tmp_path / "mine.json"
    add_entries(shared, [])
    link.symlink_to(shared)
    add_entries(link, [Entry(id="a", model="hf", model_args={"pretrained": "b/c"})])
    assert link.is_symlink() and [entry.id for entry in read_manifest(shared).entries] == ["a"]
    shared.unlink()
    with pytest.raises(UserError, match="leads nowhere"):
        add_entries(link, [])


def test_a_manifest_that_could_not_be_read_again_is_not_written(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "m.json"
    add_entries(path, [Entry(id="a", model="hf", model_args={"pretrained": "b/c"})])
    before = path.read_bytes()
    monkeypatch.setattr("xscale.manifest.MAX_BYTES", 300)
    manifest = read_manifest(path)
    manifest.entries[0].note = "x" * 500
    with pytest.raises(UserError, match="more than"):
        write_manifest(path, manifest)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "named", ["weights.bin", "../outside.safetensors", "/etc/passwd", "sub/a.safetensors", 7]
)
def test_an_index_names_safetensors_beside_it_or_is_refused(tmp_path: Path, named: object) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model-00001-of-00001.safetensors").write_bytes(b"")
    index = folder / "model.safetensors.index.json"
    entry = Entry(id="a", model="hf", model_args={"pretrained": str(folder)})
    index.write_text(json.dumps({"weight_map": {"w": "model-00001-of-00001.safetensors"}}))
    assert checkpoint_folder(entry, tmp_path / "m.json") == folder
    assert resolve_base(str(folder)) == str(folder)
    index.write_text(json.dumps({"weight_map": {"w": named}}))
    for load in (lambda: checkpoint_folder(entry, tmp_path / "m.json"), lambda: resolve_base(str(folder))):
        with pytest.raises(UserError, match="not a safetensors file beside it"):
            load()


def test_a_base_with_pickles_alone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(UserError, match="is a pickle"):
        resolve_base(str(tmp_path))


def test_push_sends_nothing_from_outside(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    (folder / "xnli").mkdir(parents=True)
    for name in ("recipe.json", "README.md", "xnli/config.json"):
        (folder / name).write_text("{}")
    assert len(files_to_push(folder)) == 3
    (tmp_path / "secret").write_text("secret")
    (folder / "xnli" / "notes").symlink_to(tmp_path / "secret")
    with pytest.raises(UserError, match="link or special file"):
        files_to_push(folder)


def test_files_appear_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with whole_file(path) as temporary:
        assert temporary.suffix == files.HALF_WRITTEN
        temporary.write_text("all of it")
    assert path.read_text() == "all of it" and [p.name for p in tmp_path.iterdir()] == ["a"]


def test_what_a_checkpoint_is_hashed_by(tmp_path: Path) -> None:
    folder = tmp_path / "models--a--b" / "snapshots" / "commit"
    (folder / "xnli").mkdir(parents=True)
    weights = folder / "xnli" / "model.safetensors"
    weights.write_bytes(b"weights")
    seen = {sha256_of_folder(folder)}
    (folder / "xnli" / "vocab.txt").write_text("a b")
    seen.add(sha256_of_folder(folder))
    (folder / "xnli" / "vocab.txt").write_text("b a")
    seen.add(sha256_of_folder(folder))
    assert len(seen) == 3  # a BERT's words in another order are another checkpoint
    (folder / "recipe.json").write_text("{}")
    assert sha256_of_folder(folder) in seen
    blob = tmp_path / "models--a--b" / "blobs" / "abc"
    blob.parent.mkdir()
    weights.rename(blob)
    weights.symlink_to(blob)  # as the hub's cache has it
    assert sha256_of_folder(folder) in seen
    for target, problem in ((tmp_path / "outside", "a link out of"), (tmp_path / "gone", "leads nowhere")):
        (tmp_path / "outside").write_bytes(b"other")
        weights.unlink()
        weights.symlink_to(target)
        with pytest.raises(UserError, match=problem):
            sha256_of_folder(folder)
    weights.unlink()
    os.mkfifo(weights)
    with pytest.raises(UserError, match="not a plain file"):
        sha256_of_folder(folder)


def test_score_files_are_our_own(tmp_path: Path) -> None:
    (tmp_path / "thesis").write_text("mine")
    place = tmp_path / "results" / "a" / ".partial"
    place.mkdir(parents=True)
    for link in ((place / "xnli.scores").symlink_to, (place / "xnli.scores").hardlink_to):
        link(tmp_path / "thesis")
        with pytest.raises(UserError, match="link"):
            Journal(place / "xnli.scores", "key")
        (place / "xnli.scores").unlink()
    place.rmdir()
    place.symlink_to(tmp_path)
    with pytest.raises(UserError, match="link"):
        Journal(place / "thesis", "key")
    assert (tmp_path / "thesis").read_text() == "mine"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda base: (base / "model.safetensors").write_bytes(b"\0" * 50), "is damaged"),
        (lambda base: (base / "model.safetensors").unlink(), "no safetensors"),
        (lambda base: None, "no mask token"),
    ],
)
def test_a_base_that_cannot_be_used_is_found_before_anything_is_written(
    tmp_path: Path, damage: Any, said: str
) -> None:
    damage(make_base(tmp_path / "base"))
    (tmp_path / "de.txt").write_text("eins zwei\n" * 50, encoding="utf-8")
    path = write_experiment(tmp_path, tmp_path / "base", sizes="[0, 32, 64]")
    path.write_text(path.read_text() + f"masked_lm: {{texts: {tmp_path}}}\n", encoding="utf-8")
    code, _, errors = call("run", path, "--manifest", tmp_path / "w" / "m.json")
    assert code == 2 and said in errors.splitlines()[-1], errors
    assert not (tmp_path / "w").exists() or not [
        p for p in (tmp_path / "w").rglob("*") if p.suffix != ".lock"
    ]
