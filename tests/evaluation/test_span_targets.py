"""Targets without choices from end to end: a span head is trained, scored and stored, by xscale and by stock lm_eval."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import squad_reference as squad_metrics
import torch
from tiny_model import call
from training.tiny import make_base
from transformers import AutoModelForCausalLM, AutoModelForQuestionAnswering, AutoTokenizer

from harness_tasks.errors import UserError
from harness_tasks.lm_eval_task import Answer, process_results
from harness_tasks.rows import Options, build_documents
from harness_tasks.targets import get_target, targets
from xscale.capabilities import targets_in
from xscale.evaluation import language_models
from xscale.evaluation.answers import View, evaluate_entry, sections
from xscale.evaluation.encoder_lm import EncoderLM
from xscale.evaluation.kept import Kept
from xscale.evaluation.language_models import generated_answers
from xscale.evaluation.predictions import read_predictions
from xscale.heads import HEADS, Inputs, Text
from xscale.manifest import Entry, read_manifest
from xscale.pipeline import default_selection
from xscale.workspace import selection_of

EXPERIMENT = """\
name: spans
data: {data}
base: {base}
intermediate: bundled_nli
sizes: [0, 16]
targets:
  tydiqa: {{train: [tydiqa]}}
training:
  intermediate: {{epochs: 1, batch_size: 16, max_length: 32, freeze: nothing}}
  tydiqa: {{epochs: 20, learning_rate: 0.003, batch_size: 8, window: 24, freeze: nothing, dropout: 0.0}}
evaluation:
  tydiqa: {{languages: [en, fi]}}
