"""lm_eval's own model types through the same path: a causal LM on disk, and a server."""

import io
import json
import math
import os
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from harness_tasks.rows import Options, build_documents
from harness_tasks.targets import doc_to_choice, doc_to_text
from xscale.errors import UserError
from xscale.evaluation import language_models
from xscale.evaluation.answers import evaluate_entry
from xscale.evaluation.predictions import PREDICTIONS, read_predictions
from xscale.manifest import Entry, make_entry

SELECTION = {"xcopa": (("en", "it"), 12), "xnli": (("en",), 6)}


def evaluate(entry: Entry, folder: Path, selection: dict = SELECTION) -> tuple[dict, list[dict]]:
    output = evaluate_entry(entry, selection, "bundled", folder / "manifest.json", folder)
    return output, read_predictions(folder / entry.id / PREDICTIONS).table.to_pylist()


def lm_entry(folder: Path, tmp_path: Path, **arguments: object) -> Entry:
    text = ",".join(f"{k}={v}" for k, v in {"pretrained": folder, "device": "cpu", **arguments}.items())
    return make_entry(
        tmp_path / "m.json",
        model="hf",
        model_args=text,
        id="lm",
        base=None,
        intermediate=[],
        size=None,
        seed=None,
        baseline=None,
        note=None,
    )


def test_a_causal_lm_on_disk(causal_lm: Path, tmp_path: Path) -> None:
    """Log-likelihoods of XCOPA's choices against a loop over single texts."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _, rows = evaluate(lm_entry(causal_lm, tmp_path, dtype="float32"), tmp_path)
    stored = {(row["language"], row["row"]): row for row in rows if row["target"] == "xcopa"}
    model = AutoModelForCausalLM.from_pretrained(causal_lm, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(causal_lm)
    for language in ("en", "it"):
        for document in build_documents("xcopa", language, "test", Options(data="bundled"))[:12]:
            expected = []
            for choice in doc_to_choice(document):
                context = tokenizer(doc_to_text(document))["input_ids"]
                whole = tokenizer(doc_to_text(document) + " " + choice, return_tensors="pt")["input_ids"]
                with torch.no_grad():
                    logprobs = torch.log_softmax(model(whole).logits[0].double(), -1)
                places = range(len(context), whole.shape[1])
                expected.append(sum(float(logprobs[i - 1, whole[0, i]]) for i in places))
            row = stored[language, document["row"]]
            np.testing.assert_allclose(row["logprobs"], expected, rtol=1e-5, atol=1e-4)
            assert row["prediction"] == int(np.argmax(expected))


def test_parts_and_an_interruption_change_nothing(
    causal_lm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lm_eval.models.huggingface import HFLM

    entry = lm_entry(causal_lm, tmp_path, dtype="float32", batch_size=1)
    reference = evaluate(entry, tmp_path / "whole")[1]
    monkeypatch.setattr(language_models, "DOCUMENTS_A_PART", 5)
    real, asked = HFLM.loglikelihood, []

    def ask(self: object, requests: list, **kwargs: object) -> object:
        if len(asked) == 3:
            asked.append(0)
            raise KeyboardInterrupt
        asked.append(len(requests))
        return real(self, requests, **kwargs)

    monkeypatch.setattr(HFLM, "loglikelihood", ask)
    with pytest.raises(KeyboardInterrupt):
        evaluate(entry, tmp_path / "stopped")
    assert evaluate(entry, tmp_path / "stopped")[1] == reference
    assert sum(asked) == 24 * 2 + 6 * 3  # each request once


def test_requests_that_are_too_long_are_counted(causal_lm: Path, tmp_path: Path) -> None:
    entry = lm_entry(causal_lm, tmp_path, max_length=60)
    output, _ = evaluate(entry, tmp_path, {"xcopa": SELECTION["xcopa"]})
    long = 0
    for language in ("en", "it"):
        for document in build_documents("xcopa", language, "test", Options(data="bundled"))[:12]:
            long += sum(
                len(f"{doc_to_text(document)} {choice}".encode()) > 60 for choice in doc_to_choice(document)
            )
    assert long and output["config"]["truncated_requests"]["xcopa"] == long
    with pytest.raises(UserError, match="choices alone are longer than the 60 tokens"):
        evaluate(entry, tmp_path, {"xnli": (("en",), 6)})


def test_a_model_that_cannot_be_loaded_is_one_line(tmp_path: Path) -> None:
    for model, arguments in (("hf", {"pretrained": "./nothing"}), ("no-such-type", {})):
        entry = Entry(id="x", model=model, model_args=arguments)
        with pytest.raises(UserError, match="'x'"):
            evaluate(entry, tmp_path)


def score(text: str) -> float:
    """What the test's server says of a text: something that depends on nothing else."""
    return -(zlib.crc32(text.encode()) % 1000) / 100


