"""Languages and targets of a user's file: the example of docs/languages.md, carried out."""

import json
import os
import re
from pathlib import Path

import pytest
import yaml

from harness_tasks import audit
from harness_tasks.errors import UserError
from harness_tasks.generate import main as generate
from harness_tasks.rows import Options, _read_cached, build_documents, data_record, subset_names
from harness_tasks.targets import (
    doc_to_choice,
    document_pairs,
    get_target,
    languages,
    targets,
    use_targets_file,
)
from harness_tasks.tasks import yaml_folder

ROOT = Path(__file__).resolve().parents[2]
BUNDLED = ROOT / "harness_tasks/bundled/facebook/xnli/en/test.jsonl"
LABELS = ("entailment", "neutral", "contradiction")
REVIEWS = [("Good soup, we come again.", "They liked it."), ("Cold soup.", "They liked it.")] * 10


def example():
    page = (ROOT / "docs/languages.md").read_text(encoding="utf-8")
    return re.search(r"<!-- example: mine.yaml -->\n```yaml\n(.*?)```", page, re.DOTALL)[1]


def write_rows(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """The example's file and a mirror: a third of the bundled English rows, turned round and in capitals; reviews."""
    monkeypatch.setenv("XSCALE_TARGETS", "")
    folder = tmp_path / "mirror"
    english = [json.loads(line) for line in BUNDLED.read_text(encoding="utf-8").splitlines()]
    write_rows(folder / "facebook/xnli/en/test.jsonl", english)
    numbers = list(range(0, len(english), 3))[::-1]
    write_rows(
        folder / "me/xnli-kmr/default/test.jsonl",
        [
            {
                "sentence1": english[n]["premise"].upper(),
                "sentence2": english[n]["hypothesis"].upper(),
                "label": LABELS[english[n]["label"]],
            }
            for n in numbers
        ],
    )
    lines = [f"test\t{row}\t{number}\n" for row, number in enumerate(numbers)]
    (tmp_path / "kmr-rows.tsv").write_text("split\trow\txnli_row\n" + "".join(lines))
    for code in ("en", "de"):
        reviews = [{"review": a, "claim": b, "label": i % 2} for i, (a, b) in enumerate(REVIEWS)]
        for split in ("test", "validation"):
            write_rows(
                folder / f"me/reviews/{code}/{split}.jsonl", reviews if split == "test" else reviews[:4]
            )
    (tmp_path / "mine.yaml").write_text(example(), encoding="utf-8")
    return folder


def test_the_example_s_language_has_the_english_rows_subsets(mirror, monkeypatch):
    use_targets_file(mirror.parent / "mine.yaml")
    assert os.environ["XSCALE_TARGETS"] == str(mirror.parent / "mine.yaml")
    options = Options(str(mirror))
    docs = build_documents("xnli", "kmr", options=options)
    english = {doc["row"]: doc for doc in build_documents("xnli", "en", options=Options("bundled"))}
    assert len(docs) == len(english) / 3 and {doc["row"] % 3 for doc in docs} == {0}
    for doc in docs:
        other = english[doc["row"]]
        assert doc["premise"] == other["premise"].upper() and doc["label"] == other["label"]
        assert (doc["subsets"], doc["cluster"]) == (other["subsets"], other["cluster"])
    assert any("ood" in doc["subsets"] for doc in docs)
    assert doc_to_choice(docs[0])[1].startswith(docs[0]["premise"] + ", rast? Her wiha, ")
    assert languages()["kmr"].name == "Kurmanji" and "kmr" not in get_target("xnli").languages


def test_a_file_that_is_named_twice_counts_once(mirror, monkeypatch):
    """By XSCALE_TARGETS, as it is written from its own folder, and by --targets-file."""
    monkeypatch.chdir(mirror.parent)
    monkeypatch.setenv("XSCALE_TARGETS", "mine.yaml")
    use_targets_file("mine.yaml")
    use_targets_file(mirror.parent / "mine.yaml")
    assert "review_nli" in targets() and os.environ["XSCALE_TARGETS"] == "mine.yaml"


def test_the_example_s_target(mirror):
    use_targets_file(mirror.parent / "mine.yaml")
    options = Options(str(mirror))
    assert list(targets())[-1] == "review_nli"
    docs = {code: build_documents("review_nli", code, options=options) for code in ("en", "de")}
    assert [doc["row"] for doc in docs["en"]] == [doc["row"] for doc in docs["de"]]
    assert subset_names("review_nli", options) == ["short_reviews"]
    for doc in docs["de"]:
        assert doc["subsets"] == (["short_reviews"] if doc["row"] % 2 else [])
        assert doc["cluster"] == doc["row"] // 2
        assert document_pairs(doc) == [(doc["review"], doc["claim"])]
    assert doc_to_choice(docs["de"][0])[1] == f"{docs['de'][0]['review']} Jedoch, {docs['de'][0]['claim']}"


def test_the_example_through_lm_eval(mirror, monkeypatch):
    pytest.importorskip("lm_eval")
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    folder = mirror.parent
    generate(["--targets-file", str(folder / "mine.yaml"), "--output", str(folder / "my_tasks")])
    monkeypatch.setenv("XSCALE_TARGETS", "")  # the tasks name the file themselves
    paths = [str(yaml_folder()), str(folder / "my_tasks")]
    manager = TaskManager(include_path=paths, include_defaults=False, metadata={"data": str(mirror)})
    names = ["xnli_ood_mine", "review_nli_ood"]
    found = simple_evaluate("dummy", tasks=names, task_manager=manager, bootstrap_iters=0)
    assert found["n-samples"]["xnli_ood_kmr"]["effective"] == len(BUNDLED.read_text().splitlines()) // 3
    assert "acc_short_reviews,none" in found["results"]["review_nli_ood"]
    record = found["configs"]["xnli_ood_kmr"]["metadata"]
    assert record["data_rows"] == "table kmr-rows.tsv, column xnli_row"
    assert "data_rows" not in found["configs"]["review_nli_ood_de"]["metadata"]
    assert "acc_ood,none" in found["results"]["xnli_ood_mine"]


def test_other_english_rows_are_other_data(mirror, monkeypatch):
    """Answers to rows that were said to translate others do not count any more: their subsets and clusters were others'."""
    use_targets_file(mirror.parent / "mine.yaml")
    before = data_record("xnli", "kmr", Options(str(mirror)))
    table = mirror.parent / "kmr-rows.tsv"
    lines = table.read_text().splitlines()
    numbers = [line.split("\t")[2] for line in lines[1:]]
    english = [json.loads(line)["label"] for line in BUNDLED.read_text(encoding="utf-8").splitlines()]
    one, other = next(
        (i, j) for j in range(80) for i in range(j) if english[int(numbers[i])] == english[int(numbers[j])]
    )
    swapped = list(numbers)
    swapped[one], swapped[other] = swapped[other], swapped[one]
    table.write_text(
        "\n".join([lines[0], *(f"test\t{row}\t{number}" for row, number in enumerate(swapped))]) + "\n"
    )
    _read_cached.cache_clear()
    after = data_record("xnli", "kmr", Options(str(mirror)))
    assert after["data_fingerprint"] != before["data_fingerprint"]
    assert after["data_rows_sha256"] != before["data_rows_sha256"]


def test_a_further_language_is_replaced_through_metadata(mirror, monkeypatch):
    """The shipped task `xnli_ood_ko` then reads the user's set."""
    pytest.importorskip("lm_eval")
    from lm_eval.tasks import TaskManager

    text = example().replace("code: kmr", "code: ko").replace("family: Indo-European", "family: Koreanic")
    text = text.replace("name: Kurmanji ", "name: Korean ").replace("script: Latin", "script: Hangul")
    path = mirror.parent / "korean.yaml"
    path.write_text(text.replace("cc100_gib: 0.4 ", "cc100_gib: 54.2 "), encoding="utf-8")
    options = {"data": str(mirror), "targets_file": str(path)}
    manager = TaskManager(include_path=str(yaml_folder()), include_defaults=False, metadata=options)
    task = manager.load(["xnli_ood_ko"])["tasks"]["xnli_ood_ko"]
    assert len(task.eval_docs) == 80 and task.eval_docs[0]["premise"].isupper()


def test_the_example_through_xscale_eval(mirror, tmp_path, monkeypatch, capsys):
    """`xscale eval ID --languages kmr --limit 20` with XSCALE_TARGETS, of a checkpoint without a head for the new target."""
    pytest.importorskip("torch")
    monkeypatch.syspath_prepend(str(ROOT / "tests"))
    monkeypatch.syspath_prepend(str(ROOT / "tests/evaluation"))
    from small_checkpoints import make_checkpoint
    from tiny_model import make_base

    from xscale.cli.main import app
    from xscale.evaluation.predictions import read_predictions

    monkeypatch.setenv("XSCALE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XSCALE_TARGETS", str(mirror.parent / "mine.yaml"))
    make_checkpoint(tmp_path / "both", make_base(tmp_path / "base"))
    manifest = ["--manifest", str(tmp_path / "checkpoints_manifest.json")]
    for arguments in (
        [
            "add",
            "--id",
            "both",
            "--model",
            "xscale",
            "--model-args",
            f"pretrained={tmp_path / 'both'}",
            *manifest,
        ],
        ["eval", "both", "--data", str(mirror), "--languages", "kmr", "--limit", "20", *manifest],
    ):
        with pytest.raises(SystemExit) as ended:
            app(arguments)
        assert not ended.value.code
    rows = read_predictions(tmp_path / "results/both/predictions.parquet").table.to_pylist()
    assert {(row["target"], row["language"]) for row in rows} == {("xnli", "kmr")} and len(rows) == 20


def test_a_group_is_not_called_like_a_language(mirror, capsys):
    path = mirror.parent / "my.yaml"
    path.write_text(example(), encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        generate(["--targets-file", str(path), "--output", str(mirror.parent / "out")])
    assert ended.value.code == 2 and not (mirror.parent / "out").exists()
    assert "the group xnli_ood_my is called after the file; there is one already" in capsys.readouterr().err


def test_an_experiment_names_the_file(mirror, tmp_path):
    from xscale.experiment import read_experiment

    path = tmp_path / "e.yaml"
    content = {
        "name": "mine",
        "base": "embedded:multilingual-e5-small",
        "intermediate": "bundled_nli",
        "sizes": [0],
        "targets": {"review_nli": {"train": ["mine"]}},
        "evaluation": {"review_nli": {"languages": ["de"]}},
        "targets_file": str(mirror.parent / "mine.yaml"),
    }
    path.write_text(yaml.safe_dump(content))
    assert read_experiment(path).evaluation["review_nli"].languages == ["de"]
    path.write_text(yaml.safe_dump({**content, "targets_file": str(tmp_path / "none.yaml")}))
    with pytest.raises(UserError, match="none.yaml: no such file"):
        read_experiment(path)


def test_the_audit_of_a_users_language(mirror, capsys):
    arguments = [
        "--data",
        str(mirror),
        "--languages",
        "kmr",
        "--targets-file",
        str(mirror.parent / "mine.yaml"),
    ]
    audit.main(arguments)
    shown = capsys.readouterr().out
    assert "xnli test (1 languages)" in shown and "label is not the English row's: none" in shown


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("parallel", "80 rows, the official data has 5010"),
        ("{field: pairID}", "'en' has no 'pairID'"),
        ("{text: sentence1}", "80 of 80 rows have a text in 'sentence1' that no English row has"),
    ],
)
def test_rows_that_are_not_what_the_file_says(mirror, rows, message):
    path = mirror.parent / "mine.yaml"
    path.write_text(example().replace("{file: kmr-rows.tsv, column: xnli_row}", rows), encoding="utf-8")
    use_targets_file(path)
    with pytest.raises(UserError, match=message):
        build_documents("xnli", "kmr", options=Options(str(mirror)))


def test_rows_of_their_own(mirror):
    path = mirror.parent / "mine.yaml"
    path.write_text(example().replace("{file: kmr-rows.tsv, column: xnli_row}", "own"), encoding="utf-8")
    use_targets_file(path)
    docs = build_documents("xnli", "kmr", options=Options(str(mirror)))
    assert len(docs) == 80 and not any(doc["subsets"] for doc in docs)
    assert sorted(doc["row"] for doc in docs) == list(range(80))
