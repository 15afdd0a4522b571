"""Makes a mirror's files of the BUCC 2018 shared task's: ``python -m harness_tasks.bucc FOLDER MIRROR``.

FOLDER is what the shared task's archives unpack to: ``zh-en.sample.zh``, ``zh-en.sample.en`` and ``zh-en.sample.gold`` (id, tab,
sentence; id, tab, id), the same of ``training``, possibly in folders and gzipped; ``dev`` and ``test`` are taken for sample and
training. The mirror gets ``bucc/bucc2018/<language>/validation.jsonl.gz`` and ``test.jsonl.gz`` (``id``, ``text``, ``pair``).
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
from collections.abc import Sequence
from pathlib import Path

from harness_tasks.errors import UserError
from harness_tasks.targets import shipped_targets

SPLITS = {"sample": "validation", "dev": "validation", "training": "test", "test": "test"}


def convert(folder: Path, mirror: Path) -> list[Path]:
    """The files that were written. Raises `UserError` where there is nothing to convert, or a line or id is wrong."""
    (target,) = (target for target in shipped_targets().values() if target.mined)
    written = []
    for language, place in target.places.items():
        for name, split in SPLITS.items():
            parts = [_find(folder, f"{language}-en.{name}.{end}") for end in (language, "en", "gold")]
            if all(parts):
                rows = _rows(language, *[part for part in parts if part])
                written.append(_write(mirror / place.dataset / place.config / f"{split}.jsonl.gz", rows))
    if not written:
        raise UserError(
            f"{folder}: no files such as zh-en.sample.zh with .en and .gold beside; unpack BUCC 2018 there"
        )
    return written


def _find(folder: Path, name: str) -> Path | None:
    found = sorted(path for end in ("", ".gz") for path in folder.rglob(name + end) if path.is_file())
    return found[0] if found else None


def _rows(language: str, mine: Path, english: Path, gold: Path) -> list[dict[str, str]]:
    texts = {path: _pairs(path) for path in (mine, english)}
    known = [dict(texts[path]) for path in (mine, english)]
    pair = {}
    for number, (first, second) in enumerate(_pairs(gold), 1):
        if first not in known[0] or second not in known[1]:
            raise UserError(
                f"{gold}, line {number}: {first} and {second} are not both in the lists of sentences"
            )
        pair[first] = second
    if any(
        not name.startswith(f"{code}-")
        for code, path in ((language, mine), ("en", english))
        for name, _ in texts[path]
    ):
        raise UserError(f"{mine}: ids must begin with {language}-, those of {english.name} with en-")
    rows = [{"id": name, "text": text, "pair": pair.get(name, "")} for name, text in texts[mine]]
    return rows + [{"id": name, "text": text, "pair": ""} for name, text in texts[english]]


def _pairs(path: Path) -> list[tuple[str, str]]:
    read = gzip.open if path.suffix == ".gz" else open
    found = []
    with read(path, "rt", encoding="utf-8", newline="\n") as file:
        for number, line in enumerate(file, 1):
            first, tab, second = line.rstrip("\r\n").partition("\t")
            if not (first and tab and second.strip()):
                raise UserError(f"{path}, line {number}: an id, a tab and a sentence (or id) are expected")
            found.append((first, second))
    return found


def _write(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    with gzip.open(part, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    os.replace(part, path)
    return path


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m harness_tasks.bucc", description=__doc__)
    parser.add_argument("folder", type=Path, help="what the shared task's archives unpack to")
    parser.add_argument("mirror", type=Path, help="the mirror folder to write to")
    options = parser.parse_args(arguments)
    try:
        for path in convert(options.folder, options.mirror):
            print(path)
    except (UserError, OSError) as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()
