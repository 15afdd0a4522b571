"""Arms against each other: what each gains at each size, and which cannot be told from the best."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np
from scipy import stats

from xscale.errors import UserError
from xscale.leaderboard import statistics as st
from xscale.leaderboard.bootstrap import (
    STAR_SEEDS,
    Bootstrap,
    Delta,
    cluster_differences,
    difference,
    paired_delta,
)
from xscale.leaderboard.family import Family, Question, member
from xscale.leaderboard.ladders import Ladder, group_of, ladders
from xscale.leaderboard.panels import Panel
from xscale.leaderboard.render import (
    delta_text,
    grid,
    p_text,
    span,
    subset_name,
    text_block,
    text_line,
    visible,
)
from xscale.leaderboard.table import plain

Pairs = Sequence[tuple[int, int]]  # checkpoint and baseline, one pair a seed


@dataclass(frozen=True)
class Cell:
    """An arm at a size: its delta, and whether no other arm of that size is significantly better."""

    delta: Delta
    best: bool


@dataclass(frozen=True)
class Arms:
    """Arms × sizes of a target on the question's subset; `cells` maps an arm to its sizes.

    `compared` are the sizes at which there are two arms or more.
    """

    target: str
    number: int
    title: str
    bundled: bool
    subset: str
    sizes: tuple[int, ...]
    cells: dict[str, dict[int, Cell]]
    compared: tuple[int, ...]
    runs: dict[int, int] = field(default_factory=dict)  # fewest seeds that two compared arms share, by size

    def best(self, size: int) -> list[str]:
        """The arms that cannot be told from the best at a size."""
        return [arm for arm, cells in self.cells.items() if size in cells and cells[size].best]


def named_ladders(ladders: Sequence[Ladder]) -> dict[str, Ladder]:
    """Ladders by arm; those of the same name get their base, their target sets or their recipe added."""
    found: dict[str, Ladder] = {}
    for ladder in ladders:
        same = [other for other in ladders if other.name == ladder.name]
        name = ladder.name
        if len({other.base for other in same}) == len(same) > 1:
            name += f" ({ladder.base})"
        elif len({other.tuned_on for other in same}) == len(same) > 1:
            name += f" ({'+'.join(ladder.tuned_on)})"
        elif len(same) > 1:
            name += f" ({ladder.recipe[:12] or 'no recipe'})"
        found[name if name not in found else f"{name} {len(found) + 1}"] = ladder
    return found


def arm_tables(
    bootstraps: Sequence[Bootstrap], question: Question, tested: Family, seed: int = 0
) -> list[Arms]:
    """The arms of every panel that has ladders; `tested` is the question's family, whose p-values are shown."""
    found = []
    for bootstrap in bootstraps:
        panel = bootstrap.panel
        named = named_ladders(ladders(panel))
        if not named or (question.targets is not None and panel.target not in question.targets):
            continue
        subset = question.subset_of(panel)
        sizes = sorted({size for ladder in named.values() for size in ladder.sizes if size})
        cells: dict[str, dict[int, Cell]] = {name: {} for name in named}
        compared, runs = [], {}
        for size in sizes:
            pairs, deltas = {}, {}
            for name, ladder in named.items():
                group = group_of(panel, ladder.sizes[size]) if size in ladder.sizes else None
                if group and group.pairs:
                    pairs[name] = group.pairs
                    mine, base = zip(*group.pairs, strict=True)
                    alone = replace(paired_delta(bootstrap, mine, base, subset, seed=seed), p_holm=math.nan)
                    deltas[name] = tested.get(member(panel, group), alone)
            best = not_worse(bootstrap, pairs, subset, seed)
            for name, delta in deltas.items():
                cells[name][size] = Cell(delta, name in best)
            if len(pairs) > 1:
                compared.append(size)
                runs[size] = _common_runs(panel, list(pairs.values()))
        found.append(
            Arms(
                panel.target,
                panel.number,
                panel.title,
                panel.bundled,
                subset,
                tuple(sizes),
                {name: row for name, row in cells.items() if row},
                tuple(compared),
                runs,
            )
        )
    return found


def _common_runs(panel: Panel, arms: Sequence[Pairs]) -> int:
    """The fewest training seeds that two of the arms have in common, of those that have any."""
    seeds = [{panel.entries[index].seed for index, _ in pairs} for pairs in arms]
    common = [len(a & b) for number, a in enumerate(seeds) for b in seeds[number + 1 :]]
    return min((count for count in common if count), default=0)


def ahead(table: Arms, size: int, name: str) -> str:
    """In words, that one arm is the best of a size; below three seeds in common, no more than is known."""
    runs = table.runs.get(size, 0)
    if runs >= STAR_SEEDS:
        return f"At {size:,} examples {name} is the best arm."
    few = "one training run" if runs == 1 else f"{runs} training runs"
    return (
        f"At {size:,} examples {name} is ahead of the other arms; {few} cannot tell whether the next would say so, "
        f"{STAR_SEEDS} seeds can."
    )


