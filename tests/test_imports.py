"""Imports run downwards only: a reader can guess the file from the question, and the tasks need neither torch nor xscale."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = {
    "harness_tasks": 1,
    "xscale": 1,  # experiment, manifest, base_models, encoding, parsing, files, errors, progress, executors
    "xscale.training": 2,
    "xscale.evaluation": 2,
    "xscale.leaderboard": 3,
    "xscale.workspace": 2,
    "xscale.pipeline": 3,
    "xscale.check": 3,
    "xscale.costs": 3,
    "xscale.status": 3,
    "xscale.executors.jobs": 3,
    "xscale.entries": 3,
    "xscale.splits": 3,
    "xscale.doctor": 3,
    "xscale.fetch": 3,
    "xscale.sharing": 3,
    "xscale.every_eval_ever": 3,
    "xscale.published": 3,
    "xscale.next_steps": 3,
    "xscale.questions": 3,
    "xscale.loading": 3,
    "xscale.api": 4,
    "xscale.cli": 4,
}


def floor(module: str) -> int:
    parts = module.split(".")
    return next(FLOORS[name] for n in range(len(parts), 0, -1) if (name := ".".join(parts[:n])) in FLOORS)


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def module_files() -> list[Path]:
    return sorted([*(ROOT / "xscale").rglob("*.py"), *(ROOT / "harness_tasks").rglob("*.py")])


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_there_are_modules_to_look_at():
    assert {"xscale.pipeline", "xscale.cli.main", "harness_tasks.sources"} <= set(
        map(name_of, module_files())
    )


@pytest.mark.parametrize("path", module_files(), ids=name_of)
def test_imports_run_downwards(path):
    own = name_of(path)
    for imported in imports(path):
        if imported.split(".")[0] in ("xscale", "harness_tasks"):
            assert floor(imported) <= floor(own), f"{own} imports {imported}, which is on a higher floor"


@pytest.mark.parametrize("path", module_files(), ids=name_of)
def test_the_tasks_need_neither_torch_nor_xscale(path):
    own = name_of(path)
    tops = {name.split(".")[0] for name in imports(path)}
    if own.startswith("harness_tasks"):
        assert not tops & {"torch", "transformers", "xscale"}
    if own.startswith("xscale.leaderboard"):
        allowed = (
            "xscale.leaderboard",
            "xscale.manifest",
            "xscale.evaluation.predictions",
            "xscale.evaluation.plausible",
            "xscale.errors",
            "xscale.files",
            "xscale.portable",
            "xscale.terminal",
        )
        others = {n for n in imports(path) if n.startswith("xscale.") and not n.startswith(allowed)}
        others -= {"xscale.evaluation"}
        assert not others, f"{own} reads more than the manifest and the predictions: {others}"
        assert not tops & {"torch", "transformers", "lm_eval"}