"""
NAMES = ["Ada", "Bob", "Cleo", "Dan", "Eve", "Finn", "Gail", "Hugo"]
PLACES = ["Oslo", "Rome", "Lima", "Cairo", "Delhi", "Quito"]


def row(number, language):
    """Who lives where, in two sentences; the rows of a passage stand together."""
    passage, asked = divmod(number, 2)
    people = [NAMES[(passage + i) % len(NAMES)] for i in range(2)]
    places = [PLACES[(3 * passage + i) % len(PLACES)] for i in range(2)]
    context = " ".join(
        f"{who} lives in {where} and has lived there for a long time ."
        for who, where in zip(people, places, strict=True)
    )
    answer = places[asked]
    return {
        "id": f"{language}-{number}-0",
        "title": "T",
        "context": context,
        "question": f"Where does {people[asked]} live ?",
        "answers": {"text": [answer], "answer_start": [context.index(answer)]},
    }


@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mirror")
    place = folder / "google-research-datasets/tydiqa/secondary_task"
    place.mkdir(parents=True)
    splits = {
        "train": [row(n, "english") for n in range(48)] + [row(n, "finnish") for n in range(10)],
        "validation": [
            row(n, name) for name, count in (("english", 14), ("finnish", 9)) for n in range(count)
        ],
    }
    for split, rows in splits.items():
        (place / f"{split}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def done(mirror, tmp_path_factory):
    """A workspace after `xscale run`."""
    work = tmp_path_factory.mktemp("work")
    base = make_base(
        work / "base", texts=[row(n, "english")[f] for n in range(16) for f in ("context", "question")]
    )
    (work / "spans.yaml").write_text(EXPERIMENT.format(data=mirror, base=base), encoding="utf-8")
    code, _out, err = call("run", work / "spans.yaml", "--manifest", work / "manifest.json")
    assert code == 0, err
    return work


def brute_force(folder, document):
    """The answer by three plain loops over windows, first and last tokens."""
    tokenizer, model = (
        AutoTokenizer.from_pretrained(folder),
        AutoModelForQuestionAnswering.from_pretrained(folder).eval(),
    )
    asked = len(tokenizer(document["question"], add_special_tokens=False)["input_ids"])
    assert asked > 24 // 6  # so it is cut
    ends = tokenizer(document["question"], add_special_tokens=False, return_offsets_mapping=True)[
        "offset_mapping"
    ]
    question = document["question"][: ends[24 // 6 - 1][1]]
    made = tokenizer(
        question,
        document["context"],
        truncation="only_second",
        max_length=24,
        stride=24 - 4 - 4 - 8,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    assert len(made["input_ids"]) > 1
    best = (-np.inf, "")
    for number, ids in enumerate(made["input_ids"]):
        with torch.no_grad():
            output = model(torch.tensor([ids]))
        parts, places = made.sequence_ids(number), made["offset_mapping"][number]
        for first in range(len(ids)):
            for last in range(first, min(len(ids), first + 30)):
                score = float(output.start_logits[0, first] + output.end_logits[0, last])
                if parts[first] == 1 == parts[last] and score > best[0] + 1e-6:
                    best = score, document["context"][places[first][0] : places[last][1]]
    return best[1]


def entries_of(done):
    return {entry.id: entry for entry in read_manifest(done / "manifest.json").entries}


def stored_rows(done, name="spans-16-seed1"):
    table = read_predictions(done / f"results/{name}/predictions.parquet").table
    return {(row["language"], row["row"]): row for row in table.to_pylist()}


def test_answers_are_those_of_a_brute_force_and_scores_those_of_squads_metrics(done, mirror):
    rows = stored_rows(done)
    assert len(rows) == 14 + 9
    folder = done / "checkpoints/spans-16-seed1/tydiqa"
    assert json.loads((folder / "config.json").read_text())["xscale_max_length"] == 24
    found = set()
    for (language, number), stored in rows.items():
        document = row(number, {"en": "english", "fi": "finnish"}[language])
        answer = brute_force(folder, document)
        right = document["answers"]["text"][0]
        assert stored["numerator"] == pytest.approx(squad_metrics.compute_f1(right, answer)), (
            document,
            answer,
        )
        assert (stored["prediction"] == 1) == (squad_metrics.compute_exact(right, answer) == 1)
        assert (stored["label"], stored["denominator"], stored["logprobs"]) == (1, 1.0, [])
        assert stored["cluster"] == number // 2 * 2  # the first row of its passage
        found.add(stored["numerator"])
    assert {0.0, 1.0} <= found
    code, out, err = call("check", "--manifest", done / "manifest.json")
    assert code == 0, (out, err)


def test_stock_lm_eval_gives_the_same_figures(done, mirror, monkeypatch):
    import lm_eval
    from lm_eval.tasks import TaskManager

    from harness_tasks.tasks import yaml_folder
    from xscale.evaluation.encoder_lm import EncoderLM

    results = json.loads((done / "results/spans-16-seed1/results.json").read_text())["results"]
    manager = TaskManager(
        include_path=str(yaml_folder()), include_defaults=False, metadata={"data": str(mirror)}
    )
    output = lm_eval.simple_evaluate(
        EncoderLM(str(done / "checkpoints/spans-16-seed1")),
        tasks=["xtreme_tydiqa_en", "xtreme_tydiqa_fi"],
        task_manager=manager,
        log_samples=False,
    )
    rows = stored_rows(done)
    for language in ("en", "fi"):
        mine = [stored for (code, _), stored in rows.items() if code == language]
        name = f"xtreme_tydiqa_{language}"
        f1 = sum(one["numerator"] for one in mine) / sum(one["denominator"] for one in mine)
        assert output["results"][name]["f1,none"] == results[name]["f1,none"] == pytest.approx(f1, abs=1e-12)
        right = np.mean([one["prediction"] == one["label"] for one in mine])
        assert (
            output["results"][name]["exact_match,none"]
            == results[name]["exact_match,none"]
            == pytest.approx(right)
        )


def test_answers_grow_and_a_killed_evaluation_goes_on(done, mirror, tmp_path, monkeypatch):
    entry = entries_of(done)["spans-16-seed1"]
    whole = stored_rows(done)
    for limit in (4, None):
        evaluate_entry(
            entry, {"tydiqa": (("en", "fi"), limit)}, str(mirror), done / "manifest.json", tmp_path
        )
        table = read_predictions(tmp_path / "spans-16-seed1/predictions.parquet").table.to_pylist()
        assert len(table) == (8 if limit else 23)
        assert all(one == whole[one["language"], one["row"]] for one in table)
    folder = tmp_path / "other"
    ran = []

    def killed(self, call, batch):
        if len(ran) == 2:
            raise KeyboardInterrupt
        ran.append(len(batch["input_ids"]))
        return forward(self, call, batch)

    forward = EncoderLM.forward
    entry = entry.model_copy(update={"model_args": entry.model_args | {"tokens_a_batch": 100}})
    monkeypatch.setattr(EncoderLM, "forward", killed)
    arguments = entry, {"tydiqa": (("en", "fi"), None)}, str(mirror), done / "manifest.json", folder
    with pytest.raises(KeyboardInterrupt):
        evaluate_entry(*arguments)
    counted = []
    monkeypatch.setattr(
        EncoderLM, "forward", lambda self, c, b: counted.append(len(b["input_ids"])) or forward(self, c, b)
    )
    evaluate_entry(*arguments)
    monkeypatch.undo()
    table = read_predictions(folder / "spans-16-seed1/predictions.parquet").table.to_pylist()
    assert [one["numerator"] for one in table] == [
        whole[one["language"], one["row"]]["numerator"] for one in table
    ]
    assert len(ran) == 2 and sum(ran) + sum(counted) >= 23 and counted


class Parrot:
    """A language model that writes the third word behind the context's beginning."""

    max_length = 1000

    def generate_until(self, requests):
        return [" " + request.args[0].split()[4] + " " for request in requests]


