"""The command that removes units which no checkpoint links to: `gc`."""

from __future__ import annotations

from typing import Annotated

import typer

from xscale.cli.leaderboard import DEFAULT_MANIFEST, ManifestOption
from xscale.terminal import tell


def gc(
    yes: Annotated[bool, typer.Option("--yes", help="remove without asking")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="say what would be removed, and do nothing")
    ] = False,
    manifest: ManifestOption = DEFAULT_MANIFEST,
) -> None:
    """Remove units (encoders and heads) that no checkpoint links to, after naming them; refused while a run trains here. A
    training that was stopped is named, too, and would begin anew."""
    from xscale.errors import UserError
    from xscale.locks import is_taken
    from xscale.training.units import UNITS, remove_unit, unlinked_units
    from xscale.workspace import Workspace

    checkpoints = Workspace(manifest).checkpoints
    if not dry_run and any(map(is_taken, (checkpoints / UNITS).glob(".*.lock"))):
        raise UserError(
            f"{checkpoints}: a run is training here, whose parts are not linked yet; gc when it has ended"
        )
    found = unlinked_units(checkpoints)
    if not found:
        tell("every unit is linked from a checkpoint; nothing to remove")
        return
    for folder, size, words in found:
        tell(f"{size / 1e6:>10,.1f} MB  {folder.name.removeprefix('.')[:12]}  {words}")
    total = sum(size for _, size, _ in found)
    what = f"{len(found)} units, {total / 1e6:,.1f} MB"
    if dry_run:
        tell(f"{what} would be removed; nothing was done")
        return
    if not yes and not typer.confirm(f"remove {what}?", default=False):
        tell("nothing was removed")
        return
    removed = sum(remove_unit(folder) for folder, _, _ in found)
    tell(f"removed {removed} of {len(found)} units")
