"""What reaches a person's terminal: nothing that acts on it, and nothing that it cannot show."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
import unicodedata
from types import FrameType
from typing import NoReturn

_ACTING = (
    "Cc",
    "Cf",
    "Cs",
    "Co",
    "Zl",
    "Zp",
)  # control, direction, halves of characters, private use, line ends


def safe_text(text: object, keep: str = "") -> str:
    """Text whose control and direction characters are written as escapes, but for those in `keep`."""
    return "".join(
        f"\\u{ord(letter):04x}" if unicodedata.category(letter) in _ACTING and letter not in keep else letter
        for letter in str(text)
    )


def tell(text: object, end: str = "\n") -> None:
    """Print to standard output; lines and tabs stay, nothing else acts on the terminal."""
    sys.stdout.write(safe_text(text, "\n\t") + end)


def wrapped(text: object, width: int = 80) -> str:
    """The text in lines of at most `width` columns, the further ones set in; words stay whole."""
    lines = textwrap.wrap(
        safe_text(text), width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(lines)


def one_line(text: object) -> str:
    """As `safe_text`, in one line: line ends and runs of spaces become one space."""
    return safe_text(" ".join(str(text).split()))


def usable_streams() -> None:
    """Standard output and error that take every character, escaped where their encoding has none, also where they are closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def stop_on_sigterm() -> None:
    """End like Ctrl-C, with files whole and locks free, when the system or a scheduler asks to."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, stop)


def stop_on_ctrl_c() -> None:
    """Ctrl-C ends the run with files whole and locks free. Another one meanwhile changes nothing of that; the third ends at
    once. Where Ctrl-C is not meant for this process (a shell's background job), it stays so."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return
    asked = 0

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise KeyboardInterrupt
        if asked > 2:
            os._exit(128 + number)
        os.write(2, b"stopping; once more ends at once, without tidying up\n")

    signal.signal(signal.SIGINT, stop)
