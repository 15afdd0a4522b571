"""Progress for people: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from xscale.terminal import safe_text

SECONDS_BETWEEN_LINES = 10.0

console = Console(stderr=True, highlight=False)
Advance = Callable[[int], None]
listeners: list[Callable[[dict[str, Any]], None]] = []  # hear of work under way every ten seconds


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
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as bars:
            task = bars.add_task(escape(description), total=total)

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
                console.print(f"{description}: {done} of {total}", soft_wrap=True, markup=False)

        yield advance
    console.print(f"{description}: done in {time.monotonic() - start:.0f} s", soft_wrap=True, markup=False)


def say(message: str) -> None:
    """One line on standard error, of which nothing acts on the terminal."""
    console.print(safe_text(message), soft_wrap=True, markup=False)
