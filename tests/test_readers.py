"""Every reader of files that a person could have changed: whatever JSON it is given, it answers, or refuses in one line."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

import readers

SETTINGS = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize("name", list(readers.READERS))
@SETTINGS
@given(data=st.data())
def test_whatever_json_is_answered_or_refused_in_one_line(tmp_path: Path, name: str, data: Any) -> None:
    readers.READERS[name](tmp_path, data.draw(readers.changed(readers.SHAPES[name])))


@pytest.mark.parametrize("name", list(readers.READERS))
@SETTINGS
@given(content=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode())))
def test_whatever_bytes_are_answered_or_refused_in_one_line(
    tmp_path: Path, name: str, content: bytes
) -> None:
    readers.READERS[name](tmp_path, content)


def test_the_readers_take_what_is_right(tmp_path: Path) -> None:
    """The shapes that are changed are ones that the readers take, so that the changes reach beyond the first look."""
    for name, shape in readers.SHAPES.items():
        assert readers.READERS[name](tmp_path, shape) is not None, name


def test_predictions_whose_description_was_exchanged(tmp_path: Path) -> None:
    path = readers.write_good_predictions(tmp_path)
    table = pq.read_table(path)
    key = b"xscale"
    described = json.loads(table.schema.metadata[key])
    pq.write_table(
        table.replace_schema_metadata(
            table.schema.metadata | {key: json.dumps(described | {"source": "hub"}).encode()}
        ),
        path,
    )
    assert readers.READERS["description"](tmp_path, path.read_bytes()) is None
