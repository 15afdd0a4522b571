"""Looks for defects in a copy of the data: ``python -m harness_tasks.audit --data <source> [--rows]``.

Each check gives row numbers, so that everybody can look at the rows in question. What it finds in the official
files is described in ``docs/xcopa-question.md``, and in further ones in ``docs/languages.md``.
"""

from __future__ import annotations

import argparse
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from harness_tasks.errors import UserError
from harness_tasks.sources import has_split, resolve_source
from harness_tasks.subsets.alignment import kept_rows
from harness_tasks.targets import Place, get_target, languages, read_target, targets, use_targets_file

Row = dict[str, Any]
# The first words of the Unicode names of a script's letters, where they are not the script's own name.
UNICODE_SCRIPTS = {"Han": ("CJK",), "Japanese": ("CJK", "HIRAGANA", "KATAKANA")}
ENGLISH_WORDS = {  # common ones that are no words of the other languages
    *(
        "and",
        "are",
        "be",
        "been",
        "by",
        "could",
        "did",
        "does",
        "for",
        "from",
        "had",
        "have",
        "his",
        "how",
        "if",
    ),
    *(
        "into",
        "is",
        "its",
        "of",
        "our",
        "out",
        "she",
        "should",
        "that",
        "the",
        "their",
        "them",
        "then",
        "there",
    ),
    *(
        "they",
        "this",
        "to",
        "we",
        "were",
        "what",
        "when",
        "which",
        "who",
        "will",
        "with",
        "would",
        "you",
        "your",
    ),
}
MARKUP = re.compile(r"&(?:[a-z]+|#\d+);?|\ufffd|</?[a-z]+>", re.IGNORECASE)


def wrong_questions(rows: Sequence[Row], english: Sequence[Row]) -> list[int]:
    """Rows whose `question` is not that of English COPA; the target must have one."""
    pairs = zip(rows, english, strict=True)
    return [number for number, (row, other) in enumerate(pairs) if row["question"] != other["question"]]


def wrong_labels(rows: Sequence[Row], english: Sequence[Row], fields: Sequence[str]) -> list[int]:
    """Rows whose label is not that of the English row."""
    return [
        n for n, (row, other) in enumerate(zip(rows, english, strict=True)) if row["label"] != other["label"]
    ]


def without_letters(rows: Sequence[Row], english: Sequence[Row], fields: Sequence[str]) -> list[int]:
    """Rows with a text that is nothing but punctuation."""
    return _any_text(rows, fields, lambda text: not any(character.isalnum() for character in text))


def outer_space(rows: Sequence[Row], english: Sequence[Row], fields: Sequence[str]) -> list[int]:
    """Rows with a text that begins or ends with white space."""
    return _any_text(rows, fields, lambda text: text != text.strip())


def markup(rows: Sequence[Row], english: Sequence[Row], fields: Sequence[str]) -> list[int]:
    """Rows with HTML entities, tags or the replacement character (a sign of broken encoding)."""
    return _any_text(rows, fields, lambda text: bool(MARKUP.search(text)))


def no_final_punctuation(rows: Sequence[Row], english: Sequence[Row], fields: Sequence[str]) -> list[int]:
    """Rows whose premise does not end with punctuation (XCOPA prompts cut its last character off)."""
    return _any_text(
        rows, ["premise"], lambda text: not unicodedata.category(text.strip()[-1]).startswith("P")
    )


def repeated(rows: Sequence[Row], english: Sequence[Row], fields: Sequence[str]) -> list[int]:
    """Rows with the same texts as an earlier row."""
    return [numbers[1] for numbers in _groups(rows, fields) if len(numbers) > 1]


def contradictory(rows: Sequence[Row], english: Sequence[Row], fields: Sequence[str]) -> list[int]:
    """Rows with the same texts as an earlier row, and another label."""
    return [
        number
        for numbers in _groups(rows, fields)
        for number in numbers[1:]
        if rows[number]["label"] != rows[numbers[0]]["label"]
    ]


def same_texts(rows: Sequence[Row], english: Sequence[Row], fields: Sequence[str]) -> list[int]:
    """Rows of which two texts are the same: premise and hypothesis, the two choices, ..."""
    return [
        number
        for number, row in enumerate(rows)
        if len({row[field].strip().lower() for field in fields}) < len(fields)
    ]


def untranslated(rows: Sequence[Row], english: Sequence[Row], fields: Sequence[str]) -> list[int]:
    """Rows with a text of three or more words that is the English one, or a quarter of it common English words.

    A long English name within a text counts too, so the rows want a look.
    """
    if rows is english:
        return []

    def is_english(text: str, original: str) -> bool:
        words = re.findall(r"[\w']+", text.lower())
        known = sum(word in ENGLISH_WORDS for word in words)
        same = text.strip().lower() == original.strip().lower()
        return len(words) >= 3 and (same or known >= max(2, 0.25 * len(words)))

    return [
        number
        for number, (row, other) in enumerate(zip(rows, english, strict=True))
        if any(is_english(row[field], other[field]) for field in fields)
    ]


def other_script(rows: Sequence[Row], language: str, fields: Sequence[str]) -> list[int]:
    """Rows with a text most of whose letters are not of the language's script."""
    script = languages()[language].script
    wanted = UNICODE_SCRIPTS.get(script, (script.upper(),))

    def is_other(text: str) -> bool:
        letters = [unicodedata.name(character, "") for character in text if character.isalpha()]
        return sum(name.startswith(wanted) for name in letters) < 0.5 * len(letters)

    return _any_text(rows, fields, is_other)


