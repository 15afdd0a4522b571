"""Retrieval targets from end to end: an untrained encoder's answers are those of plain loops, by xscale and by stock lm_eval."""

import gzip
import itertools
import json
import math
import shutil

import numpy as np
import pytest
import torch
from tiny_model import call
from training.tiny import make_base
from transformers import AutoModel, AutoTokenizer

from harness_tasks.bucc import convert
from harness_tasks.errors import UserError
from harness_tasks.lm_eval_task import process_results
from harness_tasks.rows import Options, build_documents, corpus, data_record
from harness_tasks.sources import read_rows
from harness_tasks.targets import get_target
from xscale.cli.power import own_clusters, power
from xscale.evaluation.answers import View, evaluate_entry, sections
from xscale.evaluation.encoder_lm import EncoderLM
from xscale.evaluation.kept import Kept
from xscale.evaluation.language_models import generated_answers
from xscale.evaluation.predictions import read_predictions
from xscale.experiment import read_experiment
from xscale.heads.retrieval import best_threshold, layer_of, mined_pairs, nearest, unit
from xscale.leaderboard.xtreme import xtreme_columns
from xscale.manifest import read_manifest
from xscale.splits import chosen_splits

EXPERIMENT = """\
name: ret
data: {data}
base: {base}
intermediate: bundled_nli
sizes: [0, 16]
targets:
  tatoeba: {{train: []}}
  bucc: {{train: []}}
training:
  intermediate: {{epochs: 3, learning_rate: 0.003, batch_size: 16, max_length: 32, freeze: nothing}}
evaluation:
  tatoeba: {{languages: [jv, sw]}}
  bucc: {{languages: [zh]}}
"""
THINGS = ["man", "dog", "house", "street", "woman", "child", "car", "river"]
DOES = ["sees", "likes", "has", "wants", "finds"]