def test_a_language_model_writes_and_is_scored(mirror, tmp_path):
    documents = build_documents("tydiqa", "fi", "test", Options(data=str(mirror)))
    section = sections("tydiqa", View(("fi",), None), str(mirror), {})["fi"]
    ((answers,), _cut, _spare) = generated_answers(Parrot(), "tydiqa", [section], Kept(tmp_path, "k"), {})
    assert documents[0]["context"].split()[3] in PLACES
    for place, document in enumerate(documents):
        right = document["gold"]["text"][0]
        written = document["context"].split()[3]
        assert answers[place].tolist() == [float(right == written), 1.0, float(right == written)]
    assert {answer[2] for answer in answers.values()} == {0.0, 1.0}
    assert "Konteksti: " in section.task.doc_to_text(documents[0])


def test_a_language_model_is_refused_where_only_encoders_answer(mirror, tmp_path, monkeypatch):
    section = sections("tydiqa", View(("fi",), None), str(mirror), {})["fi"]
    mute = replace(get_target("tydiqa"), context=None)
    monkeypatch.setattr("xscale.evaluation.language_models.get_target", lambda name: mute)
    with pytest.raises(UserError, match="^tydiqa: TyDiQA-GoldP is answered by encoders only"):
        generated_answers(Parrot(), "tydiqa", [section], Kept(tmp_path, "k"), {})
    monkeypatch.setattr("harness_tasks.lm_eval_task.get_target", lambda name: mute)
    with pytest.raises(UserError, match="encoders only"):
        process_results(section.documents[0], ["Oslo"])
    assert process_results(section.documents[0], [Answer("Oslo")])["f1"][1] == 1.0


class Fixed:
    """Two windows' logits as given: of the first token, of the others."""

    def __init__(self, none, best):
        self.none, self.best = none, best

    def __call__(self, inputs):
        start, end = torch.full((2, 4), -9.0), torch.full((2, 4), -9.0)
        start[:, 0] = torch.tensor(self.none)
        end[:, 0] = 0.0
        start[:, 2], end[:, 3] = torch.tensor(self.best), 0.0
        return SimpleNamespace(start_logits=start, end_logits=end)


@pytest.mark.parametrize(
    ("none", "best", "answer", "without"),
    [
        ([9.0, 1.0], [2.0, 0.0], "b c", "b c"),  # one window that is sure enough of an answer
        ([9.0, 3.0], [2.0, 0.0], "b c", ""),
        ([9.0, 1.0], [0.0, 2.0], "e f", "e f"),
    ],
)
def test_no_answer_only_of_models_that_were_trained_with_questions_without_one(none, best, answer, without):
    offsets = [np.array([[0, 0], [0, 1], [2, 3], [4, 5]]), np.array([[0, 0], [6, 7], [8, 9], [10, 11]])]
    inputs = Inputs(
        [Text(np.arange(4), None, np.array([0, 1, 1, 1]), places) for places in offsets], [[0, 1]]
    )
    marks = torch.tensor([[0, 1, 1, 1]] * 2)
    span = HEADS["span"]
    rows = list(span.read(Fixed(none, best), {}, marks, None).numpy())
    document = {"context": "a b c d e f"}
    assert span.decode(rows, inputs, [document], SimpleNamespace()) == [answer]
    assert span.decode(rows, inputs, [document], SimpleNamespace(xscale_no_answer=True)) == [without]


def test_few_shot_examples_are_never_test_rows(mirror, tmp_path):
    with pytest.raises(UserError, match=r"^xtreme_tydiqa_fi: TyDiQA-GoldP has no validation rows in 'fi'"):
        section = sections("tydiqa", View(("fi",), None), str(mirror), {}, {"num_fewshot": 2})["fi"]
        generated_answers(Parrot(), "tydiqa", [section], Kept(tmp_path, "k"), {"num_fewshot": 2})


def test_what_is_not_asked_for_is_not_evaluated(mirror):
    """A target without choices is for entries that name it."""
    assert default_selection(str(mirror)) == {}
    assert set(default_selection(str(mirror), named=["tydiqa"])) == {"tydiqa"}
    lm = Entry(id="lm", model="hf", model_args={"pretrained": "x"})
    chosen = {"xnli": (("en",), None), "tydiqa": (("en",), None)}
    assert set(selection_of(lm, chosen)) == {"xnli"}
    assert set(selection_of(lm.model_copy(update={"targets": {"tydiqa": []}}), chosen)) == {"tydiqa"}


