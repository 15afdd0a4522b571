"""`pytest benchmarks --write-docs docs/benchmarks.md` runs the benchmarks and writes what they measured."""

from __future__ import annotations

import os
import platform
import re
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

ROOT = Path(__file__).resolve().parent.parent
LIBRARIES = ("xscale", "lm_eval", "torch", "transformers", "tokenizers", "datasets", "numpy", "scipy")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-docs", metavar="FILE", help="write the benchmarks' results as Markdown")


@pytest.fixture(scope="session")
def rows_source() -> str:
    """The real data where they are, else the bundled suite."""
    given = os.environ.get("XSCALE_TEST_DATA")
    folder = Path(given) if given else ROOT.parent / "shared" / "data" / "hub"
    return str(folder.resolve()) if folder.is_dir() else "bundled"


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    path = session.config.getoption("--write-docs") if exitstatus == 0 else None  # nothing half measured
    measured = [b for b in session.config._benchmarksession.benchmarks if b.stats.rounds] if path else []
    if measured:
        old = Path(path).read_text(encoding="utf-8") if Path(path).exists() else ""
        command = f"pytest {' '.join(map(str, session.config.invocation_params.args))}"
        Path(path).write_text(render(sections_of(old) | new_sections(measured, command)), encoding="utf-8")


def sections_of(page: str) -> dict[str, str]:
    """The page's sections by heading: those of benchmarks that are not run this time stay as they are."""
    parts = re.split(r"^## (.+)\n", page, flags=re.MULTILINE)[1:]
    return {heading: body.strip() for heading, body in zip(parts[::2], parts[1::2], strict=True)}


def new_sections(benchmarks: list[Any], command: str) -> dict[str, str]:
    """For each group of benchmarks its heading and a table, with the command and the circumstances."""
    groups: dict[str, list[Any]] = {}
    for benchmark in benchmarks:
        groups.setdefault(benchmark.group or "others", []).append(benchmark)
    busy = f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores when it ended"
    result = {}
    for group, members in groups.items():
        lines = [f"`{command}`; {date.today()}; {busy}; {_machine()}", ""]
        lines += ["| what | seconds (best) × rounds | measured |", "| --- | ---: | --- |"]
        for benchmark in members:
            facts = [
                f"{name.replace('_', ' ')}: {_short(value)}" for name, value in benchmark.extra_info.items()
            ]
            if benchmark is not members[0]:
                facts.append(f"times the first's: {_short(benchmark.stats.min / members[0].stats.min)}")
            name = benchmark.name.removeprefix("test_").replace("_", " ")
            seconds = f"{_short(benchmark.stats.min)} × {benchmark.stats.rounds}"
            lines.append(f"| {name} | {seconds} | {'; '.join(facts)} |")
        result[group[0].upper() + group[1:]] = "\n".join(lines)
    return result


def render(sections: dict[str, str]) -> str:
    """The whole page."""
    text = (
        "# Benchmarks\n\n"
        "Sections that begin with a command are written by `pytest benchmarks --write-docs docs/benchmarks.md` (with the\n"
        "names of some benchmarks, their sections only); do not edit these. Ratios are of two things measured one after\n"
        "the other in one run. Absolute times are of the machine named, and longer where it was busy with other things (load\n"
        "average above its cores).\n"
    )
    by_hand_first = sorted(sections.items(), key=lambda item: (item[1].startswith("`"), item[0]))
    return text + "".join(f"\n## {heading}\n\n{body}\n" for heading, body in by_hand_first)


def _machine() -> str:
    libraries = ", ".join(f"{name} {_version(name)}" for name in LIBRARIES)
    return (
        f"{_processor()}, {_memory()}, {platform.system()}; Python {platform.python_version()}, {libraries}"
    )


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "from the checkout"


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or "unknown processor"
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory() -> str:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return "unknown memory"
    return f"{size / 2**30:.0f} GiB"
