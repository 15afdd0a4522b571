"""Generated input for every reader, for as long as XSCALE_FUZZ_SECONDS says (`tox -e fuzz`: ten minutes), else not at all.

A failure prints the seed and leaves the content beside it, so that it can be had again: XSCALE_FUZZ_SEED=<seed>.
"""

import os
import random
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")

import readers
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

SECONDS = float(os.environ.get("XSCALE_FUZZ_SECONDS", "0"))
ROUND = 50  # examples of a reader before the next one has its turn
SLOW = 20.0  # seconds that no single content may take


@pytest.mark.skipif(not SECONDS, reason="XSCALE_FUZZ_SECONDS is not set")
def test_no_content_does_more_than_be_refused(tmp_path: Path) -> None:
    end = time.monotonic() + SECONDS
    number = int(os.environ.get("XSCALE_FUZZ_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
    tried = dict.fromkeys(readers.READERS, 0)
    while time.monotonic() < end:
        for name in readers.READERS:
            if time.monotonic() < end:
                tried[name] += _round(name, number, tmp_path)
        number += 1
    print(", ".join(f"{name}: {count}" for name, count in tried.items()))
    assert all(tried.values())


def _round(name: str, number: int, folder: Path) -> int:
    shape = readers.SHAPES[name]
    contents = st.one_of(
        readers.changed(shape), readers.changed(shape), readers.anything, st.binary(max_size=2000)
    )
    count = 0

    @seed(number)
    @settings(
        max_examples=ROUND, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(content=contents)
    def look(content: object) -> None:
        nonlocal count
        count += 1
        if name == "log" and not isinstance(content, bytes | list):
            content = [content]
        start = time.monotonic()
        try:
            readers.READERS[name](folder, content)
        except Exception as error:
            pytest.fail(
                f"XSCALE_FUZZ_SEED={number}: {name}: {type(error).__name__}: {error}; content: {content!r}"
            )
        assert time.monotonic() - start < SLOW, f"XSCALE_FUZZ_SEED={number}: {name}: {content!r}"

    look()
    return count
