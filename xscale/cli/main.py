"""The commands of `xscale`. Heavy libraries are imported where they are used, so that `--help` answers at once."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from xscale.cli import data as data_commands
from xscale.cli import entries, leaderboard
from xscale.cli import units as units_commands
from xscale.cli.leaderboard import DEFAULT_MANIFEST, ManifestOption
from xscale.terminal import tell, wrapped

app = typer.Typer(
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="What does more English intermediate-task data buy in zero-shot cross-lingual accuracy, above all on "
    "out-of-distribution subsets?\n\nExample: xscale run   (trains, evaluates and shows a small ladder)",
)

_as_typer_says_it = typer.BadParameter.format_message


def _plainly(self: typer.BadParameter) -> str:
    """What is wrong with an option's value, without pydantic's words before it."""
    return str(_as_typer_says_it(self)).replace(": Value error, ", ": ", 1)


setattr(typer.BadParameter, "format_message", _plainly)  # noqa: B010

DataOption = Annotated[
    str | None,
    typer.Option(
        "--data", help="hub, bundled or a mirror folder; overrides the experiment's", metavar="SOURCE"
    ),
]
ExperimentArgument = Annotated[
    str,
    typer.Argument(
        help="an experiment file, or the name of one that comes with xscale", metavar="EXPERIMENT"
    ),
]
ArmOption = Annotated[
    list[str] | None,
    typer.Option("--arm", help="only this arm (and the baseline); may be given again", metavar="NAME"),
]
SizeOption = Annotated[
    list[int] | None,
    typer.Option("--size", min=0, metavar="N", help="only this size (and the baseline); may be given again"),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="say what would be done, and do nothing")]


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        tell(f"xscale {version('xscale')}, lm_eval {version('lm_eval')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="show tracebacks")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="show the version", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Options of every command; without one, what can be done in this folder now."""
    if context.invoked_subcommand is None:
        from xscale.next_steps import next_steps
        from xscale.workspace import Workspace

        for line in next_steps(Workspace(DEFAULT_MANIFEST)):
            tell(line)


@app.command(
    short_help="Train, evaluate and show an experiment; does what is missing",
    epilog="Example: xscale run experiments/real-small.yaml --data ../mirror",
)
def run(
    experiment: ExperimentArgument = "first-run",
    data: DataOption = None,
    executor: Annotated[
        Literal["local", "ray"], typer.Option("--executor", help="here, one job at a time, or a cluster")
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            metavar="HOST:PORT",
            help="of an existing Ray cluster; RAY_ADDRESS, or this machine, without it",
        ),
    ] = None,
    arm: ArmOption = None,
    size: SizeOption = None,
    manifest: ManifestOption = DEFAULT_MANIFEST,
    dry_run: DryRunOption = False,
) -> None:
    """Train, register and evaluate an experiment's ladder, and show the leaderboard. Does only what is missing."""
    from xscale import pipeline
    from xscale.evaluation.processes import is_first_process
    from xscale.experiment import find_experiment, read_experiment
    from xscale.experiment import plan as plan_of
    from xscale.progress import say
    from xscale.workspace import Workspace

    work = Workspace(manifest)
    loaded = read_experiment(find_experiment(experiment))
    if dry_run:
        _print_plan(pipeline.work_left(loaded, data, work, arms=arm or (), sizes=size or ()))
        return
    entries = pipeline.run(
        loaded, data, work, _executor(executor, address, loaded), arms=arm or (), sizes=size or ()
    )
    if not is_first_process():
        return  # of several processes one shows the board
    family = [recipe.id for recipe in plan_of(loaded, pipeline.experiment_source(loaded, data))]
    leaderboard.print_board(manifest, [entry.id for entry in entries], loaded.question, family)
    say(
        f"checkpoints: {work.checkpoints}/   predictions and lm_eval's results: {work.results}/   manifest: {manifest}"
    )


