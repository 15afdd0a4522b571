"""All targets by name, and their languages."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import pkgutil
from collections.abc import Mapping
from functools import cache, lru_cache
from itertools import product
from pathlib import Path

from harness_tasks.errors import UserError
from harness_tasks.languages import LANGUAGES, Language, groups_of
from harness_tasks.targets.further import further_places
from harness_tasks.targets.record import Doc, Target

ENVIRONMENT = "XSCALE_TARGETS"
_OTHERS = {
    "record",
    "registry",
    "reading",
    "forms",
    "further",
    "qa",
    "user",
}  # modules here that are no target's


@cache
def shipped_targets() -> Mapping[str, Target]:
    """The targets that have a file beside this one, with the further languages that ship."""
    names = [module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)])]
    modules = [importlib.import_module(f"{__package__}.{name}") for name in names if name not in _OTHERS]
    found = [module.TARGET for module in modules if hasattr(module, "TARGET")]
    places = further_places()
    found = [target.with_places(places.get(target.name, {})) for target in found]
    return {target.name: target for target in sorted(found, key=lambda target: target.order)}


def targets() -> Mapping[str, Target]:
    """Name -> target, in the order in which they are shown, with what the user's files add.

    Raises `UserError` when a file that ``XSCALE_TARGETS`` names is wrong.
    """
    return _described(os.environ.get(ENVIRONMENT, ""))[0]


def use_targets_file(path: str | Path | None) -> None:
    """Add a user's file to those of ``XSCALE_TARGETS``, for this process and those that it starts.

    Raises `UserError` when the file is wrong; nothing is added then.
    """
    if path is None:
        return
    name = str(_absolute(path))
    before = os.environ.get(ENVIRONMENT, "")
    if name not in map(str, _files(before)):
        after = os.pathsep.join([*filter(None, before.split(os.pathsep)), name])
        _described(after)
        os.environ[ENVIRONMENT] = after


def _absolute(path: str | Path) -> Path:
    return Path(path).expanduser().absolute()


def _files(named: str) -> list[Path]:
    """The files that the variable names, each once."""
    return list(dict.fromkeys(_absolute(name) for name in named.split(os.pathsep) if name))


@lru_cache(maxsize=16)
def _described(files: str) -> tuple[Mapping[str, Target], Mapping[str, Language]]:
    known, facts = shipped_targets(), LANGUAGES
    for path in _files(files):
        from harness_tasks.targets.user import read_targets_file  # pydantic is not needed without

        described = read_targets_file(path, known, facts)
        known, facts = dict(described.targets), dict(described.languages)
    return known, facts


def get_target(name: str) -> Target:
    """The target `name`; :class:`UserError` when there is none."""
    known = targets()
    if name not in known:
        raise UserError(f"unknown target task {name!r}; there are: {', '.join(known)}")
    return known[name]


def languages() -> Mapping[str, Language]:
    """Code -> facts about each language of any target."""
    return _described(os.environ.get(ENVIRONMENT, ""))[1]


def location(target: str, language: str) -> tuple[str, str]:
    """Hub name and config of a target's rows in a language; :class:`UserError` when there are none."""
    place = get_target(target).place(language)
    return place.dataset, place.config


def language_groups(target: str, base: str = "xlm-r") -> dict[str, tuple[str, ...]]:
    """As :func:`harness_tasks.languages.groups_of`, of a target's official languages."""
    return groups_of([languages()[code] for code in get_target(target).languages], base)


def all_language_groups(target: str) -> dict[str, tuple[str, ...]]:
    """As :func:`language_groups`, of all languages of a target, and ``source:<who made the rows>``."""
    spec = get_target(target)
    groups = groups_of([languages()[code] for code in spec.places])
    for code, place in spec.places.items():
        name = f"source:{place.origin}"
        groups[name] = (*groups.get(name, ()), code)
    return groups


def doc_to_text(doc: Doc) -> str:
    """The prompt of a task document for language models."""
    target = get_target(doc["target"])
    if target.context is None:
        return ENCODERS_ONLY.format(target=target.title)
    return target.context(_prepared(target, doc), target.words(doc["language"]))


ENCODERS_ONLY = "({target} is answered by encoders only.)"


def doc_to_target(doc: Doc) -> str:
    """The right answer to a task document without choices, as a text (for few-shot examples)."""
    gold = doc["gold"]
    if isinstance(gold, Mapping):  # a span
        return str(gold["text"][0]) if gold["text"] else ""
    return " ".join(map(str, gold)) if isinstance(gold, list) else str(gold)


def doc_to_choice(doc: Doc) -> list[str]:
    """The continuations of a task document, one for each answer."""
    target = get_target(doc["target"])
    return target.choices(_prepared(target, doc), target.words(doc["language"]))


def asked_as(target: str, language: str, *, pairs: bool) -> str:
    """What a row of a language becomes, as 16 hexadecimal digits: text pairs for encoders with the names of the answers
    (`pairs`), or a prompt with its choices. A made-up row is asked, so that every change of templates, words and
    preparation shows."""
    spec = get_target(target)
    texts = {name: f'"{name.capitalize()} (a) of {name}\'s , b" .' for name in spec.text_fields}
    made = []
    for values in product(*spec.pivot.values()):
        doc = {"target": target, "language": language, **texts, **dict(zip(spec.pivot, values, strict=True))}
        made.append(document_pairs(doc) if pairs else [doc_to_text(doc), doc_to_choice(doc)])
    clusters = [spec.cluster(row) for row in range(24)] if spec.user else []
    text = json.dumps([made, spec.answers if pairs else [], clusters], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _prepared(target: Target, doc: Doc) -> Doc:
    prepare = target.place(doc["language"]).prepare
    return doc if prepare is None else {**doc, **prepare(doc)}


def document_pairs(doc: Doc) -> list[tuple[str, str]]:
    """The text pairs of a task document for an encoder: one, or one for each choice."""
    return get_target(doc["target"]).pairs(doc)
