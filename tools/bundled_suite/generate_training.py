"""English training data of the bundled suite: NLI pairs and COPA items, the same on every run.

    python tools/bundled_suite/generate_training.py            # counts of every split
    python tools/bundled_suite/generate_training.py --show 20  # and some rows of each

NLI rows come from the template families in ``nli_templates``, half of train's from those in ``nli_wide``. A premise
belongs to one split only, by its hash, and no premise of the hand-written test items is used. COPA items come from
the cause-effect pairs in ``copa_pairs.txt``; train, validation and target use different pairs.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lexicon as lx
from nli_templates import FAMILIES, Family, sentence
from nli_wide import WIDE_FAMILIES

HERE = Path(__file__).resolve().parent
SEED = 20240

NLI_ROWS_PER_LABEL = {"train": 2400, "validation": 100, "target": 256}
LABELS = (0, 1, 2)
MAX_WORDS = 20

COPA_HELD_OUT_PAIRS = {"validation": 40, "target": 50}
COPA_VARIANTS = {"train": 5, "validation": 1, "target": 3}
QUESTIONS = ("effect", "cause")
STOPWORDS = frozenset(
    """
    a an and at away be became could did for from had her his in into is it not of off on out so the to
    too very was were with without all
    """.split()
)

Row = dict[str, Any]


# --- NLI ---------------------------------------------------------------------------------------------------


def test_premises() -> frozenset[str]:
    """The premises of the hand-written NLI items, which no training row may have."""
    lines = (HERE / "nli" / "en.txt").read_text(encoding="utf-8").splitlines()
    return frozenset(line[2:].strip() for line in lines if line.startswith("P "))


def split_of(premise: str) -> str:
    """The only split that may have this premise."""
    bucket = int(hashlib.sha256(premise.encode()).hexdigest(), 16) % 100
    if bucket < 6:
        return "validation"
    return "target" if bucket < 20 else "train"


class NliSplits:
    """Distinct rows sorted into the splits, each with as many rows of every label."""

    def __init__(self, rows_per_label: dict[str, int]) -> None:
        self.rows_per_label = rows_per_label
        self.banned = test_premises()
        self.labels: dict[tuple[str, str], int] = {}
        self.rows: dict[tuple[str, int], list[Row]] = {(s, y): [] for s in rows_per_label for y in LABELS}
        self.from_family: dict[tuple[str, int, str], int] = {}

    def add(self, family: Family, label: int, pair: tuple[str, str], share: float) -> None:
        """Take the pair in, unless it is unfit, known, or its family has had its share of the split."""
        premise, hypothesis = pair
        split = split_of(premise)
        if split not in self.rows_per_label:
            return
        rows = self.rows[split, label]
        key = (split, label, family.__name__)
        size = self.rows_per_label[split]
        if len(rows) >= size or self.from_family.get(key, 0) >= share * size:
            return
        if premise == hypothesis or premise in self.banned or len(premise.split()) > MAX_WORDS:
            return
        if pair in self.labels:
            if self.labels[pair] != label:
                raise ValueError(f"two labels for one pair: {premise} / {hypothesis}")
            return
        self.labels[pair] = label
        rows.append({"premise": premise, "hypothesis": hypothesis, "label": label})
        self.from_family[key] = self.from_family.get(key, 0) + 1

    def full(self) -> bool:
        """Whether every split has all its rows."""
        return all(len(rows) == self.rows_per_label[split] for (split, _), rows in self.rows.items())


def fill_splits(splits: NliSplits, rng: random.Random, families: Sequence[Family], patience: int) -> None:
    """Draw until every split is full; until then a family has little more than its share, for so many turns."""
    turns = 0
    while not splits.full():
        share = 1.15 / len(families) if turns < patience else 1.0
        for family in families:
            for label in LABELS:
                splits.add(family, label, family(rng, label), share)
        turns += 1


def nli_splits() -> dict[str, list[Row]]:
    """The rows of train, validation and target, shuffled; half of train is from the wide families."""
    rng = random.Random(SEED)
    splits = NliSplits(NLI_ROWS_PER_LABEL)
    fill_splits(splits, rng, FAMILIES, 1500)
    result = {}
    for split in NLI_ROWS_PER_LABEL:
        result[split] = [row for label in LABELS for row in splits.rows[split, label]]
        rng.shuffle(result[split])
    half = NLI_ROWS_PER_LABEL["train"] // 2
    wide = NliSplits({"train": half})
    fill_splits(wide, rng, WIDE_FAMILIES, 4000)
    narrow = [[row for row in result["train"] if row["label"] == label][:half] for label in LABELS]
    result["train"] = [row for rows in (*narrow, *wide.rows.values()) for row in rows]
    rng.shuffle(result["train"])
    return result


# --- COPA --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Event:
    """One half of a cause-effect pair."""

    text: str
    topic: str

    @property
    def slot(self) -> str:
        """The kind of person it speaks of: s anybody, c a child, a an adult, "" nobody in particular."""
        found = re.search(r"\{([sca])\}", self.text)
        return found[1] if found else ""


@dataclass(frozen=True)
class CausePair:
    """A cause and its effect."""

    cause: Event
    effect: Event


def read_pairs(text: str) -> tuple[list[CausePair], set[frozenset[str]]]:
    """The pairs of the table, and the pairs of topics that must not lend each other wrong alternatives."""
    pairs: list[CausePair] = []
    clashes: set[frozenset[str]] = set()
    topic = ""
    for line in text.splitlines():
        head = re.fullmatch(r"\[(\w+)\](?: not with: (.*))?", line)
        if head:
            topic = head[1]
            clashes |= {frozenset((topic, other)) for other in [topic, *(head[2] or "").split()]}
        elif " => " in line and not line.startswith("#"):
            halves = (half.strip() for half in line.split(" => "))
            cause, effect = (Event(half, topic) for half in halves)
            pairs.append(CausePair(cause, effect))
    return pairs, clashes


def subjects(slots: set[str]) -> list[lx.Person]:
    """The people who fit all the slots."""
    children = [p for p in lx.CHILDREN if "little" not in p.text]
    adults = [p for p in lx.ADULTS if p.text in ("the man", "the woman")]
    extra = (
        []
        if {"a", "c"} <= slots
        else adults
        if "a" in slots
        else children
        if "c" in slots
        else children + adults
    )
    return [*lx.NAMES, *extra]


def fill(event: Event, who: lx.Person) -> str:
    """The event's sentence about that person."""
    text = re.sub(r"\{[sca]\}", who.text, event.text).replace("{his}", who.poss)
    return sentence(text.rstrip("."))


