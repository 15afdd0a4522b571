"""The commands that show what is stored: `board`, `compare` and `report`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import typer

from xscale.terminal import tell

DEFAULT_MANIFEST = Path("checkpoints_manifest.json")


def manifest_in(place: Path) -> Path:
    """The manifest of a workspace that is named by its folder; another path as it is."""
    return place / DEFAULT_MANIFEST if place.is_dir() else place


ManifestOption = Annotated[
    Path,
    typer.Option(
        "--manifest",
        help="the manifest, or its folder; checkpoints/ and results/ lie beside it",
        metavar="FILE",
        callback=manifest_in,
    ),
]
TargetOption = Annotated[
    list[str] | None,
    typer.Option("--target", metavar="NAME", help="xnli, xcopa, …; all of them when left out"),
]


def _use_targets_file(path: Path | None) -> Path | None:
    from harness_tasks.targets import use_targets_file

    use_targets_file(path)
    return path


TargetsFileOption = Annotated[
    Path | None,
    typer.Option(
        "--targets-file",
        help="languages or targets of your own (docs/languages.md), beside those of XSCALE_TARGETS",
        metavar="FILE",
        callback=_use_targets_file,
        is_eager=True,
    ),
]
LanguageOption = Annotated[
    list[str] | None, typer.Option("--language", metavar="CODE", help="only these languages")
]
Breakdown = Literal["language", "script", "family", "seen", "source"]
BoardFormat = Literal["simple", "github", "latex_booktabs", "csv", "json", "html"]
Order = Literal["ladder", "acc", "id", "ood", "gap", "delta", "size", "name"]
PlainFormat = Literal["simple", "github", "json"]
DrawsOption = Annotated[
    int, typer.Option("--draws", metavar="N", min=200, help="bootstrap draws behind the intervals")
]
DRAWS = 10_000


def refuse_unknown_targets(panels: Sequence[Any], asked: Sequence[str] | None) -> None:
    """Raise `UserError` for a target that no result has."""
    from xscale.errors import UserError

    there = sorted({panel.target for panel in panels})
    for name in asked or ():
        if there and name not in there:
            raise UserError(f"no result has the target {name!r}; there are: {', '.join(there)}")


def refuse_unknown_subsets(asked: Sequence[str]) -> None:
    """Raise `UserError` for a subset that no target and no file of the user's describes, before any result is read."""
    from harness_tasks.subsets.user import read_subsets, subset_files
    from harness_tasks.targets import targets
    from xscale.errors import UserError

    known = {"all", "id", "ood"} | {subset.name for spec in targets().values() for subset in spec.subsets}
    if set(asked) <= known:
        return
    known |= {subset.name for file in subset_files() for subset in read_subsets(file)}
    for name in asked:
        if name not in known:
            raise UserError(
                f"no target has a subset {name!r}; there are: {', '.join(sorted(known))}; "
                "files with others are named by XSCALE_SUBSETS (docs/subsets.md)"
            )


def print_board(
    manifest: Path, ids: Sequence[str], question: Any = None, experiment: Sequence[str] | None = None
) -> None:
    """The board of some entries, means over seeds, and what it answers, as it stands after a run.

    `question` is the experiment's, and `experiment` the ids of all of its checkpoints: its family of tests,
    whichever of them are shown. Without them they are the log's (`question_of`) and all entries.
    """
    from xscale.leaderboard.answer import with_answer
    from xscale.leaderboard.bootstrap import Bootstrap
    from xscale.leaderboard.panels import build_panels
    from xscale.leaderboard.render import render, text_block
    from xscale.leaderboard.table import Filter, make_board
    from xscale.loading import load
    from xscale.questions import asked_by, question_of

    panels, results = load(manifest, ids)
    asked = asked_by(question) if question else question_of(manifest, [one.entry.id for one in results])[0]
    if experiment is not None:
        panels = build_panels([result for result in results if result.entry.id in experiment])
    drawn = [Bootstrap(panel) for panel in panels]
    show = Filter(ids=tuple(ids))
    shown = make_board(
        panels, results, show=show, seeds="mean", bootstraps=drawn, question=asked, deltas=(asked.subset,)
    )
    sys.stdout.write(render(shown))
    for text in with_answer(shown, drawn, asked).answer:
        sys.stdout.write("\n" + text_block(text, "simple") + "\n")


