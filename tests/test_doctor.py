"""`xscale doctor`: a hub with a script, a conversion, a gone revision, wrong rows, a failing and a slow set; and mirrors."""

import re

import pytest
from loopback_hub import LoopbackHub, card, parquet

from harness_tasks.hub import revision_of

NLI = [{"premise": "It rains.", "hypothesis": "It is wet.", "label": 0}]
SIQA = [
    {"context": "Jo ran.", "question": "Why?", "answerA": "a", "answerB": "b", "answerC": "c", "label": "1"}
]
COSMOS = [
    {"context": "Jo ran.", "question": "Why?", **{f"answer{i}": "a" for i in range(4)}, "label": 1, "id": "1"}
]
HELLASWAG = [{"ctx": "Jo ran.", "endings": list("abcd"), "label": "0"}]


@pytest.fixture
def hub(tmp_path):
    hub = LoopbackHub(tmp_path / "hub")

    def pinned(name: str) -> str:
        return revision_of(name)[1]

    wrong = [{"premise": "Es regnet.", "hypothesis": " ", "label": 0}]
    splits = {code: {"test": f"{code}/test-*", "validation": f"{code}/validation-*"} for code in ("en", "de")}
    files = {f"en/{split}-0.parquet": parquet(NLI) for split in ("test", "validation")}
    files |= {"de/test-0.parquet": parquet(wrong), "de/validation-0.parquet": parquet(NLI)}
    hub.commit("datasets/facebook/xnli", {"README.md": card(splits), **files}, digest=pinned("facebook/xnli"))
    data = {"data/train-0.parquet": parquet(SIQA)}
    hub.commit("datasets/lighteval/siqa", data, digest=pinned("lighteval/siqa"))
    hub.commit("datasets/allenai/cosmos_qa", {"cosmos_qa.py": "raise SystemExit"})
    converted = {"default/train/0000.parquet": parquet(COSMOS)}
    hub.commit(
        "datasets/allenai/cosmos_qa",
        converted,
        "refs/convert/parquet",
        digest=pinned("allenai/cosmos_qa"),
    )
    hub.commit("datasets/nyu-mll/glue", {"mnli/train-0.parquet": parquet(NLI)})  # the pinned commit is gone
    hub.commit(
        "datasets/stanfordnlp/snli", {"snli.py": "raise SystemExit"}, digest=pinned("stanfordnlp/snli")
    )
    hub.commit("datasets/tau/commonsense_qa", {"data/train-0.parquet": parquet(SIQA)})
    hub.trouble["tau/commonsense_qa"] = 403
    data = {"data/train-0.parquet": parquet(HELLASWAG)}
    hub.commit("datasets/Rowan/hellaswag", data, digest=pinned("Rowan/hellaswag"))
    hub.trouble["Rowan/hellaswag"] = "20s"
    yield hub
    hub.close()


def test_each_set_that_fails_is_said_with_the_reason(hub, tmp_path):
    tasks = ("social_iqa", "cosmos_qa", "mnli", "snli", "commonsense_qa", "hellaswag")
    options = [word for task in tasks for word in ("--task", task)]
    done = hub.call(
        tmp_path / "cache", "doctor", "--target", "xnli", "--languages", "de", *options, "--timeout", 8
    )
    assert done.returncode == 2, done.stderr
    lines = {re.sub(r"^\w+ +", "", line).partition(": ")[0]: line for line in done.stdout.splitlines()}
    failures = [line for line in done.stdout.splitlines() if line.startswith("FAILS")]
    assert len(failures) == 5 and "hub: 5 of 10 splits are there and fit" in done.stdout
    assert lines["social_iqa"].startswith("ok") and lines["cosmos_qa"].startswith("ok")
    assert "ok     xnli en: facebook/xnli (en, test)" in done.stdout
    (german,) = (line for line in failures if "xnli de" in line)
    assert "(de, test)" in german and "'hypothesis' is ' '" in german
    assert f"no revision {revision_of('nyu-mll/glue')[1]}" in lines["mnli"]
    assert "refs/convert/parquet" in lines["snli"]
    assert "403" in lines["commonsense_qa"]
    assert "no answer within 8 s" in lines["hellaswag"]


def test_what_the_hub_has_today_is_printed_as_the_file_of_revisions_wants_it(hub, tmp_path):
    done = hub.call(tmp_path / "cache", "doctor", "--revisions", "--task", "cosmos_qa", "--task", "mnli")
    assert done.stdout.splitlines() == [
        f"allenai/cosmos_qa\trefs/convert/parquet@{revision_of('allenai/cosmos_qa')[1]}",
        f"nyu-mll/glue\t{hub.branches['datasets/nyu-mll/glue']['main']}",
    ]


def test_a_hub_that_cannot_be_reached_is_one_error(hub, tmp_path):
    done = hub.call(tmp_path / "cache", "doctor", HF_ENDPOINT="http://127.0.0.1:9")
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1 and "cannot be reached" in done.stderr


def test_a_mirror_is_looked_at_without_a_hub(tmp_path, capsys):
    import typer

    from xscale.cli.data import doctor

    with pytest.raises(typer.Exit):
        doctor(data="bundled", task=["mnli"])
    assert "FAILS  mnli: nyu-mll/glue (mnli, train): not in this source" in capsys.readouterr().out
    doctor(data="bundled", target=["xnli"], languages="de,sw")
    assert "bundled: 6 of 6 splits are there and fit" in capsys.readouterr().out
    doctor(data="bundled")  # not everything is there, but nothing was named
    broken = tmp_path / "facebook" / "xnli" / "en"
    broken.mkdir(parents=True)
    (broken / "test.jsonl").write_text("{")
    with pytest.raises(typer.Exit):
        doctor(data=str(tmp_path))
    assert "test.jsonl, line 1: not JSON" in capsys.readouterr().out
