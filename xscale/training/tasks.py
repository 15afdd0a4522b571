"""Training data: which sets there are, where they lie, and how a row becomes a training example."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from harness_tasks.sources import DataError, read_file, read_rows
from harness_tasks.tagging import words_text
from harness_tasks.targets import Target, get_target, languages, shipped_targets
from harness_tasks.targets.reading import checked_rows
from xscale.encoding import NLI_LABELS, copa_pairs, nli_pair
from xscale.errors import UserError
from xscale.experiment import OwnTask

MAX_LABELS = 10_000  # of a user's own set, whose labels are found in its rows

Head = Literal[
    "pair_classification", "multiple_choice", "span", "token_classification", "masked_lm", "causal_lm"
]


@dataclass(frozen=True)
class Example:
    """One training example.

    `pairs`: one text pair, or one for each choice; the second text is empty where there is only one text.
    `label`: index of the label or of the right choice; for a span whether there is an answer. Samples are balanced by it.
    `span`: first and last-plus-one character of the answer in the second text (None: no answer there).
    `tags`: one tag for each word of `pairs[0][0].split(" ")` (token classification).
    """

    pairs: list[tuple[str, str]]
    label: int
    span: tuple[int, int] | None = None
    tags: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Part:
    """One split of a set on the hub."""

    dataset: str
    config: str
    split: str = "train"

    def __str__(self) -> str:
        return f"{self.dataset} {self.config} {self.split}"


ToExample = Callable[[Mapping[str, Any], Sequence[str]], Example | None]


@dataclass(frozen=True)
class TrainingTask:
    """A data set as training data.

    `fields`: those of a row that are read. `labels`: empty where they are the data's own, sorted. `examples`: rows of the
    full set on the hub (None where the set is the project's or the user's). `translation`: where other languages lie; by
    default the language is the config (or ends it), as in a mirror <owner>/<name>/<language>/train.jsonl.
    """

    name: str
    parts: tuple[Part, ...]
    fields: tuple[str, ...]
    head: Head
    labels: tuple[str, ...]
    to_example: ToExample = field(
        compare=False
    )  # made anew for a target's rows, which are read once all the same
    metric: str
    examples: int | None
    licence: str
    citation: str
    note: str = ""
    file: str | None = None  # a user's own
    translation: Part | None = None

    @property
    def family(self) -> str:
        """The task without its language: translations share a head."""
        return self.name.partition("@")[0]


def _pair(first: str, second: str) -> ToExample:
    def to_example(row: Mapping[str, Any], labels: Sequence[str]) -> Example:
        return Example([(_text(row[first]), _text(row[second]))], _index(row["label"], labels))

    return to_example


def _nli(row: Mapping[str, Any], labels: Sequence[str]) -> Example | None:
    """None for SNLI's rows without a gold label (-1)."""
    if row["label"] == -1:
        return None
    return Example([nli_pair(_text(row["premise"]), _text(row["hypothesis"]))], _index(row["label"], labels))


def _copa(row: Mapping[str, Any], labels: Sequence[str]) -> Example:
    choices = [_text(row["choice1"]), _text(row["choice2"])]
    return Example(copa_pairs(_text(row["premise"]), choices, row["question"]), _index(row["label"], labels))


def _social_iqa(row: Mapping[str, Any], labels: Sequence[str]) -> Example:
    """Context and question against each answer; labels are '1', '2', '3' on the hub."""
    prompt = f"{_text(row['context'])} {_text(row['question'])}"
    choices = [_text(row[field]) for field in ("answerA", "answerB", "answerC")]
    return Example([(prompt, choice) for choice in choices], _number(row["label"]) - 1)


def _hellaswag(row: Mapping[str, Any], labels: Sequence[str]) -> Example:
    """The whole sentences of the context against the begun one with each ending, as in jiant; mirrors without `ctx_a` and
    `ctx_b` have the context in one piece."""
    first, begun = row.get("ctx_a"), row.get("ctx_b")
    if first is None or begun is None:
        first, begun = row["ctx"], ""
    pairs = [(_text(first), f"{_text(begun)} {_text(ending)}".strip()) for ending in _list(row["endings"])]
    return Example(pairs, _number(row["label"]))


def _cosmos_qa(row: Mapping[str, Any], labels: Sequence[str]) -> Example:
    prompt = f"{_text(row['context'])} {_text(row['question'])}"
    return Example([(prompt, _text(row[f"answer{i}"])) for i in range(4)], _number(row["label"]))


