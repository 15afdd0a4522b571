"""`pytest benchmarks --write-docs docs/benchmarks.md` runs the benchmarks and writes what they measured, by machine.

What was measured stands in ``measured.json``, a record a machine and benchmark; the page's tables are made from it. A benchmark
that is not run, and another machine's, stay as they were. The page's text above the tables is written by hand.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

ROOT = Path(__file__).resolve().parent.parent
RECORDS = Path(__file__).resolve().parent / "measured.json"
LIBRARIES = ("lm_eval", "torch", "transformers", "tokenizers", "datasets", "numpy", "scipy")
TABLES = "<!-- tables: written by pytest benchmarks --write-docs -->\n"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-docs", metavar="FILE", help="write the benchmarks' results as Markdown")


@pytest.fixture(scope="session")
def rows_source() -> str:
    """The real data where they are, else the bundled suite."""
    given = os.environ.get("XSCALE_TEST_DATA")
    folder = Path(given) if given else ROOT.parent / "shared" / "data" / "hub"
    return str(folder.resolve()) if folder.is_dir() else "bundled"


@pytest.fixture
def goal(benchmark: Any) -> Callable[..., None]:
    """Records what was to be reached: ``goal("times lm_eval", 5.2, at_least=5)`` or ``at_most``, with a unit."""

    def add(
        what: str,
        measured: float,
        *,
        at_least: float | None = None,
        at_most: float | None = None,
        unit: str = "",
    ) -> None:
        met = measured >= at_least if at_least is not None else measured <= (at_most or 0.0)
        wanted = f"≥ {at_least:g}" if at_least is not None else f"≤ {at_most:g}"
        benchmark.extra_info.setdefault("goals", []).append(
            {"what": what, "goal": wanted + unit, "measured": _short(measured) + unit, "met": met}
        )

    return add


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    path = session.config.getoption("--write-docs") if exitstatus == 0 else None  # nothing half measured
    measured = [b for b in session.config._benchmarksession.benchmarks if b.stats.rounds] if path else []
    if measured:
        records = json.loads(RECORDS.read_text(encoding="utf-8")) if RECORDS.exists() else {}
        command = f"pytest {' '.join(map(str, session.config.invocation_params.args))}"
        records.setdefault(_machine(), {}).update({b.name: _record(b, command) for b in measured})
        RECORDS.write_text(json.dumps(records, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        page = Path(path).read_text(encoding="utf-8") if Path(path).exists() else "# Benchmarks\n\n" + TABLES
        Path(path).write_text(page.partition(TABLES)[0] + TABLES + tables(records), encoding="utf-8")


def _record(benchmark: Any, command: str) -> dict[str, Any]:
    return {
        "group": benchmark.group or "others",
        "seconds": _short(benchmark.stats.min),
        "rounds": benchmark.stats.rounds,
        "goals": benchmark.extra_info.get("goals", []),
        "facts": {
            name.replace("_", " "): _short(value)
            for name, value in benchmark.extra_info.items()
            if name != "goals"
        },
        "date": str(date.today()),
        "load": f"{os.getloadavg()[0]:.1f}",
        "versions": ", ".join(f"{name} {_version(name)}" for name in LIBRARIES),
        "command": command,
    }


def tables(records: dict[str, dict[str, Any]]) -> str:
    """The goals of all machines, then for each machine everything that was measured on it."""
    goals = [
        f"| {goal['what']} | {goal['goal']} | {goal['measured']} | {_letter(records, machine)} | "
        f"{'met' if goal['met'] else '**missed**'} |"
        for machine, benchmarks in records.items()
        for record in benchmarks.values()
        for goal in record["goals"]
    ]
    lines = ["", "## Goals, and which are missed", ""]
    lines += ["| what | goal | measured | machine | |", "| --- | ---: | ---: | :---: | --- |", *sorted(goals)]
    for machine, benchmarks in records.items():
        lines += ["", f"## Machine {_letter(records, machine)}: {machine}", ""]
        lines += ["| what | seconds (best) × rounds | measured | run |", "| --- | ---: | --- | ---: |"]
        runs = sorted({(r["date"], r["command"], r["versions"], r["load"]) for r in benchmarks.values()})
        for name, record in sorted(benchmarks.items(), key=lambda item: (item[1]["group"], item[0])):
            what = f"{record['group']}: {name.removeprefix('test_').replace('_', ' ')}"
            facts = "; ".join(f"{fact}: {value}" for fact, value in record["facts"].items())
            run = 1 + runs.index((record["date"], record["command"], record["versions"], record["load"]))
            lines.append(f"| {what} | {record['seconds']} × {record['rounds']} | {facts} | {run} |")
        lines.append("")
        lines += [
            f"{number}. {when}, `{command}`; load average {load} when it ended; {versions}"
            for number, (when, command, versions, load) in enumerate(runs, 1)
        ]
    return "\n".join(lines) + "\n"


def _letter(records: dict[str, Any], machine: str) -> str:
    return chr(ord("A") + list(records).index(machine))


def _machine() -> str:
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    units = "bf16 matrix units" if "amx_bf16" in text else "no bf16 matrix units"
    processor = names[0] if names else platform.processor() or platform.machine()
    return f"{os.cpu_count()} cores of {processor}, {units}, {_memory()}, {platform.system()}"


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "from the checkout"


def _memory() -> str:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return "unknown memory"
    return f"{size / 2**30:.0f} GiB"
