"""`xscale lm-eval`: lm_eval's own command line with the model type and the tasks known to it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from xscale.evaluation.lm_eval_command import _asks_only_for_ours


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
