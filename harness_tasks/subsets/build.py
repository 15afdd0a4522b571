"""Builds the shipped membership: ``python -m harness_tasks.subsets build --data <mirror>``."""

from __future__ import annotations

import argparse
import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

from harness_tasks.sources import DataError
from harness_tasks.subsets.membership import DATA, anchor_fingerprint, pack_rows
from harness_tasks.subsets.registry import MNLI_TRAINING_GENRES, subsets_of
from harness_tasks.targets import TARGETS, read_target


def read_facts(folder: Path, target: str, split: str) -> list[dict[str, str]]:
    """``<target>_rows.tsv``: what the hub's copy of the data does not say of a row (genre; difficulty, question)."""
    path = folder / f"{target}_rows.tsv"
    if not path.is_file():
        raise DataError(f"no {path}; --facts names the folder with xnli_rows.tsv and xcopa_rows.tsv")
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["split"] == split]
    if [int(row["row"]) for row in rows] != list(range(len(rows))):
        raise DataError(f"{path}: the rows of {split} are not numbered 0, 1, 2, ...")
    return rows


def members(target: str, name: str, rows: list[dict[str, Any]], facts: list[dict[str, str]]) -> list[int]:
    """The rows that belong to a subset."""
    if target == "xnli" and name in ("id", "ood"):
        return [
            i for i, fact in enumerate(facts) if (fact["genre"] in MNLI_TRAINING_GENRES) == (name == "id")
        ]
    wanted = {"id": "easy", "ood": "hard"}[name]
    return [i for i, fact in enumerate(facts) if fact["difficulty"] == wanted]


def build(target: str, data: str, facts_folder: Path) -> dict[str, Any]:
    """The content of ``data/<target>.json``."""
    result: dict[str, Any] = {"target": target}
    questions = {}
    for split in ("test", "validation"):
        rows = read_target(target, "en", split, data)
        facts = read_facts(facts_folder, target, split)
        if len(facts) != len(rows):
            raise DataError(f"{target} {split}: {len(rows)} rows, but facts about {len(facts)}")
        if target == "xcopa":
            if [row["question"] for row in rows] != [fact["question"] for fact in facts]:
                raise DataError(f"xcopa {split}: the questions of the facts are not those of English COPA")
            questions[split] = "".join(row["question"][0] for row in rows)
        counts = Counter(row["label"] for row in rows)
        result[split] = {
            "anchor": anchor_fingerprint(target, rows),
            "rows": len(rows),
            "labels": [counts[label] for label in range(TARGETS[target].labels)],
        }
        if split == "test":
            result[split]["subsets"] = {}
            for subset in subsets_of(target):
                chosen = members(target, subset.name, rows, facts)
                bits = pack_rows(chosen, len(rows))
                result[split]["subsets"][subset.name] = {
                    "version": subset.version,
                    "n": len(chosen),
                    "bits": bits,
                }
        else:
            result[split]["subsets"] = {}
    if questions:
        result["question"] = questions
    return result


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m harness_tasks.subsets", description=__doc__)
    parser.add_argument("command", choices=["build"])
    parser.add_argument("--data", required=True, help="mirror folder, or hub")
    parser.add_argument(
        "--facts", type=Path, help="folder with xnli_rows.tsv and xcopa_rows.tsv [the mirror's parent]"
    )
    parser.add_argument("--output", type=Path, default=DATA)
    arguments = parser.parse_args()
    facts = arguments.facts or Path(arguments.data).parent
    for target in TARGETS:
        content = build(target, arguments.data, facts)
        arguments.output.mkdir(parents=True, exist_ok=True)
        path = arguments.output / f"{target}.json"
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        print(path, {name: entry["n"] for name, entry in content["test"]["subsets"].items()})