def _commonsense_qa(row: Mapping[str, Any], labels: Sequence[str]) -> Example:
    choices = row["choices"]
    pairs = [(_text(row["question"]), _text(text)) for text in choices["text"]]
    return Example(pairs, choices["label"].index(row["answerKey"]))


def _squad(row: Mapping[str, Any], labels: Sequence[str]) -> Example:
    """The first answer; SQuAD 2.0's unanswerable questions have none."""
    texts, starts = row["answers"]["text"], row["answers"]["answer_start"]
    span = (int(starts[0]), int(starts[0]) + len(texts[0])) if texts else None
    return _span_example(_text(row["question"]), _text(row["context"]), span)


def _own_span(row: Mapping[str, Any], labels: Sequence[str]) -> Example:
    answer, start = row.get("answer"), row.get("answer_start")
    span = None
    if answer is not None and start is not None:
        span = (_number(start), _number(start) + len(_text(answer)))
    example = _span_example(_text(row["question"]), _text(row["context"]), span)
    if span and row["context"][span[0] : span[1]] != answer:
        raise ValueError(
            f"the context has {row['context'][span[0] : span[1]]!r} at answer_start, not {answer!r}"
        )
    return example


def _span_example(question: str, context: str, span: tuple[int, int] | None) -> Example:
    if span is not None and not 0 <= span[0] < span[1] <= len(context):
        raise ValueError(f"the answer at characters {span[0]} to {span[1]} is not inside the context")
    return Example([(question, context)], int(span is not None), span=span)


def _tagged(row: Mapping[str, Any], labels: Sequence[str]) -> Example:
    words, tags = [_text(word) for word in _list(row["tokens"])], _list(row["tags"])
    if len(words) != len(tags) or not words:
        raise ValueError(f"{len(words)} tokens, {len(tags)} tags")
    return Example([(words_text(words), "")], 0, tags=tuple(_index(tag, labels) for tag in tags))


def _own_choice(row: Mapping[str, Any], labels: Sequence[str]) -> Example:
    pairs = [(_text(row["context"]), _text(choice)) for choice in _list(row["choices"])]
    if len(pairs) < 2:
        raise ValueError(f"{len(pairs)} choices; two at least are needed")
    return Example(pairs, _number(row["label"]))


def _own_pair(row: Mapping[str, Any], labels: Sequence[str]) -> Example:
    return Example([(_text(row["text1"]), _text(row.get("text2") or ""))], _index(row["label"], labels))


def _own_text(row: Mapping[str, Any], labels: Sequence[str]) -> Example:
    return Example([(_text(row["text"]), "")], 0)


def _index(label: Any, labels: Sequence[str]) -> int:
    return labels.index(label) if isinstance(label, str) else _number(label)


def _number(value: Any) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"a whole number is expected, not {str(value)[:40]!r} ({type(value).__name__})")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"a list is expected, not {type(value).__name__}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text is expected, not {type(value).__name__}")
    return value


_NLI_FIELDS = ("premise", "hypothesis", "label")
_SQUAD_FIELDS = ("question", "context", "answers")
_COPA_FIELDS = ("premise", "choice1", "choice2", "question", "label")
_SNLI = Part("stanfordnlp/snli", "plain_text")
_MNLI = Part("nyu-mll/glue", "mnli")
_ANLI = tuple(Part("facebook/anli", "plain_text", f"train_r{n}") for n in (1, 2, 3))

