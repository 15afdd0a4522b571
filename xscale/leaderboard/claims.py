"""The claims of Phang et al. 2020 (arXiv 2005.13013), as its abstract states them, beside what an experiment's own results say.

Each claim is a comparison of arms on tasks of XTREME. A task is the mean over its languages (of question answering, the mean
of F1 and exact match, too). Differences are paired by training seed and by cluster of test rows; tasks have test
rows of their own, so their draws are independent. The intervals hold for all comparisons of an experiment together: Student's t
at Bonferroni's level. A claim is supported where its interval is above 0, contradicted where it is below the gain that it says
at least, and else cannot be told.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy import stats

from harness_tasks.targets import get_target, targets
from xscale.leaderboard import statistics as st
from xscale.leaderboard.bootstrap import STAR_SEEDS, Bootstrap, Delta, difference
from xscale.leaderboard.ladders import experiment_of, recipe_of
from xscale.leaderboard.panels import is_todays
from xscale.leaderboard.render import grid, percent, span, text_block, visible
from xscale.leaderboard.xtreme import COLUMNS, QUESTIONS
from xscale.manifest import Entry

CLAIMS = Path(__file__).with_name("claims.tsv")
TEMPLATE = Path(__file__).parent / "page" / "claims.html"
PAPER = "Phang et al. 2020, arXiv 2005.13013"
Said = Literal["supported", "contradicted", "cannot be told"]
UNTOLD: Said = "cannot be told"


@dataclass(frozen=True)
class Claim:
    """A claim of the abstract: its words, the hypothesis, which test it has, on which columns, `least` as a share."""

    name: str
    quote: str
    hypothesis: str
    test: str
    columns: tuple[str, ...]
    arms: tuple[str, ...]
    least: float


@dataclass(frozen=True)
class Verdict:
    """What the results say of a claim. `comparison` names arms, sizes and tasks; `delta` has the interval of the family.

    Without a comparison `delta` is None and `note` says what is missing.
    """

    claim: Claim
    said: Said
    comparison: str = ""
    delta: Delta | None = None
    note: str = ""


@dataclass(frozen=True)
class Arm:
    """The checkpoints of one arm at a size: seed -> its id and that of its baseline."""

    name: str
    tasks: tuple[str, ...]
    masked: bool
    size: int
    seeds: Mapping[int, tuple[str, str]]

    @property
    def translated(self) -> bool:
        """Whether some of its tasks are translations."""
        return any("@" in task for task in self.tasks)

    @property
    def plain(self) -> bool:
        """Whether it is one English task and nothing beside it."""
        return len(self.tasks) == 1 and not self.translated and not self.masked


@dataclass(frozen=True)
class Gains:
    """Gains of an experiment's checkpoints over their baselines: column -> (arm, size, seed) -> value and draws."""

    values: Mapping[str, Mapping[tuple[str, int, int], tuple[float, st.Floats]]]
    clusters: Mapping[str, int]
    notes: tuple[str, ...]


def read_claims() -> list[Claim]:
    """The claims, in the abstract's order."""
    found = []
    with CLAIMS.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file, delimiter="\t"):
            kind = line["tasks"]
            columns = tuple(column for column, category in COLUMNS.items() if kind in ("", category))
            arms = tuple(line["arms"].split())
            least = float(line["least"]) / 100
            found.append(
                Claim(line["name"], line["quote"], line["hypothesis"], line["test"], columns, arms, least)
            )
    return found


def decide(bootstraps: Sequence[Bootstrap], seed: int = 0) -> dict[str, list[Verdict]]:
    """Verdicts by experiment and base; experiments in which no claim has a comparison are left out."""
    mine = [one for one in bootstraps if _counts(one)]
    grouped: dict[tuple[str, str], dict[str, Entry]] = {}
    for bootstrap in mine:
        for entry in bootstrap.panel.entries:
            if entry.size and entry.seed is not None and entry.baseline:
                key = experiment_of(entry), entry.base or entry.model
                grouped.setdefault(key, {})[entry.id] = entry
    found = {}
    for (experiment, base), entries in grouped.items():
        arms = _arms(list(entries.values()))
        verdicts = _verdicts(arms, _gains(mine, arms, seed), seed)
        if any(verdict.delta is not None for verdict in verdicts):
            found[f"{experiment + ': ' if experiment else ''}base {base}"] = verdicts
    return found


