"""Targets of tags from end to end: heads are trained, scored and stored, by xscale and by stock lm_eval, like a plain loop."""

import json
import random
import shutil
import warnings
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from tiny_model import call
from training.tiny import make_base
from transformers import AutoModelForTokenClassification, AutoTokenizer

from harness_tasks.errors import UserError
from harness_tasks.rows import Options, build_documents
from harness_tasks.tagging import NER_TAGS, UD_TAGS
from xscale.capabilities import targets_in
from xscale.evaluation.answers import evaluate_entry
from xscale.evaluation.batches import Section
from xscale.evaluation.encoder_lm import EncoderLM
from xscale.evaluation.predictions import SCHEMA, prediction_files, read_predictions, write_predictions
from xscale.heads import HEADS
from xscale.leaderboard.panels import build_panels, load_results
from xscale.manifest import read_manifest

seqeval = pytest.importorskip("seqeval.metrics")
accuracy_score = pytest.importorskip("sklearn.metrics").accuracy_score

LENGTH = 12
EXPERIMENT = """\
name: tags
data: {data}
base: {base}
intermediate: bundled_nli
sizes: [0, 16]
development: {{choose: best, times: 2}}
targets:
  udpos: {{train: [udpos]}}
  panx: {{train: [panx]}}
training:
  intermediate: {{epochs: 1, batch_size: 16, max_length: 32, freeze: nothing}}
  udpos: {{epochs: 12, learning_rate: 0.003, batch_size: 8, max_length: 12, freeze: nothing, dropout: 0.0}}
  panx: {{epochs: 12, learning_rate: 0.003, batch_size: 8, max_length: 12, freeze: nothing, dropout: 0.0}}
evaluation:
  udpos: {{languages: [yo, vi, en]}}
  panx: {{languages: [en, ja]}}
"""
WORDS = {
    "DET": ["the", "a"],
    "NOUN": ["dog", "old house", "man"],
    "VERB": ["saw", "was"],
    "ADP": ["in"],
    "PUNCT": ["."],
}
ENTITIES = {
    "PER": ["Ada Lovelace", "Bob"],
    "LOC": ["Oslo", "New York City"],
    "ORG": ["United Nations", "Acme"],
}
CONFIGS = {"en": "udpos.English", "vi": "udpos.Vietnamese", "yo": "udpos.Yoruba"}


def udpos_row(draw):
    tags = [draw.choice(list(WORDS)) for _ in range(draw.randint(1, 9))]
    return {
        "tokens": [draw.choice(WORDS[tag]) for tag in tags],
        "pos_tags": [UD_TAGS.index(tag) for tag in tags],
    }


def panx_row(draw):
    tokens, tags = [], []
    for _ in range(draw.randint(1, 4)):
        kind = draw.choice(list(ENTITIES))
        entity = draw.choice(ENTITIES[kind]).split()
        tokens += [*entity, draw.choice(["was", "saw", "in"])]
        tags += [f"B-{kind}", *[f"I-{kind}"] * (len(entity) - 1), "O"]
    return {"tokens": tokens, "ner_tags": [NER_TAGS.index(tag) for tag in tags], "langs": ["xx"] * len(tags)}


