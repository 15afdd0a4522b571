"""The task class that the YAML files name; the only module here that needs lm_eval.

It is lm-evaluation-harness' own `ConfigurableTask` with these differences:

* documents are plain dictionaries from :mod:`harness_tasks.rows`, read once, and a zero-shot prompt without a
  chat template takes a short way;
* a document counts for ``acc`` and for ``acc_<subset>`` of each subset it belongs to, so that one pass gives
  all of them with lm_eval's own standard errors;
* documents without choices are answered with a text, and their figure is a ratio of sums;
* a subset that a run leaves without any document (``--limit``, ``--samples``) is reported as nan;
* the task's metadata, which results keep, records the data's source, anchor and fingerprint.
"""

from __future__ import annotations

import hashlib
import logging
import math
import re
from collections.abc import Mapping, Sequence
from os.path import commonprefix
from typing import Any

import numpy as np
from lm_eval.api.registry import register_aggregation
from lm_eval.api.task import ConfigurableTask
from lm_eval.config.group import AggMetricConfig

from harness_tasks.errors import UserError
from harness_tasks.rows import Options, build_documents, data_record, subset_names
from harness_tasks.sources import fingerprint, has_split
from harness_tasks.targets import Target, asked_as, get_target, targets, use_targets_file
from harness_tasks.tasks import group_name, task_name


class Documents(list[dict[str, Any]]):
    """Documents, with the one attribute of a `datasets.Dataset` that lm_eval asks for."""

    @property
    def features(self) -> dict[str, None]:
        """The fields of a document."""
        return dict.fromkeys(self[0]) if self else {}


class Answer(str):
    """The answer of an encoder's head, as a text; possibly with its score (see `Target.scored`)."""

    score: tuple[float, ...] | None = None


@register_aggregation("ratio_of_sums")  # type: ignore[untyped-decorator]
def ratio_of_sums(items: Sequence[tuple[float, float]]) -> float:
    """The sum of the numerators over that of the denominators; nan where that is 0."""
    whole = math.fsum(denominator for _, denominator in items)
    return math.fsum(numerator for numerator, _ in items) / whole if whole else math.nan


def process_results(doc: Mapping[str, Any], results: Sequence[Any]) -> dict[str, Any]:
    """The metrics of one document, and the same for each of its subsets.

    With choices: ``acc``, 0 or 1; the prediction is the choice with the highest log-likelihood, the first one among
    equals. Without: (numerator, denominator), and where the target has further metrics 1 if the answer is entirely
    right, else 0, and (numerator, denominator) of the second ratio.
    """
    spec = get_target(doc["target"])
    if not spec.has_choices:
        return _scores_of_text(spec, doc, results[0])
    correct = 1.0 if int(np.argmax([result[0] for result in results])) == doc["label"] else 0.0
    scores = {"acc": correct}
    for name in doc["subsets"]:
        scores["acc_" + name] = correct
    return scores


def _scores_of_text(spec: Target, doc: Mapping[str, Any], answer: str) -> dict[str, Any]:
    if spec.context is None and not isinstance(answer, Answer):
        raise UserError(f"{spec.name}: {spec.title} is answered by encoders only (--model xscale)")
    known = answer.score if isinstance(answer, Answer) else None
    numerator, denominator, right, *second = spec.scored(doc, answer) if known is None else known
    values = ((numerator, denominator), right, tuple(second))
    named = dict(zip(spec.metrics, values, strict=False))
    return named | {f"{metric}_{name}": value for metric, value in named.items() for name in doc["subsets"]}


def _metrics(spec: Target, names: Sequence[str]) -> list[dict[str, Any]]:
    """lm_eval's list of a task's metrics, with those of its subsets."""
    return [
        {
            "metric": "_".join(filter(None, (metric, name))),
            "aggregation": ratio_of_sums if number != 1 and not spec.has_choices else "mean",
            "higher_is_better": True,
        }
        for number, metric in enumerate(spec.metrics)
        for name in ("", *names)
    ]


