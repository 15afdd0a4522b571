"""XTREME's table: its means by hand, and that nothing is averaged over less in silence."""

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic import entry, ladder, predictions, store
from typer.testing import CliRunner

from harness_tasks.targets import get_target, targets
from xscale.cli.main import app
from xscale.errors import UserError
from xscale.experiment import read_experiment
from xscale.experiment.schema import arms_of
from xscale.leaderboard import panels, xtreme
from xscale.leaderboard.panels import Result, Scores, scores_of
from xscale.leaderboard.render import FORMATS
from xscale.manifest import Manifest, write_manifest

CODES = ("de", "en")


@pytest.fixture
def nine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine targets of two languages, one for each column."""
    base = get_target("xnli")
    made = {
        f"t{number}": replace(
            base,
            name=f"t{number}",
            places={code: base.places[code] for code in CODES},
            benchmark=(category, column),
        )
        for number, (column, category) in enumerate(xtreme.COLUMNS.items())
    }
    monkeypatch.setattr(xtreme, "targets", lambda: made)


def scores(
    figures: dict[str, tuple[float, float, int]], limit: int | None = None, source: str = "hub"
) -> Scores:
    one = np.zeros((1, len(figures)), np.int8)
    rows = np.arange(1, dtype=np.int32)
    return Scores(tuple(figures), rows, one, one, source, "a", "1.0", limit, {}, figures=figures)


def every(value: float, exact: float = 0.0, **options: int | str) -> dict[str, Scores]:
    """All nine tasks: the first language `value` less 0.1, the second more by it."""
    figures = {"de": (value - 0.1, exact, 10), "en": (value + 0.1, exact, 30)}
    return {f"t{number}": scores(figures, **options) for number in range(9)}  # type: ignore[arg-type]


@pytest.mark.usefixtures("nine")
def test_means_are_xtremes() -> None:
    """evaluate.py: a task is the mean over languages, whatever their rows; question answering (F1 + EM) / 2."""
    (row,) = xtreme.xtreme_rows([Result(entry("x", size=0), "ok", scores=every(0.5, 0.3))])
    assert row.cells["XNLI"].score == pytest.approx(0.5) and row.cells["XNLI"].exact is None
    assert row.cells["MLQA"].value == pytest.approx(0.4)
    assert row.means["question answering"] == pytest.approx(0.4)
    assert row.average == pytest.approx((6 * 0.5 + 3 * 0.4) / 9)
    assert row.note == ""
    text = xtreme.render_xtreme([row])
    assert max(map(len, text.splitlines())) <= 80
    assert "50.0/30.0" in text and "46.7" in text


@pytest.mark.usefixtures("nine")
@pytest.mark.parametrize(
    ("change", "said", "lost"),
    [
        (lambda s: {k: v for k, v in s.items() if k != "t8"}, "no Tatoeba", "sentence retrieval"),
        (lambda s: s | {"t0": scores({"de": (0.9, 0, 10)})}, "1 of 2 languages, without en", "pair sentence"),
        (lambda s: s | {"t2": replace(s["t2"], limit=10)}, "POS: not all rows", "structured prediction"),
        (lambda s: s | {"t4": replace(s["t4"], source="bundled")}, "no XQuAD", "question answering"),
    ],
)
def test_a_missing_part_is_named_and_no_mean_is_given(change, said: str, lost: str) -> None:  # type: ignore[no-untyped-def]
    (row,) = xtreme.xtreme_rows([Result(entry("x", size=0), "ok", scores=change(every(0.5)))])
    assert said in row.note
    assert math.isnan(row.average)
    assert [name for name, value in row.means.items() if math.isnan(value)] == [lost]
    text = xtreme.render_xtreme([row])
    assert said in " ".join(text.split())


@pytest.mark.usefixtures("nine")
def test_scores_of_another_version_of_a_task_answered_with_texts_are_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only the score is stored of such answers, and nothing says that it was the same measure."""
    made = dict(xtreme.targets())
    made["t2"] = replace(made["t2"], answers=(), version="2.0")
    for module in (xtreme, panels):
        monkeypatch.setattr(module, "targets", lambda: made)
    results = Result(entry("x", size=0), "ok", scores=every(0.5))  # of version 1.0
    (row,) = xtreme.xtreme_rows([results])
    assert "POS: version 1.0 of its task scored otherwise; run `xscale eval` again" in row.note
    assert math.isnan(row.cells["POS"].score) and math.isnan(row.average)
    assert row.means["pair sentence"] == pytest.approx(0.5)
    again = every(0.5) | {"t2": replace(results.scores["t2"], version="2.0")}
    (row,) = xtreme.xtreme_rows([replace(results, scores=again)])
    assert not row.note and row.cells["POS"].score == pytest.approx(0.5)