def arm_difference(
    bootstrap: Bootstrap,
    first: Pairs,
    second: Pairs,
    subset: str,
    languages: Sequence[str] = (),
    seed: int = 0,
) -> Delta:
    """Delta of the second arm less that of the first, over the training seeds that both have.

    Seeds go together: where both arms have one baseline, it falls out, and what is left is their accuracies'
    difference. The p-value of one seed is exact where that is so, else t's. Without a common seed there is no
    difference, and `reason` says so.
    """
    entries = bootstrap.panel.entries
    mine = {entries[i].seed: (i, b) for i, b in second}
    other = {entries[i].seed: (i, b) for i, b in first}
    seeds = [s for s in mine if s in other]
    if not seeds:
        return Delta(reason="no common seed")
    (a, a0), (b, b0) = (tuple(zip(*(part[s] for s in seeds), strict=True)) for part in (other, mine))
    if a0 == b0:
        return paired_delta(bootstrap, b, a, subset, languages, seed)
    values, draws = bootstrap(subset, languages)
    indices = [list(part) for part in (b, b0, a, a0)]
    signs = (1, -1, -1, 1)
    total = sum(sign * values[part] for sign, part in zip(signs, indices, strict=True))
    drawn = sum(sign * draws[part] for sign, part in zip(signs, indices, strict=True))
    gains, size = cluster_differences(bootstrap, indices[0], indices[1], subset, languages)
    others, _ = cluster_differences(bootstrap, indices[2], indices[3], subset, languages)
    clusters = bootstrap.clusters(subset, languages=languages)
    few = st.few_discordant((gains - others) / size, clusters)
    return difference(np.asarray(total), np.asarray(drawn), clusters, seed, few)


def not_worse(bootstrap: Bootstrap, arms: Mapping[str, Pairs], subset: str, seed: int = 0) -> set[str]:
    """The arms of one size that cannot be told from the best, the truly best among them with 95% probability.

    Multiple comparisons with the best (Hsu 1984, Annals of Statistics 12; Hsu 1996, chapter 4): an arm is out if
    another one is better by a one-sided test at 5% over the number of others (Bonferroni, which holds whatever
    the correlation of arms on the same test items). Arms without a common seed are not compared.
    """
    level = (1 - st.LEVEL) / max(len(arms) - 1, 1)

    def better(name: str, than: str) -> bool:
        delta = arm_difference(bootstrap, arms[than], arms[name], subset, seed=seed)
        if not delta.value > 0:
            return False
        if delta.seeds == 1:
            return delta.p / 2 <= level
        return float(stats.t.sf(delta.value / delta.se, delta.freedom)) <= level if delta.se > 0 else True

    return {name for name in arms if not any(better(other, name) for other in arms if other != name)}


def by_language(bootstrap: Bootstrap, size: int, subset: str) -> dict[str, list[float]]:
    """Mean delta over seeds of every arm at a size, one a language of the panel; no test, to look at."""
    panel = bootstrap.panel
    found = {}
    for name, ladder in named_ladders(ladders(panel)).items():
        pairs = group_of(panel, ladder.sizes[size]).pairs if size in ladder.sizes else []
        if pairs:
            figures = panel.figures_by_language(subset)
            gains = [figures[i] - figures[b] for i, b in pairs]
            found[name] = np.mean(gains, axis=0).tolist()
    return found


def render_arms(found: Sequence[Arms], format: str = "simple", width: int = 80) -> str:
    """Arms × sizes as text ("simple", "github") or JSON."""
    if format == "json":
        return json.dumps(plain([asdict(item) for item in found]), indent=2, ensure_ascii=False) + "\n"
    if format not in ("simple", "github"):
        raise UserError(f"unknown format {format!r} of arms; there are: simple, github, json")
    if not found:
        return text_line("No arms to show: no ladder of two sizes or more has results.", format) + "\n"
    blocks = []
    for item in found:
        caption = (
            visible(item.title)
            + f": delta to the baseline on {'all' if item.subset == 'all' else subset_name(item.subset)} rows"
        )
        blocks.append(f"**{caption}**" if format == "github" else text_block(caption, format, width))
        blocks += _grids(item, format, width)
    counts = sorted({c.delta.seeds for a in found for row in a.cells.values() for c in row.values()})
    seeds = (
        f"{counts[0]} to {counts[-1]} seeds"
        if len(counts) > 1
        else f"{counts[0]} seed{'s' * (counts[0] > 1)}"
    )
    blocks.append(
        text_block(
            f"points, mean over seeds ({seeds}), 95% interval; *: p <= 0.05 after Holm over the question's deltas, "
            "three seeds or more; (b): cannot be told from the best arm of its size, the best one being among them "
            "with 95% probability" + ("; with one seed over test items only" if counts[0] == 1 else ""),
            format,
            width,
        )
    )
    return "\n\n".join(blocks) + "\n"


