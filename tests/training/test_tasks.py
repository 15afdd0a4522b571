"""Every training set: its metadata, its rows as examples, and that it can be learnt from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny import make_base

from harness_tasks.tagging import NER_TAGS, UD_TAGS
from xscale.errors import UserError
from xscale.experiment import OwnTask, Phase
from xscale.training.heads import IGNORED, encode, model_with_head
from xscale.training.loop import TrainingSet, plan_batches, train_steps
from xscale.training.tasks import TASKS, Part, TrainingTask, known_tasks, load_examples, training_task

# rows of the full training sets, from the data sets' cards and papers
SIZES = {
    "snli": 550_152,
    "mnli": 392_702,
    "anli_plus": 550_152 + 392_702 + 16_946 + 45_460 + 100_459,
    "qqp": 363_846,
    "squad_v2": 130_319,
    "squad": 87_599,
    "hellaswag": 39_905,
    "ccg": 38_015,
    "cosmos_qa": 25_262,
    "commonsense_qa": 9_741,
    "rte": 2_490,
    "social_iqa": 33_410,
    "paws": 49_401,
    "copa": 400,
}
# what the mirror has for trials where it has no training split
STAND_INS = {
    "hellaswag": (Part("Rowan/hellaswag", "default", "validation"),),
    "cosmos_qa": (Part("allenai/cosmos_qa", "default", "validation"),),
    "anli_plus": (
        Part("stanfordnlp/snli", "plain_text"),
        Part("nyu-mll/glue", "mnli"),
        *(Part("facebook/anli", "plain_text", f"dev_r{n}") for n in (1, 2, 3)),
    ),
}
ABSENT = {"paws", "squad_v2", "ccg"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_metadata_is_complete(task: TrainingTask) -> None:
    assert task.parts and task.fields and task.licence and task.citation
    assert all(part.dataset.count("/") == 1 and part.config and part.split for part in task.parts)
    assert task.head in ("pair_classification", "multiple_choice", "span", "token_classification")
    assert task.metric in ("accuracy", "f1")
    assert task.examples == SIZES.get(task.name)
    if task.head == "pair_classification":
        assert len(task.labels) in (2, 3)


def test_the_papers_nine_are_there() -> None:
    nine = {
        "anli_plus",
        "mnli",
        "qqp",
        "squad_v2",
        "squad",
        "hellaswag",
        "ccg",
        "cosmos_qa",
        "commonsense_qa",
    }
    assert nine | {"snli", "rte", "social_iqa", "paws"} <= set(TASKS)


def learns(task: TrainingTask, base: Path, source: str | None, examples: int = 24) -> tuple[float, float]:
    """Mean loss of the first and last epoch of a few over some examples."""
    from accelerate import Accelerator

    from xscale.training.phases import load_tokenizer

    phase = Phase(
        learning_rate=3e-3, epochs=12, batch_size=8, max_length=96, precision="fp32", dropout=0.0, warmup=0.0
    )
    loaded = load_examples(task, source)
    tokenizer = load_tokenizer(str(base))
    step = max(1, len(loaded.examples) // examples)
    inputs = encode(tokenizer, loaded.examples[::step][:examples], task.head, phase.max_length)[:examples]
    model = model_with_head(str(base), task.head, loaded.labels, 1, 0.0)
    plan = plan_batches([inputs], phase, 1)
    sets = [TrainingSet(task.name, task.head, model, inputs)]
    losses = train_steps(sets, plan, phase, 1, tokenizer, Accelerator(), lambda count: None).losses
    epoch = max(1, len(plan) // 12)
    return sum(losses[:epoch]) / epoch, sum(losses[-epoch:]) / epoch


@pytest.mark.parametrize(
    "name", [name for name in TASKS if name not in ABSENT and not name.startswith("bundled")]
)
def test_the_loss_falls_on_real_data(name: str, base: Path, real_data: Path) -> None:
    task = replace(TASKS[name], parts=STAND_INS.get(name, TASKS[name].parts))
    first, last = learns(task, base, str(real_data))
    assert last < 0.9 * first


@pytest.mark.parametrize(
    ("name", "tags", "rows"), [("udpos", UD_TAGS, 21_253), ("panx", NER_TAGS, 20_000)], ids=["udpos", "panx"]
)
def test_xtremes_tags_are_learnt(
    name: str, tags: tuple[str, ...], rows: int, base: Path, real_data: Path
) -> None:
    task = training_task(name)
    assert (task.labels, task.examples, task.head) == (tags, rows, "token_classification")
    first, last = learns(task, base, str(real_data))
    assert last < 0.9 * first


@pytest.mark.parametrize("name", ["bundled_nli", "bundled_nli_target", "bundled_copa", "bundled_copa_target"])
def test_the_loss_falls_on_the_bundled_suite(name: str, base: Path) -> None:
    first, last = learns(TASKS[name], base, "bundled")
    assert last < 0.9 * first


def write_rows(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


OWN_ROWS: dict[str, list[dict[str, Any]]] = {
    "pair_classification": [
        {"text1": "the dog saw a man", "text2": "a man", "label": "yes"},
        {"text1": "the old house", "text2": "a dog", "label": "no"},
    ],
    "multiple_choice": [
        {"context": "the dog saw", "choices": ["a man", "it was", "far"], "label": 0},
        {"context": "it was", "choices": ["dog the", "old", "not far"], "label": 2},
    ],
    "span": [
        {
            "question": "the dog saw",
            "context": "the dog saw a man in the house",
            "answer": "a man",
            "answer_start": 12,
        },
        {"question": "it was far", "context": "the house was old"},
    ],
    "token_classification": [
        {"tokens": ["the", "dog", "saw"], "tags": ["D", "N", "V"]},
        {"tokens": ["a", "house"], "tags": ["D", "N"]},
    ],
    "masked_lm": [{"text": "the dog saw a man in the old house"}, {"text": "it was not far"}],
}


@pytest.mark.parametrize("head", OWN_ROWS)
def test_a_users_own_file_trains_under_every_head(head: Any, base: Path, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "own.jsonl", OWN_ROWS[head] * 12)
    task = training_task("mine", {"mine": OwnTask(file=file, head=head)})
    first, last = learns(task, base, None)
    assert last < 0.9 * first


def test_labels_of_a_users_file_are_sorted_and_numbered(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "own.jsonl", OWN_ROWS["pair_classification"])
    loaded = load_examples(
        training_task("mine", {"mine": OwnTask(file=file, head="pair_classification")}), None
    )
    assert loaded.labels == ("no", "yes")
    assert [example.label for example in loaded.examples] == [1, 0]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text1": "a", "label": 5}, "row 1: label 5 is not one of 2"),
        ({"label": 0}, "row 1: no field 'text1'; pair_classification rows have text1, label"),
        ({"text1": 3, "label": 0}, "row 1: a text is expected, not int"),
    ],
)
def test_defective_rows_say_where_and_what(row: dict[str, Any], message: str, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "own.jsonl", [{"text1": "a", "label": 0}, row])
    own = {"mine": OwnTask(file=file, head="pair_classification", labels=["a", "b"])}
    with pytest.raises(UserError, match=message):
        load_examples(training_task("mine", own), None)


def test_hellaswag_ends_the_begun_sentence_with_each_choice() -> None:
    """As jiant: ctx_a against ctx_b and the ending; without the two, the whole context against the ending."""
    row = {"ctx": "A boy runs. the boy", "endings": ["falls.", "sings."], "label": "1"}
    to_example = TASKS["hellaswag"].to_example
    whole = to_example(row, ())
    cut = to_example(row | {"ctx_a": "A boy runs.", "ctx_b": "the boy"}, ())
    assert whole is not None and whole.pairs[1] == ("A boy runs. the boy", "sings.")
    assert cut is not None and cut.pairs == [
        ("A boy runs.", "the boy falls."),
        ("A boy runs.", "the boy sings."),
    ]
    assert to_example(row | {"ctx_a": "How to sing", "ctx_b": ""}, ()).pairs[0] == ("How to sing", "falls.")  # type: ignore[union-attr]


def test_ccgbank_is_asked_for_with_the_format_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"CCGbank is licensed.*tasks: \{ccg: \{file"):
        load_examples(TASKS["ccg"], str(tmp_path))
    file = write_rows(tmp_path / "ccg.jsonl", [{"tokens": ["He", "runs"], "tags": ["NP", "S\\NP"]}])
    loaded = load_examples(
        training_task("ccg", {"ccg": OwnTask(file=file, head="token_classification")}), None
    )
    assert loaded.labels == ("NP", "S\\NP")


def test_an_unknown_task_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"training task 'mlni': unknown; known are: mine, anli_plus, mnli"):
        training_task("mlni", {"mine": OwnTask(file="x", head="span")})


def test_translations_are_read_from_the_languages_config() -> None:
    assert training_task("mnli@de").parts == (Part("facebook/xnli", "de", "train"),)
    assert training_task("social_iqa@sw").parts == (Part("lighteval/siqa", "sw", "train"),)
    assert training_task("squad@th").parts == (Part("rajpurkar/squad", "plain_text.th", "train"),)
    assert training_task("udpos@tl").parts == (Part("google/xtreme", "udpos.Tagalog", "train"),)
    assert training_task("panx@tl").parts == (Part("google/xtreme", "PAN-X.tl", "train"),)
    assert training_task("mnli@de").family == "mnli"
    with pytest.raises(UserError, match="unknown language"):
        training_task("mnli@xx")


def test_spans_and_tags_are_at_the_right_tokens(base: Path, tmp_path: Path) -> None:
    from xscale.training.phases import load_tokenizer

    tokenizer = load_tokenizer(str(base))
    context = " ".join(["the dog saw it"] * 12 + ["a man"] + ["the old house"] * 12)
    start = context.index("a man")
    row = {"question": "the dog saw", "context": context, "answer": "a man", "answer_start": start}
    file = write_rows(tmp_path / "span.jsonl", [row, {"question": "it", "context": "the house"}])
    loaded = load_examples(training_task("s", {"s": OwnTask(file=file, head="span")}), None)
    assert [example.label for example in loaded.examples] == [1, 0]
    windows = encode(tokenizer, loaded.examples, "span", 48)
    assert len(windows) > 3
    answers = {tokenizer.decode(w.ids[0][w.target[0] : w.target[1] + 1]) for w in windows}  # type: ignore[index,misc]
    assert {answer.replace(" ", "") for answer in answers} == {"aman", "<s>"}

    contexts = [w.ids[0][w.ids[0].index(2) + 2 : -1] for w in windows if w.ids[0][-4:] != w.ids[0][:4]]
    text = tokenizer(context, add_special_tokens=False)["input_ids"]
    for number, tokens in enumerate(contexts[:-1]):  # the last is the other row's
        assert tokens == text[16 * number :][: len(tokens)]  # windows begin a third of 48 apart

    rows = [
        {"tokens": ["the old", "dog", " "], "tags": ["D", "N", "V"]},
        *OWN_ROWS["token_classification"][1:],
    ]
    file = write_rows(tmp_path / "tags.jsonl", rows)
    loaded = load_examples(training_task("t", {"t": OwnTask(file=file, head="token_classification")}), None)
    (first, _) = encode(tokenizer, loaded.examples, "token_classification", 48)
    assert isinstance(first.target, list) and len(first.target) == len(first.ids[0])
    assert [label for label in first.target if label != IGNORED] == [0, 1, 2]
    ids = tokenizer("the old dog _", add_special_tokens=False)["input_ids"]
    assert first.ids[0][1:-1] == ids and first.target[1:5] == [0, IGNORED, 1, 2]


@pytest.mark.parametrize("name", [*known_tasks(), "tydiqa@fi", "panx@de", "mnli@de"])
def test_a_task_that_is_asked_for_again_is_the_same_task(name: str) -> None:
    """Rows are kept by their task: one that differed from itself would be read, and looked through for leaks, again."""
    task = training_task(name)
    assert task == training_task(name) and hash(task) == hash(training_task(name))
    assert sum(task == training_task(other) for other in known_tasks()) == (0 if "@" in name else 1)
