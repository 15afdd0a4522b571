"""The leaderboard as typed rows: accuracies with intervals, deltas to the baseline, ranks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np

from harness_tasks.sources import DataError
from harness_tasks.subsets.membership import bundled_subsets
from harness_tasks.targets import all_language_groups as target_language_groups
from harness_tasks.targets import targets
from xscale.errors import UserError
from xscale.leaderboard import statistics as st
from xscale.leaderboard.bootstrap import (
    STAR_SEEDS,
    Bootstrap,
    Delta,
    Estimate,
    difference,
    difference_of_deltas,
    estimate,
    paired_delta,
)
from xscale.leaderboard.family import Family, Question, family, member
from xscale.leaderboard.ladders import Group, group_of, recipe_of, seed_groups, twins
from xscale.leaderboard.panels import Panel, Result, differences
from xscale.leaderboard.sensitivity import one_language_left_out
from xscale.manifest import Entry

SCHEMA = 1
SORTS = ("ladder", "acc", "id", "ood", "gap", "delta", "size", "name")
SEEDS = ("each", "mean")
NO_BASELINE = "no baseline in the manifest"
BREAKDOWNS = ("language", "script", "family", "seen", "source")
Seeds = Literal["each", "mean"]
Groups = Callable[[str], Mapping[str, tuple[str, ...]]]


@dataclass(frozen=True)
class Subset:
    """How many rows a subset has here, in how many clusters, and the accuracy of always answering its commonest
    label.
    """

    rows: int
    clusters: int
    commonest_label: float


@dataclass(frozen=True)
class Row:
    """One checkpoint, or the mean of the seeds of one (`seeds` and `ids` then have several members).

    `acc` maps a subset ("all", "id", "ood", …) to its estimate, `deltas` likewise, `groups` maps a language
    group ("de", "script:Latin", …) to the accuracy on the board's `group_subset`. `seed_spread` is the
    standard deviation over seeds of `acc`'s values; `rows_right` packs in how many languages each row was
    right, for `check_reference`. `targets` are the sets it was fine-tuned on for this table's target.
    `delta_difference` is ΔOOD − ΔID. `arm` and `recipe` tell apart what has the same intermediate tasks.
    """

    id: str
    ids: tuple[str, ...]
    model: str
    base: str | None
    intermediate: tuple[str, ...]
    size: int | None
    seeds: tuple[int, ...]
    targets: tuple[str, ...]
    acc: dict[str, Estimate]
    gap: Estimate | None
    deltas: dict[str, Delta]
    rank: tuple[int, int] | None = None
    rank_group: str = ""
    seed_spread: dict[str, float] = field(default_factory=dict)
    groups: dict[str, Estimate] = field(default_factory=dict)
    note: str | None = None
    rows_right: str | None = None
    arm: str | None = None
    recipe: str = ""
    delta_difference: Delta | None = None


@dataclass(frozen=True)
class Table:
    """The rows of one panel: everything in it was measured on the same rows of the same data."""

    target: str
    number: int
    title: str
    bundled: bool
    sources: tuple[str, ...]
    languages: tuple[str, ...]
    rows_evaluated: int
    anchor: str
    data_fingerprint: str
    task_version: str
    key: tuple[str, ...]
    subsets: dict[str, Subset]
    groups: dict[str, tuple[str, ...]]
    group_subset: str
    rows: list[Row]
    notes: list[str]
    rank_subset: str = "all"


@dataclass(frozen=True)
class Board:
    """All tables, what could not be shown, and what the figures were computed with."""

    tables: list[Table]
    unavailable: list[tuple[str, str, str]]  # id, status, why
    notes: list[str]
    settings: dict[str, Any]
    answer: list[str] = field(default_factory=list)  # in words, a paragraph a target


@dataclass(frozen=True)
class Filter:
    """Which checkpoints a board shows; an empty field lets all pass. Baselines count for deltas even when
    hidden.
    """

    bases: tuple[str, ...] = ()
    intermediates: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()
    seeds: tuple[int, ...] = ()
    ids: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()

    def passes(self, entry: Entry) -> bool:
        """Whether the entry is shown."""
        return (
            (not self.bases or entry.base in self.bases)
            and (not self.intermediates or any(name in self.intermediates for name in entry.intermediate))
            and (not self.sizes or entry.size in self.sizes)
            and (not self.seeds or entry.seed in self.seeds)
            and (not self.ids or entry.id in self.ids)
        )


def make_board(
    panels: Sequence[Panel],
    results: Sequence[Result],
    *,
    subsets: Sequence[str] = ("id", "ood"),
    deltas: Sequence[str] = ("ood",),
    by: str | None = None,
    group_subset: str = "all",
    show: Filter | None = None,
    sort: str = "ladder",
    seeds: Seeds = "each",
    draws: int = st.DRAWS,
    seed: int = 0,
    groups: Groups | None = None,
    bootstraps: Sequence[Bootstrap] | None = None,
    question: Question | None = None,
    explore: bool = False,
) -> Board:
    """Compute the board.

    `subsets` are shown beside "all"; those that a panel lacks are left out with a note. `deltas` are the
    subsets on which checkpoints are compared with their baselines (where a panel has none of them: on
    "all"). Holm's correction counts the family of `question`, over all of `panels`, whatever is shown; a delta
    that is not of the family has an interval and no corrected p-value. With `explore`, for panels of other
    languages than the question means, there is no family. Ranks are by accuracy on the question's
    subset. `by` adds a breakdown ("language", "script", "family",
    "seen") of the accuracy on `group_subset`. `seeds` "mean" merges checkpoints that differ in their seed
    only. `groups` replaces the language table of `harness_tasks` (target -> group -> languages).
    `bootstraps`, one a panel, saves drawing again. Raises `UserError` for a subset, breakdown or order that
    does not exist.
    """
    if sort not in SORTS:
        raise UserError(f"unknown order {sort!r}; there are: {', '.join(SORTS)}")
    chosen, asked = show or Filter(), question or Question()
    known = {name for panel in panels for name in panel.masks}
    for name in (*subsets, *deltas, group_subset):
        if panels and name not in known | {"id", "ood"}:
            raise UserError(f"no result has rows of the subset {name!r}; {_where_subsets_are(name, panels)}")
    status = {result.entry.id: result for result in results}
    drawn = list(bootstraps) if bootstraps else [Bootstrap(panel, draws, seed) for panel in panels]
    tested = {} if explore else family(drawn, asked, seed)
    tables = []
    for panel, bootstrap in zip(panels, drawn, strict=True):
        axes = language_groups(panel, by, groups) if by else {}
        if chosen.targets and panel.target not in chosen.targets:
            continue
        table = _table(
            bootstrap, panels, status, subsets, deltas, axes, group_subset, chosen, seeds, seed, asked, tested
        )
        if table is not None:
            tables.append(_sorted(table, sort))
    unavailable = [
        (result.entry.id, result.status, result.problem or "")
        for result in results
        if result.status != "ok" and chosen.passes(result.entry)
    ]
    settings = {
        "draws": draws,
        "seed": seed,
        "level": st.LEVEL,
        "seeds": seeds,
        "sort": sort,
        "question": asdict(asked),
        "comparisons": len(tested),
    }
    return Board(tables, unavailable, _notes(tables, panels, tested), settings)


def _where_subsets_are(name: str, panels: Sequence[Panel]) -> str:
    """Which subsets the results of each target have, and which data has the one that was asked for."""
    here: dict[str, set[str]] = {}
    for panel in panels:
        here.setdefault(panel.target, set()).update(panel.masks)
    there = [spec.name for spec in targets().values() if any(part.name == name for part in spec.subsets)]
    had = "; ".join(f"these of {target} have: {', '.join(sorted(names))}" for target, names in here.items())
    if not there:
        return had
    bundled = [target for target in there if name in bundled_subsets(target)]
    source = "--data hub, a mirror folder or bundled" if bundled else "--data hub or a mirror folder"
    return (
        f"{had}; {name} is a subset of {' and '.join(there)}, which `xscale eval {source}` gives results of"
    )


def language_groups(panel: Panel, by: str, groups: Groups | None = None) -> dict[str, tuple[str, ...]]:
    """The groups of one kind ("language", "script", "family", "seen", "source": who made the rows) with
    the languages that the panel has
    of each.
    """
    if by == "language":
        return {code: (code,) for code in panel.languages}
    if by not in BREAKDOWNS:
        raise UserError(f"unknown breakdown {by!r}; there are: {', '.join(BREAKDOWNS)}")
    try:
        table = (groups or target_language_groups)(panel.target)
    except DataError:
        return {}  # a target whose languages nobody has described
    here = {name: tuple(code for code in codes if code in panel.languages) for name, codes in table.items()}
    wanted = ("seen", "unseen") if by == "seen" else ()
    found = {
        name: codes for name, codes in here.items() if codes and (name in wanted or name.startswith(f"{by}:"))
    }
    return found if by != "source" or len(found) > 1 else {}


def _table(
    bootstrap: Bootstrap,
    panels: Sequence[Panel],
    status: Mapping[str, Result],
    subsets: Sequence[str],
    deltas: Sequence[str],
    axes: Mapping[str, tuple[str, ...]],
    group_subset: str,
    show: Filter,
    seeds: Seeds,
    seed: int,
    question: Question,
    tested: Family,
) -> Table | None:
    panel = bootstrap.panel
    members = _members(panel, show, seeds)
    if not members:
        return None
    if group_subset in panel.masks:
        bootstrap.prepare(group_subset, list(axes.values()))
    names = ["all", *(name for name in dict.fromkeys(subsets) if name != "all" and name in panel.masks)]
    compared = [name for name in dict.fromkeys(deltas) if name in panel.masks] or ["all"]
    rows, right, ranked_on = [], panel.right(), question.subset_of(panel)
    both = {"id", "ood"} <= set(panel.masks)
    for group in members:
        acc, spread = {}, {}
        for name in names:
            acc[name] = estimate(bootstrap, group.indices, name, seed=seed)
            if len(group.indices) > 1:
                spread[name] = float(bootstrap(name)[0][list(group.indices)].std(ddof=1))
        entries = [panel.entries[index] for index in group.indices]
        first = entries[0]
        mine, base = [i for i, _ in group.pairs], [b for _, b in group.pairs]
        rows.append(
            Row(
                id=first.id,
                ids=tuple(entry.id for entry in entries),
                model=first.model,
                base=first.base,
                intermediate=tuple(first.intermediate),
                size=first.size,
                seeds=tuple(entry.seed for entry in entries if entry.seed is not None),
                targets=tuple(first.targets.get(panel.target, ())),
                acc=acc,
                gap=_gap(bootstrap, group.indices, seed) if both else None,
                deltas={
                    name: tested[member(panel, group)]
                    if name == ranked_on and _is_tested(panel, group, tested)
                    else _delta(bootstrap, group, name, panel, panels, status, seed)
                    for name in compared
                },
                seed_spread=spread,
                note=first.note,
                rows_right=st.pack_counts(right[group.indices[0]])
                if len(group.indices) == 1 and panel.scores is None
                else None,
                groups={
                    axis: estimate(bootstrap, group.indices, group_subset, codes, seed)
                    for axis, codes in axes.items()
                    if group_subset in panel.masks
                },
                arm=first.arm,
                recipe=recipe_of(first),
                delta_difference=difference_of_deltas(bootstrap, mine, base, "ood", "id", seed=seed)
                if both and mine
                else None,
            )
        )
    rows = _ranked(rows, members, bootstrap, ranked_on)
    notes = [*panel.notes, *_warnings(panel), *twins(panel), *_left_out(members, panel, panels, status)]
    notes += _undetected(rows, ranked_on)
    notes += _decided_by_one_language(members, panel, ranked_on)
    missing = [name for name in subsets if name not in panel.masks and name != "all"]
    if missing:
        notes.append(f"no rows of: {', '.join(missing)}")
    return Table(
        target=panel.target,
        number=panel.number,
        title=panel.title,
        bundled=panel.bundled,
        sources=panel.source_names,
        languages=panel.languages,
        rows_evaluated=panel.row_count(),
        anchor=panel.key[0],
        data_fingerprint=panel.key[2],
        task_version=panel.key[3],
        key=panel.key,
        subsets={
            name: Subset(panel.row_count(name), bootstrap.clusters(name), panel.commonest_label(name))
            for name in names
        },
        groups=dict(axes),
        group_subset=group_subset,
        rows=rows,
        notes=notes,
        rank_subset=ranked_on,
    )


def _warnings(panel: Panel) -> list[str]:
    """Which checkpoints' numbers are to be read with care, by what their entries say of their training."""
    repeated = [
        f"{entry.id} ({count:,})"
        for entry in panel.entries
        if (count := (entry.repeated or {}).get(panel.target))
    ]
    found = []
    if panel.collapsed:
        found.append(
            "collapsed, nearly always the same answer or no better than the commonest label in English: "
            f"{', '.join(panel.collapsed)}"
        )
    if repeated:
        found.append(
            f"fine-tuned on rows that the intermediate phase had, too, so that a gain is repetition as well as more data: "
            f"{', '.join(repeated)}"
        )
    return found


