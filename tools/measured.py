"""Fill a document's measured blocks with what their commands print, or check that they still do.

    python tools/measured.py docs/leaderboard.md studies/e5-small-2026/README.md
    python tools/measured.py --check docs/leaderboard.md

A block is what stands between ``<!-- measured: xscale board studies/e5-small-2026 -->`` and ``<!-- end -->``. Commands count
paths from the repository's root. What they print is set as it is where it is Markdown (``--format github``), else as
text under the command.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import sys
from pathlib import Path

from typer.testing import CliRunner

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"<!-- measured: (xscale [^\n]+?) -->\n(?:.*?)<!-- end -->", re.DOTALL)


def printed(command: str) -> str:
    """What a command prints; `SystemExit` with its error where it fails."""
    from xscale.cli.main import app

    with contextlib.chdir(ROOT):
        done = CliRunner().invoke(app, shlex.split(command)[1:])
    if done.exit_code:
        sys.exit(f"{command}: {done.exception or done.output}")
    return str(done.stdout).rstrip() + "\n"


def filled(document: str) -> str:
    """The document with its blocks as their commands print them now."""

    def block(found: re.Match[str]) -> str:
        text = printed(found[1])
        text = "\n" + text if "--format github" in found[1] else f"```text\n$ {found[1]}\n{text}```\n"
        return f"<!-- measured: {found[1]} -->\n{text}<!-- end -->"

    return BLOCK.sub(block, document)


def main(arguments: list[str]) -> None:
    """Fill the named documents, or with ``--check`` name those that are not as they would be."""
    check = "--check" in arguments
    stale = []
    for name in [argument for argument in arguments if argument != "--check"]:
        path = Path(name)
        before = path.read_text(encoding="utf-8")
        after = filled(before)
        if before != after and check:
            stale.append(name)
        elif before != after:
            path.write_text(after, encoding="utf-8")
    if stale:
        sys.exit(
            f"{', '.join(stale)}: a measured block is not what its command prints; run tools/measured.py on it"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
