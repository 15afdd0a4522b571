"""Sources: which one counts, what is read from a mirror, and what is said when something is missing or damaged."""

import gzip
import hashlib
import json

import pytest

from harness_tasks.sources import (
    BUNDLED,
    DataError,
    fingerprint,
    load_split,
    portable_source,
    read_rows,
    resolve_source,
    same_source,
    source_here,
    source_name,
)

ROWS = [{"premise": "a", "label": 0}, {"premise": "ü\u2028", "label": 1}]


@pytest.fixture
def mirror(tmp_path):
    """A mirror with one split in each format."""
    folder = tmp_path / "owner" / "name" / "default"
    folder.mkdir(parents=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    (folder / "plain.jsonl").write_text(text, encoding="utf-8")
    (folder / "packed.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    import pyarrow as pa
    import pyarrow.parquet

    pyarrow.parquet.write_table(pa.Table.from_pylist(ROWS), folder / "columns.parquet")
    return tmp_path


def test_argument_counts_before_environment_before_hub(monkeypatch, tmp_path):
    monkeypatch.delenv("XSCALE_DATA", raising=False)
    assert resolve_source() == "hub"
    monkeypatch.setenv("XSCALE_DATA", str(tmp_path))
    assert resolve_source() == str(tmp_path)
    assert resolve_source("hub") == "hub"
    assert resolve_source("bundled") == "bundled"


def test_names_that_results_record(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path.parent)
    assert source_name("hub") == "hub"
    assert source_name("bundled") == "bundled"
    assert source_name(tmp_path.name) == f"mirror:{tmp_path}"
    assert resolve_source(source_name(str(tmp_path))) == str(tmp_path)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match="no such folder: .*nowhere; use 'hub', 'bundled'"):
        resolve_source(str(tmp_path / "nowhere"))


@pytest.mark.parametrize("split", ["plain", "packed", "columns"])
def test_every_format_gives_the_rows_in_order(mirror, split):
    assert read_rows("owner/name", "default", split, str(mirror)) == ROWS
    assert load_split("owner/name", "default", split, str(mirror)).to_list() == ROWS


def test_a_missing_set_says_which_and_the_other_ways(mirror):
    with pytest.raises(DataError) as caught:
        read_rows("owner/other", "de", "test", str(mirror))
    for part in ("owner/other", "de", "test", str(mirror), "XSCALE_DATA=hub", "bundled", "test.jsonl.gz"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_line_that_is_no_json_is_named(mirror):
    path = mirror / "owner" / "name" / "default" / "plain.jsonl"
    path.write_text('{"a": 1}\n{"a": \n', encoding="utf-8")
    with pytest.raises(DataError, match=r"plain\.jsonl, line 2: not JSON"):
        read_rows("owner/name", "default", "plain", str(mirror))
    path.write_bytes(b'{"a": 1}\n{"a": "\xff"}\n')
    with pytest.raises(DataError, match=r"plain\.jsonl, line 2: not UTF-8"):
        read_rows("owner/name", "default", "plain", str(mirror))
    path.write_text("[1]\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"plain\.jsonl, line 1: not a JSON object"):
        read_rows("owner/name", "default", "plain", str(mirror))


def test_a_truncated_gzip_file_is_named(mirror):
    path = mirror / "owner" / "name" / "default" / "packed.jsonl.gz"
    lines = "".join(json.dumps({"text": hashlib.sha256(bytes([i])).hexdigest()}) + "\n" for i in range(200))
    path.write_bytes(gzip.compress(lines.encode())[:-2000])
    with pytest.raises(DataError, match=r"packed\.jsonl\.gz: damaged after line \d+"):
        read_rows("owner/name", "default", "packed", str(mirror))
    path.write_bytes(b"no gzip")
    with pytest.raises(DataError, match=r"packed\.jsonl\.gz: damaged after line 0"):
        read_rows("owner/name", "default", "packed", str(mirror))


def test_fingerprint_is_of_the_fields_in_order():
    expected = hashlib.sha256('[["a",0],["ü\u2028",1]]'.encode()).hexdigest()
    assert fingerprint(ROWS, ["premise", "label"]) == expected
    assert fingerprint(ROWS, ["label", "premise"]) != expected
    assert fingerprint(reversed(ROWS), ["premise", "label"]) != expected
    assert fingerprint([{**row, "other": 1} for row in ROWS], ["premise", "label"]) == expected


def test_the_bundled_suite_is_a_mirror():
    assert read_rows("facebook/xnli", "de", "test", "bundled")
    assert BUNDLED.is_dir()


def test_a_mirror_of_another_machine_is_known_by_its_name(tmp_path, monkeypatch):
    here = source_name(str(tmp_path))
    assert portable_source(here) == f"mirror:{tmp_path.name}"
    assert [portable_source(name) for name in ("hub", "bundled")] == ["hub", "bundled"]
    assert same_source(here, portable_source(here)) and same_source(here, f"mirror:/gone/{tmp_path.name}")
    assert not same_source(here, "mirror:/gone/other") and not same_source(here, "hub")
    (tmp_path / "a" / "x").mkdir(parents=True)
    (tmp_path / "b" / "x").mkdir(parents=True)
    assert not same_source(*(source_name(str(tmp_path / name / "x")) for name in "ab"))  # both are here
    monkeypatch.delenv("XSCALE_DATA", raising=False)
    with pytest.raises(DataError, match="'mirror:x': a mirror folder of another machine; .* XSCALE_DATA"):
        resolve_source(source_here("mirror:x"))
    monkeypatch.setenv("XSCALE_DATA", str(tmp_path))
    assert resolve_source(source_here("mirror:x")) == str(tmp_path)
    assert source_here(f"mirror:{tmp_path / 'a'}") == f"mirror:{tmp_path / 'a'}"
    assert source_here("bundled") == "bundled"