class CompletionServer(BaseHTTPRequestHandler):
    """Enough of an OpenAI-compatible server: echoes prompts, a token a character, the score on the last one."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompts = body["prompt"] if isinstance(body["prompt"], list) else [body["prompt"]]
        prompts = ["".join(map(chr, p)) if isinstance(p, list) else p for p in prompts]
        assert body["echo"] and body["logprobs"]
        choices = []
        for index, prompt in enumerate(prompts):
            values = [0.0] * (len(prompt) - 1) + [score(prompt), -1.0]  # the last one is the generated token
            tops = [{"?": value - 1} for value in values]
            choices.append(
                {"index": index, "text": prompt, "logprobs": {"token_logprobs": values, "top_logprobs": tops}}
            )
        answer = json.dumps({"choices": choices}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    running = ThreadingHTTPServer(("127.0.0.1", 0), CompletionServer)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}/v1/completions"
    running.shutdown()
    running.server_close()


def test_a_server(server: str, causal_lm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tenacity")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    entry = Entry(
        id="served",
        model="local-completions",
        model_args={
            "model": "m",
            "base_url": server,
            "tokenizer": str(causal_lm),
            "tokenizer_backend": "huggingface",
            "tokenized_requests": False,
            "max_length": 4096,
        },
    )
    _, rows = evaluate(entry, tmp_path)
    stored = {(row["language"], row["row"]): row for row in rows if row["target"] == "xcopa"}
    assert len(stored) == 24
    for document in build_documents("xcopa", "it", "test", Options(data="bundled"))[:12]:
        expected = [score(f"{doc_to_text(document)} {choice}") for choice in doc_to_choice(document)]
        np.testing.assert_allclose(stored["it", document["row"]]["logprobs"], expected, atol=1e-5)
        assert stored["it", document["row"]]["prediction"] == int(np.argmax(expected))
    assert all(math.isfinite(value) for row in rows for value in row["logprobs"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tokenizer_backend": "none"}, "need the model's tokenizer; give tokenizer=<hub id or folder>"),
        (
            {"tokenizer_backend": "huggingface", "tokenizer": 7},
            "lm_eval cannot load model 'local-completions'",
        ),
    ],
)
def test_a_server_without_tokenizer_is_refused_in_a_line(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict, message: str
) -> None:
    pytest.importorskip("tenacity")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    given = {"model": "m", "base_url": server, **arguments}
    entry = Entry(id="served", model="local-completions", model_args=given)
    with pytest.raises(UserError, match=message):
        evaluate(entry, tmp_path)
    assert not (tmp_path / "served" / PREDICTIONS).exists()


def test_a_limited_evaluation_grows_to_the_full_one(
    causal_lm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With batches of several requests, whose shapes the scores depend on; each document is asked for once."""
    from lm_eval.models.huggingface import HFLM

    entry = lm_entry(causal_lm, tmp_path, dtype="float32", batch_size=4)
    real, asked = HFLM.loglikelihood, []
    monkeypatch.setattr(
        HFLM,
        "loglikelihood",
        lambda self, requests, **k: asked.append(len(requests)) or real(self, requests, **k),
    )
    full = {"xcopa": (("et",), None)}
    whole = evaluate(entry, tmp_path / "whole", full)[1]
    total = sum(asked)
    asked.clear()
    for limit in (5, 20):
        rows = evaluate(entry, tmp_path / "grown", {"xcopa": (("et",), limit)})[1]
        assert rows == whole[:limit]
    assert sum(asked) < total
    assert evaluate(entry, tmp_path / "grown", full)[1] == whole
    assert sum(asked) == total


@pytest.mark.parametrize("shots", [0, 2])
def test_few_shot_examples_and_chat_templates(
    causal_lm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shots: int
) -> None:
    """What the manifest says reaches the model, the same examples however many documents are asked for, and is a result of
    its own."""
    from lm_eval.models.huggingface import HFLM

    from xscale.evaluation.answers import is_current, result_key
    from xscale.manifest import EvaluationOptions

    monkeypatch.setattr(
        HFLM,
        "apply_chat_template",
        lambda self, history, **k: "".join(f"<{turn['role']}>{turn['content']}" for turn in history),
    )
    monkeypatch.setattr(HFLM, "tokenizer_name", "none")
    seen: dict[str, list[str]] = {}
    name = "plain"
    real = HFLM.loglikelihood

    def ask(self: object, requests: list, **kwargs: object) -> object:
        seen.setdefault(name, []).extend(request.args[0] for request in requests)
        return real(self, requests, **kwargs)

    monkeypatch.setattr(HFLM, "loglikelihood", ask)
    plain = lm_entry(causal_lm, tmp_path, dtype="float32", batch_size=1)
    few = {"xcopa": (("et",), 4)}
    evaluate(plain, tmp_path, few)
    name = "asked"
    options = EvaluationOptions(num_fewshot=shots, apply_chat_template=True)
    entry = plain.model_copy(update={"evaluation": options})
    assert not is_current(tmp_path / "lm", result_key(entry, few, "bundled", tmp_path / "m.json"))
    evaluate(entry, tmp_path, few)
    assert is_current(tmp_path / "lm", result_key(entry, few, "bundled", tmp_path / "m.json"))
    assert is_current(tmp_path / "lm", result_key(plain, few, "bundled", tmp_path / "m.json"))
    assert all(text.startswith("<user>") for text in seen["asked"])
    assert all(text.count("<user>") == shots + 1 for text in seen["asked"])
    name = "more"
    evaluate(entry, tmp_path / "more", {"xcopa": (("et",), 9)})
    assert seen["more"][: len(seen["asked"])] == seen["asked"]


