"""YAML and JSON from people, turned into typed objects or into one line that says what is wrong and where."""

from __future__ import annotations

import datetime
import difflib
import json
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from harness_tasks.errors import UserError

MAX_BYTES = 16 * 1024 * 1024
MAX_YAML_BYTES = 2 * 1024 * 1024  # people write it; a parser takes seconds for each megabyte
MAX_DEPTH = 64
MAX_INTEGER = 2**63 - 1

ModelT = TypeVar("ModelT", bound=BaseModel)
_HALF = re.compile("[\ud800-\udfff]")  # of a surrogate pair: no file can hold it
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # absent where PyYAML was built without libyaml


def read_model(model: type[ModelT], path: Path) -> ModelT:
    """Read a YAML (or, by its ending, JSON) file into a pydantic model.

    Raises `UserError` with file, line, field and what was expected when the file is missing, not UTF-8, too
    large, not YAML / JSON, uses aliases or duplicate keys, or does not fit the model.
    """
    return parse_model(model, read_text(path), str(path))


def read_text(path: Path) -> str:
    """The file's text, or a `UserError`: absent, a folder, not a plain file, unreadable, larger than 16 MiB, not UTF-8."""
    data = read_bytes(path)
    try:
        return data.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from None


def read_bytes(path: Path, most: int = MAX_BYTES) -> bytes:
    """What a plain file holds. Raises `UserError` for anything else: a pipe or device would be waited for, or never end."""
    try:
        handle = os.open(Path(path).expanduser(), os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            status = os.fstat(handle)
            if stat.S_ISDIR(status.st_mode):
                raise UserError(f"{path}: this is a folder, a file is needed")
            if not stat.S_ISREG(status.st_mode):
                raise UserError(f"{path}: not a plain file (a pipe, device or socket); check the path")
            if status.st_size > most:
                raise UserError(
                    f"{path}: larger than {most // 2**20} MiB, which no file of this kind is; check the path"
                )
            with os.fdopen(os.dup(handle), "rb") as file:
                return file.read(most + 1)
        finally:
            os.close(handle)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror or error}); check the path and its permissions"
        ) from None
    except (ValueError, RuntimeError) as error:  # a null byte; a home folder of nobody
        raise UserError(f"{str(path)!r}: not a usable path ({error}); mend it") from None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object that a program wrote. Raises `UserError` for anything else, deep nesting and huge numbers included."""
    data = _load_json(read_text(path), str(path))
    if not isinstance(data, dict):
        raise UserError(f"{path}: a JSON object is expected, not {_kind(data)}; restore the file")
    return data


def parse_model(model: type[ModelT], text: str, name: str) -> ModelT:
    """As `read_model`, for text at hand; `name` stands for the file in errors and decides YAML or JSON."""
    data, node = _load(text, name)
    if not isinstance(data, dict):
        raise UserError(f"{name}:1: a mapping of fields (name: value) is expected here, not {_kind(data)}")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        if node is None:
            node = _lines_of_json(text, name)
        raise UserError(_explain(error, model, node, name)) from None


def load_text(text: str, name: str) -> Any:
    """Plain values (text, numbers, lists, mappings) of YAML, or JSON where `name` ends so; raises as `read_model`."""
    return _load(text, name)[0]


def _refuse_odd_values(data: Any, name: str) -> None:
    """Raise `UserError` for a value that files of ours never have: a set or bytes, a number that no computation takes.
    Dates stay: where text is meant, the reader says so."""
    left = [data]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left += [*value.keys(), *value.values()]
        elif isinstance(value, list):
            left += value
        elif isinstance(value, str) and _HALF.search(value):
            raise UserError(f"{name}: half a character in {_show(value)}; texts have whole ones only")
        elif isinstance(value, int) and not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise UserError(
                f"{name}: a whole number of {len(hex(value)) - 2} hexadecimal digits; none is that large"
            )
        elif not isinstance(value, str | int | float | datetime.date | None):
            raise UserError(
                f"{name}: a value of type {type(value).__name__}; only text, numbers, lists and mappings are taken"
            )


def _load(text: str, name: str) -> tuple[Any, yaml.Node | None]:
    """The values, and for YAML the nodes that know their lines."""
    if name.endswith(".json"):
        return _load_json(text, name), None
    if len(text) > MAX_YAML_BYTES:
        raise UserError(
            f"{name}: larger than {MAX_YAML_BYTES // 2**20} MiB, which no file of this kind is; check the path"
        )
    node = _compose(text, name)
    try:
        data = yaml.load(text, Loader=_LOADER)
        _refuse_odd_values(data, name)
        return data, node
    except UserError:
        raise
    except (  # the last four: what PyYAML makes of `!!bool maybe`, `!!timestamp x` and their like
        yaml.YAMLError,
        RecursionError,
        ValueError,
        LookupError,
        AttributeError,
        TypeError,
        OverflowError,
    ) as error:
        where = _mark(error, text)
        raise UserError(
            f"{name}{where}: not plain YAML ({_first_line(error)}); only text, numbers, lists and mappings are taken"
        ) from None


def _load_json(text: str, name: str) -> Any:
    """Lines are looked for only where something is wrong: manifests are read often, and a YAML parser is slow."""
    twice: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(items)
        if len(result) != len(items):
            twice.extend(key for key, _ in items)
        return result

    try:
        data = json.loads(text, object_pairs_hook=pairs)
        _refuse_odd_values(data, name)
    except UserError:
        raise
    except json.JSONDecodeError as error:
        what = f"not JSON ({error.msg}); mend this line" if text.strip() else "the file is empty; delete it"
        raise UserError(f"{name}:{error.lineno}: {what}") from None
    except (RecursionError, ValueError) as error:
        _lines_of_json(text, name)
        raise UserError(f"{name}: not usable JSON ({type(error).__name__}: {error}); mend the file") from None
    if twice:
        _lines_of_json(text, name)
        repeated = next(key for key in twice if twice.count(key) > 1)
        raise UserError(f"{name}: field {repeated!r} is given twice; keep one")
    return data


def _lines_of_json(text: str, name: str) -> yaml.Node | None:
    """JSON read as YAML, for its line numbers; None where it uses what YAML does not take (tabs)."""
    try:
        return _compose(text, name)
    except yaml.YAMLError:
        return None


def _compose(text: str, name: str) -> yaml.Node | None:
    """The node graph with line numbers; refuses aliases, deep nesting, duplicate keys."""
    depth = 0
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            line = event.start_mark.line + 1 if event.start_mark else 1
            if isinstance(event, yaml.AliasEvent):
                raise UserError(f"{name}:{line}: YAML aliases (*name) are not taken; write the value out")
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > MAX_DEPTH:
                    raise UserError(
                        f"{name}:{line}: nested deeper than {MAX_DEPTH} levels; no field needs that"
                    )
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
        node: yaml.Node | None = yaml.compose(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        if name.endswith(".json"):
            raise
        raise UserError(
            f"{name}{_mark(error, text)}: not YAML ({_first_line(error)}); mend this line"
        ) from None
    _refuse_duplicate_keys(node, name)
    return node


def _refuse_duplicate_keys(node: yaml.Node | None, name: str) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[Any] = set()
        for key, value in node.value:
            if key.value in seen if isinstance(key.value, str) else False:
                raise UserError(
                    f"{name}:{key.start_mark.line + 1}: field {key.value!r} is given twice; keep one"
                )
            if isinstance(key.value, str):
                seen.add(key.value)
            _refuse_duplicate_keys(value, name)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _refuse_duplicate_keys(value, name)


def _line_of(node: yaml.Node | None, location: Sequence[int | str]) -> int | None:
    """The 1-based line of the deepest part of `location` that exists in the node graph."""
    if node is None:
        return None
    line = node.start_mark.line + 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if found is None:
                continue  # the names of union members are in pydantic's locations too
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line


def _explain(error: ValidationError, model: type[BaseModel], node: yaml.Node | None, name: str) -> str:
    defects = error.errors(include_url=False)
    absent = {str(d["loc"][-1]) for d in defects if d["type"] == "missing"}
    for defect in defects:  # a name that is nearly that of an absent field says more than that it is absent
        if defect["type"] == "extra_forbidden" and difflib.get_close_matches(str(defect["loc"][-1]), absent):
            defects = [defect, *(d for d in defects if d is not defect)]
            break
    first = defects[0]
    location: Sequence[int | str] = first["loc"]
    what = explain_defect(defects)
    if first["type"] == "extra_forbidden":
        known = _fields_at(model, location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
        what = f"unknown field; {hint}"
    elif not location and (path := re.match(r"([a-z_]\w*(?:\.\w+)*): ", what)):
        # a check of the whole object says in its message which field it is about
        location, what = [int(p) if p.isdigit() else p for p in path[1].split(".")], what[path.end() :]
    line = _line_of(node, location)
    where = f"{name}:{line}" if line else name
    field = ".".join(str(part) for part in _plain_location(location))
    other = {_plain_location(d["loc"]) for d in defects} - {_plain_location(first["loc"])}
    more = f" (and {len(other)} more)" if other else ""
    return f"{where}: {field}: {what}{more}" if field else f"{where}: {what}{more}"


def explain_defect(defects: Sequence[Any]) -> str:
    """What pydantic's first defect (with its fellows, where a value may be of several kinds) expected, in plain words."""
    first = defects[0]
    kind, context = first["type"], first.get("ctx") or {}
    if kind == "missing":
        return "this field is required; add it"
    if kind == "value_error":
        return str(first["msg"]).removeprefix("Value error, ")
    same = [d for d in defects if _plain_location(d["loc"]) == _plain_location(first["loc"])]
    expected = " or ".join(dict.fromkeys(_expectation(d["type"], d.get("ctx") or {}, d["msg"]) for d in same))
    value = first.get("input")
    hint = ""
    if kind == "string_type" and isinstance(value, bool | int | float):
        hint = "; write it in quotes"
    elif kind == "string_pattern_mismatch":
        hint = f" (pattern {context['pattern']})"
    return f"{expected} is expected, not {_show(value)}{hint}"