CHECKS: dict[str, Callable[[Sequence[Row], Sequence[Row], Sequence[str]], list[int]]] = {
    "label is not the English row's": wrong_labels,
    "text without a letter": without_letters,
    "text in English": untranslated,
    "same texts as an earlier row": repeated,
    "same texts as an earlier row, other label": contradictory,
    "two equal texts in a row": same_texts,
    "markup or broken characters": markup,
    "white space around a text": outer_space,
}
QUESTION = "question is not COPA's"
SCRIPT = "text in another script"
NO_FULL_STOP = "premise without final punctuation"


LEFT_OUT = "row without a translation (left out of the tasks)"


def audit(target: str, language: str, split: str, source: str | None = None) -> dict[str, list[int]]:
    """What is checked -> numbers of the rows of the file where something was found.

    Rows that have English ones are compared with them. Raises `UserError` where rows do not find theirs.
    """
    spec = get_target(target)
    place = spec.place(language)
    rows = read_target(target, language, split, source)
    is_own = place.rows.kind == "own"
    if is_own or language == spec.pivot_language:
        english, kept, left_out = rows, list(range(len(rows))), []
    else:
        whole = read_target(target, spec.pivot_language, split, source)
        where = f"{place.dataset} ({place.config}, {split})"
        translated, numbers = kept_rows(spec, place, split, rows, whole, len(whole), where)
        positions = {id(row): position for position, row in enumerate(rows)}
        kept = [positions[id(row)] for row in translated]
        left_out = sorted(set(range(len(rows))) - set(kept))
        rows, english = translated, [whole[number] for number in numbers]
    found = {name: check(rows, english, spec.text_fields) for name, check in CHECKS.items()}
    found[SCRIPT] = other_script(rows, language, spec.text_fields)
    if "question" in spec.pivot and not is_own:
        found = {QUESTION: wrong_questions(rows, english), **found}
    if "whole_premise" in spec.contexts:
        found[NO_FULL_STOP] = no_final_punctuation(rows, english, spec.text_fields)
    found = {name: [kept[number] for number in numbers] for name, numbers in found.items()}
    return {**found, LEFT_OUT: left_out} if left_out else found


def _any_text(rows: Sequence[Row], fields: Sequence[str], test: Callable[[str], bool]) -> list[int]:
    return [number for number, row in enumerate(rows) if any(test(row[field]) for field in fields)]


def _groups(rows: Sequence[Row], fields: Sequence[str]) -> list[list[int]]:
    groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        groups[tuple(row[field] for field in fields)].append(number)
    return list(groups.values())


def report(
    target: str,
    split: str,
    source: str | None,
    only: str | None,
    with_rows: bool,
    codes: Sequence[str] | None = None,
) -> list[str]:
    """Lines of a report: for every check the number of rows in each language (the official ones) where it found something."""
    spec = get_target(target)
    codes = [code for code in codes or spec.languages if _is_there(spec.place(code), split, source)]
    if not codes:
        return []
    found = {language: audit(target, language, split, source) for language in codes}
    lines = [f"{target} {split} ({len(codes)} languages)"]
    for name in dict.fromkeys(name for each in found.values() for name in each):
        if only and only not in name:
            continue
        counts = Counter({language: len(found[language].get(name, ())) for language in codes})
        shown = ", ".join(f"{language} {counts[language]}" for language in codes if counts[language])
        lines.append(f"  {name}: {shown or 'none'}")
        if with_rows:
            lines += [
                f"    {language}: {' '.join(map(str, found[language][name]))}"
                for language in codes
                if counts[language]
            ]
    return lines


def _is_there(place: Place, split: str, source: str | None) -> bool:
    """Of a further language's set a split may be missing; of an official one that is an error."""
    name = place.split(split)
    return name is not None and (place.official or has_split(place.dataset, place.config, name, source))


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m harness_tasks.audit", description=__doc__)
    parser.add_argument("--data", help="hub, bundled or a mirror folder [XSCALE_DATA, else hub]")
    parser.add_argument("--target", help="only this one")
    parser.add_argument("--languages", help="codes with commas [the official ones]; those that a target has")
    parser.add_argument("--check", help="only checks with this word in their name, e.g. question")
    parser.add_argument("--rows", action="store_true", help="list the row numbers too")
    parser.add_argument("--targets-file", help="a file with a user's targets and languages")
    options = parser.parse_args(arguments)
    try:
        use_targets_file(options.targets_file)
        lines = _report_all(options)
    except UserError as error:
        parser.exit(2, f"error: {error}\n")
    print("\n".join(lines))


def _report_all(options: argparse.Namespace) -> list[str]:
    lines = []
    source = resolve_source(options.data)
    wanted = [code.strip() for code in (options.languages or "").split(",") if code.strip()]
    chosen = [get_target(options.target)] if options.target else list(targets().values())
    for code in wanted:
        if not any(code in spec.places for spec in chosen):
            raise UserError(
                f"--languages: {' or '.join(spec.name for spec in chosen)} has no language {code!r}"
            )
    for spec in chosen:
        codes = [code for code in wanted if code in spec.places] or spec.languages
        first = spec.place(spec.pivot_language)
        absent = not has_split(first.dataset, first.config, first.test, source)
        if (wanted and not set(codes) & set(wanted)) or (absent and not options.target):
            continue
        for split in ("test", "validation"):
            lines += report(spec.name, split, source, options.check, options.rows, codes)
    return lines


if __name__ == "__main__":
    main()