@app.command(
    short_help="Train an experiment's checkpoints only",
    epilog="Example: xscale train experiments/real-small.yaml --data ../mirror --dry-run",
)
def train(
    experiment: ExperimentArgument = "first-run",
    data: DataOption = None,
    arm: ArmOption = None,
    size: SizeOption = None,
    manifest: ManifestOption = DEFAULT_MANIFEST,
    dry_run: DryRunOption = False,
) -> None:
    """Train and register an experiment's checkpoints, without evaluating them."""
    from xscale import pipeline
    from xscale.experiment import find_experiment, plan, read_experiment
    from xscale.workspace import Workspace

    loaded = read_experiment(find_experiment(experiment))
    work = Workspace(manifest)
    if dry_run:
        left = pipeline.work_left(loaded, data, work, arms=arm or (), sizes=size or ())
        _print_plan([line for line in left if not line.startswith("evaluate")])
        return
    recipes = plan(loaded, pipeline.experiment_source(loaded, data), arm or (), size or ())
    pipeline.train(recipes, work, keep="heads" if loaded.keep == "heads" else "all")


@app.command(
    "eval",
    short_help="Evaluate manifest entries through lm_eval",
    epilog="Example: xscale eval my-model --data hub",
)
def evaluate(
    ids: Annotated[
        list[str] | None,
        typer.Argument(help="manifest entries; all of them when left out", metavar="ID"),
    ] = None,
    data: DataOption = None,
    experiment: Annotated[
        str | None,
        typer.Option(
            "--experiment",
            metavar="EXPERIMENT",
            help="evaluate the rows and languages that this experiment asks for",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", min=1, help="documents a language (for a quick look)"),
    ] = None,
    trust_remote_code: Annotated[
        bool,
        typer.Option(
            "--trust-remote-code", help="let entries with trust_remote_code run the code that comes with them"
        ),
    ] = False,
    languages: Annotated[
        str | None,
        typer.Option(
            "--languages",
            metavar="CODES",
            help="just these, by code: ko,hr (of every target that has them); official or further ones",
        ),
    ] = None,
    shared_trunk: Annotated[
        bool,
        typer.Option(
            "--shared-trunk/--no-shared-trunk",
            help="compute lower layers that checkpoints have in common once for all of them",
        ),
    ] = True,
    manifest: ManifestOption = DEFAULT_MANIFEST,
    dry_run: DryRunOption = False,
    targets_file: leaderboard.TargetsFileOption = None,
) -> None:
    """Evaluate manifest entries through lm_eval on every official language; stored results that still count are kept."""
    from harness_tasks.sources import resolve_source
    from xscale import pipeline
    from xscale.errors import UserError
    from xscale.evaluation.processes import is_first_process
    from xscale.experiment import find_experiment, read_experiment
    from xscale.manifest import chosen, read_manifest
    from xscale.workspace import Workspace, unevaluated

    entries = chosen(read_manifest(manifest).entries, ids, manifest)
    if experiment is not None:
        if languages is not None:
            raise UserError("--languages: an experiment says its languages itself; leave one of the two out")
        loaded = read_experiment(find_experiment(experiment))
        source, selection = pipeline.experiment_source(loaded, data), pipeline.selection(loaded)
    else:
        source = resolve_source(data)
        selection = pipeline.default_selection(
            source,
            [code.strip() for code in (languages or "").split(",") if code.strip()],
            {target for entry in entries for target in entry.targets},
        )
    if limit is not None:
        selection = {target: (languages, limit) for target, (languages, _) in selection.items()}
    work = Workspace(manifest)
    if dry_run:
        _print_plan([f"evaluate {entry.id}" for entry in unevaluated(entries, selection, source, work)])
        return
    pipeline.evaluate(
        entries, selection, source, work, trust_remote_code=trust_remote_code, shared_trunk=shared_trunk
    )
    if not is_first_process():
        return  # of several processes one shows the board
    leaderboard.print_board(manifest, [entry.id for entry in entries])


@app.command(
    short_help="Add a checkpoint, yours or anyone's",
    epilog="Example: xscale add --id my-lm --model hf --model-args pretrained=./my-lm",
)
def add(
    model: Annotated[
        str | None,
        typer.Option(
            "--model", metavar="TYPE", help="lm_eval model type: xscale (encoder checkpoint), hf, ..."
        ),
    ] = None,
    model_args: Annotated[
        str, typer.Option("--model-args", metavar="ARGS", help="as lm_eval's --model_args: name=value,...")
    ] = "",
    id: Annotated[
        str | None,
        typer.Option("--id", metavar="ID", help="unique name; made from `pretrained` when left out"),
    ] = None,
    base: Annotated[
        str | None, typer.Option("--base", metavar="MODEL", help="the public model it started from")
    ] = None,
    intermediate: Annotated[
        list[str] | None, typer.Option("--intermediate", metavar="NAME", help="intermediate task")
    ] = None,
    size: Annotated[
        int | None, typer.Option("--size", min=0, metavar="N", help="intermediate-task examples")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", min=0, help="training seed")] = None,
    baseline: Annotated[
        str | None, typer.Option("--baseline", metavar="ID", help="id of its size-0 entry")
    ] = None,
    note: Annotated[
        str | None, typer.Option("--note", metavar="TEXT", help="a remark that tables show")
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            help="what it is evaluated on, with the sets it was fine-tuned on if known: xnli=mnli+snli; "
            "found in the folder when left out",
            metavar="TARGET[=SETS]",
        ),
    ] = None,
    num_fewshot: Annotated[
        int,
        typer.Option(
            "--num-fewshot",
            metavar="N",
            min=0,
            max=100,
            help="examples before each document (language models)",
        ),
    ] = 0,
    apply_chat_template: Annotated[
        bool, typer.Option("--apply-chat-template", help="ask through the model's chat template")
    ] = False,
    many: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="many at once: a .csv, folders as runs/{arm}-{size}-seed{seed}, or revisions as owner/name@step{size}",
            metavar="LIST",
        ),
    ] = None,
    manifest: ManifestOption = DEFAULT_MANIFEST,
    dry_run: DryRunOption = False,
) -> None:
    """Add a checkpoint, yours or anyone's, to the manifest; `xscale eval` then puts it on the leaderboard."""
    from xscale.capabilities import verified
    from xscale.entries import entries_from
    from xscale.errors import UserError
    from xscale.manifest import add_entries, make_entry, with_evaluation

    fields: dict[str, Any] = {
        "model": model,
        "model_args": model_args,
        "id": id,
        "base": base,
        "intermediate": intermediate or [],
        "size": size,
        "seed": seed,
        "baseline": baseline,
        "note": note,
    }
    if many is not None:
        if id is not None:
            raise UserError("--id: with --from each entry has its own; leave it out")
        entries = entries_from(manifest, many, fields)
    elif model is None:
        raise UserError(
            "--model: say how lm_eval loads it: xscale for an encoder, hf for a language model, ..."
        )
    else:
        entries = [make_entry(manifest, **fields)]
    if num_fewshot or apply_chat_template:
        options = {"num_fewshot": num_fewshot, "apply_chat_template": apply_chat_template}
        entries = [with_evaluation(entry, options) for entry in entries]
    entries = [verified(entry, manifest, target or ()) for entry in entries]
    if dry_run:
        for entry in entries:
            tell(entry.model_dump_json(indent=2, exclude_none=True))
        return
    add_entries(manifest, entries)
    for line in _added(entries, manifest):
        tell(line)


