"""Predictions with a known truth, made in memory or written as a results folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from harness_tasks.targets import targets
from xscale.evaluation.predictions import SCHEMA, Predictions, write_predictions
from xscale.leaderboard.panels import Panel, Result, build_panels, scores_of
from xscale.manifest import Entry

_TARGETS = targets()
LANGUAGES = ("de", "en", "sw", "tr")
ANCHOR = "a" * 64
SCORED = [("cluster", pa.int32()), ("numerator", pa.float64()), ("denominator", pa.float64())]
COLUMNS = pa.schema([*SCHEMA, *[pa.field(*field) for field in SCORED if field[0] not in SCHEMA.names]])


def entry(identity: str, **fields: Any) -> Entry:
    """A manifest entry with plain defaults."""
    given = {
        "model": "xscale",
        "model_args": {"pretrained": f"checkpoints/{identity}"},
        "base": "e5",
        "seed": 0,
        "targets": {"xnli": ["mnli"], "xcopa": ["copa"]},
    } | fields
    return Entry(id=identity, **given)


def ladder(
    sizes: Sequence[int] = (0, 512, 2048), seeds: Sequence[int] = (0,), task: str = "snli"
) -> list[Entry]:
    """Entries of a ladder, each with its baseline."""
    return [
        entry(
            f"{task}-{size}-s{seed}",
            size=size,
            seed=seed,
            intermediate=[task] if size else [],
            baseline=None if size == 0 else f"{task}-0-s{seed}",
        )
        for seed in seeds
        for size in sizes
    ]


def arms_of(
    tasks: Mapping[str, Sequence[str]], seeds: Sequence[int], sizes: Sequence[int] = (64,)
) -> list[Entry]:
    """Entries of an experiment x: arms with these intermediate tasks, and one baseline a seed for all of them."""
    made = [entry(f"x-0-seed{s}", size=0, seed=s, recipe="0" * 64) for s in seeds]
    return made + [
        entry(
            f"x-{arm}-{size}-seed{s}",
            size=size,
            seed=s,
            arm=arm,
            recipe=f"{number:064x}",
            intermediate=list(named),
            baseline=f"x-0-seed{s}",
        )
        for number, (arm, named) in enumerate(tasks.items(), 1)
        for size in sizes
        for s in seeds
    ]


def labels(rows: int, choices: int = 3) -> np.ndarray:
    """Labels in equal numbers, in a fixed order."""
    return np.arange(rows) % choices


def answers(right: np.ndarray, truth: np.ndarray, choices: int = 3) -> np.ndarray:
    """Predictions that are right exactly where `right` (rows, languages) says so."""
    return np.where(right, truth[:, None], (truth[:, None] + 1) % choices).astype(np.int8)


def correlated(
    rows: int,
    languages: int,
    accuracy: float | np.ndarray,
    share: float,
    rng: np.random.Generator,
    item: np.ndarray | None = None,
) -> np.ndarray:
    """Right or wrong (rows, languages) with probability `accuracy`; `share` of the latent variance is the
    row's.
    """
    from scipy.stats import norm

    common = rng.standard_normal((rows, 1)) if item is None else item
    latent = np.sqrt(share) * common + np.sqrt(1 - share) * rng.standard_normal((rows, languages))
    return latent < norm.ppf(np.broadcast_to(np.asarray(accuracy, float), (rows,)))[:, None]


def table(parts: Mapping[str, tuple[Sequence[str], np.ndarray, np.ndarray, np.ndarray]]) -> pa.Table:
    """A prediction table: target -> languages, rows (n,), labels (n,), predictions (n, languages).

    Rows are their own clusters, since their answers are drawn independently of each other.
    """
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS.names}
    for target, (languages, rows, truth, predicted) in parts.items():
        for index, language in enumerate(languages):
            columns["target"] += [target] * len(rows)
            columns["task"] += [f"{target}_ood_{language}"] * len(rows)
            columns["language"] += [language] * len(rows)
            columns["row"] += rows.tolist()
            columns["cluster"] += rows.tolist()
            columns["label"] += truth.tolist()
            columns["prediction"] += predicted[:, index].tolist()
            columns["numerator"] += (truth == predicted[:, index]).astype(float).tolist()
            columns["denominator"] += [1.0] * len(rows)
            columns["logprobs"] += [[-1.0] * (_TARGETS[target].labels if target in _TARGETS else 3)] * len(
                rows
            )
    return pa.table(columns, schema=COLUMNS)


def info(identity: str, languages: Mapping[str, Sequence[str]], **fields: Any) -> dict[str, Any]:
    """What the store records beside predictions."""
    return {
        "checkpoint": identity,
        "source": "hub",
        "lm_eval": "0.4.13",
        "weights": None,
        "fingerprints": {
            target: {code: f"{target}-{code}" for code in codes} for target, codes in languages.items()
        },
        "anchors": dict.fromkeys(languages, ANCHOR),
        "task_versions": dict.fromkeys(languages, "1.0"),
        "limit": dict.fromkeys(languages),
    } | fields


def predictions(
    right: np.ndarray,
    *,
    identity: str = "x",
    target: str = "xnli",
    languages: Sequence[str] = LANGUAGES,
    rows: np.ndarray | None = None,
    choices: int = 3,
    clusters: np.ndarray | None = None,
    **fields: Any,
) -> Predictions:
    """Predictions of one target that are right exactly where `right` (rows, languages) says so."""
    numbers = np.arange(len(right)) if rows is None else rows
    truth = labels(int(numbers.max()) + 1, choices)[numbers]
    made = table({target: (languages, numbers, truth, answers(right, truth, choices))})
    if clusters is not None:
        where = made.schema.get_field_index("cluster")
        column = pa.array(np.tile(clusters, len(languages)), pa.int32())
        made = made.set_column(where, made.schema.field(where), column)
    return Predictions(made, info(identity, {target: languages}, **fields))


def result(made: Entry, right: np.ndarray, **options: Any) -> Result:
    """A loaded result, as `load_results` gives it."""
    stored = predictions(right, identity=made.id, **options)
    return Result(made, "ok", scores=scores_of(stored), info=stored.info)


def halves(target: str, anchor: str) -> dict[str, np.ndarray]:
    """ID is the even rows, OOD the odd ones, `few` every tenth."""
    rows = np.arange(10_000)
    return {"id": rows[::2], "ood": rows[1::2], "few": rows[::10]}


def panels_of(results: list[Result]) -> list[Panel]:
    """The results' panels with `halves` for subsets."""
    return build_panels(results, membership=halves)


