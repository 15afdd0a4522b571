"""`rm`, `rename`, `merge`, `export` and `add --from`: what people do with a manifest after the first run."""

import tarfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from xscale.cli.main import app
from xscale.entries import entries_from, remove_entries, rename_entry
from xscale.errors import UserError
from xscale.manifest import Entry, add_entries, read_manifest
from xscale.sharing import export_entries, merge
from xscale.workspace import Workspace

SHARED = {
    "base": None,
    "intermediate": [],
    "seed": None,
    "size": None,
    "baseline": None,
    "note": None,
    "id": None,
}


def workspace(folder: Path, *ids: str, results: str = "answers") -> Workspace:
    """A workspace with hub entries of these ids; all have results but those whose id ends in "-new"."""
    made = Workspace(folder / "checkpoints_manifest.json")
    for name in ids:
        baseline = "base-0" if name.startswith("big") and "base-0" in ids else None
        entry = Entry(id=name, model="hf", model_args={"pretrained": f"someone/{name}"}, baseline=baseline)
        add_entries(made.manifest, [entry])
        if not name.endswith("-new"):
            place = made.results / name
            place.mkdir(parents=True)
            (place / "predictions.parquet").write_text(f"{results} of {name}")
    return made


def ids(made: Workspace) -> list[str]:
    return [entry.id for entry in read_manifest(made.manifest).entries]


def test_rm_deletes_no_file(tmp_path: Path) -> None:
    made = workspace(tmp_path, "base-0", "big-1")
    (made.checkpoints / "big-1").mkdir(parents=True)
    (made.checkpoints / "big-1" / "weights").write_text("weights")
    remove_entries(made, ["big-1"])
    assert ids(made) == ["base-0"]
    assert (made.checkpoints / "big-1" / "weights").read_text() == "weights"
    assert [p.read_text() for p in made.results.rglob("big-1/*")] == ["answers of big-1"]
    workspace(tmp_path, "big-1", results="later")
    remove_entries(made, ["big-1"])
    kept = sorted(p.read_text() for p in made.results.rglob("big-1*/*"))
    assert kept == ["answers of big-1", "later of big-1"]


def test_rm_refuses_a_baseline_that_others_need(tmp_path: Path) -> None:
    made = workspace(tmp_path, "base-0", "big-1")
    with pytest.raises(UserError, match="'base-0' is the baseline of 'big-1'"):
        remove_entries(made, ["base-0"])
    assert ids(made) == ["base-0", "big-1"] and (made.results / "base-0").is_dir()
    remove_entries(made, ["base-0", "big-1"])
    assert ids(made) == []


def test_rename_takes_results_and_baselines_along(tmp_path: Path) -> None:
    made = workspace(tmp_path, "base-0", "big-1")
    rename_entry(made, "base-0", "zero")
    assert [(e.id, e.baseline) for e in read_manifest(made.manifest).entries] == [
        ("zero", None),
        ("big-1", "zero"),
    ]
    assert (made.results / "zero" / "predictions.parquet").read_text() == "answers of base-0"
    for new, problem in (("BIG-1", "there already"), ("a/b", "an id is"), ("gone", "no entry 'nobody'")):
        with pytest.raises(UserError, match=problem):
            rename_entry(made, "nobody" if new == "gone" else "zero", new)
    assert ids(made) == ["zero", "big-1"]


def test_merge_adds_what_is_new_and_overwrites_nothing(tmp_path: Path) -> None:
    ours = workspace(tmp_path / "a", "base-0", "mine", "both")
    theirs = workspace(tmp_path / "b", "base-0", "big-1", "both", "idle-new", results="other answers")
    (theirs.results / "base-0" / "predictions.parquet").write_text("answers of base-0")
    merged = merge(ours, tmp_path / "b")
    assert ids(ours) == ["base-0", "mine", "both", "big-1", "idle-new"]
    assert merged.added == ("big-1",) and merged.unchanged == ("base-0",)
    assert merged.without_results == ("idle-new",)
    assert [line.partition(":")[0] for line in merged.conflicts] == ["both"]
    assert (ours.results / "both" / "predictions.parquet").read_text() == "answers of both"
    assert (ours.results / "big-1" / "predictions.parquet").read_text() == "other answers of big-1"
    assert merge(ours, tmp_path / "b").added == ()


def test_merge_names_another_checkpoint_of_the_same_id(tmp_path: Path) -> None:
    ours = workspace(tmp_path / "a", "mine")
    theirs = workspace(tmp_path / "b", "base-0", "big-1")
    add_entries(ours.manifest, [Entry(id="base-0", model="hf", model_args={"pretrained": "else/where"})])
    merged = merge(ours, theirs.manifest)
    assert ids(ours) == ["mine", "base-0"]
    assert [line.partition(":")[0] for line in merged.conflicts] == ["base-0", "big-1"]
    assert not (ours.results / "base-0").exists()


def test_an_archive_travels(tmp_path: Path) -> None:
    theirs = workspace(tmp_path / "b", "base-0", "big-1", "other")
    for name in ("encoder", "head"):
        (theirs.checkpoints / "big-1" / name).mkdir(parents=True)
    weights = theirs.checkpoints / "big-1" / "encoder" / "w"
    weights.write_bytes(b"x" * 1000)
    (theirs.checkpoints / "big-1" / "head" / "w").hardlink_to(weights)
    archive = tmp_path / "out.tar.gz"
    export_entries(theirs, ["big-1"], archive, weights=True)
    with tarfile.open(archive) as packed:
        assert sum(member.size for member in packed.getmembers() if member.name.endswith("/w")) == 1000
    ours = Workspace(tmp_path / "a" / "checkpoints_manifest.json")
    assert set(merge(ours, archive, weights=True).added) == {"base-0", "big-1"}
    assert ids(ours) == ["base-0", "big-1"]  # its baseline came along, the other did not
    assert (ours.checkpoints / "big-1" / "head" / "w").read_bytes() == b"x" * 1000
    with pytest.raises(UserError, match="nothing is overwritten"):
        export_entries(theirs, ["big-1"], archive)