def _added(entries: list[Any], manifest: Path) -> list[str]:
    """What was recorded of new entries, and the command that evaluates them with the data that the others were."""
    from xscale.workspace import Workspace, data_in_use

    lines = []
    for entry in entries if len(entries) < 4 else ():
        known = [f"base {entry.base}" if entry.base else "base not known"]
        known += [f"targets {', '.join(entry.targets)}"] if entry.targets else []
        lines.append(f"{entry.id}: {'; '.join(known)}")
    words = ["xscale", "eval", *([entry.id for entry in entries] if len(entries) < 4 else [])]
    words += [] if manifest == DEFAULT_MANIFEST else ["--manifest", str(manifest)]
    source = data_in_use(Workspace(manifest))
    words += [] if os.environ.get("XSCALE_DATA") or source in (None, "hub") else ["--data", str(source)]
    unknown = source is None and not os.environ.get("XSCALE_DATA")
    hint = " (from the hub; --data bundled needs no network)" if unknown else ""
    return [*lines, f"added {len(entries)} to {manifest}; now: {shlex.join(words)}{hint}"]


@app.command(
    "ls", short_help="List the manifest's entries, or languages", epilog="Example: xscale ls languages"
)
def list_entries(
    what: Annotated[
        Literal["entries", "languages"],
        typer.Argument(help="languages: those of the targets, with set, rows and licence"),
    ] = "entries",
    target: leaderboard.TargetOption = None,
    data: DataOption = None,
    wide: Annotated[bool, typer.Option("--wide", help="of languages everything, however wide")] = False,
    manifest: ManifestOption = DEFAULT_MANIFEST,
    targets_file: leaderboard.TargetsFileOption = None,
) -> None:
    """List the manifest's entries and whether each has results, or the languages of the targets."""
    from xscale.leaderboard.render import fitted, grid, visible

    if what == "languages":
        from tabulate import tabulate

        from xscale.cli.languages import language_lines, narrow

        heads, lines, source = language_lines(target, data)
        more = "unconfirmed: what nobody could look up"
        if wide:
            tell(tabulate(lines, headers=heads, disable_numparse=True))
        else:
            names, rows = narrow(heads, lines)
            right = ("CC-100", "open")
            tell(grid(names, rows, [], "simple", ["right" if n in right else "left" for n in names]))
            more = "CC-100: GiB of it; open: how many things nobody could look up; more: --wide"
        tell(f"{len(lines)} languages; source: {source}\n{more}")
        return
    from xscale.evaluation.stored import results_words
    from xscale.manifest import read_manifest
    from xscale.workspace import RESULTS

    lines = [
        [
            visible(entry.id),
            entry.model,
            visible("+".join(entry.intermediate) or "-"),
            "-" if entry.size is None else f"{entry.size:,}",
            "-" if entry.seed is None else str(entry.seed),
            (found := results_words(manifest.parent / RESULTS / entry.id, entry)).partition(":")[0],
            found,
        ]
        for entry in read_manifest(manifest).entries
    ]
    parts = [f"{row[0]}: {visible(row[-1])}" for row in lines if row[-1] != row[-2]]
    rows = [row[:-1] for row in lines]
    names = ["id", "model", "intermediate", "size", "seed", "results"]
    names, rows = fitted(names, rows, spare=("intermediate", "model", "seed"))
    align = ["right" if name in ("size", "seed") else "left" for name in names]
    tell(grid(names, rows, [], "simple", align))
    for line in parts:
        tell(line)


