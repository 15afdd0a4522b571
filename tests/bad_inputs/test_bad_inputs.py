"""Every malformed input gives its one line and exit code 2, and changes nothing on disk."""

import re
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("torch")

import corpus
import damages
from tiny_model import call, make_base


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workspace")
    return damages.make_workspace(folder, make_base(tmp_path_factory.mktemp("base")))


CASES = corpus.all_cases(Path())
IDS = [f"{case.kind}: {case.name}" for case in CASES]


def test_corpus_is_large_enough() -> None:
    kinds = Counter(case.kind for case in CASES)
    assert set(kinds) == {
        "experiments",
        "manifests",
        "subsets",
        "targets",
        "mirrors",
        "predictions",
        "checkpoints",
    }
    assert sum(kinds.values()) >= 60 and min(kinds.values()) >= 10
    assert len(set(IDS)) == len(IDS)


@pytest.mark.parametrize("number", range(len(CASES)), ids=IDS)
def test_bad_input(number: int, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = corpus.all_cases(workspace)[number]
    folder = tmp_path / "w"
    folder.mkdir()
    case.prepare(folder)
    if case.kind == "subsets":
        monkeypatch.setenv("XSCALE_SUBSETS", str(folder / "subset.yaml"))
    else:
        monkeypatch.delenv("XSCALE_SUBSETS", raising=False)
    monkeypatch.delenv("XSCALE_DATA", raising=False)
    monkeypatch.delenv("XSCALE_TARGETS", raising=False)
    before = corpus.snapshot(folder)

    code, output, errors = call(*(part.replace("{folder}", str(folder)) for part in case.arguments))

    assert code == 2, (code, errors)
    assert "Traceback" not in errors
    finds = case.arguments[0] == "check"  # its findings are its output, a line each
    lines = output.splitlines() if finds else [e for e in errors.splitlines() if e.startswith("error: ")]
    if not finds:
        assert len(lines) == 1 and errors.splitlines()[-1] == lines[0], errors
    expected = case.message if finds else f"error: {case.message}"
    pattern = ".*".join(map(re.escape, expected.replace("{folder}", str(folder)).split("…")))
    assert case.message and any(re.fullmatch(pattern, line) for line in lines), (expected, lines)
    assert corpus.snapshot(folder) == before
