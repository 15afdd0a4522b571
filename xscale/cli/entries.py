"""The commands that change which entries a manifest has: `rm`, `rename`, `merge` and `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xscale.cli.leaderboard import DEFAULT_MANIFEST, ManifestOption
from xscale.terminal import tell

IdsArgument = Annotated[list[str], typer.Argument(help="manifest entries", metavar="ID")]
WeightsOption = Annotated[bool, typer.Option("--weights", help="checkpoint folders too")]


def rm(ids: IdsArgument, manifest: ManifestOption = DEFAULT_MANIFEST) -> None:
    """Take entries out of the manifest. Their files stay: results go to results/.set-aside/."""
    from xscale.entries import remove_entries
    from xscale.workspace import Workspace

    for line in remove_entries(Workspace(manifest), ids):
        tell(line)
    tell(f"removed {len(set(ids))} from {manifest}")


def rename(
    old: Annotated[str, typer.Argument(help="the entry's id", metavar="OLD")],
    new: Annotated[str, typer.Argument(help="its new id", metavar="NEW")],
    manifest: ManifestOption = DEFAULT_MANIFEST,
) -> None:
    """Give an entry another id, its results and the entries that it is the baseline of included."""
    from xscale.entries import rename_entry
    from xscale.workspace import Workspace

    rename_entry(Workspace(manifest), old, new)
    tell(f"{old} is now {new}")


def merge(
    other: Annotated[
        Path,
        typer.Argument(
            help="another workspace: its folder, its manifest, or an archive of `xscale export`",
            metavar="OTHER",
        ),
    ],
    weights: WeightsOption = False,
    manifest: ManifestOption = DEFAULT_MANIFEST,
) -> None:
    """Join another workspace's entries and results to this one; what is here is never overwritten."""
    from xscale.errors import UserError
    from xscale.sharing import merge as merge_workspace
    from xscale.workspace import Workspace

    merged = merge_workspace(Workspace(manifest), other, weights=weights)
    for line in merged.conflicts:
        tell(f"conflict: {line}")
    tell(
        f"{len(merged.added)} entries came with results, {len(merged.without_results)} without, "
        f"{len(merged.unchanged)} were here already"
    )
    if merged.conflicts:
        raise UserError(f"{len(merged.conflicts)} conflicts, listed above; the rest was joined")


def export(
    ids: Annotated[
        list[str] | None,
        typer.Argument(help="manifest entries; with --to all of them when left out", metavar="ID"),
    ] = None,
    file: Annotated[
        Path, typer.Option("--file", help="the archive to write, .tar.gz", metavar="FILE")
    ] = Path("export.tar.gz"),
    weights: WeightsOption = False,
    to: Annotated[
        tuple[str, Path] | None,
        typer.Option(
            "--to",
            help="write results for others to read instead, into a folder: every-eval-ever DIR",
            metavar="FORMAT DIR",
        ),
    ] = None,
    manifest: ManifestOption = DEFAULT_MANIFEST,
) -> None:
    """Write entries with their baselines and results into an archive that `xscale merge` takes, or their results in a format
    that others read.
    """
    from xscale.errors import UserError

    if to is not None and to[0] != "every-eval-ever":
        raise UserError(f"--to {to[0]}: every-eval-ever is known")
    from xscale.workspace import Workspace

    if to is not None:
        from xscale.every_eval_ever import write_records

        written = write_records(Workspace(manifest), ids or (), to[1])
        tell(
            f"{len(written)} records in {to[1]}; say in source_organization_name who you are before you submit them"
        )
        return
    from xscale.sharing import export_entries

    if not ids:
        raise UserError("export: name the entries that the archive is to have; `xscale ls` lists them")
    size = export_entries(Workspace(manifest), ids, file, weights=weights)
    tell(f"{file}: {size / 1e6:,.1f} MB; join it elsewhere with: xscale merge {file}")