@app.command(short_help="Check manifest, checkpoints and results", epilog="Example: xscale check --deep")
def check(
    manifest: ManifestOption = DEFAULT_MANIFEST,
    fix: Annotated[
        bool,
        typer.Option(
            "--fix",
            help="remove what stopped runs left, set damaged and stale results aside (nothing is lost)",
        ),
    ] = False,
    deep: Annotated[
        bool, typer.Option("--deep", help="also evaluate a random 1% of each result's rows again")
    ] = False,
) -> None:
    """Check manifest, checkpoints and results: hashes, keys, predictions against data and metrics, orphans. Exit code 2
    when something is wrong.
    """
    from xscale.check import check_workspace
    from xscale.workspace import Workspace

    findings = check_workspace(Workspace(manifest), fix=fix, deep=deep)
    for finding in findings:
        tell(finding)
    if findings:
        raise typer.Exit(2)
    tell(f"{manifest}: all is well")


@app.command(
    short_help="Upload a checkpoint to the Hugging Face hub",
    epilog="Example: xscale push --dry-run first-run-nli-4096-seed1 my-name/my-nli",
)
def push(
    id: Annotated[str, typer.Argument(help="a checkpoint of ours, as `xscale ls` lists it")],
    repository: Annotated[str, typer.Argument(help="hub repository, <owner>/<name>", metavar="REPOSITORY")],
    private: Annotated[bool, typer.Option("--private", help="make the repository private")] = False,
    manifest: ManifestOption = DEFAULT_MANIFEST,
    dry_run: DryRunOption = False,
) -> None:
    """Upload a checkpoint with its model card and results to the Hugging Face hub."""
    from xscale.published import published_results
    from xscale.training.push import files_to_push
    from xscale.training.push import push as push_folder
    from xscale.workspace import Workspace

    work = Workspace(manifest)
    folder = work.checkpoints / id
    sizes = dict(files_to_push(folder))
    more = published_results(work, id)
    if dry_run:
        sizes |= {name: len(text.encode()) for name, text in more.items()}
        for name, size in sorted(sizes.items()):
            tell(f"{size:>12,}  {name}")
        tell(
            f"{len(sizes)} files, {sum(sizes.values()) / 1e6:,.1f} MB would go to https://huggingface.co/{repository}; "
            "nothing was uploaded"
        )
        return
    tell(push_folder(folder, repository, private, more))