def board(
    ids: Annotated[
        list[str] | None,
        typer.Argument(
            help="a workspace's folder, then manifest entries; all of them when left out",
            metavar="FOLDER|ID",
        ),
    ] = None,
    format: Annotated[BoardFormat, typer.Option("--format", help="of the output")] = "simple",
    wide: Annotated[bool, typer.Option("--wide", help="every column, however wide")] = False,
    target: TargetOption = None,
    language: LanguageOption = None,
    subset: Annotated[
        list[str] | None, typer.Option("--subset", metavar="NAME", help="subsets beside all, ID, OOD")
    ] = None,
    delta: Annotated[
        list[str] | None,
        typer.Option(
            "--delta", metavar="NAME", help="subsets that are compared with the baseline; ood when left out"
        ),
    ] = None,
    by: Annotated[Breakdown | None, typer.Option("--by", help="breakdown by groups of languages")] = None,
    by_subset: Annotated[
        str, typer.Option("--by-subset", metavar="NAME", help="the breakdown's subset")
    ] = "all",
    base: Annotated[
        list[str] | None, typer.Option("--base", metavar="MODEL", help="only these bases")
    ] = None,
    intermediate: Annotated[
        list[str] | None, typer.Option("--intermediate", metavar="NAME", help="only these intermediate tasks")
    ] = None,
    size: Annotated[list[int] | None, typer.Option("--size", metavar="N", help="only these sizes")] = None,
    seed: Annotated[list[int] | None, typer.Option("--seed", metavar="N", help="only these seeds")] = None,
    seeds: Annotated[
        Literal["each", "mean"] | None,
        typer.Option("--seeds", help="a row for each seed, as in json and csv, or their mean, as elsewhere"),
    ] = None,
    arms: Annotated[
        bool, typer.Option("--arms", help="arms by sizes instead: what each gains, and which may be the best")
    ] = False,
    xtreme: Annotated[
        bool, typer.Option("--xtreme", help="XTREME's table instead: its tasks, categories and average")
    ] = False,
    published: Annotated[
        bool, typer.Option("--published", help="with --xtreme: published rows beside, not run here")
    ] = False,
    sort: Annotated[Order, typer.Option("--sort", help="order of the rows")] = "ladder",
    draws: DrawsOption = DRAWS,
    check: Annotated[
        Path | None,
        typer.Option(
            "--check",
            help="compare with a former `--format json`; exit code 1 when a checkpoint got significantly worse",
            metavar="REFERENCE.json",
        ),
    ] = None,
    manifest: ManifestOption = DEFAULT_MANIFEST,
    targets_file: TargetsFileOption = None,
) -> None:
    """Show the leaderboard of all evaluated manifest entries."""
    from xscale.errors import UserError

    refuse_unknown_subsets((*(subset or ()), *(delta or ()), by_subset))
    if arms and format not in get_args(PlainFormat):
        raise UserError(f"--arms --format {format}: arms are shown as {', '.join(get_args(PlainFormat))}")
    from xscale.leaderboard.answer import with_answer
    from xscale.leaderboard.bootstrap import Bootstrap
    from xscale.leaderboard.reference import check_reference, render_check
    from xscale.leaderboard.render import render
    from xscale.leaderboard.table import Filter, make_board
    from xscale.loading import load
    from xscale.questions import question_of

    # a folder only: an entry may be called as a file here is
    if ids and Path(ids[0]).is_dir() and manifest_in(Path(ids[0])).is_file():
        manifest, ids = manifest_in(Path(ids[0])), ids[1:]
    panels, results = load(manifest, ids, None, language)
    refuse_unknown_targets(panels, target)
    if check is not None:
        outcome = check_reference(panels, results, check)
        tell(render_check(outcome))
        raise typer.Exit(1 if outcome.failed else 0)
    show = Filter(
        bases=tuple(base or ()),
        intermediates=tuple(intermediate or ()),
        sizes=tuple(size or ()),
        seeds=tuple(seed or ()),
        ids=tuple(ids or ()),
        targets=tuple(target or ()),
    )
    if published and not xtreme:
        raise UserError("--published: its rows stand in XTREME's table; add --xtreme")
    others = {"--language": language, "--target": target, "--subset": subset, "--delta": delta, "--by": by}
    if xtreme and (given := [name for name, value in {**others, "--arms": arms}.items() if value]):
        raise UserError(f"--xtreme shows whole tasks, as XTREME averages them; leave {', '.join(given)} out")
    if xtreme:
        sys.stdout.write(_xtreme(results, show, format, published=published, wide=wide))
        return
    drawn = [Bootstrap(panel, draws) for panel in panels]
    asked, note = question_of(manifest, [result.entry.id for result in results])
    if arms:
        sys.stdout.write(_arms(drawn, asked, target, format, explore=bool(language)))
        return
    shown = make_board(
        panels,
        results,
        bootstraps=drawn,
        explore=bool(language),
        subsets=("id", "ood", *(subset or ())),
        deltas=tuple(delta or (asked.subset,)),
        question=asked,
        by=by,
        group_subset=by_subset,
        show=show,
        sort=sort,
        seeds=seeds or ("each" if format in ("json", "csv") else "mean"),
        draws=draws,
    )
    if not language:  # of some languages only, the question has no answer
        shown = with_answer(shown, drawn, asked)
    if note:
        shown = replace(shown, notes=[*shown.notes, note])
    sys.stdout.write(render(shown, format, wide=wide))
    if format in ("simple", "github") and not (language or target or ids):
        from xscale.leaderboard.claims import decide, render_claims

        claims = render_claims(decide(drawn), format)
        sys.stdout.write(f"\n{claims}" if claims else "")