def _members(panel: Panel, show: Filter, seeds: Seeds) -> list[Group]:
    """The rows of a table: checkpoints that are shown, each alone or with the other seeds that are shown."""
    shown = [index for index, entry in enumerate(panel.entries) if show.passes(entry)]
    if seeds == "each":
        return [group_of(panel, [index]) for index in shown]
    found = []
    for group in seed_groups(panel):
        kept = [index for index in (*group.indices, *group.left_out) if index in shown]
        if kept:
            found.append(group_of(panel, sorted(kept)))
    return found


def _is_tested(panel: Panel, group: Group, tested: Family) -> bool:
    """Whether the row is a whole group of the family, not some of its seeds."""
    found = tested.get(member(panel, group))
    return found is not None and found.seeds == len(group.pairs)


def _left_out(
    members: Sequence[Group], panel: Panel, panels: Sequence[Panel], status: Mapping[str, Result]
) -> list[str]:
    """A footnote for every seed that counts in no figure of its row."""
    found = []
    for group in members:
        for index in group.left_out:
            entry = panel.entries[index]
            why = _why_no_delta(entry, panel, panels, status)
            found.append(f"{entry.id} is left out of the mean over seeds: {why}")
    return found


def _undetected(rows: Sequence[Row], subset: str) -> list[str]:
    """What deltas of the question that were not found would have taken."""
    parts = []
    for row in rows:
        delta = row.deltas.get(subset)
        untold = delta and delta.seeds >= STAR_SEEDS and delta.p_holm > 1 - st.LEVEL
        if delta and untold and math.isfinite(delta.detectable):
            size = "-" if row.size is None else f"{row.size:,}"
            name = row.arm or "+".join(row.intermediate) or row.id
            least = f"{100 * delta.detectable:.1f}" if delta.detectable < 1 else "more than there are"
            parts.append((delta.detectable, f"{least} ({name}, N {size})"))
    if not parts:
        return []
    (_, least), (_, most) = min(parts), max(parts)
    shown = least if least == most else f"{least} to {most}"
    return [f"deltas not told from 0: {len(parts)}; to be found in 4 of 5 tries it takes, in points: {shown}"]