def _counts(bootstrap: Bootstrap) -> bool:
    """Whether a panel is of XTREME: a task of it, its own languages, not the bundled suite."""
    panel = bootstrap.panel
    known = targets().get(panel.target)
    column = known.benchmark[1] if known is not None and known.benchmark else None
    whole = not panel.bundled and not panel.further and is_todays(panel.target, panel.key[3])
    return column in COLUMNS and whole


def _arms(entries: Sequence[Entry]) -> list[Arm]:
    """Every arm at every size; of several checkpoints with the same seed none counts."""
    grouped: dict[tuple[Any, ...], list[Entry]] = {}
    for entry in entries:
        key = entry.arm, tuple(entry.intermediate), recipe_of(entry), bool(entry.masked_lm), entry.size
        grouped.setdefault(key, []).append(entry)
    found: list[Arm] = []
    for (arm, tasks, recipe, masked, size), group in grouped.items():
        seeds = [entry.seed for entry in group]
        name = arm or "+".join(tasks)
        if len(set(seeds)) < len(seeds):
            continue
        if any(other.name == name and other.size == size for other in found):
            name = f"{name} ({recipe[:12]})"
        pairs = {int(e.seed or 0): (e.id, str(e.baseline)) for e in group}
        found.append(Arm(name, tasks, masked, size, pairs))
    return found


def _gains(bootstraps: Sequence[Bootstrap], arms: Sequence[Arm], seed: int) -> Gains:
    """Of each task that panel of it that has most of the arms' checkpoints."""
    wanted = {name for arm in arms for pair in arm.seeds.values() for name in pair}
    best: dict[str, Bootstrap] = {}
    for bootstrap in bootstraps:
        benchmark = get_target(bootstrap.panel.target).benchmark
        column = benchmark[1] if benchmark else ""
        old = best.get(column)
        if old is None or len(wanted & {*bootstrap.panel.ids}) > len(wanted & {*old.panel.ids}):
            best[column] = bootstrap
    values: dict[str, dict[tuple[str, int, int], tuple[float, st.Floats]]] = {}
    notes = []
    for number, column in enumerate(name for name in COLUMNS if name in best):
        bootstrap = best[column]
        index = {name: position for position, name in enumerate(bootstrap.panel.ids)}
        shares, draws = _macro(bootstrap, column)
        order = np.random.default_rng([seed, 11, number]).permutation(draws.shape[-1])
        found = {}
        for arm in arms:
            for at, (mine, base) in arm.seeds.items():
                if mine in index and base in index:
                    a, b = index[mine], index[base]
                    found[arm.name, arm.size, at] = float(shares[a] - shares[b]), (draws[a] - draws[b])[order]
        if found:
            values[column] = found
            official = get_target(bootstrap.panel.target).languages
            if len(bootstrap.panel.languages) < len(official):
                notes.append(f"{column} over {len(bootstrap.panel.languages)} of {len(official)} languages")
            if any(limit is not None for limit in bootstrap.panel.limits):
                notes.append(f"{column} over {len(bootstrap.panel.rows):,} rows")
    clusters = {column: best[column].clusters("all") for column in values}
    return Gains(values, clusters, tuple(notes))


def _macro(bootstrap: Bootstrap, column: str) -> tuple[st.Floats, st.Floats]:
    """A task's score and its draws, mean over languages; of question answering that of F1 and exact match."""
    panel = bootstrap.panel
    parts = [bootstrap]
    if COLUMNS[column] == QUESTIONS and panel.scores is not None:
        there = panel.scores[1] > 0
        exact = replace(panel, scores=((panel.correct & there).astype(float), there.astype(float)))
        parts.append(Bootstrap(exact, bootstrap.draws, bootstrap.seed))
    found = [part("all") for part in parts]
    return np.mean([value for value, _ in found], axis=0), np.mean([draws for _, draws in found], axis=0)


@dataclass(frozen=True)
class _Comparison:
    """What a claim compares: for each column, over the seeds, values (seeds,) and draws (seeds, draws)."""

    what: str
    columns: Mapping[str, tuple[st.Floats, st.Floats]]


def _verdicts(arms: Sequence[Arm], gains: Gains, seed: int) -> list[Verdict]:
    """All claims, with intervals that hold for all of the comparisons together."""
    made: list[tuple[Claim, _Comparison | str]] = []
    for claim in read_claims():
        made.append((claim, _TESTS[claim.test](claim, arms, gains)))
    deltas: list[dict[str, Delta]] = []
    for _, found in made:
        mine: dict[str, Delta] = {}
        if not isinstance(found, str):
            if found.columns:
                mine[""] = _mean_delta(list(found.columns), found, gains, seed)
            if _per_task(made[len(deltas)][0]):
                mine |= {column: _mean_delta([column], found, gains, seed) for column in found.columns}
        deltas.append(mine)
    comparisons = sum(len(part) for part in deltas)
    return [
        _verdict(claim, found, {name: simultaneous(one, comparisons) for name, one in mine.items()}, gains)
        for (claim, found), mine in zip(made, deltas, strict=True)
    ]


