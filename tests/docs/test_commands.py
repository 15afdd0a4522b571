"""Every `xscale` command line of README and docs is one that the program takes, and every link leads somewhere."""

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from xscale.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "studies").rglob("*.md"))]


def command_lines(page: Path) -> list[str]:
    """Lines of code blocks, fenced or indented, that begin with `xscale`, without comments; `cmd1 && cmd2` are two."""
    found, fenced = [], False
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            for part in line.split("&&"):
                text = re.sub(r"(^|\s)#.*", "", part).strip()
                text = re.sub(r"^(\w+=\S+\s+)+", "", text)
                text = re.sub(r"^accelerate launch .*--no_python\s+", "", text)
                if re.match(r"xscale( |$)", text):
                    found.append(text)
    return found


LINES = sorted({(page.relative_to(ROOT).as_posix(), line) for page in PAGES for line in command_lines(page)})


def test_there_are_commands_to_look_at() -> None:
    assert len(LINES) > 20


@pytest.mark.parametrize(("page", "line"), LINES, ids=lambda value: value)
def test_the_program_takes_it(page: str, line: str) -> None:
    words = [word for word in shlex.split(line.partition(" > ")[0])[1:] if word != "..."]
    command = typer.main.get_command(app)
    if words and not words[0].startswith("-"):
        name = words.pop(0)
        assert name in command.commands, f"{page}: there is no command {name!r}"
        command = command.commands[name]
        command.make_context(name, words)  # raises where an option or value is not one


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
