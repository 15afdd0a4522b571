"""Subsets that a user describes in a YAML file, by a rule over the English row or by row numbers.

A file holds one subset or a list of them under ``subsets``; ``docs/subsets.md`` has the format with an
example. The environment variable ``XSCALE_SUBSETS`` names files (separated like ``PATH``), as does
``subsets_file`` in ``--metadata``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from harness_tasks.errors import UserError
from harness_tasks.languages import LANGUAGES, axis_slug
from harness_tasks.parsing import load_text, read_text
from harness_tasks.subsets.membership import (
    OWN,
    anchor_fingerprint,
    facts_by_row,
    is_official,
    shipped,
    shipped_membership,
)
from harness_tasks.targets import Target, get_target, language_groups, languages, read_target, targets

ENVIRONMENT = "XSCALE_SUBSETS"
FIELDS = ("name", "target", "citation", "rule", "rows", "anchor", "rationale")
TEXT_TESTS = ("matches", "min_words", "max_words")
Row = Mapping[str, Any]
MAX_ROWS = 10_000_000
MAX_PATTERN = 1_000
# columns of tables and metrics of lm_eval (`acc_stderr`), which a subset's figures would stand in for
RESERVED = frozenset(
    "all acc accuracy gap stderr norm mutual_info delta rank size seed seeds base arm recipe model id ids note notes rows row "
    "label prediction target targets task language languages intermediate baseline cluster numerator denominator".split()
) - {"id"}


@dataclass(frozen=True)
class UserSubset:
    """One described subset; exactly one of `rule` and `rows` is given."""

    name: str
    target: str
    citation: str
    where: str
    rule: Callable[[Row], bool] | None = None
    rows: tuple[int, ...] = ()
    anchor: str | None = None


def subset_files(extra: str | Path | Sequence[str | Path] | None = None) -> tuple[str, ...]:
    """Absolute paths of the files named by `extra` and by the environment, each once."""
    given = [extra] if isinstance(extra, (str, Path)) else list(extra or ())
    named = [name for name in os.environ.get(ENVIRONMENT, "").split(os.pathsep) if name]
    return tuple(dict.fromkeys(str(Path(name).expanduser().absolute()) for name in (*given, *named)))


def read_subsets(path: str | Path) -> list[UserSubset]:
    """The subsets of a file; raises :class:`UserError` with file and field when anything in it is wrong."""
    path = Path(path)
    try:
        changed = path.stat().st_mtime_ns
    except OSError as error:
        raise UserError(f"subset file {path}: cannot be read ({error.strerror})") from error
    return list(_read_subsets(str(path), changed))


@lru_cache(maxsize=32)
def _read_subsets(path: str, changed: int) -> tuple[UserSubset, ...]:
    content = load_text(read_text(Path(path)), path)
    if isinstance(content, dict) and "subsets" in content:
        entries, prefix = content["subsets"], "subsets[{}]"
        if not isinstance(entries, list) or not entries or set(content) != {"subsets"}:
            raise UserError(f"subset file {path}: 'subsets' must be a list of subsets and the only key")
    else:
        entries, prefix = [content], "top level"
    found = [_parse(entry, path, prefix.format(number)) for number, entry in enumerate(entries)]
    names = [(subset.target, subset.name) for subset in found]
    for target, name in names:
        if names.count((target, name)) > 1:
            raise UserError(f"subset file {path}: {target} subset {name!r} is described twice")
    return tuple(found)


def load_membership(
    target: str,
    anchor: str,
    extra: str | Path | Sequence[str | Path] | None = None,
    source: str | None = None,
) -> dict[str, np.ndarray]:
    """Subset name -> sorted row numbers of the test split, for the data whose English rows have this anchor.

    `extra` names files with a user's subsets, in addition to those of ``XSCALE_SUBSETS``; rules in them are
    applied to the English rows of `source`. Raises :class:`UserError` when the anchor is unknown, a file is
    wrong, or the rows of `source` have another anchor.
    """
    membership = shipped_membership(target, anchor)
    spec = get_target(target)
    if spec.user and not anchor.startswith(OWN):
        rows = read_target(target, spec.pivot_language, "test", source)
        if anchor_fingerprint(target, rows) != anchor:
            return membership  # a validation split: no subsets
        for shipped_subset in spec.subsets:
            if shipped_subset.members is not None:
                found = shipped_subset.members({"en": rows}, [], str(source))
                membership[shipped_subset.name] = np.array(found, dtype=int)
    elif anchor.startswith(OWN) or (not is_official(target, anchor) and not membership):
        return membership  # a validation split, or rows without English rows: no subsets
    described = [s for path in subset_files(extra) for s in read_subsets(path) if s.target == target]
    for subset in described:
        if subset.name in membership:
            raise UserError(f"{subset.where}.name: there is a {target} subset {subset.name!r} already")
        membership[subset.name] = _members(subset, anchor, source)
    return membership


def _members(subset: UserSubset, anchor: str, source: str | None) -> np.ndarray:
    spec = get_target(subset.target)
    if subset.rule is None:
        if (subset.anchor or (None if spec.user else shipped(subset.target)["test"]["anchor"])) != anchor:
            raise UserError(
                f"{subset.where}.rows: row numbers of other data than what is evaluated (anchor {anchor}); "
                "give the anchor that they belong to, or evaluate that data"
            )
        return np.array(subset.rows, dtype=int)
    rows = read_target(subset.target, spec.pivot_language, "test", source)
    if anchor_fingerprint(subset.target, rows) != anchor:
        raise UserError(
            f"{subset.where}.rule: the English rows of this source are not those that are evaluated"
        )
    if not spec.user and is_official(subset.target, anchor):
        facts = facts_by_row(subset.target, "test")
        rows = [
            {**row, **{name: facts[name][number] for name in spec.facts}} for number, row in enumerate(rows)
        ]
    try:
        members = [number for number, row in enumerate(rows) if subset.rule(row)]
    except KeyError as error:
        raise UserError(f"{subset.where}.rule: the evaluated data has no field {error}") from error
    if not members:
        raise UserError(f"{subset.where}.rule: no test row of {subset.target} fits it")
    return np.array(members, dtype=int)


def _parse(entry: Any, path: str, place: str) -> UserSubset:
    where = f"subset file {path}: {place}"
    if not isinstance(entry, dict):
        raise UserError(f"{where}: must be a mapping with name, target, citation and rule or rows")
    for key in entry:
        if key not in FIELDS:
            raise UserError(f"{where}.{key}: unknown field; there are: {', '.join(FIELDS)}")
    for key in ("name", "target", "citation"):
        if not isinstance(entry.get(key), str) or not entry[key].strip():
            raise UserError(f"{where}.{key}: must be given, as text")
    name, target = entry["name"], entry["target"]
    if target not in targets():
        raise UserError(f"{where}.target: {target!r} is unknown; there are: {', '.join(targets())}")
    _check_name(name, target, where)
    if ("rule" in entry) == ("rows" in entry):
        raise UserError(f"{where}: must have either 'rule' or 'rows'")
    if "rule" in entry:
        if "anchor" in entry:
            raise UserError(f"{where}.anchor: only goes with 'rows'")
        rule = _condition(entry["rule"], get_target(target), f"{where}.rule")
        return UserSubset(name, target, entry["citation"], where, rule=rule)
    anchor = entry.get("anchor")
    if anchor is not None and not re.fullmatch(r"[0-9a-f]{64}", str(anchor)):
        raise UserError(f"{where}.anchor: must be 64 hexadecimal digits")
    total = None if anchor or get_target(target).user else shipped(target)["test"]["rows"]
    rows = _row_numbers(entry["rows"], total, f"{where}.rows")
    return UserSubset(name, target, entry["citation"], where, rows=rows, anchor=anchor)


def rule_of_target(entry: Any, spec: Target, where: str) -> tuple[str, str, Callable[[Row], bool]]:
    """Name, citation and rule of a subset that a target of the user's own describes; `UserError` when it is wrong."""
    for key in entry:
        if key not in ("name", "citation", "rule", "rationale"):
            raise UserError(f"{where}.{key}: unknown field; there are: name, citation, rule, rationale")
    for key in ("name", "citation"):
        if not isinstance(entry.get(key), str) or not entry[key].strip():
            raise UserError(f"{where}.{key}: must be given, as text")
    _check_form(entry["name"], where)
    if entry["name"] in set(LANGUAGES) | set(spec.places) | {"axes"}:
        raise UserError(f"{where}.name: {entry['name']!r} is a language or a group; choose another")
    return entry["name"], entry["citation"], _condition(entry.get("rule"), spec, f"{where}.rule")


