"""The report as files, and as a reader has it in a real browser."""

import builtins
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import browser_open
from synthetic import correlated, entry, labels, ladder, result

from harness_tasks.rows import Options, data_record
from harness_tasks.targets import get_target, read_target
from xscale.errors import UserError
from xscale.leaderboard.page import examples as examples_module
from xscale.leaderboard.page.parts import PAGE
from xscale.leaderboard.panels import Result, build_panels
from xscale.leaderboard.render import percent, render, span
from xscale.leaderboard.report import write_report
from xscale.leaderboard.table import Estimate, make_board

pytest.importorskip("matplotlib")
HOSTILE = "<script>window.hacked=1</script><img src=x onerror=window.hacked=1>\"'`{{7*7}}\u202e$x_2$ & 1.23456 #0072b2"
DRAWS = 400


def halves(target: str, anchor: str) -> dict[str, np.ndarray]:
    """Two halves and a subset of the kind that ship."""
    rows = np.arange(10_000)
    return {"id": rows[::2], "ood": rows[1::2], "negation": rows[::5], "long": rows[::9]}


def some_results() -> list[Result]:
    rng = np.random.default_rng(5)
    item = rng.standard_normal((300, 1))
    results = []
    for made in ladder((0, 64, 256, 1024, 4096), seeds=(0, 1)):
        right = correlated(300, 4, 0.42 + (0.02 * np.log2(made.size) if made.size else 0), 0.5, rng, item)
        results.append(result(made, right))
        if made.size in (0, 256):
            results[-1] = Result(
                made,
                "ok",
                scores=results[-1].scores
                | result(made, correlated(200, 4, 0.6, 0.5, rng), target="xcopa", choices=2).scores,
            )
    results.append(
        result(
            entry("plain", base=None, model="hf", targets={}, seed=None), correlated(300, 4, 0.4, 0.5, rng)
        )
    )
    results.append(Result(entry("later"), "missing", "not evaluated yet; run `xscale eval`"))
    return results


def hostile_results() -> list[Result]:
    rng = np.random.default_rng(6)
    results = []
    for size in (0, 8, 64):
        made = entry(
            f"h-{size}",
            base=HOSTILE + "y" * 5000,
            size=size,
            intermediate=[HOSTILE] if size else [],
            baseline="h-0" if size else None,
            note=HOSTILE,
            model=HOSTILE,
            model_args={HOSTILE: HOSTILE},
            targets={"xnli": [HOSTILE]},
        )
        results.append(result(made, correlated(90, 4, 0.5, 0.5, rng), source=HOSTILE))
    results.append(
        result(
            entry("h-target"),
            correlated(90, 4, 0.5, 0.5, rng),
            target=HOSTILE,
            task_versions={HOSTILE: HOSTILE},
        )
    )
    return results


def hostile_halves(target: str, anchor: str) -> dict[str, np.ndarray]:
    """Subsets of which one has a hostile name too."""
    return halves(target, anchor) | {HOSTILE: np.arange(0, 10_000, 3)}


def write(folder: Path, results: list[Result], **options: Any) -> Path:
    panels = build_panels(results, membership=options.pop("membership", halves))
    return write_report(
        panels, results, folder, draws=DRAWS, made=datetime(2026, 1, 2, tzinfo=timezone.utc), **options
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("report"), some_results(), command="xscale report --out report")


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [{"premise": HOSTILE, "hypothesis": "\u202e" + HOSTILE * 20, "label": 0}] * 90
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(examples_module, "english_rows", lambda panel, results: (rows, ""))
        return write(
            tmp_path_factory.mktemp("hostile"), hostile_results(), command=HOSTILE, membership=hostile_halves
        )