class ParallelTask(ConfigurableTask):
    """One target in one language, or one subset of it.

    In the YAML, ``dataset_kwargs`` has ``target``, ``language`` and possibly ``subset`` and ``subsets_file``;
    ``metadata`` may have the options of :class:`harness_tasks.rows.Options`.
    """

    def __init__(
        self,
        data_dir: str | None = None,
        cache_dir: str | None = None,
        download_mode: Any = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        settings = {key: value for key, value in (config or {}).items() if key != "class"}
        place = settings["dataset_kwargs"]
        metadata = settings.get("metadata") or {}
        use_targets_file(place.get("targets_file"))
        use_targets_file(metadata.get("targets_file"))
        self.target: str = place["target"]
        self.language: str = place["language"]
        self.subset: str | None = place.get("subset")
        self.options = Options.from_metadata(
            {"subsets_file": place["subsets_file"], **metadata} if "subsets_file" in place else metadata
        )
        self.shown = [] if self.subset else subset_names(self.target, self.options, self.language)
        _register_user_metrics(self.target, self.shown)
        self._empty: list[str] = []
        self._in_turns = False  # whether a chat template is applied
        self._built: Any = None  # what the present requests were made with
        settings["metric_list"] = _metrics(get_target(self.target), self.shown)
        settings["process_results"] = process_results
        settings["metadata"] = {**metadata, **data_record(self.target, self.language, self.options)}
        contexts = get_target(self.target).contexts
        if self.options.whole_premise and "whole_premise" in contexts:
            words = get_target(self.target).words(self.language)
            settings["doc_to_text"] = lambda doc: contexts["whole_premise"](doc, words)
        if not self._has_validation():
            settings |= {"validation_split": None, "fewshot_split": None}
        super().__init__(config=settings)

    def _has_validation(self) -> bool:
        """Of a further language's set the split may be missing; of an official one that is an error, unless it is
        elsewhere."""
        spec = get_target(self.target)
        place, name = spec.place_of(self.language, "validation")
        needed = place.official and place is spec.place(self.language)
        return name is not None and (
            needed or has_split(place.dataset, place.config, name, self.options.data)
        )

    @property
    def task_name(self) -> str:
        """Its name in results; a group's selection of a subset is called after the subset."""
        return task_name(self.target, self.language, self.subset)

    def download(self, dataset_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Reads the documents of both splits; raises :class:`~harness_tasks.errors.UserError`."""
        test = build_documents(self.target, self.language, "test", self.options, subset=self.subset)
        if self.subset:  # every document is of it: `acc` says all
            test = [{**doc, "subsets": []} for doc in test]
        self.dataset = {"test": Documents(test)}
        if self._has_validation():
            validation = build_documents(self.target, self.language, "validation", self.options)
            self.dataset["validation"] = Documents(validation)

    def build_all_requests(
        self,
        *,
        limit: int | None = None,
        samples: Sequence[int] | None = None,
        tokenizer_name: str = "",
        **kwargs: Any,
    ) -> None:
        """As lm_eval's; also notes which subsets are left without a document, and makes the same requests once.

        Requests of an earlier call with the same arguments are used again without their responses, so that a
        second model does not wait for them.

        lm_eval caches requests (``--cache_requests``) by the task's name only, so what they depend on beyond it (data,
        which rows, ``--samples``) is added to the one part of the key that can be given.
        """
        self._in_turns = bool(kwargs.get("apply_chat_template"))
        if self.config.num_fewshot and self.config.fewshot_split is None:  # lm_eval would take test rows
            raise UserError(
                f"{self.task_name}: {get_target(self.target).title} has no validation rows in {self.language!r} to take "
                "few-shot examples from; leave --num_fewshot out"
            )
        docs = self.eval_docs
        chosen = [docs[i] for i in samples if i < len(docs)] if samples else docs[: limit or None]
        present = {name for doc in chosen for name in doc["subsets"]}
        metrics = get_target(self.target).metrics
        self._empty = [f"{metric}_{name}" for metric in metrics for name in self.shown if name not in present]
        if kwargs.get("cache_requests"):
            fingerprint = self.config.metadata["data_fingerprint"]
            flags = f"{self.options.repair_question:d}{self.options.whole_premise:d}"
            asked = asked_as(self.target, self.language, pairs=False)
            # never of the limit: it takes the first
            rows = f"{[doc['row'] for doc in docs]} {samples and list(samples)} {asked} {self._examples()}"
            which = hashlib.sha256(rows.encode()).hexdigest()[:16]
            tokenizer_name = f"{tokenizer_name}-v{self.VERSION}-{fingerprint[:16]}-{which}-{flags}"
        wanted = (limit, samples and tuple(samples), tokenizer_name, self.config.num_fewshot, kwargs)
        if self._built == wanted:
            for instance in self._instances:
                instance.resps, instance.filtered_resps = [], {}
            return
        super().build_all_requests(limit=limit, samples=samples, tokenizer_name=tokenizer_name, **kwargs)
        self._built = wanted

    def _examples(self) -> str:
        """A fingerprint of the rows that few-shot examples are taken from."""
        if not self.config.num_fewshot:
            return ""
        return fingerprint(self.dataset["validation"], get_target(self.target).text_and_label)[:16]

    def doc_to_text(self, doc: Any, doc_to_text: Any = None) -> Any:
        """As lm_eval's. Where the choices hold the whole prompt and a chat template is applied, what they have in common is
        the user's turn, which would be empty otherwise."""
        text = super().doc_to_text(doc, doc_to_text)
        return self._turns(doc)[0] if text == "" and self._in_turns else text

    def doc_to_choice(self, doc: Any, doc_to_choice: Any = None) -> list[str]:
        """As lm_eval's, without what is the user's turn."""
        choices = super().doc_to_choice(doc, doc_to_choice)
        if self._in_turns and super().doc_to_text(doc) == "":
            return self._turns(doc)[1]
        return choices

    def _turns(self, doc: Any) -> tuple[str, list[str]]:
        """The words that all choices begin with, and the rest of each."""
        choices = super().doc_to_choice(doc)
        common = commonprefix(choices)  # noqa: RUF071 (of letters is meant)
        begin = common.rfind(" ") + 1
        return common[:begin].rstrip(), [choice[begin:] for choice in choices]

    def fewshot_context(
        self, doc: dict[str, Any], num_fewshot: int, *args: Any, **kwargs: Any
    ) -> str | list[str]:
        """As lm_eval's, which for a zero-shot prompt without a template is the document's text."""
        if num_fewshot == 0 and not args and not self.config.description and not any(kwargs.values()):
            return self.doc_to_text(doc)
        return super().fewshot_context(doc, num_fewshot, *args, **kwargs)

    def process_results(self, doc: dict[str, Any], results: Sequence[Any]) -> dict[str, Any]:
        """Scores of one document; the first document also carries nan for each empty subset."""
        headline = get_target(self.target).metrics[0]
        if headline not in self._metric_fn_list:  # --predict_only
            return {}
        scores = process_results(doc, results)
        if self._empty:
            for name in self._empty:
                is_ratio = self._aggregation_list[name] is ratio_of_sums
                scores[name] = (math.nan, math.nan) if is_ratio else math.nan
            self._empty = []
        return scores


# target -> metrics of the user's subsets that tasks of this process have
_user_metrics: dict[str, list[str]] = {}


def _register_user_metrics(target: str, names: Sequence[str]) -> None:
    shipped = {subset.name for subset in get_target(target).subsets}
    known, headline = _user_metrics.setdefault(target, []), get_target(target).metrics[0]
    for name in names:
        if name not in shipped and f"{headline}_{name}" not in known:
            known.append(f"{headline}_{name}")


class UserMetric(AggMetricConfig):
    """A place in a group's ``aggregate_metric_list`` for the n-th of a user's subsets, if there is one.

    A group's list of metrics is fixed when its YAML is read, before any task has seen ``--metadata``; this
    one looks its name up when the group is aggregated. Without a name lm_eval finds no metric and passes
    over it.
    """

    def __init__(self, target: str, number: int) -> None:
        self.target = target
        self.number = number
        self.filter_list = None
        self.aggregation = "mean"
        self.weight_by_size = False

    @property
    def metric(self) -> str:  # type: ignore[override]
        """``acc_<name>``, or text that is no metric."""
        known = _user_metrics.get(self.target, [])
        return known[self.number] if self.number < len(known) else "no further subset"


class _SameSizesEverywhere(logging.Filter):
    """Drops, for our tasks only, lm_eval's warning that some metrics have fewer documents than others.

    It is about groups that weight tasks by size. Ours have the same documents in every language, and their
    groups take the plain mean over languages.
    """

    PATTERN = re.compile(r"\[(\w+)\] Metrics were not scored on the same number of documents")

    def filter(self, record: logging.LogRecord) -> bool:
        found = self.PATTERN.match(record.getMessage())
        return not found or not found[1].startswith(tuple(group_name(target) for target in targets()))


logging.getLogger("lm_eval.evaluator_utils").addFilter(_SameSizesEverywhere())
