"""The answer in words: what the statistics say about the experiment's question, and nothing that they do not say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from xscale.leaderboard import scaling
from xscale.leaderboard.arms import Arms, ahead, arm_tables, named_ladders
from xscale.leaderboard.bootstrap import STAR_SEEDS, Bootstrap, Delta, Estimate, difference_of_deltas
from xscale.leaderboard.family import Family, Question, family
from xscale.leaderboard.ladders import group_of, ladders
from xscale.leaderboard.panels import TARGET_NAMES
from xscale.leaderboard.render import subset_name, visible
from xscale.leaderboard.table import Board

FLAT = 0.01  # a change whose whole interval lies within one point is called none
_DETAILED = 3  # arms, of several, of which more than the change is told


@dataclass(frozen=True)
class Finding:
    """What one arm does on one target, from 0 to its largest size.

    `kind`: "rise" or "fall" (significant over the whole family), "flat" (the interval lies within a point of 0),
    "untold", "one seed" (fewer than three training runs), "same" (the baseline's answers). `others` are smaller
    sizes whose deltas say something else: (size, delta).
    """

    arm: str
    size: int
    kind: str
    delta: Delta
    others: tuple[tuple[int, Delta], ...] = ()
    in_difference: Delta | None = None  # ΔOOD − ΔID at that size
    growth: Estimate | None = None  # per doubling


@dataclass(frozen=True)
class Answer:
    """The findings of a target, and which arms are best at the largest size that several have."""

    name: str
    bundled: bool
    subset: str
    findings: tuple[Finding, ...]
    best: tuple[str, ...] = ()
    best_size: int | None = None
    ahead: str = ""  # where one arm is the best: in words
    collapsed: tuple[str, ...] = ()
    measure: str = "accuracy"


def kind_of(delta: Delta) -> str:
    """What a delta says; see `Finding`."""
    if delta.same:
        return "same"
    if delta.seeds < STAR_SEEDS:
        return "one seed"
    if delta.significant:
        return "rise" if delta.value > 0 else "fall"
    return "flat" if delta.low >= -FLAT and delta.high <= FLAT else "untold"


def answers(
    bootstraps: Sequence[Bootstrap], question: Question, tested: Family, seed: int = 0
) -> list[Answer]:
    """The answer of every target that has ladders with results, from the question's family."""
    tables = {(item.target, item.number): item for item in arm_tables(bootstraps, question, tested, seed)}
    found = []
    for bootstrap in bootstraps:
        panel = bootstrap.panel
        table = tables.get((panel.target, panel.number))
        if panel.number > 1 or (question.targets is not None and panel.target not in question.targets):
            continue
        sized = any(entry.size for entry in panel.entries)
        if not sized:
            continue
        named = named_ladders(ladders(panel))
        findings = []
        for arm, cells in table.cells.items() if table else ():
            size = max(cells)
            delta = cells[size].delta
            pairs = group_of(panel, named[arm].sizes[size]).pairs
            mine, base = [i for i, _ in pairs], [b for _, b in pairs]
            both = {"id", "ood"} <= set(panel.masks) and table is not None and table.subset == "ood"
            findings.append(
                Finding(
                    arm,
                    size,
                    kind_of(delta),
                    delta,
                    _others(delta, {n: cell.delta for n, cell in cells.items() if n < size}),
                    difference_of_deltas(bootstrap, mine, base, "ood", "id", seed=seed) if both else None,
                    scaling.growth(bootstrap, named[arm], question.subset_of(panel), seed),
                )
            )
        last = max(table.compared, default=None) if table else None
        found.append(
            Answer(
                visible(TARGET_NAMES.get(panel.target, panel.target), 40),
                panel.bundled,
                subset_name(question.subset_of(panel)) if question.subset_of(panel) != "all" else "all-row",
                tuple(findings),
                tuple(table.best(last)) if table and last else (),
                last,
                _ahead(table, last),
                tuple(panel.collapsed),
                panel.measure,
            )
        )
    return found


def _ahead(table: Arms | None, size: int | None) -> str:
    names = table.best(size) if table and size else []
    return ahead(table, size, visible(names[0], 40)) if table and size and len(names) == 1 else ""


def _others(last: Delta, smaller: dict[int, Delta]) -> tuple[tuple[int, Delta], ...]:
    """Smaller sizes whose significant change the largest size does not have."""
    return tuple(
        (size, delta)
        for size, delta in smaller.items()
        if delta.significant and not (last.significant and (delta.value > 0) == (last.value > 0))
    )


def with_answer(
    board: Board, bootstraps: Sequence[Bootstrap], question: Question | None = None, seed: int = 0
) -> Board:
    """The board with the answer in words; `bootstraps` are those of all panels, shown or not."""
    asked = question or Question()
    tested = family(bootstraps, asked, seed)
    return replace(board, answer=words(answers(bootstraps, asked, tested, seed)))


def words(found: Sequence[Answer]) -> list[str]:
    """The answers as sentences, a paragraph a target."""
    return [_paragraph(item) for item in found]


def _paragraph(item: Answer) -> str:
    where = (
        f"{item.name}-like test items of the bundled suite (not {item.name})" if item.bundled else item.name
    )
    if not item.findings:
        return f"On {where} nothing can be said: no checkpoint has a baseline (size 0) with results on the same rows."
    many = len(item.findings) > 1
    sentences = []
    if len(item.findings) <= 3:
        sentences += [_change(one, item, where, many) for one in item.findings]
    else:
        sentences.append(_counted(item, where))
    changed = [one for one in item.findings if one.kind in ("rise", "fall")]
    for one in changed[:_DETAILED] if many else item.findings:
        sentences += _details(one, many)
    if many and item.best_size is not None:
        sentences.append(_best(item))
    if item.collapsed:
        count = len(item.collapsed)
        what = (
            "1 checkpoint collapsed and counts" if count == 1 else f"{count} checkpoints collapsed and count"
        )
        sentences.append(f"{what} in these figures; the table's notes name {'it' if count == 1 else 'them'}.")
    return " ".join(sentences)


def _change(one: Finding, item: Answer, where: str, many: bool) -> str:
    arm = f" ({visible(one.arm, 40)})" if many else ""
    head = f"From 0 to {one.size:,} examples{arm} {item.subset} {item.measure} on {where}"
    low_to_high = f"{_points(one.delta.low)} to {_points(one.delta.high)}"
    size = _points(abs(one.delta.value))
    low, high = sorted((abs(one.delta.low), abs(one.delta.high)))
    if one.kind in ("rise", "fall"):
        sign = "" if one.delta.low * one.delta.high > 0 else None
        span = f"{_points(low)} to {_points(high)}" if sign == "" else low_to_high
        text = f"{head} {'rises' if one.kind == 'rise' else 'falls'} by {size} points (95% interval {span})"
    elif one.kind == "flat":
        text = f"{head} does not change by more than a point: {_points(one.delta.value)} ({low_to_high})"
    elif one.kind == "same":
        text = f"{head} does not change at all: every answer is the baseline's"
    elif one.kind == "one seed":
        runs = "one training run" if one.delta.seeds == 1 else f"{one.delta.seeds} training runs"
        text = (
            f"{head} changes by {_points(one.delta.value)} points ({low_to_high}"
            f"{', over test items only' if one.delta.seeds == 1 else ''}); {runs} cannot tell whether another would, "
            f"{STAR_SEEDS} seeds can"
        )
    else:
        text = f"{head}: no change can be told: {_points(one.delta.value)} points ({low_to_high})"
        if one.delta.detectable < 1:
            text += f"; a change of {_points(one.delta.detectable)} would have been found four times in five"
        elif math.isfinite(one.delta.detectable):
            text += "; these training runs differ so much that no change could have been found"
    for at, delta in one.others:
        text += (
            f"; mixed: at {at:,} it {'rises' if delta.value > 0 else 'falls'} by {_points(abs(delta.value))} "
            f"({_points(delta.low)} to {_points(delta.high)})"
        )
    return text + "."


def _details(one: Finding, many: bool) -> list[str]:
    """The gain out of distribution against that in it, and what a doubling is worth."""
    found = []
    inside = one.in_difference
    if inside is not None and one.kind != "same":
        interval = f"{_points(inside.low)} to {_points(inside.high)}"
        if inside.low > 0 or inside.high < 0:
            than = "out of than in" if inside.value > 0 else "in than out of"
            low, high = sorted((abs(inside.low), abs(inside.high)))
            found.append(
                f"The change is larger {than} distribution by {_points(abs(inside.value))} "
                f"({_points(low)} to {_points(high)})"
            )
        else:
            found.append(
                "Whether it changes more out of distribution than in it cannot be told: "
                f"{_points(inside.value)} ({interval})"
            )
    if one.growth is not None and one.kind != "same":
        interval = f"{_points(one.growth.low)} to {_points(one.growth.high)}"
        if one.growth.low > 0 or one.growth.high < 0:
            found.append(f"a doubling of the examples is worth {_points(one.growth.value)} ({interval})")
        else:
            found.append(f"what a doubling is worth cannot be told: {_points(one.growth.value)} ({interval})")
    if not found:
        return []
    text = "; ".join(found)
    unsure = ", over test items only" if one.delta.seeds == 1 else ""
    if many:
        return [f"With {visible(one.arm, 40)}: {text[0].lower()}{text[1:]}{unsure}."]
    return [f"{text[0].upper()}{text[1:]}{unsure}."]


def _counted(item: Answer, where: str) -> str:
    total = len(item.findings)
    parts: list[str] = []
    for kind, words_of in (
        ("rise", "it rises in {}"),
        ("fall", "it falls in {}"),
        ("flat", "in {} it does not change by more than a point"),
        ("untold", "in {} no change can be told"),
        ("one seed", "{} have fewer than three training runs, which cannot tell"),
        ("same", "{} answer as the baseline does"),
    ):
        mine = sorted((o for o in item.findings if o.kind == kind), key=lambda one: -abs(one.delta.value))
        if not mine:
            continue
        count = (
            f"{'all' if len(mine) == total else len(mine)} of {total} arms" if not parts else f"{len(mine)}"
        )
        if kind in ("rise", "fall"):
            shown = ", ".join(
                f"{visible(one.arm, 24)} by {_points(abs(one.delta.value))} points "
                f"({'95% interval ' if not index and not parts else ''}{_between(one.delta)}) at {one.size:,}"
                for index, one in enumerate(mine[:4])
            )
        else:
            shown = ", ".join(
                f"{visible(one.arm, 24)} {_points(one.delta.value)} ({_between(one.delta, signed=True)}) at {one.size:,}"
                for one in mine[:4]
            )
        more = f" and {len(mine) - 4} more" if len(mine) > 4 else ""
        parts.append(f"{words_of.format(count)}: {shown}{more}")
    first, *others = parts
    text = f"{item.subset} {item.measure} on {where}: {first}."
    return " ".join([text, *[f"{part[0].upper()}{part[1:]}." for part in others]])


def _between(delta: Delta, signed: bool = False) -> str:
    """The interval's ends, of a fall as of a rise from the smaller to the larger."""
    low, high = delta.low, delta.high
    if not signed and low * high > 0:
        low, high = sorted((abs(low), abs(high)))
    return f"{_points(low)} to {_points(high)}"


def _best(item: Answer) -> str:
    names = [visible(name, 40) for name in item.best]
    if item.ahead:
        return item.ahead
    shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    return f"Which arm is best at {item.best_size:,} examples cannot be told: {shown} are not told from the best."


def _points(value: float) -> str:
    """Points with one decimal and a true minus; −0.0 is 0.0."""
    shown = f"{round(100 * value, 1) + 0.0:.1f}"
    return shown.replace("-", "−")