@app.command(
    short_help="What a run would do, or cost",
    epilog="Example: xscale plan experiments/sweep.yaml --cost --power",
)
def plan(
    experiment: ExperimentArgument = "first-run",
    data: DataOption = None,
    cost: Annotated[
        bool, typer.Option("--cost", help="hours and disk, from what was measured here or is given")
    ] = False,
    power: Annotated[
        bool, typer.Option("--power", help="the least change that the experiment could find")
    ] = False,
    examples_per_second: Annotated[
        float | None,
        typer.Option("--examples-per-second", metavar="N", help="of one training job", min=0.001),
    ] = None,
    documents_per_second: Annotated[
        float | None,
        typer.Option("--documents-per-second", metavar="N", help="of one evaluation job", min=0.001),
    ] = None,
    checkpoint_gib: Annotated[
        float | None, typer.Option("--checkpoint-gib", metavar="GIB", help="disk of one checkpoint", min=0)
    ] = None,
    at_once: Annotated[
        int, typer.Option("--at-once", metavar="N", help="jobs that run side by side", min=1)
    ] = 1,
    arm: ArmOption = None,
    size: SizeOption = None,
    manifest: ManifestOption = DEFAULT_MANIFEST,
) -> None:
    """List what a run would do, or with --cost what it takes, with --power what it could find; does nothing."""
    from dataclasses import replace

    from xscale import pipeline
    from xscale.costs import cost_lines, measured
    from xscale.experiment import find_experiment, read_experiment
    from xscale.experiment import plan as plan_of
    from xscale.workspace import Workspace

    loaded = read_experiment(find_experiment(experiment))
    work = Workspace(manifest)
    if power:
        from xscale.cli.power import power as what_it_could_find

        for line in what_it_could_find(loaded, data, manifest):
            tell(line)
    if not cost:
        if power:
            return
        _print_plan(pipeline.work_left(loaded, data, work, arms=arm or (), sizes=size or ()))
        return
    known = measured(work, loaded.base)
    given = {"examples": examples_per_second, "documents": documents_per_second}
    given["checkpoint_bytes"] = None if checkpoint_gib is None else checkpoint_gib * 2**30
    changes = {name: value for name, value in given.items() if value is not None}
    if changes:
        known = replace(known, **changes, origin="given" if len(changes) > 1 else f"{known.origin}, or given")
    source = pipeline.experiment_source(loaded, data)
    recipes = plan_of(loaded, source, arm or (), size or ())
    words = ["xscale", "run", experiment, *(["--data", data] if data else [])]
    words += [] if manifest == DEFAULT_MANIFEST else ["--manifest", str(manifest)]
    measure = shlex.join([*words, "--size", str(min(recipe.size for recipe in recipes))])
    for line in cost_lines(recipes, pipeline.selection(loaded), known, source, at_once, measure):
        tell(line)


@app.command(short_help="How far the runs here are", epilog="Example: xscale status")
def status(manifest: ManifestOption = DEFAULT_MANIFEST) -> None:
    """Show what is running, done, failed and left of the runs here, and about how long it will take."""
    from xscale.status import status_lines
    from xscale.workspace import Workspace

    option = "" if manifest == DEFAULT_MANIFEST else f" --manifest {manifest}"
    for line in status_lines(Workspace(manifest), option):
        tell(line)


@app.command(
    "lm-eval",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
    short_help="Plain lm_eval with our tasks and model type",
    epilog="Example: xscale lm-eval --model xscale --model_args pretrained=checkpoints/<id> --tasks xnli_ood",
)
def lm_eval(context: typer.Context) -> None:
    """Run lm_eval with all its flags, with the model type `xscale` and the tasks registered."""
    from xscale.evaluation.lm_eval_command import run_lm_eval

    run_lm_eval(context.args)