TASKS: dict[str, TrainingTask] = {
    task.name: task
    for task in (
        TrainingTask(
            "anli_plus", (_SNLI, _MNLI, *_ANLI), _NLI_FIELDS, "pair_classification", NLI_LABELS, _nli,
            "accuracy", 1_105_719, "CC BY-SA 4.0; OANC and others; CC BY-NC 4.0", "Nie et al. 2020, arXiv 1910.14599",
            note="SNLI, MNLI and ANLI rounds 1 to 3 under one head; 1,104,934 rows have a gold label",
        ),
        TrainingTask(
            "mnli", (_MNLI,), _NLI_FIELDS, "pair_classification", NLI_LABELS, _nli,
            "accuracy", 392_702, "OANC and others", "Williams et al. 2018, arXiv 1704.05426",
            translation=Part("facebook/xnli", "{language}"),
        ),
        TrainingTask(
            "snli", (_SNLI,), _NLI_FIELDS, "pair_classification", NLI_LABELS, _nli,
            "accuracy", 550_152, "CC BY-SA 4.0", "Bowman et al. 2015, arXiv 1508.05326",
            note="785 rows without a gold label are left out",
        ),
        TrainingTask(
            "qqp", (Part("nyu-mll/glue", "qqp"),), ("question1", "question2", "label"), "pair_classification",
            ("not_duplicate", "duplicate"), _pair("question1", "question2"),
            "accuracy", 363_846, "Quora's terms of use", "Iyer et al. 2017; GLUE: Wang et al. 2018, arXiv 1804.07461",
        ),
        TrainingTask(
            "rte", (Part("nyu-mll/glue", "rte"),), ("sentence1", "sentence2", "label"), "pair_classification",
            ("entailment", "not_entailment"), _pair("sentence1", "sentence2"),
            "accuracy", 2_490, "research use", "Dagan et al. 2005; GLUE: Wang et al. 2018, arXiv 1804.07461",
        ),
        TrainingTask(
            "paws", (Part("google-research-datasets/paws", "labeled_final"),), ("sentence1", "sentence2", "label"),
            "pair_classification", ("not_paraphrase", "paraphrase"), _pair("sentence1", "sentence2"),
            "accuracy", 49_401, "free use with attribution (Google)", "Zhang et al. 2019, arXiv 1904.01130",
            translation=Part("google-research-datasets/paws-x", "{language}"),
        ),
        TrainingTask(
            "squad_v2", (Part("rajpurkar/squad_v2", "squad_v2"),), _SQUAD_FIELDS, "span", (), _squad,
            "f1", 130_319, "CC BY-SA 4.0", "Rajpurkar et al. 2018, arXiv 1806.03822",
        ),
        TrainingTask(
            "squad", (Part("rajpurkar/squad", "plain_text"),), _SQUAD_FIELDS, "span", (), _squad,
            "f1", 87_599, "CC BY-SA 4.0", "Rajpurkar et al. 2016, arXiv 1606.05250",
        ),
        TrainingTask(
            "hellaswag", (Part("Rowan/hellaswag", "default"),), ("ctx", "endings", "label"), "multiple_choice",
            ("0", "1", "2", "3"), _hellaswag,
            "accuracy", 39_905, "MIT", "Zellers et al. 2019, arXiv 1905.07830",
        ),
        TrainingTask(
            "ccg", (Part("ccgbank/supertags", "default"),), ("tokens", "tags"), "token_classification", (), _tagged,
            "accuracy", 38_015, "LDC User Agreement (LDC2005T13)", "Hockenmaier and Steedman 2007, CCGbank",
            note="CCGbank is licensed by the LDC and not on the hub. From your copy write one JSON object a sentence, "
            '{"tokens": [...], "tags": [...]}, and name the file in the experiment: '
            "tasks: {ccg: {file: ccg.jsonl, head: token_classification}}, "
            "or put it into a mirror as ccgbank/supertags/default/train.jsonl",
        ),
        TrainingTask(
            "cosmos_qa", (Part("allenai/cosmos_qa", "default"),),
            ("context", "question", "answer0", "answer1", "answer2", "answer3", "label"), "multiple_choice",
            ("0", "1", "2", "3"), _cosmos_qa,
            "accuracy", 25_262, "CC BY 4.0", "Huang et al. 2019, arXiv 1909.00277",
            note="25,588 in Phang et al. 2020",
        ),
        TrainingTask(
            "commonsense_qa", (Part("tau/commonsense_qa", "default"),), ("question", "choices", "answerKey"),
            "multiple_choice", ("A", "B", "C", "D", "E"), _commonsense_qa,
            "accuracy", 9_741, "MIT", "Talmor et al. 2019, arXiv 1811.00937",
        ),
        TrainingTask(
            "social_iqa", (Part("lighteval/siqa", "default"),),
            ("context", "question", "answerA", "answerB", "answerC", "label"), "multiple_choice",
            ("A", "B", "C"), _social_iqa,
            "accuracy", 33_410, "CC BY", "Sap et al. 2019, arXiv 1904.09728",
        ),
        TrainingTask(
            "copa", (Part("aps/super_glue", "copa"),), _COPA_FIELDS, "multiple_choice", ("choice1", "choice2"), _copa,
            "accuracy", 400, "BSD 2-Clause", "Roemmele et al. 2011",
        ),
        TrainingTask(
            "bundled_nli", (Part("xscale/nli", "default"),), _NLI_FIELDS, "pair_classification", NLI_LABELS, _nli,
            "accuracy", None, "Apache-2.0", "this project",
        ),
        TrainingTask(
            "bundled_nli_target", (Part("xscale/nli", "target"),), _NLI_FIELDS, "pair_classification", NLI_LABELS,
            _nli, "accuracy", None, "Apache-2.0", "this project",
        ),
        TrainingTask(
            "bundled_copa", (Part("xscale/copa", "default"),), _COPA_FIELDS, "multiple_choice",
            ("choice1", "choice2"), _copa, "accuracy", None, "Apache-2.0", "this project",
        ),
        TrainingTask(
            "bundled_copa_target", (Part("xscale/copa", "target"),), _COPA_FIELDS, "multiple_choice",
            ("choice1", "choice2"), _copa, "accuracy", None, "Apache-2.0", "this project",
        ),
    )
}  # fmt: skip


