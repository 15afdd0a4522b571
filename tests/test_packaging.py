"""What pyproject.toml promises of versions is what the constraints pin and tox tests."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="not a checkout")


def requirements() -> dict[str, str]:
    """Package -> lower bound, of everything but the extra `dev`."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [
        line for name, lines in project["optional-dependencies"].items() if name != "dev" for line in lines
    ]
    found = {}
    for line in [*project["dependencies"], *extras]:
        name, bound = re.match(r"([\w.-]+)(?:\[.*?\])?(?:[>=]=([\d.]+))?", line).groups()
        if name != "xscale":
            assert bound, f"{line} has no lower bound"
            found[name] = bound
    return found


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_the_lowest_versions_are_the_ones_that_tox_installs():
    lowest = pins("constraints-lowest.txt")
    assert {**requirements(), "torch": lowest["torch"]} == lowest


def test_every_dependency_is_pinned_at_or_above_its_bound():
    def canonical(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name).lower()

    def number(text: str) -> tuple[int, ...]:
        return tuple(int(part) for part in re.findall(r"\d+", text)[:3])

    pinned = {canonical(name): value for name, value in pins("constraints.txt").items()}
    for name, bound in requirements().items():
        assert number(pinned[canonical(name)]) >= number(bound), name