@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    folder, draw = tmp_path_factory.mktemp("mirror"), random.Random(1)
    for config, make, counts in (
        ("udpos.English", udpos_row, {"train": 48, "validation": 12, "test": 20}),
        ("udpos.Vietnamese", udpos_row, {"validation": 8, "test": 11}),
        ("udpos.Yoruba", udpos_row, {"test": 6}),
        ("PAN-X.en", panx_row, {"train": 48, "validation": 12, "test": 20}),
        ("PAN-X.ja", panx_row, {"validation": 8, "test": 9}),
    ):
        place = folder / "google/xtreme" / config
        place.mkdir(parents=True)
        for split, count in counts.items():
            lines = [json.dumps(make(draw)) + "\n" for _ in range(count)]
            (place / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def read(mirror, target, language, split="test"):
    config = CONFIGS[language] if target == "udpos" else f"PAN-X.{language}"
    names, field = (UD_TAGS, "pos_tags") if target == "udpos" else (NER_TAGS, "ner_tags")
    text = (mirror / "google/xtreme" / config / f"{split}.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    return [(row["tokens"], [names[tag] for tag in row[field]]) for row in rows]


@pytest.fixture(scope="module")
def done(mirror, tmp_path_factory):
    """A workspace after `xscale run`."""
    work = tmp_path_factory.mktemp("work")
    base = make_base(work / "base", texts=["the dog saw a man in the old Ada Oslo"] * 3)
    (work / "tags.yaml").write_text(EXPERIMENT.format(data=mirror, base=base), encoding="utf-8")
    code, _out, err = call("run", work / "tags.yaml", "--manifest", work / "manifest.json")
    assert code == 0, err
    return work


def plain_loop(folder, sentences):
    """Tags of each sentence: words are tokenised one by one, a piece is full before the word that does not fit."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForTokenClassification.from_pretrained(folder).eval()
    found, pieces_of = [], []
    for words, _ in sentences:
        tokens = [tokenizer(word, add_special_tokens=False)["input_ids"] for word in words]
        assert all(0 < len(ids) <= LENGTH - 2 for ids in tokens)
        pieces = [[]]
        for ids in tokens:
            if sum(map(len, pieces[-1])) + len(ids) > LENGTH - 2:
                pieces.append([])
            pieces[-1].append(ids)
        tags = []
        for piece in pieces:
            ids = [tokenizer.cls_token_id, *(i for word in piece for i in word), tokenizer.sep_token_id]
            with torch.no_grad():
                best = model(torch.tensor([ids])).logits[0].argmax(-1).tolist()
            place = 1
            for word in piece:
                tags.append(model.config.id2label[best[place]])
                place += len(word)
        found.append(tags)
        pieces_of.append(len(pieces))
    return found, pieces_of


def f1_of_whole_tags(gold, predicted):
    """seqeval's, told that the type of a part of speech is all of its name."""
    with warnings.catch_warnings(action="ignore"):
        return seqeval.f1_score(
            *([[f"{t[0]}-{t}" for t in line] for line in lines] for lines in (gold, predicted))
        )


def stored_rows(done, target, language):
    table = read_predictions(done / "results/tags-16-seed1/predictions.parquet").table.to_pylist()
    return {row["row"]: row for row in table if (row["target"], row["language"]) == (target, language)}


@pytest.mark.parametrize(
    ("target", "language"),
    [("udpos", "en"), ("udpos", "vi"), ("udpos", "yo"), ("panx", "en"), ("panx", "ja")],
)
def test_scores_are_those_of_a_plain_loop(done, mirror, target, language):
    sentences = read(mirror, target, language)
    folder = done / f"checkpoints/tags-16-seed1/{target}"
    predicted, pieces = plain_loop(folder, sentences)
    assert max(pieces) > 1  # longer than the head's 12 tokens
    gold = [tags for _, tags in sentences]
    rows = stored_rows(done, target, language)
    assert sorted(rows) == list(range(len(sentences)))
    ratio = sum(row["numerator"] for row in rows.values()) / sum(row["denominator"] for row in rows.values())
    if target == "udpos":
        assert ratio == pytest.approx(f1_of_whole_tags(gold, predicted), abs=1e-12) and ratio > 0.2
        flat = [[tag for tags in each for tag in tags] for each in (gold, predicted)]
        right, words = (sum(row["second"][part] for row in rows.values()) for part in (0, 1))
        assert right / words == pytest.approx(accuracy_score(*flat), abs=1e-12) and right / words > 0.3
        assert all(rows[i]["second"][1] == len(tags) for i, tags in enumerate(gold))
    else:
        assert all(row["second"] == [] for row in rows.values())
        assert ratio == pytest.approx(seqeval.f1_score(gold, predicted), abs=1e-12) and ratio > 0.1
    if target == "udpos":
        assert [rows[i]["prediction"] for i in range(len(gold))] == [
            int(a == b) for a, b in zip(gold, predicted, strict=True)
        ]
    assert all((row["label"], row["logprobs"]) == (1, []) for row in rows.values())


def test_stock_lm_eval_gives_the_same_figures(done, mirror):
    import lm_eval
    from lm_eval.tasks import TaskManager

    from harness_tasks.tasks import yaml_folder

    stored = json.loads((done / "results/tags-16-seed1/results.json").read_text())["results"]
    manager = TaskManager(
        include_path=str(yaml_folder()), include_defaults=False, metadata={"data": str(mirror)}
    )
    output = lm_eval.simple_evaluate(
        EncoderLM(str(done / "checkpoints/tags-16-seed1")),
        tasks=["xtreme_udpos_vi", "xtreme_udpos_yo", "xtreme_panx_ja"],
        task_manager=manager,
        log_samples=False,
    )
    for target, language in (("udpos", "vi"), ("udpos", "yo"), ("panx", "ja")):
        rows = stored_rows(done, target, language).values()
        name = f"xtreme_{target}_{language}"
        figure = sum(row["numerator"] for row in rows) / sum(row["denominator"] for row in rows)
        for results in (output["results"], stored):
            assert results[name]["f1,none"] == pytest.approx(figure, abs=1e-12)
            if target == "udpos":
                words = np.array([row["second"] for row in rows]).sum(axis=0)
                assert results[name]["acc,none"] == pytest.approx(words[0] / words[1], abs=1e-12)
            second = "sentence_acc" if target == "udpos" else "exact_match"
            right = sum(row["prediction"] for row in rows) / len(rows)
            assert results[name][f"{second},none"] == pytest.approx(right)


def test_development_scores_are_those_of_a_plain_loop(done, mirror):
    for target in ("udpos", "panx"):
        folder = done / f"checkpoints/tags-16-seed1/{target}"
        sentences = read(mirror, target, "en", "validation")
        predicted, _ = plain_loop(folder, sentences)
        gold = [tags for _, tags in sentences]
        expected = (f1_of_whole_tags if target == "udpos" else seqeval.f1_score)(gold, predicted)
        recipe = json.loads((done / "checkpoints/tags-16-seed1/recipe.json").read_text())
        assert recipe["development"][target]["english"] == pytest.approx(expected, abs=1e-4)
        assert set(recipe["development"][target]["validation"]) == ({"vi"} if target == "udpos" else {"ja"})


def test_the_board_takes_the_mean_over_languages_of_all_their_rows(done):
    manifest = read_manifest(done / "manifest.json")
    panels = {panel.target: panel for panel in build_panels(load_results(manifest, done / "results"))}
    panel = panels["udpos"]
    assert panel.own_rows and panel.row_count() == 20 + 11 + 6
    figures = panel.figures_by_language()[panel.ids.index("tags-16-seed1")]
    for language, figure in zip(panel.languages, figures, strict=True):
        rows = stored_rows(done, "udpos", language).values()
        assert figure == pytest.approx(
            sum(r["numerator"] for r in rows) / sum(r["denominator"] for r in rows)
        )
    code, out, err = call("board", "--manifest", done / "manifest.json", "--by", "language")
    assert code == 0 and "means over languages" in out, err
    code, out, err = call("check", "--manifest", done / "manifest.json")
    assert code == 0, (out, err)


def test_what_was_asked_for_in_another_order_or_number_is_the_same_data(done, mirror, tmp_path):
    """Rows of languages have nothing to do with each other; answers grow by languages all the same, in one file."""
    entry = next(e for e in read_manifest(done / "manifest.json").entries if e.id == "tags-16-seed1")
    for codes in (("vi",), ("en", "vi"), ("yo", "en")):
        evaluate_entry(entry, {"udpos": (codes, None)}, str(mirror), done / "manifest.json", tmp_path)
    (path,) = prediction_files(tmp_path / entry.id)
    stored = read_predictions(path)
    assert set(stored.table.column("language").to_pylist()) == {"en", "vi", "yo"}
    for one in stored.table.to_pylist():
        assert one == stored_rows(done, "udpos", one["language"])[one["row"]]
    results = [
        load_results(read_manifest(done / "manifest.json"), folder) for folder in (done / "results", tmp_path)
    ]
    both = [result for found in results for result in found if result.entry.id == entry.id]
    (panel,) = [panel for panel in build_panels(both, targets=["udpos"]) if panel.target == "udpos"]
    assert len(panel.entries) == 2 and not (panel.predictions[0] != panel.predictions[1]).any()


def test_answers_of_the_version_whose_figure_was_accuracy_stay_what_they_are(done, mirror, tmp_path):
    """Its scores are never called F1, are in no XTREME table, and are answered anew when asked for."""
    work = shutil.copytree(done, tmp_path / "work")
    for path in work.glob("results/*/predictions.parquet"):
        stored = read_predictions(path)
        rows = stored.table.to_pylist()
        for row in rows:
            right = row.pop("second")
            if row["target"] == "udpos":
                row["numerator"], row["denominator"] = right
        stored.info["task_versions"]["udpos"] = "1.0"
        write_predictions(path, pa.Table.from_pylist(rows, schema=SCHEMA), stored.info)
    manifest = ("--manifest", work / "manifest.json")
    code, out, err = call("board", *manifest, "--wide")
    assert code == 0 and "UDPOS (score of task version 1.0)" in out and "UDPOS (F1)" not in out, (out, err)
    code, out, err = call("board", "--xtreme", *manifest)
    assert code == 0, err
    assert "POS: version 1.0 of its task scored otherwise; run `xscale eval` again" in " ".join(out.split())
    code, out, err = call("eval", "tags-16-seed1", "--data", mirror, "--languages", "yo", *manifest)
    assert code == 0, err
    table = read_predictions(work / "results/tags-16-seed1/predictions.parquet").table.to_pylist()
    mine = {row["row"]: row for row in table if (row["target"], row["language"]) == ("udpos", "yo")}
    assert mine == stored_rows(done, "udpos", "yo")


def test_a_head_with_other_tags_is_refused(done, tmp_path):
    folder = tmp_path / "udpos"
    folder.mkdir()
    for path in (done / "checkpoints/tags-16-seed1/udpos").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {str(i): f"LABEL_{i}" for i in range(17)}
    config["label2id"] = {name: int(i) for i, name in config["id2label"].items()}
    (folder / "config.json").write_text(json.dumps(config))
    documents = [{"target": "udpos", "language": "en", "words": "a b", "gold": ["DET", "X"]}]
    with pytest.raises(UserError, match=r"labels of its head are LABEL_0, .*; udpos has ADJ, ADP"):
        EncoderLM(str(tmp_path)).answers("udpos", [Section(documents, range(1))])


def test_a_plain_checkpoint_answers_the_target_that_has_its_tags(done, mirror, tmp_path):
    folder = tmp_path / "plain"
    shutil.copytree(done / "checkpoints/tags-16-seed1/panx", folder)
    assert targets_in(folder) == ["panx"]
    documents = build_documents("panx", "ja", "test", Options(data=str(mirror)))
    (answers,) = EncoderLM(str(folder)).answers("panx", [Section(documents, range(len(documents)))])
    rows = stored_rows(done, "panx", "ja")
    for place, document in enumerate(documents):
        row = rows[document["row"]]
        assert answers[place].tolist() == [row["numerator"], row["denominator"], row["prediction"]]


def test_a_language_model_is_refused_in_a_line(mirror):
    import lm_eval
    from lm_eval.tasks import TaskManager

    from harness_tasks.tasks import yaml_folder

    metadata = {"data": str(mirror)}
    manager = TaskManager(include_path=str(yaml_folder()), include_defaults=False, metadata=metadata)
    with pytest.raises(UserError) as refused:
        lm_eval.simple_evaluate("dummy", tasks=["xtreme_udpos_yo"], task_manager=manager, log_samples=False)
    assert str(refused.value) == "udpos: UDPOS is answered by encoders only (--model xscale)"


class Words:
    """A tokenizer that cuts words into letters and leaves nothing of a no-break space."""

    def __call__(self, sentences, **options):
        letters = [[(w, c) for w, word in enumerate(s) for c in word if c != "\u00a0"] for s in sentences]
        self.words = [[None, *(w for w, _ in s), None] for s in letters]
        self.ids = [[1, *(ord(c) for _, c in s), 2] for s in letters]
        return self

    def __getitem__(self, name):
        return self.ids

    def word_ids(self, number):
        return self.words[number]


@pytest.mark.parametrize(
    ("words", "length", "texts", "answer"),
    [
        ("ab c d", 20, ["abcd"], "ADJ ADJ ADJ"),
        ("ab c d", 5, ["abc", "d"], "ADJ ADJ ADJ"),
        (
            "ab cde f",
            4,
            ["ab", "cd", "f"],
            "ADJ ADJ ADJ",
        ),  # a word of more tokens than a text holds is cut itself
        ("ab \u00a0 c", 20, ["abc"], "ADJ O ADJ"),  # nothing is left of a word
        ("\u00a0", 20, [""], "O"),
    ],
)
def test_every_word_is_answered_or_counts_as_untagged(words, length, texts, answer):
    head = HEADS["token_classification"]
    document = {"target": "udpos", "words": words, "gold": ["X"] * len(words.split(" "))}
    made = head.inputs(Words(), [document], length)
    assert ["".join(map(chr, text.ids[1:-1])) for text in made.texts] == texts
    assert all(text.ids[0] == 1 and text.ids[-1] == 2 and len(text.ids) <= length for text in made.texts)

    config = SimpleNamespace(id2label=dict(enumerate(UD_TAGS)))
    outputs = [np.zeros(len(text.ids)) for text in made.texts]
    assert head.decode(outputs, made, [document], config) == [answer]


def test_a_wrong_row_is_named(mirror, tmp_path):
    place = tmp_path / "google/xtreme/udpos.Yoruba"
    place.mkdir(parents=True)
    for tags, message in (
        ([7, 17], "17 is none of its 17 tags"),
        ([7], "2 tokens, 1 tags"),
        (["NOUN", "O"], "'O' is none"),
    ):
        rows = [{"tokens": ["a"], "pos_tags": [7]}, {"tokens": ["a", "b"], "pos_tags": tags}]
        (place / "test.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        with pytest.raises(UserError, match=f"row 1: {message}"):
            build_documents("udpos", "yo", "test", Options(data=str(tmp_path)))
