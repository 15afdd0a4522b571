"""What the harness costs for a document, with a model that costs nothing: ours against lm_eval's own task.

Both tasks answer the same rows of German XNLI within lm_eval's own loop, in one process, one after the other;
the figures are seconds for all rows, so their ratio is what counts. Run with
``pytest benchmarks/test_task_overhead.py --benchmark-group-by=group``.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

pytest.importorskip("lm_eval")

from lm_eval.api.model import LM
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager

from harness_tasks.rows import build_documents
from harness_tasks.tasks import yaml_folder

ROWS = 300  # at most: the bundled suite has fewer


class FreeModel(LM):
    """Every answer is the same; nothing is computed."""

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        return [(-1.0, False)] * len(requests)

    def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
        raise NotImplementedError

    def generate_until(self, requests: list[Any]) -> list[str]:
        raise NotImplementedError


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory, rows_source: str) -> dict[str, Any]:
    """Our task and the stock one over the same rows: real data where it is, else the bundled suite."""
    manager = TaskManager(include_path=str(yaml_folder()), metadata={"data": rows_source})
    ours = manager.load(["xnli_ood_de"])
    documents = ours["tasks"]["xnli_ood_de"].eval_docs[:ROWS]
    path = tmp_path_factory.mktemp("stock") / "rows.jsonl"
    assert [doc["row"] for doc in documents] == [
        doc["row"]
        for doc in build_documents("xnli", "de", options=ours["tasks"]["xnli_ood_de"].options)[:ROWS]
    ]
    fields = ("premise", "hypothesis", "label")
    path.write_text("".join(json.dumps({field: doc[field] for field in fields}) + "\n" for doc in documents))
    override = {
        "task": "xnli_de",
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {"validation": str(path), "train": str(path)}},
    }
    return {"ours": ours, "stock": manager.load([{"group": "stock", "task": [override]}])}


@pytest.mark.benchmark(group="evaluation: cost of the harness")
@pytest.mark.parametrize("which", ["ours", "stock"])
def test_cost_of_the_harness(benchmark: Any, tasks: dict[str, Any], which: str) -> None:
    def run() -> Any:
        return evaluate(FreeModel(), tasks[which], limit=ROWS, log_samples=True, bootstrap_iters=0)

    results = benchmark.pedantic(
        run, rounds=5 if which == "ours" else 1, warmup_rounds=1 if which == "ours" else 0
    )
    name = "xnli_ood_de" if which == "ours" else "xnli_de"
    documents = results["n-samples"][name]["effective"]
    assert documents == len(tasks["ours"]["tasks"]["xnli_ood_de"].eval_docs[:ROWS])
    benchmark.extra_info.update(
        documents=documents, ms_per_document=1000 * benchmark.stats.stats.min / documents
    )