def test_neither_links_nor_paths_outside_are_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    theirs = workspace(tmp_path / "b", "big-1")
    (theirs.results / "big-1" / "link").symlink_to(tmp_path / "secret")
    ours = workspace(tmp_path / "a", "mine")
    with pytest.raises(UserError, match="link or special file"):
        merge(ours, tmp_path / "b")
    with pytest.raises(UserError, match="link or special file"):
        export_entries(theirs, ["big-1"], tmp_path / "out.tar.gz")
    assert ids(ours) == ["mine"] and not (tmp_path / "out.tar.gz").exists()
    evil = tmp_path / "evil.tar.gz"
    with tarfile.open(evil, "w:gz") as packed:
        packed.add(tmp_path / "secret", "../../outside")
    with pytest.raises(UserError, match="unpacked safely"):
        merge(ours, evil)
    assert not (tmp_path / "outside").exists()


def test_many_folders_from_a_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mnli-0-seed1", "mnli-512-seed1", "mnli-512-seed2", "mnli-big-seed1", "other"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "config.json").write_text("{}")
    common = SHARED | {"model": "hf", "model_args": "dtype=float32", "base": "a/b"}
    made = entries_from(tmp_path / "m.json", "runs/{arm}-{size}-seed{seed}", common)
    assert [(e.id, e.arm, e.size, e.seed, e.baseline) for e in made] == [
        ("mnli-0-seed1", "mnli", 0, 1, None),
        ("mnli-512-seed1", "mnli", 512, 1, "mnli-0-seed1"),
        ("mnli-512-seed2", "mnli", 512, 2, None),
    ]
    assert made[0].model_args == {"pretrained": "./runs/mnli-0-seed1", "dtype": "float32"}
    for pattern, problem in (("runs/{n}", "unknown"), ("runs/x{size}", "no folder matches")):
        with pytest.raises(UserError, match=problem):
            entries_from(tmp_path / "m.json", pattern, common)


def test_each_arm_is_compared_with_its_own_baseline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mnli-0-seed1", "mnli-64-seed1", "rte-0-seed1", "rte-64-seed1", "sst-64-seed1"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "config.json").write_text("{}")
    common = SHARED | {"model": "hf", "model_args": "", "base": "a/b"}
    made = entries_from(tmp_path / "m.json", "runs/{arm}-{size}-seed{seed}", common)
    assert {e.id: e.baseline for e in made if e.size} == {
        "mnli-64-seed1": "mnli-0-seed1",
        "rte-64-seed1": "rte-0-seed1",
        "sst-64-seed1": None,  # two could be it
    }
    said = " ".join(capsys.readouterr().err.split())
    assert "sst-64-seed1: mnli-0-seed1 and rte-0-seed1 have its base and seed" in said


def test_many_from_a_csv(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text(
        "id,model,pretrained,model_args,base,intermediate,size,seed\n"
        'zero,hf,a/b,,a/b,,0,7\nlarge,hf,a/c,"dtype=float32,revision=step3",a/b,mnli+qqp,100,7\n'
    )
    made = entries_from(tmp_path / "m.json", str(path), SHARED)
    assert [(e.id, e.size, e.intermediate, e.baseline) for e in made] == [
        ("zero", 0, [], None),
        ("large", 100, ["mnli", "qqp"], "zero"),
    ]
    assert made[1].model_args == {"pretrained": "a/c", "dtype": "float32", "revision": "step3"}
    for text, problem in (
        ("id,wrong\na,b\n", "line 1: a header"),
        ("pretrained,size\na/b,many\n", "line 2: column size"),
        ("pretrained,model,size\na/b,hf\n", "line 2: not as many columns"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=problem):
            entries_from(tmp_path / "m.json", str(path), SHARED | {"model": "hf"})


def test_all_revisions_of_a_hub_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    import huggingface_hub

    refs = {f"step{n}": f"{n:040x}" for n in (1000, 200, 0)} | {"main": "f" * 40}
    listing = SimpleNamespace(
        tags=[], branches=[SimpleNamespace(name=n, target_commit=c) for n, c in refs.items()]
    )
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_refs", lambda self, name: listing)
    common = SHARED | {"model": "hf", "model_args": ""}
    made = entries_from(tmp_path / "m.json", "some/model@step{size}", common)
    assert [(e.id, e.size, e.model_args["revision"]) for e in made] == [
        ("model-step0", 0, f"{0:040x}"),
        ("model-step200", 200, f"{200:040x}"),
        ("model-step1000", 1000, f"{1000:040x}"),
    ]
    assert len(entries_from(tmp_path / "m.json", "some/model@*", common)) == 4


def test_add_many_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("list.csv").write_text("id,pretrained,size\nzero,a/b,0\nlarge,a/c,8\n")
    runner = CliRunner()
    added = runner.invoke(app, ["add", "--from", "list.csv", "--model", "hf", "--base", "a/b"])
    assert added.exit_code == 0 and "xscale eval zero large" in added.output
    made = Workspace(Path("checkpoints_manifest.json"))
    assert ids(made) == ["zero", "large"]
    again = runner.invoke(app, ["add", "--from", "list.csv", "--model", "hf"])
    assert isinstance(again.exception, UserError) and ids(made) == ["zero", "large"]
    assert isinstance(runner.invoke(app, ["add", "--model-args", "pretrained=a/b"]).exception, UserError)