def _per_task(claim: Claim) -> bool:
    """Whether the claim is about every task ("consistently"), not about their mean."""
    return claim.test in ("masked", "translated")


def _mean_delta(columns: Sequence[str], found: _Comparison, gains: Gains, seed: int) -> Delta:
    values = np.mean([found.columns[column][0] for column in columns], axis=0)
    draws = np.mean([found.columns[column][1] for column in columns], axis=0)
    return difference(values, draws, min(gains.clusters[column] for column in columns), seed)


def simultaneous(delta: Delta, comparisons: int) -> Delta:
    """The delta with an interval of Student's t at Bonferroni's level, which holds for all comparisons together."""
    if not delta.se > 0:
        return delta
    level = 1 - (1 - st.LEVEL) / (2 * max(comparisons, 1))
    reach = float(stats.t.ppf(level, delta.freedom)) * delta.se
    return replace(delta, low=delta.value - reach, high=delta.value + reach)


def _verdict(claim: Claim, found: _Comparison | str, deltas: Mapping[str, Delta], gains: Gains) -> Verdict:
    if isinstance(found, str):
        return Verdict(claim, UNTOLD, note=found)
    whole = deltas[""]
    absent = [column for column in claim.columns if column not in found.columns]
    notes = [f"no {', '.join(absent)}"] if absent else []
    notes += [note for note in gains.notes if note.partition(" ")[0] in found.columns]
    comparison = f"{found.what}, on {', '.join(found.columns)}"
    if whole.seeds < STAR_SEEDS:
        notes.insert(0, f"{whole.seeds} training run{'s' * (whole.seeds > 1)}, {STAR_SEEDS} can tell")
        return Verdict(claim, UNTOLD, comparison, whole, "; ".join(notes))
    said = UNTOLD
    if _per_task(claim):
        tasks = {name: delta for name, delta in deltas.items() if name}
        without = [name for name, delta in tasks.items() if delta.high < claim.least]
        if without:
            said = "supported"
            notes.insert(0, f"no gain of {_points(claim.least)} or more on {', '.join(without)}")
        elif not absent and all(delta.low > 0 for delta in tasks.values()):
            said = "contradicted"
            notes.insert(0, "a gain on every task")
    elif not absent:
        said = "supported" if whole.low > 0 else "contradicted" if whole.high < claim.least else UNTOLD
        if claim.test == "best":
            inside = whole.low <= 0.054 <= whole.high
            notes.append(f"5.4 is {'' if inside else 'not '}in the interval")
    return Verdict(claim, said, comparison, whole, "; ".join(notes))


def _points(share: float) -> str:
    return "a point" if math.isclose(share, 0.01) else f"{percent(share)} points"


def _over(
    arms: Sequence[Arm], columns: Sequence[str], gains: Gains
) -> dict[str, tuple[list[int], dict[str, tuple[st.Floats, st.Floats]]]]:
    """Arm -> the seeds that have all columns that any of the arms has, and its gains on each of them."""
    there = [c for c in columns if all(_seeds(arm, c, gains) for arm in arms)]
    common = [set(_seeds(arm, column, gains)) for arm in arms for column in there]
    seeds = sorted(set.intersection(*common)) if common else []
    found = {}
    for arm in arms if seeds else ():
        part = {}
        for column in there:
            rows = [gains.values[column][arm.name, arm.size, at] for at in seeds]
            part[column] = np.array([value for value, _ in rows]), np.stack([draws for _, draws in rows])
        found[arm.name] = seeds, part
    return found


def _seeds(arm: Arm, column: str, gains: Gains) -> list[int]:
    return [at for at in arm.seeds if (arm.name, arm.size, at) in gains.values.get(column, {})]


def _average(
    parts: Sequence[Mapping[str, tuple[st.Floats, st.Floats]]],
) -> dict[str, tuple[st.Floats, st.Floats]]:
    return {
        column: (
            np.mean([p[column][0] for p in parts], axis=0),
            np.mean([p[column][1] for p in parts], axis=0),
        )
        for column in (parts[0] if parts else ())
    }


