"""`xscale lm-eval`: lm_eval's own command line with the model type and the tasks known to it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness_tasks.tasks import yaml_folder
from xscale.evaluation.lm_eval_command import _asks_only_for_ours, _device


@pytest.mark.parametrize(
    ("words", "ours"),
    [
        ("run --tasks xnli_ood_de,xcopa_ood --limit 3", True),
        ("--limit 3 --tasks xnli_ood xcopa_ood_qu", True),
        ("--tasks xnli_ood,xnli", False),
        ("--tasks xnli_de", False),
        ("ls tasks", False),
        ("--tasks", False),
        ("--tasks xnli_ood --include_path mine", False),
    ],
)
def test_when_only_our_tasks_are_indexed(words: str, ours: bool) -> None:
    assert _asks_only_for_ours(words.split()) is ours


def test_the_numbers_of_the_sweep(checkpoint: Path, tmp_path: Path) -> None:
    """The same accuracies as `xscale eval`, through lm_eval's own command line."""
    from xscale.evaluation.answers import evaluate_entry
    from xscale.manifest import Entry

    selection = {"xnli": (("de", "sw"), 25), "xcopa": (("qu",), 25)}
    entry = Entry(id="m", model="xscale", model_args={"pretrained": str(checkpoint)})
    expected = evaluate_entry(entry, selection, "bundled", tmp_path / "m.json", tmp_path)["results"]
    program = (
        "import sys; from xscale.evaluation.lm_eval_command import run_lm_eval; run_lm_eval(sys.argv[1:])"
    )
    command = [sys.executable, "-c", program, "--model", "xscale", "--model_args", f"pretrained={checkpoint}"]
    command += ["--device", "cpu", "--tasks", "xnli_ood_de,xnli_ood_sw,xcopa_ood_qu", "--limit", "25"]
    command += ["--metadata", '{"data": "bundled"}', "--output_path", str(tmp_path / "out")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    (written,) = (tmp_path / "out").rglob("results*.json")
    results = json.loads(written.read_text())["results"]
    for name in ("xnli_ood_de", "xnli_ood_sw", "xcopa_ood_qu"):
        scores = {key: value for key, value in expected[name].items() if key.startswith("acc")}
        assert len(scores) > 4
        for key, value in scores.items():
            assert results[name][key] == pytest.approx(value, nan_ok=True) or value == results[name][key]


@pytest.mark.parametrize("options", [{"num_fewshot": 2}, {"apply_chat_template": True}])
def test_what_an_encoder_cannot_use_is_refused(checkpoint: Path, options: dict) -> None:
    """Instead of being ignored and reported."""
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.tasks import TaskManager

    from harness_tasks.tasks import yaml_folder
    from xscale.errors import UserError
    from xscale.evaluation.encoder_lm import EncoderLM

    manager = TaskManager(
        include_path=str(yaml_folder()), include_defaults=False, metadata={"data": "bundled"}
    )
    for task in ("xnli_ood_de", "xcopa_ood_it"):
        with pytest.raises(UserError, match="answers from the document alone"):
            simple_evaluate(
                EncoderLM(str(checkpoint), device="cpu"),
                tasks=[task],
                task_manager=manager,
                limit=2,
                **options,
            )


def plain_lm_eval(
    *arguments: str, program: str = "/somewhere/bin/lm_eval"
) -> subprocess.CompletedProcess[str]:
    """lm_eval's own program in an interpreter that read xscale_lm_eval.pth; of its own tasks nothing is indexed."""
    start = (
        "import harness_tasks.lm_eval_discovery, sys, lm_eval.tasks as t\n"
        "real = t.TaskManager.__init__\n"
        "t.TaskManager.__init__ = lambda s, *a, **k: real(s, *a, **{**k, 'include_defaults': False})\n"
        "from lm_eval.__main__ import cli_evaluate; cli_evaluate()"
    )
    code = f"import sys; sys.argv = [{program!r}, 'run', *sys.argv[1:]]\n{start}"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    environment.pop("XSCALE_DATA", None)
    return subprocess.run(
        [sys.executable, "-c", code, "--include_path", str(yaml_folder()), *arguments],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env=environment,
    )


def test_plain_lm_eval_knows_the_model_type_and_says_errors_in_one_line() -> None:
    tasks = ("--tasks", "xnli_ood_de", "--metadata", '{"data": "bundled"}', "--device", "cpu")
    ended = plain_lm_eval("--model", "xscale", "--model_args", "pretrained=/nowhere", *tasks)
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("error: ") and "no folder '/nowhere'" in ended.stderr
    ended = plain_lm_eval(
        "--model", "dummy", "--tasks", "xnli_ood_de", "--metadata", '{"data": "/no/mirror"}'
    )
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("error: ") and "/no/mirror" in ended.stderr


@pytest.mark.slow
def test_other_programs_and_other_errors_keep_their_tracebacks() -> None:
    arguments = ("--model", "dummy", "--tasks", "xnli_ood_de", "--metadata", '{"data": "/no/mirror"}')
    assert "Traceback" in plain_lm_eval(*arguments, program="my_script.py").stderr
    assert "Traceback" in plain_lm_eval("--model", "nosuch", "--tasks", "xnli_ood_de").stderr


def test_a_device_is_chosen_where_nobody_names_one(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert _device(["--model", "xscale", "--tasks", "xnli_ood"]) == ["--device", "cpu"]
    assert _device(["--model=xscale"]) == ["--device", "cpu"]
    for words in (
        "--model hf",
        "--model xscale --device cuda:0",
        "--model xscale --config run.yaml",
        "ls tasks",
    ):
        assert _device(words.split()) == []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert _device(["--model", "xscale"]) == []