def _grids(item: Arms, format: str, width: int) -> list[str]:
    """The table, in as many parts as the width needs."""
    lines = {
        arm: [_cell(row.get(size), size in item.compared) for size in item.sizes]
        for arm, row in item.cells.items()
    }
    names = [visible(arm, 24) for arm in lines]
    first = max(map(len, [*names, "arm"]))
    parts: list[list[int]] = []
    room = 0
    for position in range(len(item.sizes)):
        wide = max(len(line[position]) for line in lines.values()) + 2
        if not parts or (format == "simple" and room + wide > width):
            parts.append([position])
            room = first + wide
        else:
            parts[-1].append(position)
            room += wide
    return [
        grid(
            ["arm", *[f"N {item.sizes[i]:,}" for i in part]],
            [[name, *[line[i] for i in part]] for name, line in zip(names, lines.values(), strict=True)],
            [],
            format,
        )
        for part in parts
    ]


def _cell(cell: Cell | None, compared: bool) -> str:
    if cell is None:
        return "-"
    return f"{delta_text(cell.delta)} {span(cell.delta, True)}{' (b)' if cell.best and compared else ''}"


@dataclass(frozen=True)
class ArmComparison:
    """Two arms at one size on a target: second − first by subset, over the seeds that both have."""

    target: str
    title: str
    size: int
    first: str
    second: str
    seeds: int
    lines: dict[str, Delta]


def compare_arms(
    bootstraps: Sequence[Bootstrap],
    size: int,
    first: str,
    second: str,
    question: Question,
    *,
    explore: bool = False,
    seed: int = 0,
) -> list[ArmComparison]:
    """Compare two arms at a size on every target that both have: second − first.

    The difference on the question's subset is tested, corrected by Holm over the question's targets: give it all
    panels, whichever of them are shown. Other subsets, other targets, a target's further tables and languages that
    others added have intervals, and so has everything with `explore` (some languages only). Raises `UserError` for an
    arm or size that is not there.
    """
    if first == second:
        raise UserError(f"nothing to compare: {first!r} twice")
    found: list[ArmComparison] = []
    tested: dict[str, tuple[int, str]] = {}  # target -> its place in `found`, and the subset
    known: dict[str, set[int]] = {}
    for bootstrap in bootstraps:
        panel = bootstrap.panel
        named = named_ladders(ladders(panel))
        for name, ladder in named.items():
            known.setdefault(name, set()).update(ladder.sizes)
        if not all(name in named and size in named[name].sizes for name in (first, second)):
            continue
        pairs = [group_of(panel, named[name].sizes[size]).pairs for name in (first, second)]
        lines = {
            name: replace(arm_difference(bootstrap, pairs[0], pairs[1], name, seed=seed), p_holm=math.nan)
            for name in panel.masks
        }
        subset = question.subset_of(panel)
        if lines[subset].reason is not None:
            continue
        found.append(
            ArmComparison(panel.target, panel.title, size, first, second, lines[subset].seeds, lines)
        )
        if not explore and not panel.further and panel.target in (question.targets or (panel.target,)):
            tested.setdefault(panel.target, (len(found) - 1, subset))
    for name in (first, second):
        if name not in known:
            raise UserError(f"no arm {name!r} with results; there are: {', '.join(known) or 'none'}")
        if size not in known[name]:
            sizes = ", ".join(f"{n}" for n in sorted(known[name]))
            raise UserError(f"arm {name!r} has no size {size}; it has: {sizes}")
    if not found:
        raise UserError(
            f"{first!r} and {second!r} have no seed in common at size {size} with results of one target"
        )
    adjusted = st.holm([found[place].lines[subset].p for place, subset in tested.values()]).tolist()
    for (place, subset), p in zip(tested.values(), adjusted, strict=True):
        lines = found[place].lines
        found[place] = replace(found[place], lines=lines | {subset: replace(lines[subset], p_holm=p)})
    return found


def render_arm_comparison(found: Sequence[ArmComparison], format: str = "simple", width: int = 80) -> str:
    """Two arms as text ("simple", "github") or JSON."""
    if format == "json":
        return json.dumps(plain([asdict(item) for item in found]), indent=2, ensure_ascii=False) + "\n"
    if format not in ("simple", "github"):
        raise UserError(f"unknown format {format!r}; there are: simple, github, json")
    blocks = []
    for item in found:
        what = f"{item.title}; N {item.size:,}: {item.second} less {item.first}, {item.seeds} seed"
        blocks.append(text_block(what + "s" * (item.seeds > 1), format, width))
        body = [
            [
                visible(subset_name(name), 24),
                delta_text(delta),
                span(delta, True),
                p_text(delta.p),
                p_text(delta.p_holm),
            ]
            for name, delta in item.lines.items()
        ]
        blocks.append(grid(["subset", "delta", "95%", "p", "p (Holm)"], body, [], format))
    few = min(item.seeds for item in found)
    blocks.append(
        text_block(
            "points on the same rows, pair by pair of training seeds; *: p <= 0.05 after Holm over the question's targets, "
            "on its subset"
            + ("" if few >= 3 else "; below three seeds no star, with one seed over test items only"),
            format,
            width,
        )
    )
    return "\n\n".join(blocks) + "\n"