def _expectation(kind: str, context: dict[str, Any], message: str) -> str:
    """`kind` is pydantic's name for the defect."""
    many = "s" if context.get("min_length", context.get("max_length")) != 1 else ""
    plain = {
        "string_type": "text",
        "string_unicode": "text of whole characters",
        "int_type": "a whole number",
        "int_from_float": "a whole number",
        "float_type": "a number",
        "finite_number": "a finite number",
        "bool_type": "true or false",
        "none_required": "null",
        "list_type": "a list, as [a, b],",
        "dict_type": "a mapping (name: value)",
        "model_type": "a mapping (name: value)",
        "literal_error": "{expected}",
        "greater_than": "a number above {gt}",
        "greater_than_equal": "a number of at least {ge}",
        "less_than": "a number below {lt}",
        "less_than_equal": "a number of at most {le}",
        "too_long": "at most {max_length} items",
        "too_short": f"at least {{min_length}} item{many}",
        "string_too_short": f"text of at least {{min_length}} character{many}",
        "string_too_long": f"text of at most {{max_length}} character{many}",
        "string_pattern_mismatch": "text of another form",
    }.get(kind)
    return plain.format(**context) if plain else message[0].lower() + message[1:]


_UNION_MEMBERS = {"str", "int", "float", "bool", "none", "[key]"}


