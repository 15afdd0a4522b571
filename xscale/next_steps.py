"""What one can do now, given what lies in the folder: printed by `xscale` without a command."""

from __future__ import annotations

from collections import Counter
from importlib.metadata import version

from xscale.errors import UserError
from xscale.manifest import read_manifest_or_empty
from xscale.workspace import Workspace


def next_steps(workspace: Workspace) -> list[str]:
    """A line on where things stand, then three commands with what each does."""
    from xscale.status import jobs

    try:
        entries = read_manifest_or_empty(workspace.manifest).entries
    except UserError as error:
        return [f"the manifest cannot be read: {error}", "  xscale check     says what is wrong"]
    evaluated = [entry for entry in entries if (workspace.results / entry.id).is_dir()]
    found = jobs(workspace)
    left = [job for job in found if job.state != "done"]
    running = any(job.state == "running" for job in found)
    if left:
        experiment = left[0].experiment
        counts = Counter(job.state for job in found)
        where = f"{experiment}: {counts['done']} of {len(found)} steps are done" + (
            ", one is running" if running else ""
        )
        goes_on = "takes part in what is left" if running else "goes on from there"
        steps = [
            (f"xscale run {experiment}", goes_on),
            ("xscale status", "how far it is, what failed, how long it will take"),
            ("xscale board", "the leaderboard of what is evaluated so far"),
        ]
    elif evaluated:
        where = f"{len(entries)} checkpoints in {workspace.manifest}, {len(evaluated)} with results"
        steps = [
            ("xscale board", "the answer and the leaderboard"),
            ("xscale report", "one page with curves, tables and examples"),
            ("xscale add --help", "put a checkpoint of yours, or anyone's, on it"),
        ]
    elif entries:
        where = f"{len(entries)} checkpoints in {workspace.manifest}, none evaluated yet"
        steps = [
            ("xscale eval", "evaluates all of them (--data bundled needs no network)"),
            ("xscale ls", "lists them"),
            ("xscale add --help", "adds another"),
        ]
    else:
        where = "nothing here yet"
        steps = [
            ("xscale run", "trains and shows a small ladder"),
            ("xscale add --help", "puts your checkpoints on a board"),
            ("lm_eval --tasks xnli_ood,xcopa_ood", "just the tasks, with any model"),
        ]
    width = max(len(command) for command, _ in steps) + 2
    return [
        f"xscale {version('xscale')}: {where}",
        *(f"  {command:<{width}}{what}" for command, what in steps),
        "all commands: xscale --help",
    ]
