"""Builds what ships about the official rows: membership, anchors, fingerprints, facts by row.

``python -m harness_tasks.subsets build --data <mirror or hub> --facts <folder>``. The folder has the facts
that the hub's copies dropped, ``xnli_rows.tsv`` (split, row, pairID, promptID, genre: from the files of XNLI
1.0) and ``xcopa_rows.tsv`` (split, row, question, difficulty: from COPA and from COPA-hard / COPA-easy).
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness_tasks.errors import UserError
from harness_tasks.sources import fingerprint, resolve_source
from harness_tasks.subsets.alignment import kept_rows
from harness_tasks.subsets.membership import DATA, anchor_fingerprint, is_parallel, pack_rows
from harness_tasks.targets import Target, get_target, read_target, shipped_targets

SPLITS = ("test", "validation")
Row = dict[str, Any]


def build(target: str, data: str, facts_folder: Path) -> dict[str, Any]:
    """The content of ``data/<target>.json``; raises :class:`UserError` when the sources disagree."""
    content: dict[str, Any] = {"target": target}
    spec = get_target(target)
    for split in SPLITS:
        if any(
            spec.place_of(code, split) != (spec.place(code), spec.place(code).split(split))
            or spec.place(code).split(split) is None
            for code in spec.languages
        ):
            continue
        rows = {language: read_target(target, language, split, data) for language in spec.languages}
        english = rows[spec.pivot_language]
        needed = bool(spec.pivot or spec.facts)
        facts = read_facts(facts_folder, target, split) if needed else [{} for _ in english]
        if len(facts) != len(english):
            raise UserError(f"{target} {split}: {len(english)} rows, but facts about {len(facts)}")
        for field in spec.pivot:
            if [row[field] for row in english] != [fact[field] for fact in facts]:
                raise UserError(f"{target} {split}: {field} of the facts is not that of the English rows")
        counts = Counter(row["label"] for row in english)
        content[split] = {
            "rows": len(english),
            "anchor": anchor_fingerprint(target, english),
            "labels": [counts[label] for label in range(spec.labels)],
            "fingerprints": {
                language: fingerprint(_kept(spec, language, split, mine, english), spec.text_and_label)
                for language, mine in rows.items()
            },
        }
        content[split]["by_row"] = {
            "label": _packed([row["label"] for row in english]),
            **{name: _packed([fact[name] for fact in facts]) for name in (*spec.pivot, *spec.facts)},
        }
        if split == "test":
            content[split]["subsets"] = {
                subset.name: _entry(subset.version, subset.members(rows, facts, data), english)
                for subset in spec.subsets
                if subset.members is not None
            }
    return content


def _kept(spec: Target, language: str, split: str, rows: list[Row], english: list[Row]) -> list[Row]:
    place = spec.place(language)
    where = f"{place.dataset} ({place.config}, {split})"
    return kept_rows(spec, place, split, rows, english, len(english), where)[0]


def _packed(values: Sequence[Any]) -> dict[str, Any]:
    """One digit a row, for at most ten different values."""
    known = sorted(set(values))
    return {"values": known, "rows": "".join(str(known.index(value)) for value in values)}


def _entry(version: int, members: Sequence[int], english: Sequence[Row]) -> dict[str, Any]:
    counts = Counter(english[number]["label"] for number in members)
    return {
        "version": version,
        "n": len(members),
        "labels": [counts[label] for label in sorted({row["label"] for row in english})],
        "bits": pack_rows(members, len(english)),
    }


def read_facts(folder: Path, target: str, split: str) -> list[dict[str, str]]:
    """The rows of ``<target>_rows.tsv`` of a split, in order."""
    path = folder / f"{target}_rows.tsv"
    if not path.is_file():
        raise UserError(f"no {path}; --facts names the folder that has it")
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
    parser.add_argument("--facts", type=Path, help="folder of the .tsv files [the mirror's parent]")
    parser.add_argument("--output", type=Path, default=DATA, help="where to write [the package]")
    options = parser.parse_args(arguments)
    try:
        source = resolve_source(options.data)
        contents = {
            target: build(target, source, options.facts or Path(source).parent)
            for target, spec in shipped_targets().items()
            if is_parallel(spec)
        }
    except UserError as error:
        parser.exit(2, f"error: {error}\n")
    options.output.mkdir(parents=True, exist_ok=True)
    for target, content in contents.items():
        path = options.output / f"{target}.json"
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        print(path, {name: entry["n"] for name, entry in content["test"]["subsets"].items()})
