"""What results are there of an entry, by the descriptions of its prediction files alone: neither data nor model is read."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness_tasks.targets import targets
from xscale.errors import UserError
from xscale.evaluation.predictions import prediction_files, read_info
from xscale.manifest import Entry

Asked = Mapping[str, tuple[Sequence[str], int | None]]  # target -> (languages, documents a language or None)


def descriptions(folder: Path, entry: Entry | None = None) -> list[dict[str, Any]]:
    """Of the readable prediction files in `results/<id>/`, what they were computed with; those of other weights than the
    entry's, where both are known, are left out."""
    found = []
    for path in prediction_files(folder):
        with contextlib.suppress(UserError):  # damaged; `xscale check` names it
            info = read_info(path)
            weights = info.get("weights")
            if entry is None or not entry.sha256 or not weights or entry.sha256 == weights:
                found.append(info)
    return found


def lacking(infos: Sequence[Mapping[str, Any]], asked: Asked, source: str | None = None) -> list[str]:
    """What of the languages and documents that are asked for none of the files has, in words; empty when it is all there.

    `source`: of data of that kind only (`hub`, `bundled` or `mirror:…`).
    """
    mine = [info for info in infos if source is None or _kind(info.get("source")) == _kind(source)]
    found = []
    for target, (languages, limit) in asked.items():
        each = [_missing(info, target, languages, limit) for info in mine]
        shares = [share for share in each if share is not None]
        if not shares:
            found.append(f"no {target}")
        elif all(shares):
            found.append(f"{target}: {min(shares, key=len)}")
    return found


def _missing(info: Mapping[str, Any], target: str, languages: Sequence[str], limit: int | None) -> str | None:
    """What a file lacks of a target, "" for nothing, None where it has nothing of it."""
    prints, limits = info.get("fingerprints"), info.get("limit")
    there = prints.get(target) if isinstance(prints, dict) else None
    if not isinstance(there, dict):
        return None
    kept = limits.get(target) if isinstance(limits, dict) else limits
    parts = []
    if len(having := [code for code in languages if code in there]) < len(languages):
        parts.append(f"{len(having)} of {len(languages)} languages")
    if isinstance(kept, int) and (limit is None or kept < limit):
        parts.append(f"the first {kept} rows")
    return ", ".join(parts)


def _kind(source: object) -> str:
    return str(source).partition(":")[0]


def results_words(folder: Path, entry: Entry) -> str:
    """What `xscale ls` says of an entry's results: `no`, `yes`, or what they are not; what stands after a colon is detail."""
    if not prediction_files(folder):
        return "no"
    infos = descriptions(folder, entry)
    if not infos:
        return "damaged" if not descriptions(folder) else "of other weights"
    prints = [info.get("fingerprints") for info in infos]
    named = {str(name) for known in prints if isinstance(known, dict) for name in known}
    known = targets()
    wanted = [name for name in (entry.targets or sorted(named)) if name in known]
    missing = lacking(infos, {name: (known[name].languages, None) for name in wanted})
    sources = dict.fromkeys(_kind(info.get("source")) for info in infos)
    where = f" ({', '.join(sources)})" if list(sources) != ["hub"] and "None" not in sources else ""
    return f"in part{where}: {'; '.join(missing)}" if missing else f"yes{where}"
