"""The functions that are meant for use: what the commands do, with data in place of printed text.

    from xscale import run, board

All work on a manifest (`checkpoints_manifest.json` of the folder you are in unless said otherwise; checkpoints and results lie
beside it), do only what is missing, and raise `UserError`, with one line for a person, where a command would end with exit
code 2. Progress goes to standard error. `import xscale` loads no model library; each function loads what it needs.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from xscale.errors import UserError

if TYPE_CHECKING:
    from xscale.evaluation.predictions import Predictions

MANIFEST = Path("checkpoints_manifest.json")
DRAWS = 10_000
Rows = list[dict[str, Any]]


def run(
    experiment: str | Path = "first-run",
    *,
    data: str | None = None,
    arms: Sequence[str] = (),
    sizes: Sequence[int] = (),
    manifest: str | Path = MANIFEST,
) -> Rows:
    """Train, register and evaluate an experiment, and return its rows of the board, one a checkpoint and target.

    Args:
        experiment: a file, or the name of an experiment that comes with xscale.
        data: `hub`, `bundled` or a mirror folder, in place of the experiment's own.
        arms: only these, with their baselines; all when empty.
        sizes: only these numbers of intermediate-task examples, with the baselines.
        manifest: where the checkpoints are registered.

    Returns:
        Rows as those of `board`, with p-values corrected over the experiment's question and nothing else.

    Raises:
        UserError: the experiment or its data is not as it should be, before anything is trained.
        JobsFailed: some checkpoints could not be trained or evaluated (a `UserError`; all others are done).
    """
    from xscale import pipeline
    from xscale.experiment import find_experiment, plan, read_experiment
    from xscale.questions import asked_by
    from xscale.workspace import Workspace

    work, path = Workspace(Path(manifest)), find_experiment(str(experiment))
    loaded = read_experiment(path)
    words = ["xscale", "run", str(experiment), *(["--data", data] if data else [])]
    words += [word for name in arms for word in ("--arm", name)]
    words += [word for size in sizes for word in ("--size", str(size))]
    words += [] if work.manifest == MANIFEST else ["--manifest", str(manifest)]
    entries = pipeline.run(loaded, data, work, arms=arms, sizes=sizes, command=shlex.join(words))
    family = [recipe.id for recipe in plan(loaded, pipeline.experiment_source(loaded, data))]
    return _board_rows(
        work.manifest,
        ids=[entry.id for entry in entries],
        family=family,
        question=asked_by(loaded.question),
        seeds="each",
    )


def evaluate(
    ids: Sequence[str] = (),
    *,
    data: str | None = None,
    languages: Sequence[str] = (),
    limit: int | None = None,
    trust_remote_code: bool = False,
    manifest: str | Path = MANIFEST,
) -> list[str]:
    """Evaluate entries of the manifest through lm_eval; answers that still count are kept.

    Args:
        ids: which entries; all when empty.
        data: `hub`, `bundled` or a mirror folder; what XSCALE_DATA says, else the hub, when None.
        languages: codes, such as `["de", "sw"]`; the official ones of every target when empty.
        limit: documents a language, for a quick look; a later call without it computes only the rest.
        trust_remote_code: let entries that ask for it run code that comes with the checkpoint.
        manifest: where the entries are.

    Returns:
        The ids that were evaluated now; [] where all that is asked for was there.

    Raises:
        UserError: an id is not in the manifest, or a language or the data source is not there.
        JobsFailed: some entries could not be evaluated (a `UserError`; all others are done).
    """
    from harness_tasks.sources import resolve_source
    from xscale import pipeline
    from xscale.manifest import chosen, read_manifest
    from xscale.workspace import Workspace

    work = Workspace(Path(manifest))
    entries = chosen(read_manifest(work.manifest).entries, ids, work.manifest)
    source = resolve_source(data)
    tuned_on = {target for entry in entries for target in entry.targets}
    selection = pipeline.default_selection(source, languages, tuned_on)
    if limit is not None:
        if limit < 1:
            raise UserError(f"limit: {limit}: at least one document a language is needed")
        selection = {target: (codes, limit) for target, (codes, _) in selection.items()}
    return pipeline.evaluate(entries, selection, source, work, trust_remote_code=trust_remote_code)


def add(
    id: str,
    model: str,
    pretrained: str | Path,
    *,
    model_args: str = "",
    base: str | None = None,
    intermediate: Sequence[str] = (),
    size: int | None = None,
    seed: int | None = None,
    baseline: str | None = None,
    note: str | None = None,
    manifest: str | Path = MANIFEST,
) -> dict[str, Any]:
    """Add a checkpoint, yours or anyone's, to the manifest (which is made where there is none).

    Args:
        id: its name in tables and of its folder of results: letters, digits, `.`, `_`, `-`.
        model: lm_eval's model type; `xscale` for an encoder, `hf` for a language model.
        pretrained: its folder, or `owner/name` on the hub, which is pinned to its commit.
        model_args: further arguments of the model type, as lm_eval writes them: `dtype=float32,revision=main`.
        base: the public model that it started from.
        intermediate: the intermediate tasks, by name.
        size: number of intermediate-task examples; 0 for a baseline.
        seed: of its training.
        baseline: the id of the entry of size 0 that deltas are taken from.
        note: a remark that tables show.
        manifest: where it is added.

    Returns:
        The entry, as it stands in the manifest.

    Raises:
        UserError: the id is taken, or the checkpoint is not there or could never be evaluated.
    """
    from xscale.capabilities import verified
    from xscale.manifest import add_entries, make_entry

    path = Path(manifest)
    entry = make_entry(
        path,
        model=model,
        model_args=",".join(part for part in (f"pretrained={pretrained}", model_args) if part),
        id=id,
        base=base,
        intermediate=list(intermediate),
        size=size,
        seed=seed,
        baseline=baseline,
        note=note,
    )
    entry = verified(entry, path, ())
    add_entries(path, [entry])
    return entry.model_dump(mode="json", exclude_none=True)


def board(
    ids: Sequence[str] = (),
    *,
    targets: Sequence[str] = (),
    languages: Sequence[str] = (),
    subsets: Sequence[str] = (),
    by: Literal["language", "script", "family", "seen", "source"] | None = None,
    seeds: Literal["each", "mean"] = "each",
    draws: int = DRAWS,
    manifest: str | Path = MANIFEST,
) -> Rows:
    """The leaderboard as rows, one a checkpoint and target: what `xscale board --format csv` writes.

    All figures are shares, not percent: 0.512 is 51.2%, a delta of 0.02 is two points. `_low` and `_high` are the 95% interval.

    | key | what it is |
    | --- | --- |
    | `id`, `target`, `base`, `arm`, `size`, `seeds`, … | the checkpoint |
    | `table` | rows of one `target` and `table` answered the same documents; others are never compared |
    | `acc`, `acc_id`, `acc_ood`, `acc_<subset>` | accuracy; with `_rows`, `_clusters`, `_commonest_label` |
    | `gap` | ID less OOD |
    | `delta_ood`, `delta_<asked>` | accuracy less the baseline's; `_p`, `_p_holm` (of the question); None: see `_reason` |
    | `rank_best`, `rank_worst` | first and last rank that it can have |
    | `acc@<group>` | the breakdown that `by` asks for |
    | `status`, `why` | "ok", or why an entry has no result |

    Args:
        ids: only these entries; all when empty.
        targets: only these.
        languages: count only these; deltas then have no corrected p-value.
        subsets: further ones beside all rows, ID and OOD.
        by: a breakdown of the accuracy.
        seeds: "mean" merges checkpoints that differ in their seed only.
        draws: of the bootstrap behind the intervals.
        manifest: where the entries are; their results lie in `results/` beside it.

    Returns:
        A list of dicts, ready for `pandas.DataFrame` or `csv.DictWriter`; a key that a row does not have is absent.

    Raises:
        UserError: an id, target, language, subset or breakdown does not exist. Missing or damaged results raise nothing: their
            rows have `status` and `why`.
    """
    return _board_rows(
        Path(manifest),
        ids=ids,
        targets=targets,
        languages=languages,
        subsets=subsets,
        by=by,
        seeds=seeds,
        draws=draws,
    )


def answer(*, draws: int = DRAWS, manifest: str | Path = MANIFEST) -> list[str]:
    """What the results say about the experiments' question (OOD accuracy against N, unless they ask another), in words, a
    paragraph a target: what stands above the board.

    Args:
        draws: of the bootstrap behind the intervals.
        manifest: where the entries are.

    Returns:
        A paragraph for each target that has a baseline and something trained on more; [] where there is none.

    Raises:
        UserError: the manifest cannot be read.
    """
    from xscale.leaderboard.answer import answers, words
    from xscale.leaderboard.bootstrap import Bootstrap
    from xscale.leaderboard.family import family
    from xscale.loading import load
    from xscale.questions import question_of

    panels, results = load(Path(manifest))
    drawn = [Bootstrap(panel, draws) for panel in panels]
    asked, _ = question_of(Path(manifest), [result.entry.id for result in results])
    return words(answers(drawn, asked, family(drawn, asked)))


def compare(
    first: str,
    second: str,
    *,
    targets: Sequence[str] = (),
    languages: Sequence[str] = (),
    by: Literal["language", "script", "family", "seen", "source"] = "language",
    draws: int = DRAWS,
    manifest: str | Path = MANIFEST,
) -> Rows:
    """Two entries on the rows that both answered: second less first, what `xscale compare --format json` writes.

    Args:
        first: the id of an entry.
        second: the id of the entry that it is compared with.
        targets: only these.
        languages: count only these.
        by: the breakdown in `groups`.
        draws: of the bootstrap behind the intervals.
        manifest: where the entries are.

    Returns:
        A dict for each target: `subsets` and `groups` are lists of lines with `first`, `second` and `delta` (`value`, `low`,
        `high`, `p`, `p_holm`), shares; `flips` are the rows of the test split that changed, with the languages `gained` and
        `lost`.

    Raises:
        UserError: an id is unknown or has no result, or the two have no rows of the same data in common.
    """
    from dataclasses import asdict

    from xscale.leaderboard.compare import compare as compare_entries
    from xscale.leaderboard.table import plain
    from xscale.loading import load

    panels, results = load(Path(manifest), None, targets, languages)
    found = compare_entries(panels, results, first, second, by=by, draws=draws)
    return [plain(asdict(item)) for item in found]


def report(
    out: str | Path = "report",
    *,
    targets: Sequence[str] = (),
    languages: Sequence[str] = (),
    draws: int = DRAWS,
    examples: bool = True,
    manifest: str | Path = MANIFEST,
) -> Path:
    """Write the report, one HTML page that needs no network, with its plots and tables beside it.

    Args:
        out: the folder.
        targets: show only these; the question's tests count all.
        languages: count only these; deltas then have no corrected p-value.
        draws: of the bootstrap behind the intervals.
        examples: show texts of rows that flipped; False leaves them out.
        manifest: where the entries are.

    Returns:
        The path of the page.

    Raises:
        UserError: a target or language has no result, or matplotlib or jinja2 is not installed (`pip install "xscale[report]"`).
    """
    from xscale.leaderboard.report import write_report
    from xscale.loading import load
    from xscale.questions import question_of

    panels, results = load(Path(manifest), languages=languages)
    there = sorted({panel.target for panel in panels})
    for name in targets:
        if name not in there:
            raise UserError(f"no result has the target {name!r}; there are: {', '.join(there) or 'none'}")
    asked, _ = question_of(Path(manifest), [result.entry.id for result in results])
    return write_report(
        panels,
        results,
        Path(out),
        draws=draws,
        examples=examples,
        question=asked,
        targets=targets,
        explore=bool(languages),
    )


def read_predictions(id: str, *, manifest: str | Path = MANIFEST) -> list[Predictions]:
    """What a checkpoint answered, document by document: all that every figure is computed from.

    Args:
        id: an entry of the manifest.
        manifest: where it is.

    Returns:
        One for each file of predictions (other data, or other documents of the same data, have files of their own), those begun
        last first. `.table` is a `pyarrow.Table` (`.to_pylist()`, `.to_pandas()`): target, task, language, `row` of the official
        test split, `label` and `prediction` (numbers of choices), `logprobs` (natural logarithm, one a choice), `cluster`,
        `numerator`, `denominator`; `second` where a target has a second ratio (its numerator and denominator). `.info` says what
        they were computed with: data, texts' fingerprints, weights, precision, versions.

    Raises:
        UserError: the id is not in the manifest, has no predictions, or a file is damaged or was changed since it was written.
    """
    from xscale.evaluation.predictions import prediction_files
    from xscale.evaluation.predictions import read_predictions as read
    from xscale.manifest import chosen, read_manifest
    from xscale.workspace import Workspace

    work = Workspace(Path(manifest))
    chosen(read_manifest(work.manifest).entries, [id], work.manifest)
    files = prediction_files(work.results / id)
    if not files:
        raise UserError(f"{work.results / id}: no predictions; `xscale eval {id}` makes them")
    return [read(path) for path in files]


def _board_rows(
    manifest: Path,
    *,
    ids: Sequence[str] = (),
    targets: Sequence[str] = (),
    languages: Sequence[str] = (),
    subsets: Sequence[str] = (),
    by: str | None = None,
    seeds: Literal["each", "mean"],
    draws: int = DRAWS,
    family: Sequence[str] | None = None,
    question: Any = None,
) -> Rows:
    """Rows of the board; `family` are the ids that the question is about, all of the manifest's when None."""
    from xscale.leaderboard.panels import build_panels
    from xscale.leaderboard.render import records
    from xscale.leaderboard.table import Filter, make_board
    from xscale.loading import load
    from xscale.questions import question_of

    panels, results = load(manifest, ids, languages=languages)
    if question is None:
        question, _ = question_of(manifest, [result.entry.id for result in results])
    there = sorted({panel.target for panel in panels})
    for name in targets:
        if name not in there:
            raise UserError(f"no result has the target {name!r}; there are: {', '.join(there) or 'none'}")
    if family is not None:
        results = [result for result in results if result.entry.id in family]
        panels = build_panels(results)
    return records(
        make_board(
            panels,
            results,
            show=Filter(ids=tuple(ids), targets=tuple(targets)),
            subsets=("id", "ood", *subsets),
            by=by,
            seeds=seeds,
            draws=draws,
            deltas=tuple(dict.fromkeys(("ood", question.subset))),
            question=question,
            explore=bool(languages),
        )
    )
