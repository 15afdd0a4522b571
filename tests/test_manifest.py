"""The manifest: what is refused, what is kept, and that several processes can write it."""

import json
from pathlib import Path

import pytest

from xscale.errors import UserError
from xscale.manifest import (
    Entry,
    Manifest,
    add_entries,
    check_id,
    checkpoint_folder,
    make_entry,
    manifest_schema,
    read_manifest,
    refuse_remote_code,
    write_manifest,
)


def entry(id: str, **fields: object) -> Entry:
    return Entry.model_validate(
        {"id": id, "model": "hf", "model_args": {"pretrained": f"someone/{id}"}} | fields
    )


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    made = Manifest(
        entries=[entry("a", size=0, seed=1, targets={"xnli": ["mnli"]}), entry("b", baseline="a")]
    )
    write_manifest(path, made)
    assert read_manifest(path) == made
    write_manifest(path, read_manifest(path))
    assert read_manifest(path) == made


def test_adding_keeps_order_and_refuses_the_same_id(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    add_entries(path, [entry("a"), entry("b")])
    add_entries(path, [entry("a", note="new")], replace=True)
    assert [(e.id, e.note) for e in read_manifest(path).entries] == [("a", "new"), ("b", None)]
    before = path.read_bytes()
    with pytest.raises(UserError, match="'b' is there already"):
        add_entries(path, [entry("c"), entry("b")])
    assert path.read_bytes() == before


def test_a_damaged_manifest_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text('{"version": 1, "entr', encoding="utf-8")
    with pytest.raises(UserError, match="not JSON"):
        add_entries(path, [entry("a")])
    assert path.read_text(encoding="utf-8") == '{"version": 1, "entr'
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a/b",
        "a\\b",
        "/a",
        "~",
        "-a",
        ".a",
        "a.",
        "a b",
        "a\n",
        "a\x00",
        "ä",
        "a:b",
        "CON",
        "com1.txt",
        "x" * 129,
    ],
)
def test_ids_that_are_no_folder_names(name: str) -> None:
    with pytest.raises(ValueError, match="an id"):
        check_id(name)


@pytest.mark.parametrize("name", ["a", "A.b_c-1", "console", "x" * 128, "1"])
def test_ids_that_are_folder_names(name: str) -> None:
    assert check_id(name) == name


@pytest.mark.parametrize("name", ["token", "hf_token", "api_key", "apikey", "password", "client_secret"])
def test_secrets_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="secret") as caught:
        entry("a", model_args={"pretrained": "x/y", name: "s3cr3t-value"})
    assert "s3cr3t-value" not in str(caught.value.errors()[0]["msg"])  # type: ignore[attr-defined]


def test_names_that_only_look_like_secrets() -> None:
    entry("a", model_args={"pretrained": "x/y", "tokens_a_batch": 100, "add_bos_token": True})


@pytest.mark.parametrize("value", [True, "True", "true", 1, "yes"])
def test_remote_code_is_refused(value: object) -> None:
    with pytest.raises(UserError, match="--trust-remote-code"):
        refuse_remote_code([entry("a", model_args={"trust_remote_code": value})], Path("m.json"))


@pytest.mark.parametrize("value", [False, "False", None, 0])
def test_no_remote_code(value: object) -> None:
    refuse_remote_code([entry("a", model_args={"trust_remote_code": value})], Path("m.json"))


def test_folders_below_and_beside(tmp_path: Path) -> None:
    here = tmp_path / "here"
    (here / "model").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (here / "link").symlink_to(tmp_path / "outside")
    path = here / "m.json"

    def folder(pretrained: str) -> Path | None:
        return checkpoint_folder(entry("a", model="xscale", model_args={"pretrained": pretrained}), path)

    assert folder("./model") == here / "model"
    assert folder("model/../model") == here / "model/../model"
    assert folder(str(tmp_path / "outside")) == tmp_path / "outside"  # an absolute path is meant
    for outside in ("../outside", "./link", "model/../../outside"):
        with pytest.raises(UserError, match="leaves the manifest's folder"):
            folder(outside)
    with pytest.raises(UserError, match="no folder"):
        folder("./none")
    assert checkpoint_folder(entry("b"), path) is None


