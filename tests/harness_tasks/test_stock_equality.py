"""A causal language model gets from our tasks what it gets from lm_eval's own, on the same rows.

The model is a small random one made here; the stock tasks are pointed to the real rows by task overrides.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytest.importorskip("torch")
pytest.importorskip("lm_eval")

from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager

from harness_tasks.rows import Options, build_documents
from harness_tasks.targets import get_target
from harness_tasks.tasks import yaml_folder

ROWS = {"xnli": 40, "xcopa": 60}
FIELDS = {
    "xnli": ("premise", "hypothesis", "label"),
    "xcopa": ("premise", "choice1", "choice2", "question", "label"),
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A random GPT-2 of two layers with a tokenizer of bytes, as a folder."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<end>": 0, **{character: i for i, character in enumerate(alphabet, start=1)}}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    folder = tmp_path_factory.mktemp("model")
    special = {"eos_token": "<end>", "bos_token": "<end>", "pad_token": "<end>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 2048, "initializer_range": 0.3}
    config = GPT2Config(vocab_size=len(vocabulary), bos_token_id=0, eos_token_id=0, pad_token_id=0, **shape)
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(checkpoint):
    import torch
    from lm_eval.models.huggingface import HFLM

    torch.set_num_threads(1)
    return HFLM(pretrained=str(checkpoint), device="cpu", batch_size=32)


@pytest.fixture(scope="module")
def manager(real_data):
    metadata = {"data": str(real_data), "repair_question": False}
    return TaskManager(include_path=str(yaml_folder()), metadata=metadata)


def stock_task(target, language, real_data, folder):
    """lm_eval's own task on the rows of ours, in our order."""
    options = Options(str(real_data), repair_question=False)
    docs = build_documents(target, language, options=options)[: ROWS[target]]
    path = folder / f"{target}_{language}.jsonl"
    rows = [{field: doc[field] for field in FIELDS[target]} for doc in docs]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return {
        "task": f"{target}_{language}",
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": dict.fromkeys(("train", "validation", "test"), str(path))},
    }


@pytest.mark.parametrize("target", ["xnli", "xcopa"])
def test_accuracy_and_log_likelihoods_are_those_of_the_stock_tasks(
    target, model, manager, real_data, tmp_path
):
    languages = (
        get_target("xnli").languages
        if target == "xnli"
        else [code for code in get_target("xcopa").languages if code != "en"]
    )
    stock_tasks = [stock_task(target, language, real_data, tmp_path) for language in languages]
    options = {"model": model, "task_manager": manager, "bootstrap_iters": 0, "log_samples": True}
    stock = simple_evaluate(tasks=[{"group": "stock", "task": stock_tasks}], **options)
    ours = simple_evaluate(
        tasks=[f"{target}_ood_{language}" for language in languages], limit=ROWS[target], **options
    )
    predictions = set()
    for language in languages:
        mine, theirs = f"{target}_ood_{language}", f"{target}_{language}"
        assert ours["results"][mine]["acc,none"] == stock["results"][theirs]["acc,none"]
        assert len(ours["samples"][mine]) == ROWS[target]
        for sample, other in zip(ours["samples"][mine], stock["samples"][theirs], strict=True):
            assert sample["arguments"] == other["arguments"]
            assert sample["filtered_resps"] == other["filtered_resps"]
            likelihoods = [response[0] for response in sample["filtered_resps"]]
            assert len(set(likelihoods)) == len(likelihoods)
            predictions.add(likelihoods.index(max(likelihoods)))
    assert len(predictions) == len(likelihoods)  # the model does not always say the same


def test_many_more_prompts_are_those_of_the_stock_tasks(manager, real_data, tmp_path):
    """Requests without a model, for rows that the other test does not reach."""
    ROWS_HERE = {"xnli": 150, "xcopa": 500}
    for target, language in (("xnli", "ar"), ("xnli", "zh"), ("xcopa", "tr"), ("xcopa", "th")):
        options = Options(str(real_data), repair_question=False)
        docs = build_documents(target, language, options=options)[-ROWS_HERE[target] :]
        override = stock_task(target, language, real_data, tmp_path)
        stock = manager.load([{"group": "stock", "task": [override]}])["tasks"][override["task"]]
        name = f"{target}_ood_{language}"
        ours = manager.load([name])["tasks"][name]
        for doc in docs:
            assert stock.doc_to_text(doc) == ours.doc_to_text(doc)
            assert stock.doc_to_choice(doc) == ours.doc_to_choice(doc)
            assert stock.doc_to_target(doc) == ours.doc_to_target(doc)


class Completions(BaseHTTPRequestHandler):
    """An OpenAI-compatible server: the log-probability of a token is -(its number modulo 7)."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompts = body["prompt"] if isinstance(body["prompt"][0], list) else [body["prompt"]]
        choices = []
        for index, tokens in enumerate(prompts):
            values = [None, *(-float(token % 7) for token in tokens[1:])]
            top = [None, *({str(token): value} for token, value in zip(tokens[1:], values[1:], strict=True))]
            content = {"tokens": [str(t) for t in tokens], "token_logprobs": values, "top_logprobs": top}
            choices.append({"index": index, "text": "", "logprobs": content})
        answer = json.dumps({"choices": choices}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Completions)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}/v1/completions"
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def test_local_completions(server, checkpoint, real_data, monkeypatch):
    pytest.importorskip("tenacity")
    pytest.importorskip("aiohttp")
    from transformers import AutoTokenizer

    monkeypatch.setenv("OPENAI_API_KEY", "none")
    manager = TaskManager(
        include_path=str(yaml_folder()), include_defaults=False, metadata={"data": str(real_data)}
    )
    arguments = {"model": "none", "base_url": server, "tokenizer": str(checkpoint), "max_retries": 1}
    results = simple_evaluate(
        model="local-completions",
        model_args={**arguments, "tokenizer_backend": "huggingface", "max_length": 2048},
        tasks=["xnli_ood", "xcopa_ood"],
        task_manager=manager,
        limit=2,
        bootstrap_iters=0,
        log_samples=True,
    )
    tokenizer = AutoTokenizer.from_pretrained(str(checkpoint))
    for task, (context, infix) in {"xcopa_ood_sw": (True, None), "xnli_ood_en": (False, ", right?")}.items():
        for sample in results["samples"][task]:
            for (text, continuation), response in zip(
                sample["arguments"], sample["filtered_resps"], strict=True
            ):
                assert bool(text) == context and (infix is None or infix in continuation)
                tokens = tokenizer(continuation)["input_ids"]
                assert response[0] == -sum(token % 7 for token in tokens)
    assert results["n-samples"]["xcopa_ood_qu"]["effective"] == 2
    assert "acc_ood,none" in results["results"]["xnli_ood"]
