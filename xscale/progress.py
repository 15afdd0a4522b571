"""Progress for people: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 10.0

console = Console(stderr=True, highlight=False)
Advance = Callable[[int], None]


@contextlib.contextmanager
def progress(description: str, total: int) -> Iterator[Advance]:
    """Show work of `total` units on standard error; yields a function that says how many more are done."""
    start = time.monotonic()
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as bars:
            task = bars.add_task(description, total=total)
            yield lambda count: bars.advance(task, count)
    else:
        done, last = 0, start

        def advance(count: int) -> None:
            nonlocal done, last
            done += count
            if time.monotonic() - last >= SECONDS_BETWEEN_LINES:
                last = time.monotonic()
                console.print(f"{description}: {done} of {total}", soft_wrap=True)

        yield advance
    console.print(f"{description}: done in {time.monotonic() - start:.0f} s", soft_wrap=True)


def say(message: str) -> None:
    """One line on standard error."""
    console.print(message, soft_wrap=True, markup=False)
