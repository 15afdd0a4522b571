"""Languages and targets that a user describes in a YAML file; ``docs/languages.md`` has the format with an example.

The environment variable ``XSCALE_TARGETS`` names files (separated like ``PATH``), as do ``targets_file`` in lm_eval's
``--metadata`` and in an experiment, and ``--targets-file`` of commands. A file is read by the strict reader of
:mod:`harness_tasks.parsing`: what is wrong is said with file, line, field and expectation.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from harness_tasks.errors import UserError
from harness_tasks.languages import LANGUAGES, Language
from harness_tasks.parsing import read_model
from harness_tasks.targets.record import PARALLEL, Doc, Place, RowRelation, Subset, Target

_strict = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
Text = Annotated[str, Field(min_length=1)]
Code = Annotated[str, Field(pattern=r"^[a-z]{2,3}([_-][A-Za-z0-9]{2,12})*$")]
TargetName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$", max_length=40)]
FolderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
DatasetName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?$")]


def _relation(value: Any) -> RowRelation:
    if value in ("parallel", "own"):
        return RowRelation(value)
    names = {"file", "column"}, {"field"}, {"text"}
    if (
        isinstance(value, dict)
        and set(value) in names
        and all(isinstance(v, str) and v for v in value.values())
    ):
        if "file" in value:
            return RowRelation("table", file=value["file"], column=value["column"])
        return RowRelation("field" if "field" in value else "text", field=value.get("field") or value["text"])
    raise ValueError(
        f"parallel, own, {{file: …, column: …}}, {{field: …}} or {{text: …}} is expected, not {str(value)[:60]!r}"
    )


class _Splits(BaseModel):
    model_config = _strict

    test: FolderName = "test"
    validation: FolderName | None = None


class _Language(BaseModel):
    """A language of a target."""

    model_config = _strict

    code: Code
    name: Text | None = None
    script: Text | None = None
    family: Text | None = None
    cc100_gib: Annotated[float, Field(ge=0)] | None = None
    dataset: DatasetName
    config: FolderName = "default"
    revision: Text | None = None
    splits: _Splits = Field(default_factory=_Splits)
    fields: dict[str, Text] = Field(default_factory=dict)
    labels: dict[str | int, int] | None = None
    rows: Annotated[Any, AfterValidator(_relation)] = PARALLEL
    words: list[Text] | None = None
    licence: str = ""
    citation: str = ""


class _FurtherLanguage(_Language):
    target: str


class _Prompt(BaseModel):
    model_config = _strict

    context: str = ""
    choices: list[Text] = Field(min_length=2)


class _Target(BaseModel):
    """A target of the user's own."""

    model_config = _strict

    name: TargetName
    title: Text | None = None
    version: Text = "1.0"
    citation: str = ""
    licence: str = ""
    head: Literal["pair_classification", "multiple_choice"]
    text_fields: list[Text] = Field(min_length=1)
    answers: list[Text] = Field(min_length=2, max_length=100)
    pairs: list[Annotated[list[Text], Field(min_length=2, max_length=2)]] = Field(min_length=1)
    prompt: _Prompt
    cluster: Annotated[int, Field(ge=1)] = 1  # so many rows, one after the other, are one cluster
    languages: list[_Language] = Field(min_length=1)
    subsets: list[dict[str, Any]] = Field(default_factory=list)


class _File(BaseModel):
    """Further languages of known targets, and new targets."""

    model_config = _strict

    languages: list[_FurtherLanguage] = Field(default_factory=list)
    targets: list[_Target] = Field(default_factory=list)


@dataclass(frozen=True)
class Described:
    """What a file adds: targets (new ones, and known ones with their further languages), and facts about languages."""

    targets: Mapping[str, Target]
    languages: Mapping[str, Language]


def read_targets_file(path: Path, known: Mapping[str, Target], facts: Mapping[str, Language]) -> Described:
    """A file's targets and languages, on top of those that are `known`.

    Raises `UserError` with file, line, field and what was expected when anything in it is wrong.
    """
    content = read_model(_checked(path, known, facts), path)
    found, spoken = dict(known), dict(facts)
    for described in content.targets:
        spec = _target(described, path)
        found[spec.name] = _with_subsets(spec, described, path)
        spoken |= {language.code: _facts(language, spoken) for language in described.languages}
    for entry in content.languages:
        found[entry.target] = found[entry.target].with_places(
            {entry.code: _place(entry, path, official=False)}
        )
        spoken[entry.code] = _facts(entry, spoken)
    return Described(found, spoken)


