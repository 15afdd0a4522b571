"""Whatever a file holds, reading it gives an object or one line for a person."""

import json
import os
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from harness_tasks.parsing import MAX_BYTES, load_text, parse_model, read_json, read_text
from harness_tasks.sources import DataError
from harness_tasks.subsets.user import read_subsets
from xscale.errors import UserError
from xscale.experiment import Experiment, plan
from xscale.manifest import Manifest

EXAMPLES = settings(
    max_examples=int(os.environ.get("XSCALE_EXAMPLES", "150")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
EXPERIMENT = {
    "name": "tiny",
    "base": "embedded:multilingual-e5-small",
    "intermediate": "bundled_nli",
    "sizes": [0, 64],
    "seeds": [1],
    "targets": {"xnli": {"train": ["bundled_nli_target"], "size": 32}},
    "recipe": "laptop",
    "training": {"intermediate": {"epochs": 1}},
    "evaluation": {"xnli": {"languages": ["en"], "limit": 20}},
}
MANIFEST = {
    "version": 1,
    "entries": [{"id": "a", "model": "xscale", "model_args": {"pretrained": "./a"}, "size": 0}],
}
SUBSET = {"name": "short", "target": "xnli", "citation": "x", "rule": {"field": "hypothesis", "max_words": 5}}
plain = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["xnli", "xcopa", "en", "laptop", "best", ".inf", "~", "*a", "&a", "!!python/name:os", ".."]
    ),
)
values = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(sorted(EXPERIMENT)) | st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@st.composite
def spoiled(draw: st.DrawFn, good: dict) -> dict:
    """A valid file with one value somewhere exchanged for anything."""
    result = json.loads(json.dumps(good))
    place = result
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = draw(st.sampled_from(keys))
        inner = place[key]
        if isinstance(inner, dict | list) and inner and draw(st.booleans()):
            place = inner
            continue
        place[key] = draw(values)
        return result


def read(model: type, text: str, name: str) -> object | None:
    """The object, or None after a proper refusal; any other exception goes through."""
    try:
        return parse_model(model, text, name)
    except UserError as error:
        assert name in str(error) and "\n" not in str(error)[: len(name) + 2]
        assert "pydantic" not in str(error)
        return None


def dump_yaml(data: object) -> str:
    return yaml.safe_dump(data, allow_unicode=True, default_flow_style=None)


@given(values | spoiled(EXPERIMENT))
@EXAMPLES
def test_experiments_as_yaml(data: object) -> None:
    loaded = read(Experiment, dump_yaml(data), "e.yaml")
    if isinstance(loaded, Experiment):
        try:
            assert plan(loaded, "bundled")
        except UserError as error:
            assert "experiment name" in str(error)


@given(values | spoiled(MANIFEST))
@EXAMPLES
def test_manifests_as_json(data: object) -> None:
    loaded = read(Manifest, json.dumps(data), "m.json")
    if isinstance(loaded, Manifest):
        for entry in loaded.entries:
            assert Path("results", entry.id).name == entry.id and entry.id not in ("", ".", "..")


@given(st.text(max_size=200))
@EXAMPLES
@example("%YAML 9.9\n---\na: 1")
@example("? [a]\n: 1")
@example("? {a: 1}\n: 1")
@example("=: 1")
@example("a: 2001-99-99")
@example("a: 1:99:99.9e")
@example("a: !!binary '*'")
@example("a: !!int x")
@example("a: !!set {x}")
@example("<<: 1")
@example("\ufeffname: a")
@example("[" * 5000)
@example("{" * 5000)
@example("- " * 5000)
@example("\x00")
@example('{"a": 1e999}')
def test_any_text(text: str) -> None:
    for name in ("x.yaml", "x.json"):
        for model in (Experiment, Manifest):
            read(model, text, name)


@given(values | spoiled(SUBSET))
@EXAMPLES
def test_subset_files(tmp_path: Path, data: object) -> None:
    path = tmp_path / "subset.yaml"
    path.write_text(dump_yaml(data), encoding="utf-8")
    os.utime(path, ns=(0, abs(hash(dump_yaml(data))) % 10**18))  # files are read again when they change
    try:
        read_subsets(path)
    except DataError as error:
        assert str(path) in str(error)


def test_files_that_are_not_text(tmp_path: Path) -> None:
    large = tmp_path / "large.yaml"
    with large.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("name: Grüße".encode("latin-1"))
    for path, what in [
        (tmp_path / "none.yaml", "no such file; check the path"),
        (tmp_path, "this is a folder"),
        (large, "larger than 16 MiB"),
        (latin, "not UTF-8 text (byte 8)"),
    ]:
        with pytest.raises(UserError, match=str(path)) as caught:
            read_text(path)
        assert what in str(caught.value)


def test_an_alias_bomb_is_refused_before_it_grows() -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 200))
    with pytest.raises(UserError, match="bomb.yaml:2: YAML aliases"):
        parse_model(Experiment, bomb, "bomb.yaml")


@pytest.mark.parametrize(
    "text",
    [
        '!!int ""', "a: !!timestamp x", "a: !!bool maybe", "a: 2020-13-45", "a: " + "9" * 5000, "a: 0x" + "f" * 40,
        "a: !!set {b}", "a: !!binary aGk=", "a: !!omap [1]", "- " * 1000, "? [1]\n: 2", "<<: 3", "a: 2001-12-14T25:59:43",
    ],
)  # fmt: skip
def test_odd_yaml_is_one_line_for_a_person(text: str) -> None:
    with pytest.raises(UserError) as raised:
        load_text(text, "file.yaml")
    assert str(raised.value).startswith("file.yaml") and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a": ' + "9" * 5000 + "}", '{"a": ' + "9" * 30 + "}", "\x00"]
)
def test_odd_json_is_one_line_for_a_person(text: str) -> None:
    with pytest.raises(UserError, match=r"file.json"):
        load_text(text, "file.json")


def test_only_plain_files_are_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    odd_names = [tmp_path / ("x" * 300), Path("~nosuchuser/x"), tmp_path / "loop", tmp_path / "a\0b"]
    for path in (pipe, Path("/dev/zero"), tmp_path, *odd_names):
        with pytest.raises(UserError):
            read_text(path)
    for odd in ("[]", "null", '"x"', "7"):
        (tmp_path / "a.json").write_text(odd)
        with pytest.raises(UserError, match="a JSON object is expected"):
            read_json(tmp_path / "a.json")
