"""The figures that a report leaves as files, for a light and a dark ground, with their data."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from synthetic import halves, study

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

from xscale.leaderboard import plots
from xscale.leaderboard.page.parts import PAGE
from xscale.leaderboard.panels import build_panels
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
