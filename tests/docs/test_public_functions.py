"""`from xscale import run, board, …`, as in a notebook: data comes back, no text is printed, nothing is loaded too early."""

import csv
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_model import call, make_head

import xscale
from harness_tasks.targets import get_target
from xscale.journal import journal_of, write_event
from xscale.manifest import Entry, Manifest, write_manifest

ROOT = Path(__file__).resolve().parents[2]
MEANT_FOR_USE = ("add", "answer", "board", "compare", "evaluate", "read_predictions", "report", "run")


def test_importing_it_loads_no_model_library() -> None:
    program = (
        "import sys; import xscale; from xscale import run, board, evaluate, report, read_predictions; "
        "print([m for m in ('torch', 'transformers', 'lm_eval', 'datasets', 'matplotlib', 'pyarrow') if m in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert ended.stdout.strip() == "[]"


def test_each_function_says_what_it_returns_and_raises() -> None:
    assert set(MEANT_FOR_USE) <= set(dir(xscale))
    for name in MEANT_FOR_USE:
        text = getattr(xscale, name).__doc__
        assert "Returns:" in text and "UserError:" in text, name
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^::: xscale\.api\.(\w+)", page, re.MULTILINE)) == sorted(MEANT_FOR_USE)


def test_in_a_notebook(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from xscale import add, answer, board, compare, evaluate, read_predictions, report, run

    rows = run()  # all is done: what there is
    assert {(row["id"], row["target"]) for row in rows} == {
        (f"first-run-{name}-seed1", target)
        for name in ("0", "nli-512", "nli-4096", "copa-512", "copa-2048")
        for target in ("xnli", "xcopa")
    }
    best = max((row for row in rows if row["target"] == "xnli"), key=lambda row: row["acc_ood"])
    (same,) = (
        row
        for row in board([best["id"]], targets=["xnli"], subsets=["negation"], by="language")
        if row["id"] == best["id"]
    )
    assert same["acc_ood"] == best["acc_ood"] and 0 <= same["acc_negation"] <= 1

    (answered,) = read_predictions(best["id"])  # the figure again, from the documents
    table = [row for row in answered.table.to_pylist() if row["target"] == "xnli"]
    assert len(table) == 4 * 24 and answered.info["source"] == "bundled"
    right = sum(row["prediction"] == row["label"] for row in table)
    assert same["acc"] == pytest.approx(right / len(table), abs=1e-6)
    german = [row["prediction"] == row["label"] for row in table if row["language"] == "de"]
    assert same["acc@de"] == pytest.approx(sum(german) / 24, abs=1e-6)

    zero, other = "first-run-0-seed1", "first-run-nli-4096-seed1"
    (difference,) = compare(zero, other, targets=["xnli"])
    (ood,) = (line for line in difference["subsets"] if line["name"] == "ood")
    (row,) = (row for row in rows if row["id"] == other and row["target"] == "xnli")
    assert ood["second"] - ood["first"] == pytest.approx(row["delta_ood"], abs=2e-6)

    assert len(answer()) == 2 and "XNLI" in answer()[0]

    make_head(workspace / "mine", workspace / "base")
    entry = add("mine", "xscale", "./mine", note="untrained")
    assert entry["note"] == "untrained" and list(entry["targets"]) == ["xnli"]
    assert board(["mine"])[0]["status"] == "missing"
    assert evaluate(["mine"], data="bundled", languages=["de"], limit=8) == ["mine"]
    assert evaluate(["mine"], data="bundled", languages=["de"], limit=8) == []
    (row,) = board(["mine"])
    assert (row["status"], row["acc_rows"], row["languages"]) == ("ok", 8, "de")
    assert report("page", draws=500) == Path("page/index.html") and Path("page/board.csv").is_file()
    assert capsys.readouterr().out == ""


def test_the_rows_are_those_of_the_csv(workspace: Path) -> None:
    printed = list(csv.DictReader(io.StringIO(call("board", "--format", "csv")[1])))
    rows = xscale.board()
    assert [row["id"] for row in rows] == [row["id"] for row in printed]
    assert [float(line["delta_ood_low"] or "nan") for line in printed] == pytest.approx(
        [float("nan") if row["delta_ood_low"] is None else row["delta_ood_low"] for row in rows], nan_ok=True
    )


def test_the_experiments_question_is_asked(workspace: Path) -> None:
    """As on the board: an experiment that asks about ID rows has ΔID, corrected, and the answer is about these."""
    asked = {"subset": "id", "targets": ["xcopa", "xnli"]}
    recipes = [["first-run-0-seed1", 0], ["first-run-nli-4096-seed1", 4096]]
    log = journal_of(workspace / "checkpoints_manifest.json")
    write_event(log, "planned", experiment="first-run", recipes=recipes, question=asked, command="xscale run")
    (row,) = xscale.board(["first-run-nli-4096-seed1"], targets=["xnli"], draws=500)
    assert row["delta_id_p_holm"] is not None and row["delta_ood_p_holm"] is None
    assert all("ID accuracy" in text for text in xscale.answer(draws=500))


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: xscale.board(["nobody"]), "no entry 'nobody'"),
        (lambda: xscale.board(targets=["nothing"]), "no result has the target 'nothing'"),
        (lambda: xscale.board(subsets=["nothing"]), "the subset 'nothing'"),
        (lambda: xscale.read_predictions("nobody"), "no entry 'nobody'"),
        (lambda: xscale.evaluate(["nobody"]), "no entry 'nobody'"),
        (lambda: xscale.evaluate(limit=0), "limit: 0"),
        (lambda: xscale.run("no-such"), "no such file"),
        (lambda: xscale.compare("first-run-0-seed1", "nobody"), "no checkpoint 'nobody'"),
        (lambda: xscale.add("first-run-0-seed1", "xscale", "./checkpoints/first-run-0-seed1"), "first-run-0"),
    ],
)
def test_what_is_wrong_is_a_user_error(workspace: Path, ask, message: str) -> None:
    with pytest.raises(xscale.UserError, match=message):
        ask()


def test_entries_are_evaluated_on_what_they_are_tuned_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Targets that no experiment has by default, too, as `xscale eval` does."""
    asked: list[set[str]] = []
    monkeypatch.setattr(
        "xscale.pipeline.evaluate", lambda entries, selection, *_, **__: asked.append(set(selection)) or []
    )
    place = get_target("xquad").place("en")
    rows = tmp_path / place.dataset / place.config / f"{place.test}.jsonl"
    rows.parent.mkdir(parents=True)
    rows.write_text("{}\n", encoding="utf-8")
    mine = {"model": "xscale", "model_args": {"pretrained": "x"}}
    entries = [Entry(id="qa", targets={"xquad": ["squad"]}, **mine), Entry(id="nli", targets={}, **mine)]
    write_manifest(tmp_path / "m.json", Manifest(entries=entries))
    xscale.evaluate(["qa"], data=str(tmp_path), manifest=tmp_path / "m.json")
    xscale.evaluate(["nli"], data=str(tmp_path), manifest=tmp_path / "m.json")
    assert "xquad" in asked[0] and "xquad" not in asked[1]