def test_a_wrong_row_is_named(mirror, tmp_path):
    place = tmp_path / "google-research-datasets/tydiqa/secondary_task"
    place.mkdir(parents=True)
    wrong = row(3, "korean") | {"answers": {"text": ["Oslo"], "answer_start": [1]}}
    lines = [json.dumps(row(0, "english")), json.dumps(row(0, "korean")), json.dumps(wrong)]
    (place / "validation.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match="row 1: the context has .* at answer_start 1, not 'Oslo'"):
        build_documents("tydiqa", "ko", "test", Options(data=str(tmp_path)))


def test_every_view_of_results_takes_figures_that_are_no_accuracy(done):
    """Board, arms, breakdown, comparison, report, costs and power, on one workspace."""
    where = ("--manifest", done / "manifest.json")
    both = "spans-0-seed1", "spans-16-seed1"
    f1 = {
        name: np.mean(
            [
                np.mean(
                    [
                        row["numerator"]
                        for (code, _), row in stored_rows(done, name).items()
                        if code == language
                    ]
                )
                for language in ("en", "fi")
            ]
        )
        for name in both
    }
    code, out, err = call("board", *where, "--format", "json")
    assert code == 0, err
    (table,) = json.loads(out)["tables"]
    assert {row["id"]: row["acc"]["all"]["value"] for row in table["rows"]} == pytest.approx(f1, abs=1e-6)
    for command in (
        ("board", "--arms", *where),
        ("compare", *both, *where),
        ("report", *where, "--out", done / "page"),
        ("status", *where),
    ):
        code, out, err = call(*command)
        assert code == 0, (command, out, err)
    (page,) = (done / "page").rglob("*.html")
    assert "TyDiQA-GoldP (F1)" in page.read_text(encoding="utf-8")
    code, out, err = call("plan", "--power", done / "spans.yaml")
    assert code == 0 and "points of F1 is found" in out, (out, err)
    assert "11 clusters" in out, out  # 7 passages of English, 5 of Finnish: 4 / (1/7 + 1/5)
    known = ("--examples-per-second", 1, "--documents-per-second", 1, "--checkpoint-gib", 1)
    code, out, err = call("plan", "--cost", done / "spans.yaml", *known)
    assert code == 0 and "2 x 23 documents" in out, (out, err)


def test_a_plain_question_answering_checkpoint_has_a_head_for_every_span_target(done, mirror, tmp_path):
    shutil.copytree(done / "checkpoints/spans-16-seed1/tydiqa", tmp_path / "plain")
    assert set(targets_in(tmp_path / "plain")) == {
        name for name, spec in targets().items() if spec.head == "span"
    }
    entry = Entry(id="plain", model="xscale", model_args={"pretrained": str(tmp_path / "plain")})
    evaluate_entry(entry, {"tydiqa": (("fi",), None)}, str(mirror), tmp_path / "manifest.json", tmp_path)
    whole = stored_rows(done)
    for row_ in read_predictions(tmp_path / "plain/predictions.parquet").table.to_pylist():
        assert row_ == whole["fi", row_["row"]]


def test_what_a_causal_language_model_writes_is_scored(causal_lm, mirror, tmp_path, monkeypatch):
    """lm_eval's hf, greedily and up to the end of the line, against transformers' own loop."""
    seen = {}
    spec = get_target("tydiqa")

    def score(document, text):
        seen[document["row"]] = text
        return spec.score(document, text)

    monkeypatch.setattr(language_models, "get_target", lambda name: replace(spec, score=score))
    arguments = {"pretrained": str(causal_lm), "device": "cpu", "dtype": "float32", "max_length": 120}
    entry = Entry(id="lm", model="hf", model_args=arguments)
    evaluate_entry(entry, {"tydiqa": (("fi",), 4)}, str(mirror), tmp_path / "manifest.json", tmp_path)
    table = read_predictions(tmp_path / "lm/predictions.parquet").table.to_pylist()
    assert len(table) == len(seen) == 4 and all(row_["logprobs"] == [] for row_ in table)
    model = AutoModelForCausalLM.from_pretrained(causal_lm, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(causal_lm)
    for document in build_documents("tydiqa", "fi", "test", Options(data=str(mirror)))[:4]:
        ids = tokenizer(get_target("tydiqa").context(document, get_target("tydiqa").words("fi")))["input_ids"]
        ids = ids[-(120 - 64) :]  # room for 64 tokens
        first = len(ids)
        for _ in range(64):
            with torch.no_grad():
                ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
            if ids[-1] == tokenizer.eos_token_id:
                break
        written = tokenizer.decode(ids[first:], skip_special_tokens=True).split("\n")[0]
        assert seen[document["row"]] == written
