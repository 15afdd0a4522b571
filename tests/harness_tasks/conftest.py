"""Helpers for changed copies of the data."""

import gzip
import json

import pytest

PLACES = {
    "xnli": lambda language: f"facebook/xnli/{language}",
    "xcopa": lambda language: "aps/super_glue/copa" if language == "en" else f"cambridgeltl/xcopa/{language}",
}


def read(folder, target, language, split="test"):
    """The rows of a mirror's file."""
    with gzip.open(folder / PLACES[target](language) / f"{split}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.fixture
def read_real(real_data):
    """A function that reads the rows of a real split, without the package."""
    return lambda target, language, split="test": read(real_data, target, language, split)


@pytest.fixture
def copy_of(real_data, tmp_path):
    """A function that makes a mirror with some splits of the real data, changed by a function of the rows."""

    def make(target, language, change=lambda rows: rows, splits=("test", "validation")):
        for split in splits:
            rows = read(real_data, target, language, split)
            path = tmp_path / PLACES[target](language) / f"{split}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = [
                json.dumps(row, ensure_ascii=False) for row in (change(rows) if split == "test" else rows)
            ]
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return str(tmp_path)

    return make
