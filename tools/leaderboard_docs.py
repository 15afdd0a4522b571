"""Fill docs/leaderboard.md with the tables and figures of a real first run.

    python tools/leaderboard_docs.py checkpoints_manifest.json

`results/` is looked for beside the manifest. Blocks between ``<!-- measured: name -->`` and ``<!-- end -->`` are written
anew, and the figures in docs/figures/.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path

from xscale.leaderboard.compare import compare, render_comparison
from xscale.leaderboard.panels import build_panels, load_results
from xscale.leaderboard.render import render
from xscale.leaderboard.report import write_report
from xscale.leaderboard.table import make_board
from xscale.manifest import read_manifest

DOCS = Path(__file__).resolve().parent.parent / "docs"
# in docs/figures/: the report's plot that it is a copy of
FIGURES = {
    "xnli-1-curve-ood.svg": "xnli-1-curve-ood.svg",
    "xnli-1-ood-against-id.svg": "xnli-1-ood-against-id.svg",
    "xnli-1-languages.svg": "xnli-1-languages*.svg",
}


def blocks(manifest_path: Path) -> dict[str, str]:
    """Name of each block -> its text; also copies the figures."""
    manifest = read_manifest(manifest_path)
    results = load_results(manifest, manifest_path.parent / "results")
    panels = build_panels(results)
    first, last = manifest.entries[0].id, max(manifest.entries, key=lambda entry: entry.size or 0).id
    with tempfile.TemporaryDirectory() as folder:
        write_report(panels, results, Path(folder))
        (DOCS / "figures").mkdir(exist_ok=True)
        for name, plot in FIGURES.items():
            shutil.copy(min((Path(folder) / "plots").glob(plot)), DOCS / "figures" / name)
    xnli = [panel for panel in panels if panel.target == "xnli"]
    return {
        "board": render(make_board(panels, results)),
        "families": render(make_board(xnli, results, by="script")),
        "compare": f"$ xscale compare {first} {last} --target xnli --flips 3\n"
        + render_comparison(compare(xnli, results, first, last), flips=3),
    }


def main() -> None:
    """Write the document."""
    if len(sys.argv) != 2:
        sys.exit(str(__doc__))
    made = blocks(Path(sys.argv[1]))
    path = DOCS / "leaderboard.md"

    def fill(found: re.Match[str]) -> str:
        return f"<!-- measured: {found[1]} -->\n```text\n{made[found[1]].rstrip()}\n```\n<!-- end -->"

    text = path.read_text(encoding="utf-8")
    path.write_text(
        re.sub(r"<!-- measured: (\w+) -->\n.*?<!-- end -->", fill, text, flags=re.DOTALL), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