def known_tasks() -> dict[str, TrainingTask]:
    """All that come with xscale: those of `TASKS`, and the targets' own English training rows, by the targets' names."""
    return TASKS | {name: _of_target(spec) for name, spec in shipped_targets().items() if spec.training}


def _of_target(spec: Target, language: str | None = None) -> TrainingTask:
    """English rows, or those of another `language` of the target."""
    assert spec.training is not None
    place, split = spec.place_of(language or spec.pivot_language, "train")

    def to_example(row: Mapping[str, Any], labels: Sequence[str]) -> Example | None:
        """None for the rows of other languages in the same file."""
        if place.only is not None and not str(row.get(place.only[0]) or "").startswith(place.only[1]):
            return None
        (mine,) = checked_rows(spec, place, [row], spec.title)
        gold = mine["gold"]
        if spec.head == "span":
            return _squad({**mine, "answers": gold}, labels)
        return _tagged({"tokens": mine[spec.text_fields[0]].split(" "), "tags": gold}, labels)

    return TrainingTask(
        f"{spec.name}@{language}" if language else spec.name,
        (Part(place.dataset, place.config, str(split)),),
        spec.text_fields,
        spec.head if spec.head != "retrieval" else "span",
        spec.tags,
        to_example,
        spec.metrics[0],
        None if language else spec.training.examples,
        place.licence or spec.licence,
        place.citation or spec.citation,
        note=f"training rows of {spec.title}" + (f" in {language}" if language else ""),
    )


# head -> the fields of a user's own rows, how they are read, and the metric
_OWN: dict[Head, tuple[tuple[str, ...], ToExample, str]] = {
    "pair_classification": (("text1", "label"), _own_pair, "accuracy"),  # and text2, where there are two
    "multiple_choice": (("context", "choices", "label"), _own_choice, "accuracy"),
    "span": (("question", "context"), _own_span, "f1"),  # and answer, answer_start, where there is an answer
    "token_classification": (("tokens", "tags"), _tagged, "accuracy"),
    "masked_lm": (("text",), _own_text, "perplexity"),
}


def training_task(name: str, own: Mapping[str, OwnTask] | None = None) -> TrainingTask:
    """The task of that name, the user's `own` ones first; `<task>@<language>` is its translation.

    Raises `UserError` that lists the known ones.
    """
    if own and name in own:
        return _own_task(name, own[name])
    family, at, language = name.partition("@")
    tasks = TASKS if family in TASKS else known_tasks()
    if family not in tasks or (at and (own and family in own)):
        known = ", ".join([*(own or ()), *tasks])
        raise UserError(f"training task {name!r}: unknown; known are: {known}")
    task = tasks[family]
    if at and family not in TASKS:
        return _of_target(get_target(family), language)
    return _translated(task, language) if at else task


def _translated(task: TrainingTask, language: str) -> TrainingTask:
    if language not in languages():
        raise UserError(
            f"training task {task.name}@{language}: unknown language; known are: {', '.join(languages())}"
        )
    if task.translation is not None:
        where = task.translation
        parts: tuple[Part, ...] = (Part(where.dataset, where.config.format(language=language), where.split),)
    else:
        parts = tuple(
            Part(
                part.dataset,
                language if part.config == "default" else f"{part.config}.{language}",
                part.split,
            )
            for part in task.parts
        )
    return replace(task, name=f"{task.name}@{language}", parts=parts, note=f"{task.name} in {language}")


