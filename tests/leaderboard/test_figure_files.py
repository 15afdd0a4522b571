"""The figures that a report leaves as files, for a light and a dark ground, with their data."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from synthetic import correlated, entry, halves, ladder, result, study

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

from xscale.leaderboard import plots
from xscale.leaderboard.bootstrap import Bootstrap
from xscale.leaderboard.page.parts import PAGE
from xscale.leaderboard.panels import Result, build_panels
from xscale.leaderboard.report import write_report

DRAWS = 300
STUDY = {
    "headline",
    *(
        f"{target}-1-{name}"
        for target in ("xnli", "xcopa")
        for name in ("arms", "languages", "ood-against-id")
    ),
    *(f"{target}-1-curve-{subset}" for target in ("xnli", "xcopa") for subset in ("all", "id", "ood")),
}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = study()
    folder = tmp_path_factory.mktemp("study")
    panels = build_panels(
        results, membership=lambda *_: {k: v for k, v in halves("", "").items() if k != "few"}
    )
    write_report(panels, results, folder, draws=DRAWS)
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open(newline="", encoding="utf-8")))


def test_every_figure_of_a_study_is_there_for_both_grounds(report: Path) -> None:
    kinds = (".svg", ".png", "-dark.svg", "-dark.png", ".csv")
    assert {path.name for path in (report / "plots").iterdir()} == {
        name + kind for name in STUDY for kind in kinds
    }


def luminance(colour: str) -> float:
    return plots._luminance([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])


def contrast(first: str, second: str) -> float:
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def text_colours(svg: str) -> set[str]:
    """The colours of a drawing's text."""
    found = re.findall(r"<text[^>]*>", svg)
    colours = {match[1] if (match := re.search(r"fill: (#\w{6})", tag)) else "#000000" for tag in found}
    return colours


def test_text_can_be_read_on_its_ground(report: Path) -> None:
    """WCAG 2: 4.5 to 1, in the file's own ground."""
    for path in sorted((report / "plots").glob("*.svg")):
        svg = path.read_text()
        ground = plots.DARK[plots.PAPER] if path.stem.endswith("-dark") else plots.PAPER
        assert f"fill: {ground}" in svg[: svg.index("<text")], path.name  # the whole drawing's
        colours = text_colours(svg)
        if path.name.removesuffix(".svg").removesuffix("-dark").endswith("languages"):
            colours -= {"#000000", "#ffffff"}  # within the cells, which keep their colours
        assert colours and min(contrast(one, ground) for one in colours) >= 4.5, (path.name, colours)


def test_a_dark_picture_is_dark_and_shows_the_same(report: Path) -> None:
    image = pytest.importorskip("matplotlib.image")
    light, dark = (image.imread(report / "plots" / f"headline{kind}.png")[:, :, :3] for kind in ("", "-dark"))
    assert light.shape == dark.shape
    assert np.median(light) > 0.95 and np.median(dark) < 0.15
    words = [
        re.findall(r">([^<>\n]+)</text>", (report / "plots" / f"xnli-1-languages{kind}.svg").read_text())
        for kind in ("", "-dark")
    ]
    assert words[0] == words[1] and len(words[0]) > 40


def test_the_page_and_the_files_have_the_same_colours() -> None:
    themes = re.findall(r":root \{(.*?)\}", (PAGE / "report.css").read_text(), re.DOTALL)
    for theme, mapped in zip(themes[:2], ({}, plots.DARK), strict=True):
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", theme))
        for colour, variable in plots.VARIABLES.items():
            if variable != "--faint" or mapped:
                assert colours[variable.removeprefix("--")] == mapped.get(colour, colour), variable


def test_the_figures_data_are_the_board_s_figures(report: Path) -> None:
    """Of OOD against ID, each checkpoint's; of the curves, the mean of the seeds that the board has."""
    board = json.loads((report / "board.json").read_text())
    for table in board["tables"]:
        shown = {row["id"]: row["acc"] for row in table["rows"]}
        marks = rows(report / "plots" / f"{table['target']}-1-ood-against-id.csv")
        assert {mark["checkpoint"] for mark in marks} == set(shown)
        for mark in marks:
            for subset in ("id", "ood"):
                assert float(mark[subset]) == pytest.approx(
                    100 * shown[mark["checkpoint"]][subset]["value"], abs=1e-4
                )
        curve = rows(report / "plots" / f"{table['target']}-1-curve-ood.csv")
        gains = {
            (row["arm"], row["size"]): float(row["delta"])
            for row in rows(report / "plots" / "headline.csv")
            if (row["target"], row["subset"]) == (table["target"], "ood")
        }
        assert len(gains) == 8 and len(curve) == 12
        for point in curve:
            arm = point["ladder"].split(", ")[1]
            names = [f"study-0-s{seed}" for seed in range(3)]
            if point["size"] != "0":
                names = [f"study-{arm}-{point['size']}-s{seed}" for seed in range(3)]
            mean = np.mean([100 * shown[name]["ood"]["value"] for name in names])
            assert float(point["score"]) == pytest.approx(mean, abs=1e-4)
            if point["size"] != "0":
                start = np.mean([100 * shown[f"study-0-s{seed}"]["ood"]["value"] for seed in range(3)])
                assert gains[arm, point["size"]] == pytest.approx(mean - start, abs=1e-4)


def test_no_path_of_the_machine_in_anything_that_is_published(tmp_path: Path) -> None:
    """The data's folder, the model's, the base and the command are local; none stands in a file of the report."""
    home = "/home/someone/private"
    results = []
    for size in (0, 8):
        made = entry(
            f"p-{size}",
            size=size,
            base=f"{home}/base",
            model_args={"pretrained": f"{home}/checkpoints/p-{size}"},
            intermediate=[f"{home}/task.jsonl"] if size else [],
            baseline="p-0" if size else None,
            note=f"from {home}/notes.txt",
        )
        right = correlated(90, 4, 0.5, 0.5, np.random.default_rng(size))
        results.append(result(made, right, source=f"mirror:{home}/data"))
    results.append(Result(entry("gone"), "broken", f"{home}/results/gone: not there"))
    panels = build_panels(results, membership=halves)
    write_report(panels, results, tmp_path, draws=50, command=f"xscale report {home}/work --out {tmp_path}")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".html", ".json", ".csv", ".svg", ".png"}
    for path in files:
        text = path.read_bytes()
        for local in (b"someone", str(tmp_path).encode()):
            at = text.find(local)
            assert at < 0, (path.name, text[max(0, at - 150) : at + 60])


def test_a_target_that_is_not_measured_by_accuracy_never_says_accuracy(tmp_path: Path) -> None:
    """Where the score is F1, figures and their words say F1."""
    from xscale.leaderboard.page.curves import all_curves, curve_plot, whole
    from xscale.leaderboard.page.parts import Part

    results = [
        result(made, correlated(60, 4, 0.5, 0.5, np.random.default_rng(made.size)), target="panx", choices=3)
        for made in ladder((0, 8))
    ]
    (panel,) = build_panels(results, membership=halves)
    assert panel.measure != "accuracy"
    part = Part(panel, Bootstrap(panel, 50))
    plot = curve_plot(part, whole(all_curves([part], [part], 0)[0], "all"), None)
    assert "accuracy" not in plots.svg(plot.figure) + plot.title + plot.description
    assert f"{panel.measure} (%)" in plots.svg(plot.figure)