def _decided_by_one_language(members: Sequence[Group], panel: Panel, subset: str) -> list[str]:
    """The delta of the question that moves most when one language is left out, and which language that is."""
    found = [
        (left, panel.entries[group.indices[0]])
        for group in members
        if (left := one_language_left_out(panel, group.pairs, subset)) is not None
    ]
    if not found:
        return []
    left, entry = max(found, key=lambda item: item[0].moves)
    return [
        f"one language left out, a delta moves by {100 * left.moves:.1f} points at most: {entry.id} from "
        f"{100 * left.delta:+.1f} to {100 * left.without:+.1f} without {left.language}"
    ]


def _gap(bootstrap: Bootstrap, indices: Sequence[int], seed: int) -> Estimate:
    """ID − OOD, whose rows are in different clusters; the smaller subset's number of clusters counts."""
    picked = list(indices)
    (id_values, id_draws), (ood_values, ood_draws) = bootstrap("id"), bootstrap("ood")
    values, draws = id_values[picked] - ood_values[picked], id_draws[picked] - ood_draws[picked]
    found = difference(values, draws, bootstrap.clusters("id", "ood"), seed)
    return Estimate(found.value, found.low, found.high)


def _delta(
    bootstrap: Bootstrap,
    group: Group,
    subset: str,
    panel: Panel,
    panels: Sequence[Panel],
    status: Mapping[str, Result],
    seed: int,
) -> Delta:
    first = panel.entries[group.indices[0]]
    if not group.pairs:
        return Delta(baseline=first.baseline, reason=_why_no_delta(first, panel, panels, status))
    mine, base = zip(*group.pairs, strict=True)
    return replace(paired_delta(bootstrap, mine, base, subset, seed=seed), p_holm=math.nan)