def _checked(path: Path, known: Mapping[str, Target], facts: Mapping[str, Language]) -> type[_File]:
    """The file's model, with the checks that need to know what there is; they say which field they are about."""

    class Targets(_File):
        @model_validator(mode="after")
        def _consistent(self) -> Targets:
            names = set(known)
            for number, target in enumerate(self.targets):
                where = f"targets.{number}"
                if target.name in names or target.name == "intermediate":
                    raise ValueError(f"{where}.name: {target.name!r} is taken; choose another name")
                names.add(target.name)
                _check_target(target, where)
                _check_languages(target.languages, where + ".languages", _sketch(target), path, facts)
            mine = {target.name: _sketch(target) for target in self.targets}
            given = [(entry.target, entry.code) for entry in self.languages]
            for number, entry in enumerate(self.languages):
                where = f"languages.{number}"
                spec = mine.get(entry.target) or known.get(entry.target)
                if spec is None:
                    there = ", ".join([*known, *mine])
                    raise ValueError(f"{where}.target: {entry.target!r} is unknown; there are: {there}")
                if entry.code in spec.languages:
                    raise ValueError(
                        f"{where}.code: {spec.name} has {entry.code!r} among its own languages; choose another code"
                    )
                if given.count((entry.target, entry.code)) > 1:
                    raise ValueError(
                        f"{where}.code: {entry.code!r} is described twice for {spec.name}; keep one"
                    )
                _check_language(entry, where, spec, path, facts)
            return self

    return Targets


def _check_target(target: _Target, where: str) -> None:
    count = len(target.answers)
    for field in ("text_fields", "answers"):
        values = getattr(target, field)
        if len(set(values)) != len(values):
            raise ValueError(f"{where}.{field}: {', '.join(values)}: one of them is there twice; keep one")
    if reserved := {"label", "target", "language", "row", "cluster", "subsets"} & set(target.text_fields):
        raise ValueError(f"{where}.text_fields: {min(reserved)!r} is what a document's own field is called")
    wanted = 1 if target.head == "pair_classification" else count
    if len(target.pairs) != wanted:
        raise ValueError(
            f"{where}.pairs: {wanted} for {target.head} with {count} answers, not {len(target.pairs)}"
        )
    for pair in target.pairs:
        for name in pair:
            if name not in target.text_fields:
                raise ValueError(
                    f"{where}.pairs: {name!r} is none of the text_fields {', '.join(target.text_fields)}"
                )
    if len(target.prompt.choices) != count:
        raise ValueError(
            f"{where}.prompt.choices: one for each of {count} answers, not {len(target.prompt.choices)}"
        )
    words = {len(language.words or ()) for language in target.languages}
    if len(words) > 1:
        raise ValueError(f"{where}.languages: words: the same number in every language, not {sorted(words)}")
    allowed = [*target.text_fields, *(f"word{number}" for number in range(1, 1 + max(words)))]
    for name, text in [
        ("context", target.prompt.context),
        *(("choices", text) for text in target.prompt.choices),
    ]:
        _check_template(text, allowed, f"{where}.prompt.{name}")
    codes = [language.code for language in target.languages]
    if len(set(codes)) != len(codes):
        raise ValueError(f"{where}.languages: a code is there twice among {', '.join(codes)}; keep one")


def _check_template(text: str, allowed: list[str], where: str) -> None:
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        raise ValueError(f"{where}: {text!r}: {error}; write {{{{ and }}}} for braces") from None
    for _, name, form, conversion in parts:
        if name is not None and (name not in allowed or form or conversion):
            raise ValueError(
                f"{where}: {{{name}}} in {text!r}: only {', '.join(allowed)} can stand in braces"
            )


def _check_languages(
    languages: list[_Language], where: str, spec: Target, path: Path, facts: Mapping[str, Language]
) -> None:
    for number, language in enumerate(languages):
        _check_language(language, f"{where}.{number}", spec, path, facts)


