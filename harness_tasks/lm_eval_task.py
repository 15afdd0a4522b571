"""The task class that the YAML files name: documents in memory, subset metrics, a short way for zero-shot prompts.

It is lm-evaluation-harness' own `ConfigurableTask` with these differences:

* documents come from :mod:`harness_tasks.rows` as plain dictionaries, read once;
* a document counts for ``acc`` and for the metric of each subset it belongs to, so that one pass gives all of
  them with lm_eval's own standard errors;
* a subset that has no document in a run (``--limit``, ``--samples``) is reported as nan;
* results record the data's source, anchor and fingerprint in the task's metadata.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from lm_eval.api.task import ConfigurableTask

from harness_tasks.rows import Options, build_documents, data_record, subset_names

_UNEQUAL_COUNTS = re.compile(r"\[(xnli|xcopa)_ood\w*\] Metrics were not scored on the same number")


class Documents(list):
    """Documents with the one attribute of a `datasets.Dataset` that lm_eval asks for."""

    @property
    def features(self) -> dict[str, None]:
        """The fields of a document."""
        return dict.fromkeys(self[0]) if self else {}


def process_results(doc: Mapping[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, float]:
    """``acc`` of one document, and the same value for each of its subsets: the choice of highest log-likelihood."""
    correct = 1.0 if int(np.argmax([result[0] for result in results])) == doc["label"] else 0.0
    scores = {"acc": correct}
    for name in doc["subsets"]:
        scores["acc_" + name] = correct
    return scores


class ParallelTask(ConfigurableTask):
    """One target in one language, or one subset of it.

    `config` is the YAML's content; ``dataset_kwargs`` has ``target``, ``language`` and possibly ``subset``;
    ``metadata`` may have the options of :class:`harness_tasks.rows.Options`.
    """

    def __init__(
        self,
        data_dir: str | None = None,
        cache_dir: str | None = None,
        download_mode: Any = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        config = {key: value for key, value in (config or {}).items() if key != "class"}
        place = config["dataset_kwargs"]
        self.target: str = place["target"]
        self.language: str = place["language"]
        self.subset: str | None = place.get("subset")
        self.options = Options.from_metadata(config.get("metadata") or {})
        shown = [] if self.subset else subset_names(self.target, self.options)
        config["metric_list"] = [
            {"metric": metric, "aggregation": "mean", "higher_is_better": True}
            for metric in ("acc", *(f"acc_{name}" for name in shown))
        ]
        config["process_results"] = process_results
        config["metadata"] = {
            **(config.get("metadata") or {}),
            **data_record(self.target, self.language, self.options),
        }
        self._shown = shown
        self._empty: list[str] = []
        super().__init__(config=config)

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Reads the documents of both splits; raises :class:`harness_tasks.sources.DataError`."""
        test = build_documents(self.target, self.language, "test", self.options, subset=self.subset)
        if self.subset:
            for doc in test:
                doc["subsets"] = []
        validation = build_documents(self.target, self.language, "validation", self.options)
        self.dataset = {"test": Documents(test), "validation": Documents(validation)}

    def build_all_requests(
        self, *, limit: int | None = None, samples: Sequence[int] | None = None, **kwargs: Any
    ) -> None:
        """As lm_eval's; also notes which subsets the chosen documents leave empty."""
        docs = self.eval_docs
        chosen = [docs[i] for i in samples if i < len(docs)] if samples else docs[: limit or None]
        present = {name for doc in chosen for name in doc["subsets"]}
        self._empty = [f"acc_{name}" for name in self._shown if name not in present]
        super().build_all_requests(limit=limit, samples=samples, **kwargs)

    def fewshot_context(
        self, doc: dict[str, Any], num_fewshot: int, *args: Any, **kwargs: Any
    ) -> str | list[str]:
        """As lm_eval's, which for zero-shot prompts without a template is the text of the document."""
        if num_fewshot == 0 and not args and not any(kwargs.values()) and not self.config.description:
            return self.doc_to_text(doc)
        return super().fewshot_context(doc, num_fewshot, *args, **kwargs)

    def process_results(self, doc: dict[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, float]:
        """Scores of one document; the first one also carries nan for each empty subset."""
        if "acc" not in self._metric_fn_list:  # --predict_only
            return {}
        scores = process_results(doc, results)
        if self._empty:
            scores.update(dict.fromkeys(self._empty, math.nan))
            self._empty = []
        return scores


class _EqualInAllLanguages(logging.Filter):
    """Drops lm_eval's warning about metrics with fewer documents, for our tasks only.

    It warns that a group would over-weight such a metric. Ours have the same documents in every language, and
    groups take the plain mean over languages.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        return not _UNEQUAL_COUNTS.match(record.getMessage())


logging.getLogger("lm_eval.evaluator_utils").addFilter(_EqualInAllLanguages())