def sentence(number: int, words: int) -> str:
    """The words say the number: number by number other ones, so that sentences of one number are alike."""
    parts = [
        THINGS[number % 8],
        DOES[number // 8 % 5],
        THINGS[number // 3 % 8],
        "and",
        THINGS[number // 5 % 8],
    ]
    return " ".join(["the", *parts, *THINGS[: words % 4]])


def bucc_rows(language: str, count: int, others: int, pairs: int) -> list[dict[str, str]]:
    """The first `pairs` sentences translate an English one, in another order."""
    mine = [
        {
            "id": f"{language}-{n:09}",
            "text": sentence(n, n),
            "pair": f"en-{others - n:09}" if n < pairs else "",
        }
        for n in range(count)
    ]
    english = [
        {"id": f"en-{others - n:09}", "text": sentence(n if n < pairs else 7 * n + 1, n + 1), "pair": ""}
        for n in range(others)
    ]
    return [*mine, *english[::-1]]


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mirror")
    for name, count in (("jav", 40), ("swh", 23)):
        rows = [
            {"source_sentence": sentence(n, n) + "\n", "target_sentence": sentence(n, n + 1) + "\n"}
            for n in range(count)
        ]
        write(folder / f"google/xtreme/tatoeba.{name}/validation.jsonl", rows)
    write(folder / "bucc/bucc2018/zh/validation.jsonl", bucc_rows("zh", 30, 35, 12))
    write(folder / "bucc/bucc2018/zh/test.jsonl", bucc_rows("zh", 36, 30, 10))
    return folder


@pytest.fixture(scope="module")
def done(mirror, tmp_path_factory):
    """A workspace after `xscale run`."""
    work = tmp_path_factory.mktemp("work")
    base = make_base(work / "base", texts=[sentence(n, 1) for n in range(40)])
    (work / "ret.yaml").write_text(EXPERIMENT.format(data=mirror, base=base), encoding="utf-8")
    code, _out, err = call("run", work / "ret.yaml", "--manifest", work / "manifest.json")
    assert code == 0, err
    return work


def embeddings(folder, texts, layer):
    """One text at a time, without padding: the mean of the layer's states, to length 1, in float64."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    found = []
    for text in texts:
        with torch.no_grad():
            output = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True)
        states = output.hidden_states[layer][0].double().numpy()
        total = np.zeros(states.shape[1])
        for state in states:
            total += state
        found.append(total / len(states) / np.linalg.norm(total / len(states)))
    return np.stack(found)


def loop_nearest(queries, keys):
    best = []
    for query in queries:
        scores = [float(np.dot(query, key)) for key in keys]
        top = max(scores)
        best.append({place for place, score in enumerate(scores) if score > top - 1e-5})
    return best


def loop_mined(x, y):
    """XTREME's mining with Python's loops: ratio of the cosine to the mean of both sides' four nearest, each sentence once."""
    cosine = [[float(np.dot(a, b)) for b in y] for a in x]
    near_x = [sorted(range(len(y)), key=lambda j, i=i: -cosine[i][j])[:4] for i in range(len(x))]
    near_y = [sorted(range(len(x)), key=lambda i, j=j: -cosine[i][j])[:4] for j in range(len(y))]
    mean_x = [np.mean([cosine[i][j] for j in near_x[i]]) for i in range(len(x))]
    mean_y = [np.mean([cosine[i][j] for i in near_y[j]]) for j in range(len(y))]

    def score(i, j):
        return cosine[i][j] / ((mean_x[i] + mean_y[j]) / 2)

    pairs = [(i, max(near_x[i], key=lambda j, i=i: score(i, j))) for i in range(len(x))]
    pairs += [(max(near_y[j], key=lambda i, j=j: score(i, j)), j) for j in range(len(y))]
    found, taken = {}, (set(), set())
    for i, j in sorted(pairs, key=lambda pair: -score(*pair)):
        if i not in taken[0] and j not in taken[1]:
            found[i, j] = score(i, j)
            taken[0].add(i)
            taken[1].add(j)
    return found


def loop_threshold(pairs, gold):
    """Of every value between two scores the one of highest F1."""
    values = sorted(pairs.values())
    between = [(a + b) / 2 for a, b in itertools.pairwise(values)] + [values[0] - 1, values[-1]]

    def f1(threshold):
        mined = {pair for pair, score in pairs.items() if score >= threshold}
        right = len(mined & gold)
        return 2 * right / (len(mined) + len(gold))

    return max(map(f1, between)), f1


def stored_rows(done, target, name="ret-16-seed1"):
    table = read_predictions(done / f"results/{name}/predictions.parquet").table.to_pylist()
    return {(row["language"], row["row"]): row for row in table if row["target"] == target}


@pytest.mark.parametrize("name", ["ret-0-seed1", "ret-16-seed1"])
def test_tatoeba_is_a_loop_over_cosines(done, mirror, name):
    rows = stored_rows(done, "tatoeba", name)
    assert len(rows) == 40 + 23
    folder = done / "base" if "-0-" in name else done / f"checkpoints/{name}/tatoeba"
    found = set()
    for language, iso, count in (("jv", "jav", 40), ("sw", "swh", 23)):
        file = read_rows("google/xtreme", f"tatoeba.{iso}", "validation", str(mirror))
        sources, english = (
            embeddings(folder, [row[side].strip() for row in file], 1)
            for side in ("source_sentence", "target_sentence")
        )
        for number, best in enumerate(loop_nearest(sources, english)):
            stored = rows[language, number]
            assert (stored["label"], stored["denominator"], stored["logprobs"]) == (1, 1.0, [])
            assert stored["numerator"] == float(stored["prediction"])
            if len(best) == 1:
                assert stored["numerator"] == float(best == {number})
                found.add(stored["numerator"])
            elif number not in best:
                assert stored["numerator"] == 0
        assert count == len(file)
    assert found == {0.0, 1.0}


def test_bucc_is_mined_with_a_threshold_of_the_sample(done, mirror):
    folder = done / "checkpoints/ret-16-seed1/bucc"
    scored = {}
    for split in ("validation", "test"):
        rows = read_rows("bucc/bucc2018", "zh", split, str(mirror))
        mine = [row for row in rows if row["id"].startswith("zh-")]
        english = [row for row in rows if row["id"].startswith("en-")]
        x, y = (embeddings(folder, [row["text"] for row in part], 1) for part in (mine, english))
        place = {row["id"]: number for number, row in enumerate(english)}
        gold = {(number, place[row["pair"]]) for number, row in enumerate(mine) if row["pair"]}
        scored[split] = mined_pairs(x.astype(np.float32), y.astype(np.float32)), gold
    pairs, gold = scored["validation"]
    threshold = best_threshold(pairs, gold)
    best, f1 = loop_threshold(pairs, gold)
    assert f1(threshold) == pytest.approx(best) and best > 0
    pairs, gold = scored["test"]
    mined = {pair for pair, score in pairs.items() if score >= threshold}
    rows = stored_rows(done, "bucc")
    assert len(rows) == 36
    above, below = (sum(row[name] for row in rows.values()) for name in ("numerator", "denominator"))
    assert below == len(mined) + len(gold) and above == 2 * len(mined & gold)
    for (_, number), row in rows.items():
        its = {pair for pair in mined if pair[0] == number}
        assert row["denominator"] == len(its) + (number < 10)
        assert row["prediction"] == (its == {pair for pair in gold if pair[0] == number})


def test_nothing_is_trained_and_no_copy_is_made(done):
    encoder = done / "checkpoints/ret-16-seed1"
    files = [
        file for part in ("tatoeba", "bucc", "encoder") for file in (encoder / part).glob("*.safetensors")
    ]

    assert len(files) == 3 and len({file.stat().st_ino for file in files}) == 1
    entry = {one.id: one for one in read_manifest(done / "manifest.json").entries}["ret-16-seed1"]
    assert entry.targets == {"tatoeba": [], "bucc": []}


def test_stock_lm_eval_gives_the_same_figures_and_a_limit_leaves_candidates_out_of_none(done, mirror):
    import lm_eval
    from lm_eval.tasks import TaskManager

    from harness_tasks.tasks import yaml_folder

    results = json.loads((done / "results/ret-16-seed1/results.json").read_text())["results"]
    rows = stored_rows(done, "tatoeba")
    order = [doc["row"] for doc in build_documents("tatoeba", "sw", "test", Options(data=str(mirror)))]
    for limit in (None, 6):
        manager = TaskManager(
            include_path=str(yaml_folder()), include_defaults=False, metadata={"data": str(mirror)}
        )
        output = lm_eval.simple_evaluate(
            EncoderLM(str(done / "checkpoints/ret-16-seed1")),
            tasks=["xtreme_tatoeba_sw", "xtreme_bucc_zh"],
            task_manager=manager,
            limit=limit,
            log_samples=False,
        )["results"]
        mine = np.mean([rows["sw", number]["numerator"] for number in order[:limit]])
        assert output["xtreme_tatoeba_sw"]["acc,none"] == pytest.approx(mine)
        if limit is None:
            assert output["xtreme_tatoeba_sw"]["acc,none"] == results["xtreme_tatoeba_sw"]["acc,none"]
            assert output["xtreme_bucc_zh"]["f1,none"] == results["xtreme_bucc_zh"]["f1,none"]


def test_answers_grow(done, mirror, tmp_path):
    entry = {one.id: one for one in read_manifest(done / "manifest.json").entries}["ret-16-seed1"]
    whole = stored_rows(done, "tatoeba")
    for limit in (4, None):
        chosen = {"tatoeba": (("jv", "sw"), limit)}
        evaluate_entry(entry, chosen, str(mirror), done / "manifest.json", tmp_path)
        table = read_predictions(tmp_path / "ret-16-seed1/predictions.parquet").table.to_pylist()
        assert len(table) == (8 if limit else 63)
        assert all(one == whole[one["language"], one["row"]] for one in table)


def test_another_layer_can_be_given(done, mirror):
    section = sections("tatoeba", View(("jv",), None), str(mirror), {})["jv"]
    folder = done / "checkpoints/ret-16-seed1"
    ((first,), (second,)) = (
        EncoderLM(str(folder), layer=layer).texts("tatoeba", [section]) for layer in (1, 2)
    )
    assert first == EncoderLM(str(folder)).texts("tatoeba", [section])[0]
    file = read_rows("google/xtreme", "tatoeba.jav", "validation", str(mirror))
    sides = [[row[side].strip() for row in file] for side in ("source_sentence", "target_sentence")]
    best = loop_nearest(*(embeddings(folder / "tatoeba", texts, 2) for texts in sides))
    assert all(int(second[place]) in best[doc["row"]] for place, doc in enumerate(section.documents))
    with pytest.raises(UserError, match="layers 1 to 2"):
        EncoderLM(str(folder), layer=3).texts("tatoeba", [section])


def test_an_entry_of_its_own_has_another_layer(done, mirror, tmp_path, monkeypatch):
    work = shutil.copytree(done, tmp_path / "work")
    monkeypatch.chdir(work)
    manifest = ("--manifest", work / "manifest.json")
    arguments = ("--model", "xscale", "--model-args", "pretrained=checkpoints/ret-16-seed1,layer=2")
    code, _, err = call("add", "--id", "layer2", *arguments, "--target", "tatoeba", *manifest)
    assert code == 0, err
    code, _, err = call("eval", "layer2", "--data", mirror, "--languages", "jv", *manifest)
    assert code == 0, err
    table = read_predictions(work / "results/layer2/predictions.parquet").table.to_pylist()
    file = read_rows("google/xtreme", "tatoeba.jav", "validation", str(mirror))
    sides = [[row[side].strip() for row in file] for side in ("source_sentence", "target_sentence")]
    best = loop_nearest(*(embeddings(work / "checkpoints/ret-16-seed1/tatoeba", t, 2) for t in sides))
    assert {row["row"]: row["prediction"] for row in table} == {n: int(n in best[n]) for n in range(40)}
    code, out, err = call("board", "--xtreme", *manifest)
    assert code == 0 and "layer2" in out, (out, err)


@pytest.mark.parametrize(("layers", "layer"), [(12, 7), (24, 14), (2, 1), (1, 1)])
def test_the_layer(layers, layer):
    class Config:
        num_hidden_layers = layers

    assert layer_of(Config()) == layer


def test_nearest_and_mining_are_plain_loops():
    generator = np.random.default_rng(0)
    x = unit(list(generator.standard_normal((2100, 8)).astype(np.float32)))
    y = unit(list(generator.standard_normal((37, 8)).astype(np.float32)))
    places, scores = nearest(x, y, 3)
    exact = np.argsort(-(x @ y.T), axis=1, kind="stable")[:, :3]
    assert (places == exact).all() and scores[5, 1] == pytest.approx(float(x[5] @ y[exact[5, 1]]))
    assert nearest(x[:2], y[:2], 4)[0].shape == (2, 2)
    small = x[:60]
    mined, loop = mined_pairs(small, y), loop_mined(small, y)
    assert set(mined) == set(loop) and all(
        mined[pair] == pytest.approx(loop[pair], abs=1e-5) for pair in loop
    )
    gold = {pair for number, pair in enumerate(loop) if number % 3 == 0}
    best, f1 = loop_threshold(mined, gold)
    assert f1(best_threshold(mined, gold)) == pytest.approx(best)
    assert best_threshold(mined, {(0, 999)}) == math.inf


def test_a_language_model_is_refused(mirror, tmp_path):
    section = sections("tatoeba", View(("jv",), None), str(mirror), {})["jv"]
    with pytest.raises(UserError, match="^tatoeba: Tatoeba is answered by encoders only"):
        generated_answers(object(), "tatoeba", [section], Kept(tmp_path, "k"), {})
    with pytest.raises(UserError, match="encoders only"):
        process_results(section.documents[0], ["3"])


def test_documents_and_what_their_scores_depend_on(mirror, tmp_path):
    documents = build_documents("tatoeba", "jv", "test", Options(data=str(mirror)))
    assert all(
        not doc["source_sentence"].endswith("\n") and not doc["gold"].endswith("\n") for doc in documents
    )
    assert sorted(doc["row"] for doc in documents) == list(range(40))
    documents = build_documents("bucc", "zh", "test", Options(data=str(mirror)))
    assert len(documents) == 36 and sum(bool(doc["gold"]) for doc in documents) == 10
    found = corpus("bucc", "zh", str(mirror))
    assert (len(found.sources), len(found.candidates)) == (36, 30) and found.sample is not None
    spec = get_target("bucc")
    assert spec.score({"gold": "en-1"}, "en-1") == (2.0, 2.0, True)
    assert spec.score({"gold": "en-1"}, "-1") == (0.0, 1.0, False)
    assert spec.score({"gold": ""}, "en-1") == (0.0, 1.0, False)
    assert spec.score({"gold": ""}, "-1") == (0.0, 0.0, True)
    before = data_record("bucc", "zh", Options(data=str(mirror)))["data_fingerprint"]
    for split in ("test", "validation"):
        rows = read_rows("bucc/bucc2018", "zh", split, str(mirror))
        if split == "validation":
            rows[-1] = rows[-1] | {"text": "another candidate"}
        write(tmp_path / f"bucc/bucc2018/zh/{split}.jsonl", rows)
    assert data_record("bucc", "zh", Options(data=str(tmp_path)))["data_fingerprint"] != before
    assert {"BUCC", "Tatoeba"} <= set(xtreme_columns())


def raw(folder, split, rows):
    for code in ("zh", "en"):
        lines = [f"{row['id']}\t{row['text']}\n" for row in rows if row["id"].startswith(code)]
        (folder / f"zh-en.{split}.{code}").write_text("".join(lines), encoding="utf-8")
    lines = [f"{row['id']}\t{row['pair']}\n" for row in rows if row["pair"]]
    (folder / f"zh-en.{split}.gold").write_text("".join(lines), encoding="utf-8")


def test_files_of_the_shared_task_become_a_mirrors(tmp_path):
    folder = tmp_path / "bucc2018/zh-en"
    folder.mkdir(parents=True)
    rows = {"sample": bucc_rows("zh", 9, 7, 3), "training": bucc_rows("zh", 5, 6, 2)}
    for split, its in rows.items():
        raw(folder, split, its)
    written = convert(tmp_path / "bucc2018", tmp_path / "mirror")
    assert [path.name for path in written] == ["validation.jsonl.gz", "test.jsonl.gz"]
    for split, name in (("validation", "sample"), ("test", "training")):
        assert read_rows("bucc/bucc2018", "zh", split, str(tmp_path / "mirror")) == rows[name]
    with (folder / "zh-en.sample.gold").open("a") as file:
        file.write("zh-1\ten-1\n")
    with pytest.raises(UserError, match="gold, line 4: zh-1 and en-1 are not both"):
        convert(tmp_path / "bucc2018", tmp_path / "mirror")
    with pytest.raises(UserError, match="unpack BUCC 2018 there"):
        convert(tmp_path / "mirror", tmp_path / "other")


def test_real_sentences_are_answered_as_by_loops(real_data, tmp_path):
    """Javanese Tatoeba, and a part of BUCC's Chinese sample, with a tiny encoder."""
    source = real_data
    rows = read_rows("google/xtreme", "tatoeba.jav", "validation", str(source))
    base = make_base(tmp_path / "base", texts=[row["source_sentence"] for row in rows])
    section = sections("tatoeba", View(("jv",), None), str(source), {})["jv"]
    (answers,) = EncoderLM(str(base)).texts("tatoeba", [section])
    sides = [[row[side].strip() for row in rows] for side in ("source_sentence", "target_sentence")]
    best = loop_nearest(*(embeddings(base, texts, 1) for texts in sides))
    assert len(answers) == 205
    assert all(int(answers[place]) in best[doc["row"]] for place, doc in enumerate(section.documents))
    shared = source.parent / "raw/bucc2018"
    if not shared.is_dir():
        return
    lists = {}
    for code in ("zh", "en", "gold"):
        with gzip.open(shared / f"zh-en.dev.{code}.gz", "rt", encoding="utf-8") as file:
            lists[code] = [line.rstrip("\n").split("\t") for line in file]
    pair = dict(lists["gold"])
    pairs_of = list(pair.items())
    for split, of in (("validation", pairs_of[:100]), ("test", pairs_of[100:200])):
        mine = {first for first, _ in of} | {name for name, _ in lists["zh"][:60] if name not in pair}
        english = {second for _, second in of} | {name for name, _ in lists["en"][:80]}
        made = [{"id": n, "text": t, "pair": pair.get(n, "")} for n, t in lists["zh"] if n in mine]
        made += [{"id": n, "text": t, "pair": ""} for n, t in lists["en"] if n in english]
        write(tmp_path / f"mirror/bucc/bucc2018/zh/{split}.jsonl", made)
    section = sections("bucc", View(("zh",), None), str(tmp_path / "mirror"), {})["zh"]
    (answers,) = EncoderLM(str(base)).texts("bucc", [section])
    found = corpus("bucc", "zh", str(tmp_path / "mirror"))
    assert found.sample is not None
    names = [name for name, _ in found.candidates]
    place = {name: number for number, (name, _) in enumerate(found.sample.candidates)}
    tuned = loop_mined(
        embeddings(base, found.sample.sources, 1),
        embeddings(base, [t for _, t in found.sample.candidates], 1),
    )
    gold = {(row, place[name]) for row, name in enumerate(found.sample.gold) if name in place}
    threshold = best_threshold(tuned, gold)
    pairs = loop_mined(
        embeddings(base, found.sources, 1), embeddings(base, [t for _, t in found.candidates], 1)
    )
    mined = {row: names[column] for (row, column), score in pairs.items() if score >= threshold}
    mine = [answers[at] == mined.get(doc["row"], "-1") for at, doc in enumerate(section.documents)]
    assert np.mean(mine) > 0.98  # equal scores in float32 may be in another order


def test_fetching_asks_the_hub_for_what_it_has():
    """BUCC's lists are nowhere on it; a language whose rows are its own needs no other language's."""
    assert [str(split) for split in chosen_splits(target_names=["tatoeba"], languages="jv")] == [
        "tatoeba jv: google/xtreme (tatoeba.jav, validation)"
    ]
    assert chosen_splits(target_names=["bucc"]) == []
    assert not any(split.dataset.startswith("bucc") for split in chosen_splits())


def test_what_an_experiment_could_find_counts_each_language_by_itself(mirror, tmp_path):
    assert own_clusters("tatoeba", ("jv", "sw"), None, str(mirror)) == int(4 / (1 / 40 + 1 / 23))
    assert own_clusters("tatoeba", ("jv", "sw"), 10, str(mirror)) == 20  # a mean over two is twice as sure
    assert own_clusters("tatoeba", ("jv", "de"), None, str(mirror)) is None
    path = tmp_path / "ret.yaml"
    path.write_text(EXPERIMENT.format(data=mirror, base="embedded:multilingual-e5-small"), encoding="utf-8")
    experiment = read_experiment(path).model_copy(update={"evaluation": {}})
    lines = power(experiment, str(mirror), tmp_path / "manifest.json")
    assert "tatoeba: nothing can be said before its rows are here" in lines
