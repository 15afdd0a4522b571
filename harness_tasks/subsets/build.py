"""Builds what ships about the official rows: membership, anchors, fingerprints, COPA's questions, genres.

``python -m harness_tasks.subsets build --data <mirror or hub> --facts <folder>``. The folder has the facts
that the hub's copies dropped, ``xnli_rows.tsv`` (split, row, pairID, promptID, genre: from the files of XNLI
1.0) and ``xcopa_rows.tsv`` (split, row, question, difficulty: from COPA and from COPA-hard / COPA-easy).
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from harness_tasks.errors import UserError
from harness_tasks.sources import fingerprint, resolve_source
from harness_tasks.subsets import rules
from harness_tasks.subsets.hypothesis_only import wrong_rows
from harness_tasks.subsets.membership import DATA, TEXT_AND_LABEL, anchor_fingerprint, pack_rows
from harness_tasks.subsets.registry import subsets_of
from harness_tasks.targets import TARGETS, read_target

SPLITS = ("test", "validation")
Row = dict[str, Any]


def build(target: str, data: str, facts_folder: Path) -> dict[str, Any]:
    """The content of ``data/<target>.json``; raises :class:`UserError` when the sources disagree."""
    content: dict[str, Any] = {"target": target}
    spec = TARGETS[target]
    for split in SPLITS:
        rows = {language: read_target(target, language, split, data) for language in spec.languages}
        english = rows["en"]
        facts = read_facts(facts_folder, target, split)
        if len(facts) != len(english):
            raise UserError(f"{target} {split}: {len(english)} rows, but facts about {len(facts)}")
        if spec.has_question and [r["question"] for r in english] != [f["question"] for f in facts]:
            raise UserError(f"{target} {split}: the questions of the facts are not English COPA's")
        counts = Counter(row["label"] for row in english)
        content[split] = {
            "rows": len(english),
            "anchor": anchor_fingerprint(target, english),
            "labels": [counts[label] for label in range(spec.labels)],
            "fingerprints": {
                language: fingerprint(mine, TEXT_AND_LABEL[target]) for language, mine in rows.items()
            },
        }
        if spec.has_question:
            content[split]["questions"] = "".join(row["question"][0] for row in english)
        else:
            genres = sorted({fact["genre"] for fact in facts})
            content[split]["genres"] = genres
            content[split]["genre_of_row"] = "".join(str(genres.index(fact["genre"])) for fact in facts)
        if split == "test":
            content[split]["subsets"] = {
                subset.name: _entry(subset.version, MEMBERS[target, subset.name](rows, facts, data), english)
                for subset in subsets_of(target)
            }
    return content


def _entry(version: int, members: Sequence[int], english: Sequence[Row]) -> dict[str, Any]:
    counts = Counter(english[number]["label"] for number in members)
    return {
        "version": version,
        "n": len(members),
        "labels": [counts[label] for label in sorted({row["label"] for row in english})],
        "bits": pack_rows(members, len(english)),
    }


def _by_row(rule: Callable[[Row], bool]) -> Callable[..., list[int]]:
    return lambda rows, facts, data: [number for number, row in enumerate(rows["en"]) if rule(row)]


def _by_fact(rule: Callable[[dict[str, str]], bool]) -> Callable[..., list[int]]:
    return lambda rows, facts, data: [number for number, fact in enumerate(facts) if rule(fact)]


MEMBERS: dict[tuple[str, str], Callable[[dict[str, list[Row]], list[dict[str, str]], str], list[int]]] = {
    ("xnli", "id"): _by_fact(lambda fact: fact["genre"] in rules.MNLI_TRAINING_GENRES),
    ("xnli", "ood"): _by_fact(lambda fact: fact["genre"] not in rules.MNLI_TRAINING_GENRES),
    ("xnli", "overlap"): _by_row(rules.misleading_overlap),
    ("xnli", "hypothesis_hard"): lambda rows, facts, data: wrong_rows(rows["en"], data),
    ("xnli", "negation"): _by_row(rules.misleading_negation),
    ("xnli", "long"): _by_row(rules.long_premise),
    ("xnli", "numbers"): _by_row(rules.numbers),
    ("xcopa", "id"): _by_fact(lambda fact: fact["difficulty"] == "easy"),
    ("xcopa", "ood"): _by_fact(lambda fact: fact["difficulty"] == "hard"),
    ("xcopa", "cause"): _by_row(lambda row: row["question"] == "cause"),
    ("xcopa", "effect"): _by_row(lambda row: row["question"] == "effect"),
    ("xcopa", "changed"): lambda rows, facts, data: sorted(
        {number for mine in rows.values() for number, row in enumerate(mine) if row.get("changed")}
    ),
}


def read_facts(folder: Path, target: str, split: str) -> list[dict[str, str]]:
    """The rows of ``<target>_rows.tsv`` of a split, in order."""
    path = folder / f"{target}_rows.tsv"
    if not path.is_file():
        raise UserError(f"no {path}; --facts names the folder with xnli_rows.tsv and xcopa_rows.tsv")
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["split"] == split]
    if [int(row["row"]) for row in rows] != list(range(len(rows))):
        raise UserError(f"{path}: the rows of {split} are not numbered 0, 1, 2, ...")
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m harness_tasks.subsets", description=__doc__)
    parser.add_argument("command", choices=["build"])
    parser.add_argument("--data", required=True, help="mirror folder, or hub")
    parser.add_argument("--facts", type=Path, help="folder of the two .tsv files [the mirror's parent]")
    parser.add_argument("--output", type=Path, default=DATA, help="where to write [the package]")
    options = parser.parse_args(arguments)
    try:
        source = resolve_source(options.data)
        contents = {target: build(target, source, options.facts or Path(source).parent) for target in TARGETS}
    except UserError as error:
        parser.exit(2, f"error: {error}\n")
    options.output.mkdir(parents=True, exist_ok=True)
    for target, content in contents.items():
        path = options.output / f"{target}.json"
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        print(path, {name: entry["n"] for name, entry in content["test"]["subsets"].items()})
