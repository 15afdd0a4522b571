"""The results that a manifest's entries have, as the commands and the functions of `xscale.api` read them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness_tasks.subsets.user import read_subsets, subset_files
from xscale.leaderboard.panels import Panel, Result, build_panels, load_results
from xscale.manifest import chosen, read_manifest
from xscale.workspace import Workspace


def load(
    manifest: Path,
    ids: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    languages: Sequence[str] | None = None,
) -> tuple[list[Panel], list[Result]]:
    """Panels of these targets and languages (all when empty), and the results of all entries of the manifest.

    Raises `UserError` for one of `ids` that is not there, and for a defective file of subsets: the table itself would
    only go without its subsets.
    """
    loaded = read_manifest(manifest)
    chosen(loaded.entries, ids, manifest)
    for file in subset_files():
        read_subsets(file)
    results = load_results(loaded, Workspace(manifest).results)
    return build_panels(results, targets=targets or None, languages=languages or None), results