def _check_language(
    entry: _Language, where: str, spec: Target, path: Path, facts: Mapping[str, Language]
) -> None:
    known = facts.get(entry.code) or LANGUAGES.get(entry.code)
    for name in ("name", "script", "family", "cc100_gib"):
        value = getattr(entry, name)
        if known is None and value is None and name != "cc100_gib":
            raise ValueError(
                f"{where}.{name}: {entry.code!r} is not known here, so it needs name, script and family"
            )
        if known is not None and value is not None and value != getattr(known, name):
            raise ValueError(
                f"{where}.{name}: {entry.code!r} is {known.name} here, with {name} {getattr(known, name)!r}, not "
                f"{value!r}; leave it out, or choose another code"
            )
    fields = (*spec.text_fields, "label", *spec.pivot)
    for field in entry.fields:
        if field not in fields:
            raise ValueError(
                f"{where}.fields: {field!r} is no field of {spec.name}; there are: {', '.join(fields)}"
            )
    if entry.labels is not None and set(entry.labels.values()) != set(range(spec.labels)):
        raise ValueError(
            f"{where}.labels: every label from 0 to {spec.labels - 1} needs a value, and no other, not "
            f"{sorted(set(entry.labels.values()))}"
        )
    first = spec.places.get(spec.pivot_language) if spec.places else None
    wanted = len(first.words or ()) if first else None
    if entry.words is not None and wanted is not None and len(entry.words) != wanted:
        raise ValueError(
            f"{where}.words: {wanted} are needed for a prompt of {spec.name}, not {len(entry.words)}"
        )
    if entry.rows.file is not None:
        table = path.parent / entry.rows.file
        if not table.is_file():
            raise ValueError(f"{where}.rows: no file {table}; paths count from the folder of this file")


def _sketch(target: _Target) -> Target:
    """The target without its places, for checks."""
    return Target(
        name=target.name,
        title=target.title or target.name,
        version=target.version,
        citation=target.citation,
        licence=target.licence,
        head=target.head,
        places={},
        text_fields=tuple(target.text_fields),
        answers=tuple(target.answers),
        context=partial(_fill_context, target.prompt.context),
        choices=partial(_fill_choices, tuple(target.prompt.choices)),
        pairs=partial(_pairs, tuple((a, b) for a, b in target.pairs)),
        cluster=partial(_cluster, target.cluster),
        order=1000,
    )


def _target(target: _Target, path: Path) -> Target:
    places = {entry.code: _place(entry, path, official=True) for entry in target.languages}
    return replace(_sketch(target), places=places, user=str(path))


def _with_subsets(spec: Target, described: _Target, path: Path) -> Target:
    """With the subsets, whose rules are read by those who know their grammar."""
    from harness_tasks.subsets.user import rule_of_target

    subsets: list[Subset] = []
    for number, entry in enumerate(described.subsets):
        where = f"{path}: targets {spec.name}: subsets.{number}"
        name, citation, rule = rule_of_target(entry, spec, where)
        if name in {subset.name for subset in subsets}:
            raise UserError(f"{where}.name: {name!r} is described twice; keep one")
        text = str(entry.get("rationale") or "")
        members = partial(_members, rule)
        subsets.append(Subset(name, 1, f"A rule of {path.name}.", text, citation, members))
    return replace(spec, subsets=tuple(subsets))


def _members(rule: Any, rows: Mapping[str, Any], facts: Any, data: str) -> list[int]:
    return [number for number, row in enumerate(rows["en"]) if rule(row)]


def _place(entry: _Language, path: Path, official: bool) -> Place:
    rows: RowRelation = entry.rows
    if rows.file is not None:
        rows = replace(rows, file=str((path.parent / rows.file).absolute()))
    return Place(
        dataset=entry.dataset,
        config=entry.config,
        revision=entry.revision,
        test=entry.splits.test,
        validation=entry.splits.validation,
        fields=tuple(entry.fields.items()),
        labels=tuple((entry.labels or {}).items()),
        rows=rows,
        official=official,
        words=tuple(entry.words) if entry.words is not None else None,
        group=None if official else path.stem,
        origin="user's",
        licence=entry.licence,
        citation=entry.citation,
        user=str(path),
    )


def _facts(entry: _Language, known: Mapping[str, Language]) -> Language:
    if entry.code in known:
        return known[entry.code]
    return Language(entry.code, "", entry.name or "", entry.script or "", entry.family or "", entry.cc100_gib)


def _values(doc: Doc, words: Any) -> dict[str, Any]:
    return {**doc, **{f"word{number}": word for number, word in enumerate(words or (), start=1)}}


def _fill_context(template: str, doc: Doc, words: Any) -> str:
    return template.format_map(_values(doc, words))


def _fill_choices(templates: tuple[str, ...], doc: Doc, words: Any) -> list[str]:
    values = _values(doc, words)
    return [template.format_map(values) for template in templates]


def _pairs(names: tuple[tuple[str, str], ...], doc: Doc) -> list[tuple[str, str]]:
    return [(doc[first], doc[second]) for first, second in names]


def _cluster(size: int, row: int) -> int:
    return row // size
