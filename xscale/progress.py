"""Progress for people: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from xscale.terminal import safe_text

SECONDS_BETWEEN_LINES = 10.0

console = Console(stderr=True, highlight=False)
Advance = Callable[[int], None]
listeners: list[Callable[[dict[str, Any]], None]] = []  # hear of work under way every ten seconds


_jobs: list[int] = []  # of the run under way: how many jobs are done, and how many there are


@contextlib.contextmanager
def counted_jobs(total: int) -> Iterator[None]:
    """Show beside the progress of a job, within the block, how many of `total` jobs are done (`job_done`). Within another such
    block that one counts."""
    if _jobs or not total:
        yield
        return
    _jobs[:] = [0, total]
    try:
        yield
    finally:
        _jobs.clear()


def job_done(count: int = 1) -> None:
    """So many more jobs of the run are done, here or by another run that shares the work."""
    if _jobs:
        _jobs[0] = min(_jobs[0] + count, _jobs[1])


def _numbered(description: str) -> str:
    """With which job of the run it is, where they are counted."""
    return f"[{min(_jobs[0] + 1, _jobs[1])}/{_jobs[1]}] {description}" if _jobs else description


@contextlib.contextmanager
def progress(description: str, total: int) -> Iterator[Advance]:
    """Show work of `total` units on standard error; yields a function that says how many more are done."""
    description = safe_text(description)
    start = last_event = time.monotonic()
    so_far = 0

    def tell(count: int) -> None:
        nonlocal so_far, last_event
        so_far += count
        if listeners and time.monotonic() - last_event >= SECONDS_BETWEEN_LINES:
            last_event = time.monotonic()
            for listener in listeners:
                listener({"what": description, "done": so_far, "total": total})

    if console.is_terminal:
        columns = (  # a long name is cut, not the bar and what stands beside it
            TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            TimeRemainingColumn(table_column=Column(min_width=7, no_wrap=True)),
        )
        with Progress(*columns, console=console, transient=True, expand=True) as bars:
            task = bars.add_task(escape(description), total=total)
            if _jobs:
                bars.add_task("jobs of this run", total=_jobs[1], completed=_jobs[0])

            def on_terminal(count: int) -> None:
                bars.advance(task, count)
                tell(count)

            yield on_terminal
    else:
        done, last = 0, start

        def advance(count: int) -> None:
            nonlocal done, last
            done += count
            tell(count)
            if time.monotonic() - last >= SECONDS_BETWEEN_LINES:
                last = time.monotonic()
                console.print(f"{_numbered(description)}: {done} of {total}", soft_wrap=True, markup=False)

        yield advance
    took = f"done in {time.monotonic() - start:.0f} s"
    console.print(f"{_numbered(description)}: {took}", soft_wrap=True, markup=False)


def say(message: str) -> None:
    """One line on standard error, of which nothing acts on the terminal."""
    console.print(safe_text(message), soft_wrap=True, markup=False)