def _check_name(name: str, target: str, where: str) -> None:
    _check_form(name, where)
    if name in _taken(target):
        raise UserError(f"{where}.name: {name!r} is taken by a subset, a language or a group of the package")


def _check_form(name: str, where: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        raise UserError(
            f"{where}.name: {name!r} must be of lower-case letters, digits and single underscores"
        )
    if name in RESERVED:
        raise UserError(f"{where}.name: {name!r} is what a column or metric is called; choose another")


def _taken(target: str) -> set[str]:
    axes = {axis_slug(value) for value in language_groups(target)}
    subsets = get_target(target).subsets
    return (
        {s.name for s in subsets} | {s.alias or s.name for s in subsets} | set(languages()) | axes | {"axes"}
    )


def _label_names(spec: Target) -> Sequence[Any]:
    """What a rule calls the labels: by name for a classifier, by number for choices."""
    return spec.answers if spec.head == "pair_classification" else tuple(range(spec.labels))


def _row_numbers(value: Any, total: int | None, where: str) -> tuple[int, ...]:
    if not isinstance(value, list) or not value:
        raise UserError(f"{where}: must be a list of row numbers and ranges like 10-19")
    numbers: set[int] = set()
    for item in value:
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", str(item))
        if not match or isinstance(item, bool):
            raise UserError(f"{where}: {item!r} is neither a row number nor a range like 10-19")
        first, last = int(match[1]), int(match[2] or match[1])
        if last >= MAX_ROWS:
            raise UserError(f"{where}: {item!r} is beyond any test split; row numbers begin at 0")
        if last < first or (total is not None and last >= total):
            raise UserError(f"{where}: {item!r} is not within the test rows 0 to {(total or last + 1) - 1}")
        if len(numbers) + last - first >= MAX_ROWS:
            raise UserError(f"{where}: more than {MAX_ROWS:,} rows together; no test split is that large")
        numbers.update(range(first, last + 1))
    return tuple(sorted(numbers))


def _condition(value: Any, spec: Target, where: str) -> Callable[[Row], bool]:
    """A rule as a function of the row."""
    if not isinstance(value, dict) or not value:
        raise UserError(f"{where}: must be a mapping: all, any, not, or field with a test")
    combining = [key for key in ("all", "any", "not") if key in value]
    if combining:
        key = combining[0]
        if len(value) > 1:
            raise UserError(f"{where}: {key!r} must be the only key")
        if key == "not":
            inner = _condition(value["not"], spec, f"{where}.not")
            return lambda row: not inner(row)
        if not isinstance(value[key], list) or not value[key]:
            raise UserError(f"{where}.{key}: must be a list of conditions")
        parts = [_condition(part, spec, f"{where}.{key}[{i}]") for i, part in enumerate(value[key])]
        return (
            (lambda row: all(p(row) for p in parts))
            if key == "all"
            else (lambda row: any(p(row) for p in parts))
        )
    return _field_test(value, spec, where)


def _field_test(value: dict[str, Any], spec: Target, where: str) -> Callable[[Row], bool]:
    choices: dict[str, Sequence[Any]] = {"label": _label_names(spec), **spec.pivot}
    for name in () if spec.user else spec.facts:
        choices[name] = shipped(spec.name)["test"]["by_row"][name]["values"]
    field = value.get("field")
    if field not in (*spec.text_fields, *choices):
        known = ", ".join((*spec.text_fields, *choices))
        raise UserError(f"{where}.field: {field!r} is no field of {spec.name}; there are: {known}")
    tests = [key for key in value if key != "field"]
    allowed = ("in",) if field in choices else TEXT_TESTS
    for key in tests:
        if key not in allowed:
            raise UserError(f"{where}.{key}: unknown test of {field!r}; there are: {', '.join(allowed)}")
    if not tests:
        raise UserError(f"{where}: needs a test: {', '.join(allowed)}")
    parts = [_one_test(field, key, value[key], choices.get(field, ()), f"{where}.{key}") for key in tests]
    return lambda row: all(part(row) for part in parts)


def _pattern(wanted: Any, where: str) -> Any:
    """A regular expression that is matched in a time linear in the text, whatever it is (RE2)."""
    import re2

    options = re2.Options()
    options.case_sensitive, options.log_errors = False, False
    if not isinstance(wanted, str) or not wanted or len(wanted) > MAX_PATTERN:
        raise UserError(f"{where}: a regular expression of 1 to {MAX_PATTERN:,} letters is expected")
    try:
        return re2.compile(wanted, options)
    except (re2.error, ValueError) as error:
        reason = " ".join(_words(error.args[0] if error.args else error).split())[:200]
        raise UserError(
            f"{where}: not a regular expression ({reason}); look-around and back-references are not taken"
        ) from None


def _words(reason: Any) -> str:
    return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)


def _one_test(field: str, key: str, wanted: Any, choices: Sequence[Any], where: str) -> Callable[[Row], bool]:
    if key == "in":
        if not isinstance(wanted, list) or not wanted or any(item not in choices for item in wanted):
            raise UserError(f"{where}: must be a list from {', '.join(map(str, choices))}")
        values = {choices.index(item) if field == "label" else item for item in wanted}
        return lambda row: row[field] in values
    if key == "matches":
        pattern = _pattern(wanted, where)
        return lambda row: bool(pattern.search(row[field]))
    if type(wanted) is not int or wanted < 0:
        raise UserError(f"{where}: must be a whole number")
    if key == "min_words":
        return lambda row: len(row[field].split()) >= wanted
    return lambda row: len(row[field].split()) <= wanted
