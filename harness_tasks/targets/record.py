"""What a target is: one frozen record, which everybody else asks instead of its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any, Literal

from harness_tasks.errors import UserError

Doc = Mapping[str, Any]
Row = Mapping[str, Any]
Head = Literal["pair_classification", "multiple_choice", "span", "token_classification", "retrieval"]
# (rows by language, facts by row of the English test split, data source) -> numbers of the rows that belong
Members = Callable[[Mapping[str, Sequence[Row]], Sequence[Mapping[str, str]], str], Sequence[int]]


@dataclass(frozen=True)
class Subset:
    """One subset of a target's test rows.

    Attributes:
        name: what metrics (``acc_<name>``) and groups (``<target>_ood_<name>``) are called after
        version: goes up when the rule gives other rows than before
        rule: which rows belong, in words; decided on the English row
        rationale: why one would look at them
        citation: who described it
        members: the rule, for the command that builds what ships
        alias: what the group is called after, where `name` is also a language's code
    """

    name: str
    version: int
    rule: str
    rationale: str
    citation: str
    members: Members | None = None
    alias: str | None = None


def by_row(rule: Callable[[Row], bool]) -> Members:
    """Rows whose English fields and label fit."""
    return lambda rows, facts, data: [number for number, row in enumerate(rows["en"]) if rule(row)]


def by_fact(rule: Callable[[Mapping[str, str]], bool]) -> Members:
    """Rows about which a fact fits."""
    return lambda rows, facts, data: [number for number, fact in enumerate(facts) if rule(fact)]


@dataclass(frozen=True)
class RowRelation:
    """How a row of a place finds the English row that it translates.

    Attributes:
        kind: ``parallel`` (row i is English row i), ``table`` (`file` says it), ``field`` (both have a field of
            that name with the same value), ``text`` (`field` holds the English row's first text) or ``own``
            (there is no English row: no subsets, and its own clusters)
        file: of a table: tab-separated, with the columns split, row and `column`; possibly config. A split (or
            config) that it does not name is parallel
        column: of a table: the number of the English row
        field: the field of the place's rows
    """

    kind: Literal["parallel", "table", "field", "text", "own"] = "parallel"
    file: str | None = None
    column: str | None = None
    field: str | None = None

    def words(self) -> str:
        """What results record: the kind, and of the others what the rows are found by."""
        if self.file is not None:
            return f"table {PurePath(self.file).name}, column {self.column}"
        return f"{self.kind} {self.field}" if self.field else self.kind


PARALLEL = RowRelation()


@dataclass(frozen=True)
class Place:
    """Where a language's rows of a target lie, and how they are read.

    Attributes:
        dataset, config: on the hub, or the folders below a mirror
        revision: a commit or a branch of the hub's repository; None is its main branch
        test, validation: names of the splits; None where there is no validation split
        fields: (field of the target, field in the file), where the names differ
        labels: (value in the file, label), where the labels are not 0, 1, ...
        rows: how a row finds its English row
        only: (field, beginning of its value) of the rows that count, where a file has other languages' too
        official: whether it is of the target's own languages, which make its headline
        words: for prompts of language models; None: those of the English prompt are used
        prepare: document -> its texts as prompts have them, where those are not the texts as published; encoders
            get the published ones
        untranslated: a text that stands for a missing translation; such rows are left out
        group: further languages that belong together (``<target>_ood_<group>``)
        origin: official, human translation, machine translation, native or unknown
        size: (test or validation, number of rows in the file), where that is known
        licence, citation: of this language's rows
        unconfirmed: what of all this nobody could look up, in words
        user: the file that describes it, of a user's language
    """

    dataset: str
    config: str = "default"
    revision: str | None = None
    test: str = "test"
    validation: str | None = "validation"
    fields: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str | int, int], ...] = ()
    rows: RowRelation = PARALLEL
    only: tuple[str, str] | None = None
    official: bool = True
    words: Any = None
    prepare: Callable[[Doc], Mapping[str, str]] | None = None
    untranslated: str | None = None
    group: str | None = None
    origin: str = "official"
    size: tuple[tuple[str, int], ...] = ()
    licence: str = ""
    citation: str = ""
    unconfirmed: str = ""
    user: str | None = None

    def split(self, name: str) -> str | None:
        """The file's name of the split ``test`` or ``validation``."""
        return self.test if name == "test" else self.validation


def right_or_wrong(label: int, prediction: int) -> tuple[float, float]:
    """Numerator and denominator of an accuracy: 1 or 0, over 1."""
    return float(prediction == label), 1.0


def no_choices(doc: Doc, words: Any = None) -> list[Any]:
    """Of a target whose documents have no choices."""
    return []


@dataclass(frozen=True)
class Training:
    """English rows of a target that fine-tune for it: the training set that is called as the target is, which no code
    names (``xscale/training/tasks.py`` makes it of `gold`; ``<target>@<language>`` is that of another language).

    Attributes:
        split: of the English place
        examples: how many rows the hub has of it
        place: where the English split is, if not with the test rows
    """

    split: str
    examples: int | None = None
    place: Place | None = None


@dataclass(frozen=True, kw_only=True)
class Target:
    """What differs between targets; everything else treats them alike.

    There are two kinds. A document *with choices* has the label of the right one, and a prediction that is one of them.
    A document *without choices* (`answers` is empty) has the field ``gold``, which `gold` makes of a file's row, and the
    label 1. It is answered with a text, whatever the head: a span of the context; tags separated by spaces; the number
    of a candidate ("-1": none). `score` says how good the text is. A target of that kind gives `gold`, `score` and
    `metrics`, and `context` where a language model can answer too; its tasks are lm_eval's ``generate_until``. How a
    model's outputs become the text is the head's record in ``xscale/heads/``.

    Attributes:
        name: of tasks, folders of heads, columns
        title: for people
        version: goes up when a number could change; results record it
        citation, licence: of the official rows
        head: what a model of it computes
        places: language -> where its rows lie; the official ones in the order in which they are shown
        text_fields: the texts of a row; the first one is the one that rows of a cluster share
        answers: names of the answers in the order of the labels; empty where documents have no choices
        context: (document, words of its language) -> the prompt for language models; None where only encoders answer
        choices: (document, words) -> one continuation for each answer
        pairs: document -> the text pairs for an encoder: one, or one for each choice
        gold: row of a file -> the right answer, in what JSON has: for span ``{"text": [...], "answer_start": [...]}``,
            for tags the list of their names, for retrieval what tells the right candidate. Of anything else it
            raises KeyError, TypeError, ValueError or IndexError, whose words the user sees with file and row
        read: row of a file -> fields of the target that files do not have as such (the words of a sentence as a text)
        metrics: names of lm_eval's metrics: that of the figure; possibly that of the share of entirely right answers, and then
            that of a second ratio of sums
        tags: names of the tags in the order of the model's outputs (token classification)
        contexts: other prompts, by the option that asks for them
        pivot: field -> its values; such a field is taken from the English row, and is part of the anchor
        facts: facts about English rows that rules may ask for, beside fields and label
        extra: further fields of the files that documents keep, true or false
        subsets: the ones that ship
        cluster: number of an English row -> number of its cluster; rows of a cluster are not independent
        score: (label, prediction) -> numerator, denominator of the target's figure, which is the ratio of their sums;
            without choices (document, answer as a text) -> numerator, denominator, whether it is entirely right, and
            numerator and denominator of the second ratio, of a target that has one
        candidates: of retrieval: (language, split, source) -> name and text of each candidate; a document is answered with
            a name, "-1" is none
        mined: of retrieval: whether a document may have no right candidate; what is mined must then score higher than a
            threshold, which is tuned on the validation split
        development: where the English development rows are, if not in the validation split of the English place
        training: its own English training rows, if it has some
        hidden_labels: language whose labels English has where the hub hides them (all are -1)
        benchmark: category and column of the target in XTREME's table, of a target that is in it
        order: targets are shown by it
        user: the file that describes it, of a user's target
    """

    name: str
    title: str
    version: str
    citation: str
    licence: str
    head: Head
    places: Mapping[str, Place]
    text_fields: tuple[str, ...]
    answers: tuple[str, ...] = ()
    context: Callable[[Doc, Any], str] | None = None
    choices: Callable[[Doc, Any], list[str]] = no_choices
    pairs: Callable[[Doc], list[tuple[str, str]]] = no_choices
    gold: Callable[[Row], Any] | None = None
    read: Callable[[Row], Mapping[str, Any]] | None = None
    metrics: tuple[str, ...] = ("acc",)
    tags: tuple[str, ...] = ()
    contexts: Mapping[str, Callable[[Doc, Any], str]] = field(default_factory=dict)
    pivot: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    facts: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    subsets: tuple[Subset, ...] = ()
    cluster: Callable[[int], int] = int
    score: Callable[[Any, Any], tuple[float, ...]] = right_or_wrong
    candidates: Callable[[str, str, str], list[tuple[str, str]]] | None = None
    mined: bool = False
    development: Place | None = None
    training: Training | None = None
    hidden_labels: str | None = None
    benchmark: tuple[str, str] | None = None
    order: int = 100
    user: str | None = None

    @property
    def languages(self) -> tuple[str, ...]:
        """The official languages."""
        return tuple(code for code, place in self.places.items() if place.official)

    @property
    def further(self) -> tuple[str, ...]:
        """The languages that others added to the official ones."""
        return tuple(code for code, place in self.places.items() if not place.official)

    @property
    def labels(self) -> int:
        """How many answers there are."""
        return len(self.answers)

    @property
    def has_choices(self) -> bool:
        """Whether a document is answered with one of its choices, not with a text."""
        return bool(self.answers)

    @property
    def is_trained(self) -> bool:
        """Whether a head is fine-tuned for it; else the encoder answers as the intermediate phase left it."""
        return self.head != "retrieval"

    @property
    def second(self) -> str | None:
        """The metric of a second ratio of sums, of a target without choices that has one."""
        return self.metrics[2] if len(self.metrics) > 2 else None

    def scored(self, doc: Doc, answer: str) -> tuple[float, ...]:
        """Of a document without choices: numerator, denominator, 1 if the answer is entirely right (else 0); with a second
        ratio, its numerator and denominator."""
        return tuple(map(float, self.score(doc, answer)))

    @property
    def pivot_language(self) -> str:
        """The language that subsets and clusters are decided in: English where the target has it."""
        return "en" if "en" in self.places else next(iter(self.places))

    @property
    def text_and_label(self) -> tuple[str, ...]:
        """What a language's fingerprint covers; no pivot field, which may be repaired."""
        return (*self.text_fields, "label" if self.has_choices else "gold")

    def place_of(self, language: str, split: str) -> tuple[Place, str | None]:
        """Where a split (test, validation, train) of a language is, and its name there (None: there is none)."""
        place = self.place(language)
        english = language == self.pivot_language
        if split == "train":
            if self.training is None:
                return place, None
            return (english and self.training.place) or place, self.training.split
        if split == "validation" and english and self.development is not None:
            return self.development, self.development.test
        return place, place.split(split)

    def place(self, language: str) -> Place:
        """Where a language's rows lie; `UserError` when the target does not have the language."""
        if language not in self.places:
            known = ", ".join(self.places)
            raise UserError(f"{self.name} has no language {language!r}; there are: {known}")
        return self.places[language]

    def words(self, language: str) -> Any:
        """What prompts in this language need; English where nothing is known about it."""
        words = self.place(language).words
        return self.place(self.pivot_language).words if words is None else words

    def subset_alias(self, name: str) -> str:
        """What a subset's group is called after."""
        return next((s.alias for s in self.subsets if s.name == name and s.alias), name)

    def with_places(self, places: Mapping[str, Place]) -> Target:
        """The same target with further languages."""
        return replace(self, places={**self.places, **places})
