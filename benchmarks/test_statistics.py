"""The statistics of a large leaderboard: 200 checkpoints on XNLI and XCOPA, 10,000 draws."""

import resource
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness_tasks.targets import get_target
from xscale.leaderboard.panels import Result, Scores, build_panels
from xscale.leaderboard.table import make_board
from xscale.manifest import Entry

CHECKPOINTS = 200
SHAPES = {"xnli": (5010, get_target("xnli").languages, 3), "xcopa": (500, get_target("xcopa").languages, 2)}


def leaderboard() -> list[Result]:
    """Results of 25 ladders of 8 sizes; 15 × 5,010 + 12 × 500 = 81,150 documents each."""
    rng = np.random.default_rng(0)
    truth = {target: rng.integers(0, choices, rows) for target, (rows, _, choices) in SHAPES.items()}
    item = {target: rng.random((rows, 1)) for target, (rows, _, _) in SHAPES.items()}
    results = []
    for ladder in range(25):
        for step, size in enumerate((0, 64, 256, 1024, 4096, 16384, 65536, 262144)):
            made = Entry(
                id=f"c{ladder}-{size}",
                model="xscale",
                model_args={},
                base="base",
                intermediate=[f"task{ladder}"],
                size=size,
                seed=0,
                baseline=f"c{ladder}-0" if size else None,
            )
            scores = {}
            for target, (rows, languages, choices) in SHAPES.items():
                right = 0.5 * item[target] + 0.5 * rng.random((rows, len(languages))) < 0.5 + 0.02 * step
                labels = np.repeat(truth[target][:, None], len(languages), axis=1).astype(np.int8)
                scores[target] = Scores(
                    languages=languages,
                    rows=np.arange(rows, dtype=np.int32),
                    labels=labels,
                    predictions=np.where(right, labels, (labels + 1) % choices).astype(np.int8),
                    source="hub",
                    anchor="a",
                    version="1",
                    limit=None,
                    fingerprints=dict.fromkeys(languages, "f"),
                )
            results.append(Result(made, "ok", scores=scores))
    return results


def halves(target: str, anchor: str) -> dict[str, np.ndarray]:
    """Subsets of the sizes that the real ones have."""
    rows = np.arange(SHAPES[target][0])
    return {"id": rows[::2], "ood": rows[1::2], "overlap": rows[::7], "hypothesis_hard": rows[::3]}


@pytest.mark.benchmark(group="statistics")
def test_board_of_200_checkpoints(benchmark: Any, goal: Callable[..., None]) -> None:
    """Intervals, paired deltas with exact p-values, Holm, ranks; goal: at most 10 seconds and 4 GiB on 2 cores."""
    results = leaderboard()

    def run() -> object:
        panels = build_panels(results, membership=halves)
        subsets = ("id", "ood", "overlap", "hypothesis_hard")
        return make_board(panels, results, subsets=subsets, deltas=("all", "id", "ood"), by="language")

    board = benchmark.pedantic(run, rounds=2, iterations=1)
    assert [len(table.rows) for table in board.tables] == [CHECKPOINTS, CHECKPOINTS]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    goal("board of 200 checkpoints, whole test sets", benchmark.stats.stats.min, at_most=10, unit=" s")
    goal("board of 200 checkpoints: peak memory", peak, at_most=4, unit=" GiB")
    benchmark.extra_info["documents"] = CHECKPOINTS * 81_150