def _less(
    first: Mapping[str, tuple[st.Floats, st.Floats]], second: Mapping[str, tuple[st.Floats, st.Floats]]
) -> dict[str, tuple[st.Floats, st.Floats]]:
    return {c: (first[c][0] - second[c][0], first[c][1] - second[c][1]) for c in first if c in second}


def _largest(arms: Sequence[Arm]) -> list[Arm]:
    """Each arm at its largest size."""
    sizes: dict[str, int] = {}
    for arm in arms:
        sizes[arm.name] = max(sizes.get(arm.name, 0), arm.size)
    return [arm for arm in arms if arm.size == sizes[arm.name]]


def _named(arms: Sequence[Arm]) -> str:
    return ", ".join(f"{visible(arm.name, 24)} {arm.size:,}" for arm in arms)


def _gain(claim: Claim, arms: Sequence[Arm], gains: Gains) -> _Comparison | str:
    """English arms at their largest sizes less the baseline."""
    mine = _largest([arm for arm in arms if not arm.translated and not arm.masked])
    found = _over(mine, claim.columns, gains)
    if not found:
        return f"no arm has results on {' and '.join(claim.columns)}"
    return _Comparison(f"mean of {_named(mine)} less the baseline", _average([p for _, p in found.values()]))


def _named_tasks(claim: Claim, arms: Sequence[Arm], gains: Gains) -> _Comparison | str:
    """The named single tasks less the others, at the largest size that both have."""
    single = [arm for arm in arms if arm.plain]
    for size in sorted({arm.size for arm in single}, reverse=True):
        here = [arm for arm in single if arm.size == size]
        first = [arm for arm in here if arm.tasks[0] in claim.arms]
        second = [arm for arm in here if arm.tasks[0] not in claim.arms]
        found = _over([*first, *second], claim.columns, gains) if first and second else {}
        if found:
            parts = [_average([found[arm.name][1] for arm in side]) for side in (first, second)]
            return _Comparison(f"{_named(first)} less {_named(second)}", _less(parts[0], parts[1]))
    return f"needs arms of {', '.join(claim.arms)} (one or more) and of another single task at one size"


def _chosen(
    options: Mapping[str, tuple[list[int], dict[str, tuple[st.Floats, st.Floats]]]], columns: Sequence[str]
) -> tuple[dict[str, tuple[st.Floats, st.Floats]], str]:
    """The best option on the mean of `columns`, for each seed chosen by the other seeds, and the one chosen most often."""
    parts = {name: part for name, (_, part) in options.items()}
    values = {name: np.mean([part[c][0] for c in columns], axis=0) for name, part in parts.items()}
    seeds = len(next(iter(values.values())))

    picked = []
    for at in range(seeds):
        others = {name: float(np.mean(np.delete(v, at) if seeds > 1 else v)) for name, v in values.items()}
        picked.append(max(others, key=others.__getitem__))
    made = {
        c: (
            np.array([parts[name][c][0][at] for at, name in enumerate(picked)]),
            np.stack([parts[name][c][1][at] for at, name in enumerate(picked)]),
        )
        for c in columns
    }
    return made, max(set(picked), key=picked.count)


def _several(claim: Claim, arms: Sequence[Arm], gains: Gains) -> _Comparison | str:
    """Arms of several English tasks less the best single one, at the largest size that both have."""
    many = [arm for arm in arms if len(arm.tasks) > 1 and not arm.translated and not arm.masked]
    for size in sorted({arm.size for arm in many}, reverse=True):
        first = [arm for arm in many if arm.size == size]
        second = [arm for arm in arms if arm.plain and arm.size == size]
        found = _over([*first, *second], claim.columns, gains) if second else {}
        if found:
            columns = list(next(iter(found.values()))[1])
            best, name = _chosen({arm.name: found[arm.name] for arm in second}, columns)
            mine = _average([found[arm.name][1] for arm in first])
            what = f"{_named(first)} less the best single task ({visible(name, 24)}), chosen for each seed by the others"
            return _Comparison(what, _less(mine, best))
    return "needs an arm of several tasks and one of a single task at one size"


def _best(claim: Claim, arms: Sequence[Arm], gains: Gains) -> _Comparison | str:
    """On each task the best arm, chosen by the other seeds, less the baseline."""
    mine = _largest([arm for arm in arms if not arm.translated and not arm.masked])
    found = _over(mine, claim.columns, gains)
    if not found:
        return "no arm has results on tasks of XTREME"
    columns: dict[str, tuple[st.Floats, st.Floats]] = {}
    names = []
    for column in next(iter(found.values()))[1]:
        best, name = _chosen(found, [column])
        columns |= best
        names.append(f"{column} {visible(name, 24)}")
    return _Comparison(
        f"best arm of each task ({', '.join(names)}), chosen for each seed by the others, less the baseline",
        columns,
    )