def _plain_location(location: Sequence[int | str]) -> tuple[int | str, ...]:
    """Without what pydantic adds to the path: functions, members of a union, `[key]`."""
    return tuple(
        part
        for number, part in enumerate(location)
        if not str(part).startswith("function-") and not (number and part in _UNION_MEMBERS)
    )


def _fields_at(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    current: Any = model
    for part in location:
        if isinstance(current, type) and issubclass(current, BaseModel) and part in current.model_fields:
            current = current.model_fields[str(part)].annotation
        current = _inner_model(current)
    if isinstance(current, type) and issubclass(current, BaseModel):
        return list(current.model_fields)
    return list(model.model_fields)


def _inner_model(annotation: Any) -> Any:
    """The first pydantic model inside list[...], dict[...] or a union, else the annotation itself."""
    if isinstance(annotation, type) and not hasattr(annotation, "__args__"):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        inner = _inner_model(argument)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            return inner
    return annotation


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _kind(value: Any) -> str:
    names = {list: "a list", str: "text", type(None): "an empty file"}
    return names.get(type(value), _show(value))


def _mark(error: BaseException, text: str) -> str:
    """`:<line>` where a YAML error knows its place, else nothing."""
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        return f":{mark.line + 1}"
    position = getattr(error, "position", None)  # of a ReaderError
    return f":{text.count(chr(10), 0, position) + 1}" if isinstance(position, int) else ""


def _first_line(error: BaseException) -> str:
    problem = getattr(error, "problem", None)
    return str(problem or error).splitlines()[0] if str(problem or error) else type(error).__name__