def two_sizes() -> tuple[list[Entry], dict[str, np.ndarray]]:
    """A baseline and a better checkpoint, and by id which of 400 rows in four languages they get right."""
    generator = np.random.default_rng(9)
    item = generator.standard_normal((400, 1))
    entries = ladder((0, 512))
    right = {made.id: correlated(400, 4, 0.5 + made.size / 4000, 0.5, generator, item) for made in entries}
    return entries, right


def store(folder: Path, made: Entry, stored: Predictions) -> None:
    """Write predictions where `load_results` looks for them."""
    path = folder / made.id / "predictions.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_predictions(path, stored.table.select(SCHEMA.names), stored.info)


def study(
    gains: Mapping[str, float] | None = None,
    sizes: Sequence[int] = (512, 2048),
    seeds: Sequence[int] = (0, 1, 2),
    rows: Mapping[str, int] | None = None,
    languages: Sequence[str] = LANGUAGES,
) -> list[Result]:
    """Arms that each gain so much accuracy (shares) a size, on several targets (target -> rows), half of it on OOD rows.

    Every seed has a baseline that all arms share.
    """
    rng = np.random.default_rng(3)
    asked = rows or {"xnli": 240, "xcopa": 120}
    items = {target: rng.standard_normal((count, 1)) for target, count in asked.items()}

    def one(made: Entry, gain: float) -> Result:
        scores: dict[str, Any] = {}
        for target, count in asked.items():
            known = _TARGETS[target]
            chance = 0.48 + gain * np.where(np.arange(count) % 2, 0.5, 1.0)
            right = correlated(count, len(languages), chance, 0.6, rng, items[target])
            given = predictions(
                right, identity=made.id, target=target, languages=languages, choices=known.labels or 3
            )
            scores |= scores_of(given)
        return Result(made, "ok", scores=scores, info=info(made.id, dict.fromkeys(asked, languages)))

    found = []
    for seed in seeds:
        found.append(one(entry(f"study-0-s{seed}", size=0, seed=seed, intermediate=[]), 0.0))
        for arm, gain in (gains or {"snli": 0.06, "qqp": 0.02, "social_iqa": -0.02, "mixture": 0.07}).items():
            for step, size in enumerate(sizes, 1):
                made = entry(
                    f"study-{arm}-{size}-s{seed}",
                    size=size,
                    seed=seed,
                    arm=arm,
                    intermediate=[arm],
                    baseline=f"study-0-s{seed}",
                )
                found.append(one(made, gain * step))
    return found
