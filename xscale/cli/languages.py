"""What `xscale ls languages` shows: every language of every target, where its rows lie, and whether the source has them."""

from __future__ import annotations

from collections.abc import Sequence

from harness_tasks.hub import unconfirmed
from harness_tasks.sources import has_split, mirror_folder, resolve_source, source_name
from harness_tasks.targets import Place, get_target, languages, targets
from xscale.leaderboard.render import visible

HEADS = (
    "target",
    "code",
    "language",
    "script",
    "family",
    "CC-100 GiB",
    "set",
    "rows",
    "English rows",
    "made by",
)
MORE = ("licence", "in this source", "unconfirmed")
RELATIONS = {
    "parallel": "all, in order",
    "table": "by a table",
    "field": "by a field",
    "text": "by a text",
    "own": "none",
}


def language_lines(
    names: Sequence[str] | None, data: str | None
) -> tuple[tuple[str, ...], list[list[str]], str]:
    """Heads, a row for each language of the targets (all when none is named), and what the source is.

    Raises `UserError` for an unknown target or source.
    """
    source = resolve_source(data)
    chosen = [get_target(name) for name in names] if names else list(targets().values())
    facts = languages()
    rows = []
    for spec in chosen:
        for code, place in spec.places.items():
            language = facts[code]
            seen = (
                "?" if language.cc100_gib is None else f"{language.cc100_gib:g}" if language.in_xlmr else "-"
            )
            licence = place.licence or (spec.licence if place.official else "see its card")
            size = dict(place.size).get("test")
            rows.append(
                [
                    spec.name,
                    code,
                    language.name,
                    language.script,
                    language.family,
                    seen,
                    f"{place.dataset} ({place.config})",
                    f"{size:,}" if size else "",
                    RELATIONS[place.rows.kind],
                    place.origin,
                    licence,
                    _there(place, source),
                    unconfirmed(place),
                ]
            )
    return (*HEADS, *MORE), rows, source_name(source)


def narrow(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """What of `language_lines` a terminal of 80 columns has room for: of what is unconfirmed how many things they are, and
    whether the source has a language where that was looked up."""
    asked = any(line[heads.index("in this source")] != "not asked" for line in lines)
    named = {"language": 22, "script": 10}
    shown = []
    for line in lines:
        known = dict(zip(heads, line, strict=True))
        cells = [known["target"], known["code"]]
        cells += [visible(known[name], width) for name, width in named.items()]
        cells += [
            known["CC-100 GiB"],
            str(len(known["unconfirmed"].split("; "))) if known["unconfirmed"] else "",
        ]
        shown.append([*cells, *([known["in this source"]] if asked else [])])
    return ["target", "code", *named, "CC-100", "open", *(["here"] if asked else [])], shown


def _there(place: Place, source: str) -> str:
    if mirror_folder(source) is None:
        return "not asked"
    return "yes" if has_split(place.dataset, place.config, place.test, source) else "no"
