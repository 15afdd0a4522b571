"""`xscale ls languages`: what there is, and what the data source has of it."""

from pathlib import Path

import pytest

pytest.importorskip("torch")

from tiny_model import call


def lines(*arguments: str) -> dict[str, str]:
    """Code -> line, of the languages of one target."""
    code, output, errors = call("ls", "languages", "--wide", *arguments)
    assert code == 0, errors
    return {line.split()[1]: line for line in output.splitlines()[2:-2]}


def test_what_the_source_has(real_data: Path) -> None:
    shown = lines("--target", "xnli", "--data", str(real_data))
    assert len(shown) >= 15 + 40
    assert (
        "masakhane/afrixnli (yor)" in shown["yor"] and "600" in shown["yor"] and "Apache-2.0" in shown["yor"]
    )
    assert shown["yor"].rstrip().endswith("yes") and shown["de"].rstrip().endswith("yes")
    assert "no" in shown["ibo"].split("Apache-2.0")[1] and "order of rows" in shown["ibo"]
    assert "machine translation" in shown["gu"] and "order of rows" in shown["gu"]
    assert "commit (none is pinned)" in shown["gu"] and "commit (none" not in shown["yor"] + shown["de"]


def test_the_hub_is_not_asked() -> None:
    assert "not asked" in lines("--target", "paws_x", "--data", "hub")["ko"]


def test_eighty_columns() -> None:
    code, output, errors = call("ls", "languages", "--data", "bundled")
    assert code == 0, errors
    assert max(map(len, output.splitlines())) <= 80
    found = {tuple(line.split()[:2]): line for line in output.splitlines()}
    assert "Quechua" in found["xcopa", "qu"] and found["xcopa", "qu"].split()[-1] == "yes"
    assert found["xcopa", "eu"].split()[-2:] == ["3", "no"]  # order of rows; name of the config; commit
    assert "--wide" in output


def test_what_cannot_be_listed() -> None:
    code, _, errors = call("ls", "tongues")
    assert code == 2 and "'entries', 'languages'" in errors