class _Structure(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append((tag, given))
        if given.get("id"):
            self.ids.append(str(given["id"]))


def test_files_beside_the_page(page: Path) -> None:
    names = {path.name for path in (page.parent / "plots").iterdir()}
    stems = {
        "xnli-1-curve-all",
        "xnli-1-curve-ood",
        "xnli-1-curve-negation",
        "xnli-1-ood-against-id",
        "xnli-1-languages",
        "headline",
    }
    assert {f"{stem}.{kind}" for stem in stems for kind in ("svg", "png", "csv")} <= names
    for path in (page.parent / "plots").glob("*.svg"):
        assert ET.parse(path).getroot().tag.endswith("svg")
    for path in (page.parent / "plots").glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")
    curves = json.loads((page.parent / "curves.json").read_text())
    assert {"all", "id", "ood", "negation", "long"} == {curve["subset"] for curve in curves}
    assert {"de", "unseen", "seen", "script:Latin", "family:Turkic"} & {curve["group"] for curve in curves}


def test_same_input_same_page(page: Path, tmp_path: Path) -> None:
    again = write(tmp_path, some_results(), command="xscale report --out report")
    assert again.read_text() == page.read_text()
    name = "plots/xnli-1-curve-ood.svg"
    assert (tmp_path / name).read_text() == (page.parent / name).read_text()


def test_nothing_is_loaded_from_elsewhere(page: Path) -> None:
    for tag, attrs in _Structure(page.read_text()).tags:
        assert tag not in ("link", "img", "iframe", "object", "embed")
        assert "src" not in attrs
        href = attrs.get("href") or attrs.get("xlink:href") or "#"
        assert href.startswith("#") or (tag == "a" and (page.parent / href).is_file()), href
    assert "default-src 'none'" in page.read_text()


def test_structure_for_screen_readers(page: Path) -> None:
    text = page.read_text()
    found = _Structure(text)
    assert len(found.ids) == len(set(found.ids))
    assert text.count("<table") == text.count("<caption") > 5
    assert all(attrs.get("scope") for tag, attrs in found.tags if tag == "th")
    pictures = [attrs for tag, attrs in found.tags if tag == "svg" and attrs.get("role") == "img"]
    assert len(pictures) >= 10
    for attrs in pictures:
        assert set(str(attrs["aria-labelledby"]).split()) <= set(found.ids)
    assert len(re.findall(r"<title id=[^>]+>[^<]+</title><desc id=[^>]+>[^<]{30,}</desc>", text)) == len(
        pictures
    )
    assert found.tags[0][1].get("lang") == "en"
    levels = [int(tag[1]) for tag, _ in found.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and all(after - before <= 1 for before, after in pairwise(levels))


def _contrast(first: str, second: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_contrast_in_light_dark_and_print() -> None:
    """WCAG 2: 4.5 for text, 3 for the lines of a plot."""
    themes = re.findall(r":root \{(.*?)\}", (PAGE / "report.css").read_text(), re.DOTALL)
    assert len(themes) == 3
    for theme in themes:
        colour = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", theme))
        for name in ("ink", "faint", "accent", "good", "bad"):
            assert _contrast(colour[name], colour["paper"]) >= 4.5, name
        for name in ("ink", "faint"):
            assert _contrast(colour[name], colour["shade"]) >= 4.5, name
        assert _contrast(colour["mark-ink"], colour["mark"]) >= 4.5
        for line in range(6):
            assert _contrast(colour[f"line-{line}"], colour["paper"]) >= 3, line


def test_hostile_names_stay_text_in_page_and_plots(hostile_page: Path) -> None:
    text = hostile_page.read_text()
    assert text.count("<script") == 1
    assert "<img" not in text and "\u202e" not in text and "{{7*7}}" in text
    assert "&lt;script&gt;window.hacked=1" in text
    assert "<bdi>&lt;script&gt;" in text[text.index('id="examples"') :]
    assert len(set(_Structure(text).ids)) == len(_Structure(text).ids)
    svg = (hostile_page.parent / "plots" / "xnli-1-languages.svg").read_text()
    assert "<script" not in svg and "var(--" not in svg
    ET.fromstring(svg)


def test_a_name_with_digits_and_colours_is_not_rewritten_in_a_plot(tmp_path: Path) -> None:
    results = [
        result(
            made.model_copy(update={"base": "m-1.23456 #0072b2 $y^2$"}),
            correlated(90, 4, 0.5, 0.5, np.random.default_rng(1)),
        )
        for made in ladder((0, 8, 64))
    ]
    text = write(tmp_path, results).read_text()
    assert "m-1.23456 #0072b2 $y^2$" in text[text.index('id="curves"') : text.index('id="robust"')]


def test_bundled_results_and_single_seeds_are_announced(tmp_path: Path) -> None:
    results = [
        result(made, correlated(90, 4, 0.5, 0.5, np.random.default_rng(1)), source="bundled")
        for made in ladder((0, 8))
    ]
    text = write(tmp_path, results).read_text()
    assert "They are not XNLI results" in text and "BUNDLED SUITE (not XNLI)" in text
    assert "One seed" in text and "tens of points" in text
    title = (tmp_path / "plots" / "xnli-1-languages.svg").read_text()
    assert "(bundled suite)" in title


def test_no_change_at_all_says_why_in_every_table(tmp_path: Path) -> None:
    """0.0 [0.0, 0.0]: the baseline's own answers, or one label everywhere, which is right as often."""
    truth = labels(90)
    zero, same, one = ladder((0, 8, 64))
    right = np.repeat(truth[:, None] == 0, 4, axis=1)
    made = [result(zero, right), result(same, right)]
    stuck = result(one.model_copy(update={"collapsed": ["xnli"]}), right)
    scores = stuck.scores["xnli"]
    object.__setattr__(scores, "predictions", np.zeros_like(scores.predictions))
    text = write(tmp_path, [*made, stuck]).read_text()
    boards = text[text.index('id="boards"') : text.index('id="arms"')]
    arms = text[text.index('id="arms"') : text.index('id="curves"')]
    for part, times in ((boards, 2), (arms, 1)):  # the tables of means and of every checkpoint
        assert part.count("+0.0") >= 2 * times
        assert part.count(">same answers as the baseline<") == times
        assert part.count(">nearly all one label<") == times
    assert '<td class="text">' not in text and "English text" not in text  # no texts, no empty column


def test_texts_of_flipped_rows_come_from_the_source_and_only_if_they_are_those(tmp_path: Path) -> None:
    record = data_record("xnli", "en", Options(data="bundled"))
    rows = read_target("xnli", "en", "test", "bundled")
    truth = np.array([row["label"] for row in rows])
    rng = np.random.default_rng(2)
    fields = {"source": "bundled", "anchors": {"xnli": record["data_anchor"]}}

    def results(fingerprint: str) -> list[Result]:
        made = []
        for item in ladder((0, 8)):
            one = result(
                item,
                rng.random((len(rows), 2)) < 0.5,
                languages=("de", "en"),
                fingerprints={"xnli": {"de": "x", "en": fingerprint}},
                **fields,
            )
            scores = one.scores["xnli"]
            labels = np.repeat(truth[:, None], 2, axis=1).astype(np.int8)
            right = scores.predictions == scores.labels
            object.__setattr__(scores, "labels", labels)
            object.__setattr__(
                scores, "predictions", np.where(right, labels, (labels + 1) % 3).astype(np.int8)
            )
            made.append(one)
        return made

    text = write(tmp_path, results(record["data_fingerprint"])).read_text()
    examples = text[text.index('id="examples"') :]
    assert examples.count("<strong>premise</strong>") >= 4
    other = results("0" * 64)
    texts, why = examples_module.english_rows(build_panels(other, membership=halves)[0], other)
    assert texts is None and "not what was evaluated" in why


def test_a_target_that_nobody_knows_is_shown_without_subsets(tmp_path: Path) -> None:
    made = result(entry("x"), correlated(90, 4, 0.5, 0.5, np.random.default_rng(1)), target="xstory")
    text = write(tmp_path, [made], membership=None).read_text()
    assert "xstory: 4 languages, 90 rows" in text and "no subsets" in text


def test_nothing_evaluated_is_a_page_too(tmp_path: Path) -> None:
    text = write(tmp_path, [Result(entry("later"), "missing", "not evaluated yet")]).read_text()
    assert "No results to show" in text and "later (missing)" in text


def test_without_matplotlib_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **options: Any) -> Any:
        if name.partition(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"pip install 'xscale\[report\]'"):
        write(tmp_path, some_results())


@pytest.mark.slow
def test_fifty_checkpoints_stay_below_3_megabytes(tmp_path: Path) -> None:

    rng = np.random.default_rng(1)
    results = []
    for task in ("snli", "mnli", "anli", "qa", "copa"):
        for made in ladder((0, 32, 128, 512, 2048, 8192, 32768, 131072, 524288, 2097152), task=task):
            right = correlated(500, 15, 0.5 + made.size / 1e7, 0.5, rng)
            results.append(result(made, right, languages=get_target("xnli").languages))
    assert len(results) == 50
    assert write(tmp_path, results).stat().st_size < 3_000_000


# ---------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browser_open() as made:
        yield made


UNFOLD = "document.querySelectorAll('details.every').forEach(part => { part.open = true; })"
READ_TABLES = """
return [...document.querySelectorAll('table[data-target]')].map(t => ({
  target: t.dataset.target, number: Number(t.dataset.number), heads: [...t.tHead.rows[0].cells].map(c =>
  c.textContent.trim()), rows: [...t.tBodies[0].rows].filter(r => !r.hidden).map(r => ({id: r.dataset.id,
  cells: [...r.cells].map(c =>
    ({value: c.dataset.value, text: c.innerText.split('\\n')}))})),
  foot: [...t.tFoot.rows].map(r => [...r.cells].map(c => c.textContent.trim()).filter(x => x)),
}))"""


def test_figures_in_the_browser_equal_the_json(page: Path, browser: Any) -> None:
    results = some_results()
    board = json.loads(
        render(make_board(build_panels(results, membership=halves), results, draws=DRAWS), "json")
    )
    assert json.loads((page.parent / "board.json").read_text()) == board
    browser.get(page.as_uri())
    browser.execute_script(UNFOLD)
    shown = browser.execute_script(READ_TABLES)
    assert [(t["target"], t["number"]) for t in shown] == [
        (t["target"], t["number"]) for t in board["tables"]
    ]
    compared = 0
    for table, truth in zip(shown, board["tables"], strict=True):
        assert [row["id"] for row in table["rows"]] == [row["id"] for row in truth["rows"]]
        assert table["foot"][0][1:] == [
            f"{truth['subsets'][name]['rows']:,}" for name in ("all", "id", "ood")
        ]
        assert table["foot"][1][1:] == [
            percent(truth["subsets"][n]["commonest_label"]) for n in ("all", "id", "ood")
        ]
        for row, figures in zip(table["rows"], truth["rows"], strict=True):
            for head, item in (
                ("acc", figures["acc"]["all"]),
                ("ID", figures["acc"]["id"]),
                ("OOD", figures["acc"]["ood"]),
                ("gap", figures["gap"]),
                ("ΔOOD", figures["deltas"]["ood"]),
            ):
                cell = row["cells"][table["heads"].index(head)]
                if item["value"] is None:
                    assert cell["value"] == "" and cell["text"][0] == "-"
                    continue
                assert float(cell["value"]) == item["value"]
                signed = head in ("gap", "ΔOOD")
                assert cell["text"][0] == percent(item["value"], signed)
                assert cell["text"][1] == span(Estimate(item["value"], item["low"], item["high"]), signed)
                compared += 1
    assert compared > 50
    assert [line for line in browser.get_log("browser") if line["level"] == "SEVERE"] == []
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0


def test_sorting_by_mouse_and_keyboard(page: Path, browser: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.get(page.as_uri())
    browser.execute_script(UNFOLD)
    table = browser.find_element("css selector", "table[data-target=xnli]")
    heads = browser.execute_script(READ_TABLES)[0]["heads"]
    column = heads.index("OOD")
    button = table.find_elements("css selector", "thead th")[column].find_element("css selector", "button")

    def values() -> list[float | None]:
        rows = browser.execute_script(READ_TABLES)[0]["rows"]
        return [float(row["cells"][column]["value"]) for row in rows]

    button.click()
    assert values() == sorted(values(), reverse=True)  # type: ignore[type-var]
    assert button.find_element("xpath", "..").get_attribute("aria-sort") == "descending"
    button.send_keys(Keys.ENTER)
    assert values() == sorted(values())  # type: ignore[type-var]
    delta = heads.index("ΔOOD")
    table.find_elements("css selector", "thead th")[delta].find_element("css selector", "button").click()
    last = [row["cells"][delta]["value"] for row in browser.execute_script(READ_TABLES)[0]["rows"]][-3:]
    assert last == ["", "", ""]  # two baselines and a model without one


def test_filters(page: Path, browser: Any) -> None:
    from selenium.webdriver.support.ui import Select

    browser.get(page.as_uri())
    browser.execute_script(UNFOLD)
    form = browser.find_element("css selector", "form.filters")
    Select(form.find_element("css selector", "select[name=size]")).select_by_value("256")
    assert [row["id"] for row in browser.execute_script(READ_TABLES)[0]["rows"]] == [
        "snli-256-s0",
        "snli-256-s1",
    ]
    assert browser.find_element("css selector", "[role=status]").text == "2 of 11 checkpoints"
    form.find_element("css selector", "input[name=text]").send_keys("S1")
    assert [row["id"] for row in browser.execute_script(READ_TABLES)[0]["rows"]] == ["snli-256-s1"]


def test_subsets_can_be_chosen(page: Path, browser: Any) -> None:
    from selenium.webdriver.support.ui import Select

    browser.get(page.as_uri())
    chooser = browser.find_element("css selector", "select[data-chooser]")
    assert [option.text for option in Select(chooser).options] == ["negation", "long"]
    visible = "return [...document.querySelectorAll('[data-choice=xnli-1]')].filter(x => !x.hidden).map(x => x.dataset.name)"
    assert browser.execute_script(visible) == ["negation"]
    Select(chooser).select_by_value("long")
    assert browser.execute_script(visible) == ["long"]


@pytest.mark.parametrize("width", [320, 375, 1200])
def test_no_sideways_scrolling_of_the_page(page: Path, hostile_page: Path, browser: Any, width: int) -> None:
    for where in (page, hostile_page):
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500},
        )
        browser.get(where.as_uri())
        wide = browser.execute_script("return document.documentElement.scrollWidth")
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        assert wide <= width


LAYOUT = """
const inside = element => {
  const {left, right, top, bottom} = element.getBoundingClientRect();
  let box = {left, right, top, bottom};
  for (let up = element.parentElement; up; up = up.parentElement) {
    if (getComputedStyle(up).overflowX === 'visible') continue;
    const edge = up.getBoundingClientRect();
    box = {left: Math.max(box.left, edge.left), right: Math.min(box.right, edge.right),
           top: Math.max(box.top, edge.top), bottom: Math.min(box.bottom, edge.bottom)};
  }
  return box;
};
const parts = [...document.querySelectorAll(
  'h1, h2, h3, h4, p, caption, figcaption, .legend, summary, .caveats li, dl, .draw, header table, main table')]
  .filter(e => e.checkVisibility({visibilityProperty: true}) && !e.matches('.sr'))
  .map(e => ({e, name: e.tagName.toLowerCase() + ': ' + e.textContent.trim().slice(0, 50),
              ...inside(e)}))
  .filter(part => part.right - part.left > 2 && part.bottom - part.top > 2);
const over = [];
for (const [i, a] of parts.entries()) for (const b of parts.slice(i + 1)) {
  if (a.e.contains(b.e) || b.e.contains(a.e)) continue;
  const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
  const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
  if (wide > 2 && high > 2) over.push(a.name + ' | ' + b.name);
}
const edges = q => { const r = document.querySelector(q).getBoundingClientRect();
                     return [r.left, r.right, r.top, r.bottom]; };
return {wide: document.scrollingElement.scrollWidth, window: innerWidth, parts: parts.length, over,
        outside: parts.filter(part => part.left < -1 || part.right > innerWidth + 1).map(part => part.name),
        first: ['h1', '#answer .say strong', '#headline .draw'].map(edges)};
"""


@contextmanager
def window(browser: Any, page: Path, width: int, height: int) -> Iterator[Callable[[str], Any]]:
    """The page in a window of a size; what is given measures it in a colour scheme."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
    )

    def measure(scheme: str) -> Any:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "screen", "features": features})
        return browser.execute_script(LAYOUT)

    try:
        browser.get(page.as_uri())
        yield measure
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize(("width", "height"), [(360, 740), (768, 1024), (1280, 800), (1920, 1080)])
def test_nothing_overflows_or_overlaps(page: Path, browser: Any, width: int, height: int) -> None:
    """Folded and unfolded, light and dark; on a laptop question, answer and figure are in the first screen."""
    with window(browser, page, width, height) as measure:
        opened = [measure("light"), measure("dark")]
        browser.execute_script("document.querySelectorAll('details').forEach(part => { part.open = true; })")
        unfolded = [measure("dark"), measure("light")]
    for measured in opened + unfolded:
        assert measured["window"] == width
        assert measured["wide"] <= width
        assert measured["parts"] > 40
        assert measured["outside"] == []
        assert measured["over"] == []
    assert unfolded[0]["parts"] > opened[0]["parts"]
    if width == 1280:
        for measured in opened:
            question, answer, figure = measured["first"]
            for left, right, top, bottom in (question, answer):
                assert 0 <= left < right <= width and 0 <= top < bottom <= height
            assert 0 <= figure[2] <= height - 200, "200 px of the figure at least"


def test_a_broken_page_is_seen(page: Path, browser: Any) -> None:
    """The measure itself: each kind of breakage is found by what is there to find it."""
    spoil = """const style = document.createElement('style'); style.id = 'spoilt';
               style.textContent = arguments[0]; document.head.append(style);"""
    with window(browser, page, 1280, 800) as measure:

        def spoilt(rule: str) -> Any:
            browser.execute_script(spoil, rule)
            measured = measure("light")
            browser.execute_script("document.getElementById('spoilt').remove()")
            return measured

        assert spoilt("main h2 { width: 3000px }")["wide"] > 1280
        assert spoilt("main section p { margin-top: -2.5rem }")["over"]
        assert spoilt("#headline { position: absolute; left: -40px }")["outside"]
        assert spoilt("#answer { margin-top: 700px }")["first"][1][3] > 800


def test_dark_and_print_change_the_plots_colours(page: Path, browser: Any) -> None:
    colour = "return getComputedStyle(document.querySelector('figure svg text')).fill"
    found = []
    for media, scheme in (("screen", "light"), ("screen", "dark"), ("print", "dark")):
        browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia",
            {"media": media, "features": [{"name": "prefers-color-scheme", "value": scheme}]},
        )
        browser.get(page.as_uri())
        found.append(browser.execute_script(colour))
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert found == ["rgb(27, 27, 31)", "rgb(236, 236, 241)", "rgb(0, 0, 0)"]


def test_hostile_content_does_not_run(hostile_page: Path, browser: Any) -> None:
    browser.get(hostile_page.as_uri())
    assert browser.execute_script("return window.hacked === undefined && document.scripts.length === 1")
    assert browser.execute_script("return document.images.length") == 0
    assert "<script>window.hacked=1</script>" in browser.find_element("tag name", "main").text
    assert [line for line in browser.get_log("browser") if line["level"] == "SEVERE"] == []


def test_everything_is_there_without_scripts(page: Path) -> None:
    with browser_open(scripts=False) as browser:
        browser.get(page.as_uri())
        assert all(part.is_displayed() for part in browser.find_elements("css selector", "[data-choice]"))
        browser.find_element("css selector", "details.every > summary").click()
        assert not browser.find_element("css selector", "form.filters").is_displayed()
        assert browser.find_element("css selector", "table[data-target=xnli]").is_displayed()
