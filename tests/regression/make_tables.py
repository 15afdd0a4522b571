"""Makes the stored predictions of `test_tables.py` anew: `python tests/regression/make_tables.py`.

Needed only when the format of predictions changes. The reference is then written from them, and every
figure that differs from the old one is printed, to be looked at before it is committed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "leaderboard"))

from synthetic import LANGUAGES, correlated, entry, ladder, predictions, store

from xscale.leaderboard.reference import changed_figures
from xscale.manifest import Manifest, write_manifest

FOLDER = Path(__file__).parent / "tables"


def make_predictions() -> None:
    """Two ladders of two seeds on 90 rows in 4 languages, one checkpoint on fewer rows, one without a
    result.
    """
    rng = np.random.default_rng(2024)
    item = rng.standard_normal((90, 1))
    entries = [
        *ladder((0, 64, 512), seeds=(0, 1)),
        entry("other-rows", size=64, intermediate=["snli"], baseline="snli-0-s0", seed=3),
        entry(
            "elsewhere",
            base=None,
            model="hf",
            model_args={"pretrained": "someone/model"},
            targets={},
            seed=None,
        ),
        entry("not-evaluated"),
    ]
    for made in entries[:-1]:
        rows = 60 if made.id == "other-rows" else 90
        right = correlated(rows, len(LANGUAGES), 0.45 + (made.size or 0) / 2500, 0.5, rng, item[:rows])
        store(FOLDER / "results", made, predictions(right, identity=made.id))
    write_manifest(FOLDER / "manifest.json", Manifest(entries=entries))


def main() -> None:
    """Make predictions unless they are there, then the reference; print what changed in it."""
    from test_tables import figures

    if "--predictions" in sys.argv:
        make_predictions()
    path = FOLDER / "reference.json"
    new = figures()
    if path.exists():
        print("\n".join(changed_figures(json.loads(path.read_text()), new)) or "no figure changed")
    path.write_text(json.dumps(new, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