@pytest.mark.usefixtures("nine")
def test_seeds_are_one_row_and_a_seed_that_lacks_a_task_is_named() -> None:
    entries = ladder((0, 512), seeds=(1, 2))
    results = [Result(made, "ok", scores=every(0.5 + 0.1 * (made.seed or 0))) for made in entries]
    base, more = xtreme.xtreme_rows(results)
    assert base.name == "no intermediate task" and more.name == "snli"
    assert base.seeds == (1, 2) and more.size == 512
    assert base.cells["NER"].score == pytest.approx(0.65)
    results[1] = replace(results[1], scores={k: v for k, v in results[1].scores.items() if k != "t3"})
    more = xtreme.xtreme_rows(results)[1]
    assert f"NER: not of {entries[1].id}" in more.note and math.isnan(more.average)
    lacking = [
        Result(made, "ok", scores={k: v for k, v in every(0.5).items() if k != "t8"}) for made in entries
    ]
    text = " ".join(xtreme.render_xtreme(xtreme.xtreme_rows(lacking)).split())
    assert "no intermediate task, N 0, snli, N 512: no Tatoeba" in text


def test_figures_are_of_all_rows_of_each_language() -> None:
    """Rows that another language lacks count here, though not where checkpoints are compared."""
    stored = predictions(np.tile([[True], [False], [False], [True]], (3, 4)))
    table = stored.table.filter(
        [
            not (code == "de" and row >= 6)
            for code, row in zip(
                stored.table["language"].to_pylist(), stored.table["row"].to_pylist(), strict=True
            )
        ]
    )
    found = scores_of(replace(stored, table=table))["xnli"]
    assert len(found.rows) == 6
    assert found.figures["en"] == (0.5, 0.5, 12)
    assert found.figures["de"] == (pytest.approx(0.5), pytest.approx(0.5), 6)


def test_published_rows_have_a_source_and_no_average() -> None:
    rows = {row.name: row for row in xtreme.published_rows()}
    assert rows["X-STILTs"].cells["TyDiQA"].score == pytest.approx(0.76)
    assert rows["XLM-R"].cells["XNLI"].score == pytest.approx(0.792)
    pos = rows["XLM-R"]
    assert pos.cells["POS"].score == pytest.approx(0.738)
    assert (
        "POS: Hu et al. 2020, arXiv 2003.11080, Table 20; read in google-research/xtreme issue 56"
        in pos.source
    )
    assert pos.source.startswith("Xue et al. 2020") and "POS:" not in rows["mBERT"].source
    for row in rows.values():
        assert "arXiv" in row.source and math.isnan(row.average) and "F1 only" in row.note
    assert all(column in xtreme.COLUMNS for row in rows.values() for column in row.cells)


def test_every_shipped_target_of_the_benchmark_has_a_column_of_its_category() -> None:
    asked = [target.benchmark for target in targets().values() if target.benchmark]
    assert {column for _, column in asked} == set(xtreme.COLUMNS)
    assert len({column for _, column in asked}) == len(asked)
    assert all(xtreme.COLUMNS[column] == category for category, column in asked)


def test_the_command_in_every_format(tmp_path: Path) -> None:
    made = entry("x", size=0, seed=1)
    write_manifest(tmp_path / "checkpoints_manifest.json", Manifest(entries=[made]))
    store(tmp_path / "results", made, predictions(np.tile([[True], [False]], (6, 4)), identity="x"))
    arguments = [
        "board",
        "--xtreme",
        "--published",
        "--manifest",
        str(tmp_path / "checkpoints_manifest.json"),
    ]
    for kind in FORMATS:
        run = CliRunner().invoke(app, [*arguments, "--format", kind])
        assert run.exit_code == 0, run.output
        assert "X-STILTs" in run.output
        assert "50.0" in run.output or kind in ("csv", "json")
    data = json.loads(CliRunner().invoke(app, [*arguments, "--format", "json"]).output)
    assert data["rows"][0]["cells"]["XNLI"]["score"] == 0.5 and data["rows"][0]["average"] is None
    assert data["rows"][-1]["published"] is True and data["rows"][0]["published"] is False
    lines = list(csv.DictReader(io.StringIO(CliRunner().invoke(app, [*arguments, "--format", "csv"]).output)))
    assert lines[0]["XNLI"] == "0.5" and lines[0]["average"] == "" and "without" in lines[0]["note"]
    run = CliRunner().invoke(app, ["board", "--published", *arguments[3:]])
    assert isinstance(run.exception, UserError) and "add --xtreme" in str(run.exception)
    run = CliRunner().invoke(app, [*arguments, "--language", "de", "--arms"])
    assert isinstance(run.exception, UserError) and "leave --language, --arms out" in str(run.exception)


def test_experiments_of_xtreme_are_of_its_targets() -> None:
    """The small one leaves out what the hub has not; the other has all, and what the paper's claims need of arms."""
    folder = Path(__file__).resolve().parents[2] / "experiments"
    small, whole = (read_experiment(folder / f"{name}.yaml") for name in ("xtreme", "xtreme-paper"))
    every = {target.name for target in targets().values() if target.benchmark}
    assert set(whole.targets) == every
    assert every - set(small.targets) == {t.name for t in targets().values() if t.mined}
    assert set(arms_of(small)) == {"mnli", "squad"} and len(whole.seeds) == 3
    tasks = [arm.intermediate for arm in arms_of(whole).values()]
    assert {"mnli", "squad", "hellaswag"} <= {task for task in tasks if isinstance(task, str)}
    assert any(isinstance(task, list) for task in tasks)