def test_no_turn_of_a_chat_is_empty(causal_lm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """XNLI's prompt stands in the choices: its beginning becomes the user's turn, and the answers are a result of their own."""
    from lm_eval.models.huggingface import HFLM

    from xscale.evaluation.answers import result_key
    from xscale.manifest import EvaluationOptions

    turns = lambda self, history, **k: "".join(f"<{t['role']}>{t['content']}" for t in history)  # noqa: E731
    monkeypatch.setattr(HFLM, "apply_chat_template", turns)
    monkeypatch.setattr(HFLM, "tokenizer_name", "none")
    seen: list[tuple[str, str]] = []
    real = HFLM.loglikelihood

    def ask(self: object, requests: list, disable_tqdm: bool = False) -> object:
        seen.extend(request.args for request in requests)
        return real(self, requests, disable_tqdm=disable_tqdm)

    monkeypatch.setattr(HFLM, "loglikelihood", ask)
    plain = lm_entry(causal_lm, tmp_path, dtype="float32", batch_size=1)
    few = {"xnli": (("de", "zh"), 3)}
    evaluate(plain, tmp_path, few)
    whole = [text for _, text in seen]
    seen.clear()
    chat = plain.model_copy(update={"evaluation": EvaluationOptions(apply_chat_template=True)})
    evaluate(chat, tmp_path, few)
    assert len(seen) == len(whole) == 2 * 3 * 3
    for (context, text), prompt in zip(seen, whole, strict=True):
        question = context.removeprefix("<user>")
        assert question.strip() and question.endswith("?") and not text.startswith(" ")
        assert f" {question} {text}" == prompt
    key = result_key(chat, few, "bundled", tmp_path / "m.json")["evaluation"]
    assert key != {"apply_chat_template": True}  # what answers with an empty turn were stored by
    seen.clear()
    evaluate(plain, tmp_path / "again", few)  # with the same task objects
    assert [text for _, text in seen] == whole


def test_one_bar_with_the_entrys_id_that_moves(
    causal_lm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import re
    import time

    from lm_eval.models.huggingface import HFLM
    from rich.console import Console

    from xscale import progress

    screen = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=screen, force_terminal=True, width=80))
    real = HFLM.loglikelihood

    def slowly(self: object, requests: list, disable_tqdm: bool = False) -> object:
        time.sleep(0.3)  # the bar is drawn ten times a second
        return real(self, requests, disable_tqdm=disable_tqdm)

    monkeypatch.setattr(HFLM, "loglikelihood", slowly)
    evaluate(lm_entry(causal_lm, tmp_path, dtype="float32"), tmp_path, {"xnli": (("de",), 40)})
    text = screen.getvalue()
    assert text.count("\n") == 2  # the bar's line, and the one that says how long it took
    assert "evaluate lm: xnli" in text
    shown = {int(done) for done, _ in re.findall(r"(\d+)/(\d+)", text)}
    assert 0 in shown and len(shown) > 2  # nothing, all, and something between


@pytest.mark.slow
@pytest.mark.parametrize(("count", "limit"), [(2, 4), (3, 20)], ids=["fewer parts than processes", "three"])
def test_several_processes_give_what_one_gives(
    causal_lm: Path, tmp_path: Path, count: int, limit: int
) -> None:
    """Each part once, whatever each process sees of the others' devices; and again after the journal of one was lost."""
    entry = lm_entry(causal_lm, tmp_path, dtype="float32", batch_size=4)
    selection = {"xcopa": (("et",), limit)}
    expected = evaluate(entry, tmp_path / "one", selection)[1]
    program = tmp_path / "program.py"
    program.write_text(
        f"""
import os, sys
from pathlib import Path
sys.path[:0] = [{str(Path(__file__).parents[2])!r}]
from lm_eval.models.huggingface import HFLM
from xscale.evaluation.sweep import evaluate_entries
from xscale.manifest import Entry
entry = Entry(**{entry.model_dump()!r})
results = Path(sys.argv[1])
real = HFLM.loglikelihood
def ask(self, requests, **options):
    if sys.argv[2] == "killed" and os.environ["RANK"] == "1":
        os._exit(9)
    return real(self, requests, **options)
HFLM.loglikelihood = ask
HFLM._rank, HFLM._world_size = 0, 1
evaluate_entries([(entry, {selection!r})], "bundled", results / "m.json", results)
"""
    )

    def launch(how: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={count}", "--standalone"]
        return subprocess.run(
            [*command, str(program), str(tmp_path / "several"), how],
            capture_output=True,
            text=True,
            timeout=280,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            check=False,
        )

    if count == 3:
        assert launch("killed").returncode != 0
        assert not (tmp_path / "several" / "lm" / PREDICTIONS).exists()
    ended = launch("whole")
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert read_predictions(tmp_path / "several" / "lm" / PREDICTIONS).table.to_pylist() == expected