def _why_no_delta(entry: Entry, panel: Panel, panels: Sequence[Panel], status: Mapping[str, Result]) -> str:
    if entry.baseline is None:
        return "baseline" if entry.size == 0 else NO_BASELINE
    found = status.get(entry.baseline)
    if found is None:
        return f"baseline {entry.baseline} is not in the manifest"
    if found.status != "ok":
        return f"baseline {entry.baseline}: {found.status}"
    for other in panels:
        if other.target == panel.target and entry.baseline in other.ids:
            return f"baseline {entry.baseline} answered other data ({differences(panel, other)})"
    return f"baseline {entry.baseline} has no {panel.target} result"


def _ranked(rows: list[Row], members: Sequence[Group], bootstrap: Bootstrap, subset: str) -> list[Row]:
    """Add ranks by accuracy on a subset, among the checkpoints that are shown; seeds count as in the deltas."""
    if len(rows) < 2:
        return rows
    values, draws = bootstrap(subset)
    picked = [list(group.indices) for group in members]
    means = np.array([values[chosen].mean() for chosen in picked])
    merged = np.stack([draws[chosen].mean(axis=0, dtype=np.float64) for chosen in picked])
    parts = [st.seed_parts(values[chosen], draws[chosen]) if len(chosen) > 1 else None for chosen in picked]
    p = st.pairwise_p(
        means,
        np.cov(merged[:, ~np.isnan(merged).any(axis=0)]),
        np.array([part.seeds if part else 0.0 for part in parts]),
        np.array([part.between if part else 0.0 for part in parts]),
        np.array([len(chosen) for chosen in picked]),
        bootstrap.clusters(subset),
    )
    found = st.ranks(means, p)
    return [
        replace(row, rank=(found.best[index], found.worst[index]), rank_group=found.groups[index])
        for index, row in enumerate(rows)
    ]


