"""Whether manifest, checkpoints and results still belong together."""

from __future__ import annotations

from pathlib import Path

from xscale.errors import UserError
from xscale.evaluation.predictions import PREDICTIONS, read_predictions
from xscale.files import sha256_of_folder
from xscale.manifest import checkpoint_folder, read_manifest
from xscale.pipeline import Workspace
from xscale.progress import say


def check_workspace(workspace: Workspace) -> list[str]:
    """One line for each defect: an absent folder, files that differ from their hash, damaged or stale predictions, and
    checkpoints or results that no entry names. Raises `UserError` when the manifest itself cannot be read.
    """
    entries = read_manifest(workspace.manifest).entries
    findings = []
    for entry in entries:
        try:
            folder = checkpoint_folder(entry, workspace.manifest)
            if folder is not None and entry.sha256:
                say(f"hashing {entry.id}")
                if sha256_of_folder(folder) != entry.sha256:
                    findings.append(
                        f"{entry.id}: files in {folder} differ from their sha256; restore or train them again"
                    )
        except UserError as error:
            findings.append(str(error))
        path = workspace.results / entry.id / PREDICTIONS
        if path.exists():
            try:
                stored = read_predictions(path).info
                if entry.sha256 and stored.get("weights") != entry.sha256:
                    findings.append(f"{entry.id}: results are of other weights; run `xscale eval {entry.id}`")
            except UserError as error:
                findings.append(str(error))
    known = {entry.id for entry in entries}
    for folder in (workspace.checkpoints, workspace.results):
        findings += [f"{path}: no entry of the manifest names it" for path in _orphans(folder, known)]
    return findings


def _orphans(folder: Path, known: set[str]) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        path for path in folder.iterdir() if not path.name.startswith(".") and path.name not in known
    )
