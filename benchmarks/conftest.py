"""`pytest benchmarks --write-docs docs/benchmarks.md` runs the benchmarks and writes what they measured."""

from __future__ import annotations

import os
import platform
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


def pytest_sessionfinish(session: pytest.Session) -> None:
    path = session.config.getoption("--write-docs")
    measured = getattr(session.config, "_benchmarksession", None)
    if path and measured is not None and measured.benchmarks:
        Path(path).write_text(render(measured.benchmarks, session.config), encoding="utf-8")


def render(benchmarks: list[Any], config: pytest.Config) -> str:
    """The page: machine, versions and command, then one table for each group of benchmarks."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `pytest benchmarks --write-docs docs/benchmarks.md`; do not edit. Ratios are of two things measured",
        "one after the other in one run. Absolute times are of this machine, which may have been busy with other things.",
        "",
        f"* machine: {_processor()}, {os.cpu_count()} cores, {_memory()}, {platform.system()} {platform.machine()}",
        f"* load average when it was written: {os.getloadavg()[0]:.1f}",
        f"* Python {platform.python_version()}; "
        + ", ".join(f"{name} {_version(name)}" for name in LIBRARIES),
        f"* command: `pytest {' '.join(map(str, config.invocation_params.args))}`",
    ]
    for group in dict.fromkeys(benchmark.group or "others" for benchmark in benchmarks):
        lines += [
            "",
            f"## {group[0].upper()}{group[1:]}",
            "",
            "| what | seconds (best of rounds) | measured |",
            "| --- | ---: | --- |",
        ]
        for benchmark in benchmarks:
            if (benchmark.group or "others") == group:
                facts = "; ".join(
                    f"{name.replace('_', ' ')}: {_short(value)}"
                    for name, value in benchmark.extra_info.items()
                )
                name = benchmark.name.removeprefix("test_").replace("_", " ")
                lines.append(
                    f"| {name} | {_short(benchmark.stats.min)} × {benchmark.stats.rounds} | {facts} |"
                )
    return "\n".join(lines) + "\n"


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