def _xtreme(results: Sequence[Any], show: Any, format: str, *, published: bool, wide: bool) -> str:
    """XTREME's table, as text."""
    from xscale.leaderboard.xtreme import published_rows, render_xtreme, xtreme_rows

    rows = xtreme_rows(results, show)
    return render_xtreme([*rows, *(published_rows() if published else [])], format, wide=wide)


def _arms(
    drawn: Sequence[Any], question: Any, targets: Sequence[str] | None, format: str, *, explore: bool
) -> str:
    """Arms by sizes, as text."""
    from xscale.leaderboard.arms import arm_tables, render_arms
    from xscale.leaderboard.family import family

    found = arm_tables(drawn, question, {} if explore else family(drawn, question))
    return render_arms([item for item in found if not targets or item.target in targets], format)


def compare(
    first: Annotated[str, typer.Argument(help="manifest entry, or with --size an arm", metavar="ID")],
    second: Annotated[str, typer.Argument(help="what it is compared with", metavar="OTHER")],
    size: Annotated[
        int | None,
        typer.Option("--size", metavar="N", help="compare two arms, with all their seeds, at this size"),
    ] = None,
    by: Annotated[Breakdown, typer.Option("--by", help="breakdown by groups of languages")] = "language",
    subset: Annotated[str, typer.Option("--subset", metavar="NAME", help="the breakdown's subset")] = "all",
    format: Annotated[PlainFormat, typer.Option("--format", help="of the output")] = "simple",
    flips: Annotated[
        int, typer.Option("--flips", metavar="N", min=0, help="how many rows that flipped to show")
    ] = 10,
    target: TargetOption = None,
    language: LanguageOption = None,
    draws: DrawsOption = DRAWS,
    manifest: ManifestOption = DEFAULT_MANIFEST,
    targets_file: TargetsFileOption = None,
) -> None:
    """Two checkpoints on the same rows: differences by subset and language, and the rows that flipped."""
    refuse_unknown_subsets([subset])
    from xscale.leaderboard.compare import compare as compare_entries
    from xscale.leaderboard.compare import render_comparison
    from xscale.loading import load

    if size is not None:
        from xscale.leaderboard.arms import compare_arms, render_arm_comparison
        from xscale.leaderboard.bootstrap import Bootstrap
        from xscale.questions import question_of

        panels, results = load(manifest, None, None, language)
        refuse_unknown_targets(panels, target)
        asked, _ = question_of(manifest, [result.entry.id for result in results])
        drawn = [Bootstrap(panel, draws) for panel in panels]
        found = compare_arms(drawn, size, first, second, asked, explore=bool(language))
        found = [item for item in found if not target or item.target in target]
        if not found:
            from xscale.errors import UserError

            raise UserError(
                f"{first!r} and {second!r} have no results of {', '.join(target or ())} in common"
            )
        typer.echo(render_arm_comparison(found, format), nl=False)
        return
    panels, results = load(manifest, [first, second], target, language)
    comparison = compare_entries(panels, results, first, second, by=by, subset=subset, draws=draws)
    texts = _english_texts(panels, results) if flips and format != "json" else {}
    tell(render_comparison(comparison, format=format, flips=flips, texts=texts), end="")


def _english_texts(panels: Sequence[Any], results: Sequence[Any]) -> dict[str, Any]:
    """Target -> its English test rows, where the data that was evaluated is still there."""
    from xscale.leaderboard.page.examples import english_rows

    parallel = [panel for panel in panels if not panel.own_rows]  # else it is no text of a flipped row
    found = {panel.target: english_rows(panel, results)[0] for panel in reversed(parallel)}
    return {target: rows for target, rows in found.items() if rows}


def report(
    workspace: Annotated[
        Path | None,
        typer.Argument(help="the folder of the manifest; this one when left out", metavar="FOLDER"),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="folder for index.html and the plots")
    ] = Path("report"),
    target: TargetOption = None,
    language: LanguageOption = None,
    draws: DrawsOption = DRAWS,
    examples: Annotated[
        bool, typer.Option("--examples/--no-examples", help="example rows, with their texts")
    ] = True,
    manifest: ManifestOption = DEFAULT_MANIFEST,
    targets_file: TargetsFileOption = None,
) -> None:
    """Write the report: one HTML page that needs no network, and its plots as SVG and PNG."""
    for needed in ("matplotlib", "jinja2"):
        if find_spec(needed) is None:
            from xscale.errors import UserError

            raise UserError(
                f"the report needs {needed}, which is not installed; pip install 'xscale[report]'"
            )
    from xscale.leaderboard.report import write_report
    from xscale.loading import load
    from xscale.questions import question_of

    manifest = manifest if workspace is None else manifest_in(workspace)
    panels, results = load(manifest, None, None, language)
    refuse_unknown_targets(panels, target)
    command = shlex.join(["xscale", *sys.argv[1:]])
    question, _ = question_of(manifest, [result.entry.id for result in results])
    page = write_report(
        panels,
        results,
        out,
        draws=draws,
        command=command,
        examples=examples,
        question=question,
        targets=target or (),
        explore=bool(language),
    )
    tell(f"{page}: open it in a browser")