def words(text: str) -> set[str]:
    """The content words of a sentence, without slots."""
    return set(re.findall(r"[a-z]+", re.sub(r"\{\w+\}", "", text.lower()))) - STOPWORDS


class CopaMaker:
    """Makes items out of the pairs of one split."""

    def __init__(self, pairs: list[CausePair], clashes: set[frozenset[str]], rng: random.Random) -> None:
        self.pairs, self.clashes, self.rng = pairs, clashes, rng
        self.used: dict[str, int] = {}

    def wrong_alternatives(self, premise: Event, right: Event, side: str) -> list[Event]:
        """Sentences of the same side from topics that do not clash, about a person where the right one is."""
        events = [getattr(pair, side) for pair in self.pairs]
        fit = [
            e
            for e in events
            if frozenset((e.topic, right.topic)) not in self.clashes
            and bool(e.slot) == bool(right.slot)
            and "ac" not in {"".join(sorted({e.slot, other.slot})) for other in (premise, right)}
        ]
        fewest = min((self.used.get(e.text, 0) for e in fit), default=0)
        return [e for e in fit if self.used.get(e.text, 0) <= fewest + 1]

    def item(self, pair: CausePair, question: str, label: int, variant: int) -> Row | None:
        """One item, None without a wrong alternative; every second one takes that nearest to the premise in words."""
        premise, right = (pair.cause, pair.effect) if question == "effect" else (pair.effect, pair.cause)
        fit = self.wrong_alternatives(premise, right, question)
        if not fit:
            return None
        self.rng.shuffle(fit)
        if variant % 2 == 0:
            fit.sort(key=lambda e: -len(words(e.text) & words(premise.text)))
        wrong = fit[0]
        self.used[wrong.text] = self.used.get(wrong.text, 0) + 1
        who = self.rng.choice(subjects({premise.slot, right.slot, wrong.slot}))
        choices = [fill(right, who), fill(wrong, who)]
        if label == 1:
            choices.reverse()
        return {
            "premise": fill(premise, who),
            "choice1": choices[0],
            "choice2": choices[1],
            "question": question,
            "label": label,
        }

    def items(self, variants: int) -> list[Row]:
        """Both questions about every pair, so many times, with the labels balanced and the order shuffled."""
        rows: dict[tuple[str, ...], Row] = {}
        for variant in range(variants):
            for number, pair in enumerate(self.pairs):
                for side, question in enumerate(QUESTIONS):
                    row = self.item(pair, question, (number + side + variant) % 2, variant)
                    if row is None:
                        continue
                    key = (question, row["premise"], *sorted((row["choice1"], row["choice2"])))
                    rows.setdefault(key, row)
        result = list(rows.values())
        self.rng.shuffle(result)
        balanced = balance(result)
        return [{**row, "idx": idx} for idx, row in enumerate(balanced)]


def balance(rows: list[Row]) -> list[Row]:
    """The rows without the last few of the commoner label."""
    by_label = {label: [r for r in rows if r["label"] == label] for label in (0, 1)}
    size = min(len(found) for found in by_label.values())
    kept = {id(r) for found in by_label.values() for r in found[:size]}
    return [r for r in rows if id(r) in kept]


def copa_splits() -> dict[str, list[Row]]:
    """The items of train, validation and target, made of different pairs."""
    rng = random.Random(SEED)
    left, clashes = read_pairs((HERE / "copa_pairs.txt").read_text(encoding="utf-8"))
    chosen = {}
    for split, count in COPA_HELD_OUT_PAIRS.items():  # evenly over the topics, which stand in blocks
        step = len(left) / count
        held_out = {int(step * n + step / 2) for n in range(count)}
        chosen[split] = [pair for n, pair in enumerate(left) if n in held_out]
        left = [pair for n, pair in enumerate(left) if n not in held_out]
    chosen["train"] = left
    return {split: CopaMaker(chosen[split], clashes, rng).items(COPA_VARIANTS[split]) for split in chosen}


def main() -> int:
    """Print the size of every split, and some rows of it."""
    parser = argparse.ArgumentParser(description="Show the generated English training data.")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="also print N rows of every split")
    args = parser.parse_args()
    for task, splits in (("nli", nli_splits()), ("copa", copa_splits())):
        for split, rows in splits.items():
            print(f"{task} {split}: {len(rows)} rows")
            for row in rows[: args.show]:
                print("   ", *row.values(), sep=" | ")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