def _executor(name: str, address: str | None, experiment: Any) -> Any:
    from functools import partial

    from xscale.errors import UserError

    if name == "local" and address is None:
        return None
    if name == "local":
        raise UserError("--address: goes with --executor ray; leave it out, or add that")
    from xscale.executors.jobs import on_ray

    return partial(on_ray, resources=experiment.resources, address=address, keep=experiment.keep)


def _print_plan(lines: list[str]) -> None:
    for line in lines:
        tell(wrapped(line))
    tell(f"{len(lines)} steps; nothing was done" if lines else "nothing is left to do")


app.command(short_help="Take entries out of the manifest", epilog="Example: xscale rm my-lm")(entries.rm)
app.command(short_help="Give an entry another id", epilog="Example: xscale rename my-lm my-lm-2024")(
    entries.rename
)
app.command(
    short_help="Join another workspace's results",
    epilog="Example: xscale merge ../colleague",
)(entries.merge)
app.command(
    short_help="Pack entries into an archive",
    epilog="Example: xscale export first-run-nli-4096-seed1 --file mine.tar.gz",
)(entries.export)
app.command(
    short_help="Does the data source have everything?",
    epilog="Example: xscale doctor --data ../mirror --target xnli",
)(data_commands.doctor)
app.command(
    short_help="Make a mirror folder from the hub",
    epilog="Example: xscale fetch --experiment my.yaml --to mirror",
)(data_commands.fetch)
app.command(
    "lm-eval-path",
    short_help="The folder with the task files",
    epilog="Example: lm_eval --include_path $(xscale lm-eval-path) --tasks xnli_ood ...",
)(data_commands.lm_eval_path)
app.command(
    short_help="Remove trained parts that no checkpoint uses",
    epilog="Example: xscale gc --dry-run",
)(units_commands.gc)
app.command(
    short_help="The answer and the leaderboard",
    epilog="Example: xscale board --format github --subset negation",
)(leaderboard.board)
app.command(
    short_help="Two checkpoints side by side",
    epilog="Example: xscale compare first-run-0-seed1 first-run-nli-4096-seed1",
)(leaderboard.compare)
app.command(short_help="One HTML page with everything", epilog="Example: xscale report --out report")(
    leaderboard.report
)


def _quiet_libraries() -> None:
    """xscale shows its own progress; the libraries' bars would only interleave with it. What the user set counts."""
    if "lm-eval" not in sys.argv:
        os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def main() -> None:
    """Entry point: errors meant for a person are one line and exit code 2; Ctrl-C and SIGTERM are one line, 130 and 143."""
    from xscale.errors import UserError
    from xscale.terminal import stop_on_ctrl_c, stop_on_sigterm, usable_streams

    usable_streams()
    stop_on_sigterm()
    stop_on_ctrl_c()
    _quiet_libraries()
    try:
        app()
    except UserError as error:
        _refuse(error, str(error))
    except BrokenPipeError:
        _leave(0)
    except OSError as error:  # permissions, names too long, folders where files are meant, links in circles
        if error.filename is None and error.strerror is None:
            raise
        where = error.filename if error.filename2 is None else f"{error.filename} and {error.filename2}"
        _refuse(error, f"{where or 'a file'}: {error.strerror}; check the path and its permissions")
    except RuntimeError as error:
        if "home directory" not in str(error):  # pathlib's answer to ~nobody
            raise
        _refuse(error, "a path that begins with ~ and the name of nobody on this machine; write it out")
    except ValueError as error:
        if "embedded null" not in str(error):
            raise
        _refuse(error, "a path with a null byte, which no system has; mend it")
    except KeyboardInterrupt:  # a second one, while the first is being dealt with
        _leave(130)
    except SystemExit as stop:
        if stop.code in (130, 143):  # Ctrl-C, as typer has it; SIGTERM
            sys.stderr.write("stopped; what was finished is kept, the same command goes on from there\n")
        raise


def _refuse(error: Exception, reason: str) -> None:
    from xscale.terminal import one_line

    if "--debug" in sys.argv:
        raise error
    sys.stderr.write(f"error: {one_line(reason)}\n")
    sys.exit(2)


def _leave(code: int) -> None:
    """End without the interpreter's own complaint about a standard output that is gone."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