def test_pickles_are_refused_unless_safetensors_are_beside(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    local = entry("a", model="hf", model_args={"pretrained": "./model"})
    with pytest.raises(UserError, match=r"pytorch_model\.bin is a pickle.*save_pretrained"):
        checkpoint_folder(local, tmp_path / "m.json")
    (model / "model.safetensors").write_bytes(b"")
    assert checkpoint_folder(local, tmp_path / "m.json") == model


def test_entry_from_a_command_line(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}", encoding="utf-8")
    made = make_entry(
        tmp_path / "m.json",
        model="hf",
        model_args=f"pretrained={tmp_path / 'model'},dtype=float32,max_length=128,parallelize=False",
        id="own",
        base=None,
        intermediate=[],
        size=None,
        seed=None,
        baseline=None,
        note=None,
    )
    assert made.model_args == {
        "pretrained": "./model",
        "dtype": "float32",
        "max_length": 128,
        "parallelize": False,
    }
    assert made.sha256 is not None and len(made.sha256) == 64


def test_schema_names_every_field() -> None:
    schema = json.loads(manifest_schema())
    assert set(schema["$defs"]["Entry"]["properties"]) == set(Entry.model_fields)


def test_the_shipped_schema_and_the_empty_manifest_are_up_to_date() -> None:
    root = Path(__file__).resolve().parent.parent
    assert (root / "xscale" / "manifest.schema.json").read_text(encoding="utf-8") == manifest_schema(), (
        "write it anew: python -c 'from xscale.manifest import manifest_schema; print(manifest_schema(), end=\"\")' "
        "> xscale/manifest.schema.json"
    )
    shipped = json.loads((root / "checkpoints_manifest.json").read_text(encoding="utf-8"))
    assert (root / shipped["$schema"]).is_file()


def test_arm_and_recipe_are_optional(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    old = '{"version": 1, "entries": [{"id": "a", "model": "hf", "model_args": {"pretrained": "x/a"}, "size": 0}]}'
    path.write_text(old, encoding="utf-8")  # as version 0.1 wrote it
    (read,) = read_manifest(path).entries
    assert (read.arm, read.recipe) == (None, None)
    add_entries(path, [entry("b", arm="mnli", recipe="ab" * 32)])
    assert [(e.id, e.arm, e.recipe) for e in read_manifest(path).entries] == [
        ("a", None, None),
        ("b", "mnli", "ab" * 32),
    ]
    with pytest.raises(ValueError, match="recipe"):
        entry("c", recipe="not a digest")


@pytest.mark.parametrize("name", ["m.json", "m.yaml"])
def test_what_is_added_is_read_back(tmp_path: Path, name: str) -> None:
    """Also numbers and characters that YAML and JSON write differently."""
    path = tmp_path / name
    arguments = {
        "pretrained": "a/b",
        "lr": 1e-05,
        "on": "off",
        "date": "2024-01-01",
        "empty": "",
        "big": 2**53 + 1,
    }
    for number, note in enumerate(
        ("a\x7fb", "a\x85b", "a\x1b[2Jb", " ", "1e-05", "null", "#x: [y", "\u2028\n\ttab")
    ):
        add_entries(path, [Entry(id=f"e{number}", model="hf", model_args=arguments, note=note)])
        entry = read_manifest(path).entries[-1]
        assert (entry.note, entry.model_args) == (note, arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("pretrained=a/b,x=nan", "finite"),
        ("pretrained=a/b,x=1e999", "finite"),
        ("pretrained=a/b,x=" + "9" * 100, "hexadecimal digits"),
        ("pretrained=a/b,pretrained=c/d", "given twice"),
        ("base_url=https://h/v1?api_key=abc", "secret"),
        ("base_url=https://u:p@h/v1", "secret"),
        ("session_cookie=x", "secret"),
        ("api-key=x", "secret"),
        ("hf_pat=x", "secret"),
    ],
)
def test_what_could_not_be_read_back_or_told_is_not_added(tmp_path: Path, arguments: str, said: str) -> None:
    path = tmp_path / "m.json"
    with pytest.raises(UserError, match=said):
        made = make_entry(
            path, model="local-completions", model_args=arguments, id="z", base=None, intermediate=[], size=None,
            seed=None, baseline=None, note=None,
        )  # fmt: skip
        add_entries(path, [made])
    assert not path.exists()


def test_a_manifest_that_vanished_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.json"
    add_entries(path, [Entry(id="a", model="hf", model_args={})])
    assert "is gone" not in capsys.readouterr().err
    path.unlink()
    add_entries(path, [Entry(id="b", model="hf", model_args={})])
    assert f"{path}: is gone" in capsys.readouterr().err.replace("\n", "")