def _sorted(table: Table, sort: str) -> Table:
    def ladder(row: Row) -> tuple[Any, ...]:
        return (
            row.base is None,
            row.base or "",
            (row.arm or "", row.intermediate, row.recipe) if row.size else (),
            row.targets,
            -1 if row.size is None else row.size,
            row.seeds,
            row.id,
        )

    def figure(row: Row) -> float:
        value = {"gap": row.gap, "delta": row.deltas.get("ood", next(iter(row.deltas.values())))}.get(
            sort, row.acc.get({"acc": "all"}.get(sort, sort))
        )
        return float("-inf") if value is None or np.isnan(value.value) else value.value

    rows: list[Row] = sorted(table.rows, key=ladder)
    if sort == "name":
        rows.sort(key=lambda row: row.id)
    elif sort == "size":
        rows.sort(key=lambda row: -1 if row.size is None else row.size)
    elif sort != "ladder":
        rows.sort(key=figure, reverse=True)
    return replace(table, rows=rows)


def _notes(tables: Sequence[Table], panels: Sequence[Panel], tested: Family) -> list[str]:
    notes = []
    for target in dict.fromkeys(table.target for table in tables):
        shown = {table.number for table in tables if table.target == target}
        mine = [panel for panel in panels if panel.target == target and panel.number in shown]
        others = [f"table {other.number}: {differences(mine[0], other)}" for other in mine[1:]]
        if others:
            notes.append(
                f"{target}: tables of different data are not compared; table {mine[0].number} against {', '.join(others)}"
            )
    several = [row for table in tables for row in table.rows if len(row.ids) > 1]
    if several:
        notes.append("rows of several seeds: mean over seeds; intervals cover test items and training seeds")
    single = [row for table in tables for row in table.rows if len(row.ids) == 1]
    if single:
        more = any(delta.seeds > 1 for delta in tested.values())
        notes.append(
            "a row of one seed: its interval covers the choice of test items, not the luck of training"
            + (f"; stars stand at means over {STAR_SEEDS} seeds or more (--seeds mean)" if more else "")
        )
    return notes


def to_json(board: Board) -> dict[str, Any]:
    """The board as plain data: shares with 6 decimals, null where a figure is undefined."""
    return plain(
        {
            "format": SCHEMA,
            **asdict(board),
            "unavailable": [
                dict(zip(("id", "status", "why"), item, strict=True)) for item in board.unavailable
            ],
        }
    )


def plain(value: Any) -> Any:
    """Data for JSON: floats rounded to 6 decimals (small p-values whole), None for NaN and infinity."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (float, np.floating)):
        number = float(value)
        if not math.isfinite(number):
            return None
        return number if 0 < abs(number) < 1e-4 else round(number, 6)
    return value.item() if isinstance(value, np.generic) else value