def _own_task(name: str, own: OwnTask) -> TrainingTask:
    fields, to_example, metric = _OWN[own.head]
    if not Path(own.file).expanduser().is_file():
        raise UserError(
            f"tasks.{name}.file: no such file: {own.file}; the path counts from the current folder"
        )
    return TrainingTask(
        name,
        (),
        fields,
        own.head,
        tuple(own.labels or ()),
        to_example,
        metric,
        None,
        own.licence or "not said",
        own.citation or "not said",
        file=str(Path(own.file).expanduser().resolve()),
    )


@dataclass(frozen=True)
class Loaded:
    """A task's examples in row order, and its labels (those of the data where the task names none)."""

    examples: list[Example]
    labels: tuple[str, ...]


def load_examples(task: TrainingTask, source: str | None) -> Loaded:
    """All usable examples in the source's row order, the task's parts one after the other.

    Raises `UserError` where a row does not fit: a field is missing, a label is outside the task's labels, or a text is not
    one; and where the data is absent, with the ways to get it.
    """
    parts = [(where, rows) for where, rows in _rows(task, source)]
    labels = task.labels or _labels_of(task, [row for _, rows in parts for row in rows])
    examples = []
    for where, rows in parts:
        for number, row in enumerate(rows):
            try:
                example = task.to_example(row, labels)
            except (KeyError, TypeError, ValueError, IndexError) as error:
                reason = f"no field {error}" if isinstance(error, KeyError) else str(error)
                raise UserError(
                    f"{where}: row {number}: {reason}; {task.head} rows have {', '.join(task.fields)}"
                ) from None
            if example is None:
                continue
            _check_label(example, labels, task, f"{where}: row {number}")
            examples.append(example)
    if not examples:
        raise UserError(f"{task.name}: no usable row; check the data source")
    return Loaded(examples, labels)


def _rows(task: TrainingTask, source: str | None) -> Iterator[tuple[str, Sequence[Mapping[str, Any]]]]:
    if task.file is not None:
        yield task.file, read_file(Path(task.file))
        return
    for part in task.parts:
        try:
            where = "bundled" if part.dataset.startswith("xscale/") else source
            yield str(part), read_rows(part.dataset, part.config, part.split, where)
        except DataError as error:
            raise UserError(f"{error}{'; ' + task.note if task.name == 'ccg' else ''}") from None


def _labels_of(task: TrainingTask, rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The data's own labels, sorted; for choices their numbers."""
    if task.head == "multiple_choice":
        given = [row.get("choices") for row in rows]
        return tuple(str(i) for i in range(max((len(c) for c in given if isinstance(c, list)), default=0)))
    if task.head == "span":
        return ("no answer", "answer")
    if task.head == "masked_lm":
        return ("text",)
    names: set[str] = set()
    highest = -1
    for row in rows:
        values = row.get("tags") if task.head == "token_classification" else (row.get("label"),)
        for value in values if isinstance(values, list | tuple) else ():
            if isinstance(value, str):
                names.add(value)
            elif isinstance(value, int) and not isinstance(value, bool):
                highest = max(highest, value)
    if names and highest >= 0:
        raise UserError(f"{task.name}: its labels are numbers and names ({min(names)!r}); use one kind")
    if len(names) > MAX_LABELS or highest >= MAX_LABELS:
        raise UserError(
            f"{task.name}: more than {MAX_LABELS:,} labels; a head has one output for each, check the field"
        )
    return tuple(sorted(names)) or tuple(str(i) for i in range(highest + 1))


def _check_label(example: Example, labels: Sequence[str], task: TrainingTask, where: str) -> None:
    wrong = [
        label for label in (example.label, *(example.tags or ())) if not 0 <= label < max(1, len(labels))
    ]
    if wrong:
        raise UserError(
            f"{where}: label {wrong[0]} is not one of {len(labels)} ({', '.join(labels[:8])}); "
            "test labels that the hub hides cannot be trained on"
        )
    if task.head == "multiple_choice" and len(example.pairs) != len(labels):
        raise UserError(f"{where}: {len(example.pairs)} choices, {len(labels)} are expected in every row")