def _beside(claim: Claim, arms: Sequence[Arm], gains: Gains) -> _Comparison | str:
    """Arms with masked LM, or of translated tasks, less those of the same tasks without, at their largest sizes."""
    masked = claim.test == "masked"
    for_each = [arm for arm in arms if (arm.masked if masked else arm.translated and not arm.masked)]
    pairs = []
    for arm in _largest(for_each):
        english = {task.partition("@")[0] for task in arm.tasks}
        others = [
            other
            for other in arms
            if other.size == arm.size
            and not other.masked
            and not other.translated
            and {*other.tasks} == english
        ]
        if others:
            pairs.append((arm, others[0]))
    found = _over([one for pair in pairs for one in pair], claim.columns, gains)
    if not found:
        kind = "with masked LM" if masked else "of a translated task"
        return f"needs an arm {kind} and one of the same task without, at one size"
    parts = [_less(found[first.name][1], found[second.name][1]) for first, second in pairs]
    what = "; ".join(f"{_named([first])} less {_named([second])}" for first, second in pairs)
    return _Comparison(what, _average(parts))


_TESTS = {
    "gain": _gain,
    "named": _named_tasks,
    "several": _several,
    "best": _best,
    "masked": _beside,
    "translated": _beside,
}


def render_claims(found: Mapping[str, Sequence[Verdict]], format: str = "simple", width: int = 80) -> str:
    """The claims of each experiment as text ("simple", "github"); empty where there are none."""
    blocks = []
    for experiment, verdicts in found.items():
        title = f"Claims of {PAPER}, against {visible(experiment)}"
        blocks.append(f"**{title}**" if format == "github" else text_block(title, format, width))
        body = [
            [
                verdict.claim.name,
                verdict.said,
                percent(verdict.delta.value, signed=True),
                span(verdict.delta, True),
            ]
            for verdict in verdicts
            if verdict.delta is not None
        ]
        blocks.append(grid(["claim", "verdict", "effect", "95% of all"], body, [], format))
        for verdict in verdicts:
            if verdict.delta is not None:
                parts = [f'"{verdict.claim.quote}"', verdict.comparison, verdict.note]
                blocks.append(
                    text_block(f"{verdict.claim.name}: {'; '.join(filter(None, parts))}", format, width)
                )
        absent = [f"{verdict.claim.name} ({verdict.note})" for verdict in verdicts if verdict.delta is None]
        if absent:
            blocks.append(
                text_block(
                    f"no comparison here for the paper's other claims: {'; '.join(absent)}", format, width
                )
            )
    if blocks:
        blocks.append(
            text_block(
                "points; the intervals hold for all comparisons of an experiment together, for training seeds and test "
                "items; supported: above 0; contradicted: below 0, or no gain of a point where the claim is of one "
                "(docs/paper.md)",
                format,
                width,
            )
        )
    return "\n\n".join(blocks) + "\n" if blocks else ""


def with_claims(page: str, bootstraps: Sequence[Bootstrap], seed: int = 0) -> str:
    """The report's page with a section on the claims at its end, where an experiment has results that one is about."""
    import jinja2

    found = decide(bootstraps, seed)
    if not found:
        return page
    items = [
        {
            "title": visible(experiment),
            "rows": [
                {
                    "name": verdict.claim.name,
                    "quote": verdict.claim.quote,
                    "said": verdict.said,
                    "told": verdict.said != UNTOLD,
                    "effect": "-" if verdict.delta is None else percent(verdict.delta.value, signed=True),
                    "interval": "" if verdict.delta is None else span(verdict.delta, True),
                    "comparison": verdict.comparison or "-",
                    "note": verdict.note,
                }
                for verdict in verdicts
            ],
        }
        for experiment, verdicts in found.items()
    ]
    text = TEMPLATE.read_text(encoding="utf-8")
    made = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    section = made.from_string(text).render(claims=items)
    link = '<li><a href="#claims">The paper\'s claims</a></li>\n'
    page = page.replace("</ul></nav>", f"{link}</ul></nav>", 1)
    before, end, after = page.rpartition("</main>")
    return f"{before}{section}\n{end}{after}"
