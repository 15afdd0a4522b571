"""From stored predictions to panels: checkpoints that answered exactly the same rows of the same data.

Only checkpoints of one panel are ever compared or share a column.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness_tasks.sources import DataError, source_here
from harness_tasks.subsets import load_membership
from harness_tasks.subsets.membership import OWN, is_bundled, shipped_membership
from harness_tasks.targets import targets
from xscale.errors import UserError
from xscale.evaluation.plausible import ONE_ANSWER, implausible, share_of_one_answer
from xscale.evaluation.predictions import (
    PREDICTIONS,
    Predictions,
    prediction_files,
    read_predictions,
)
from xscale.manifest import LOCAL_MODEL, Entry, Manifest

TARGET_NAMES = {name: target.title for name, target in targets().items()}
SUBSET_NAMES = {"all": "acc", "id": "ID", "ood": "OOD"}
COMMIT = re.compile("[0-9a-f]{40}")
Membership = Callable[[str, str], Mapping[str, npt.NDArray[Any]]]


@dataclass(frozen=True)
class Scores:
    """What one checkpoint answered on one target, as matrices of shape (rows, languages).

    `rows` are indices of the official test split, ascending, the same in every language. `note` says what
    had to be left out to make them so. `clusters` (rows,) numbers the rows that are not independent of each
    other (None: as the target's record says). `numerator` and `denominator` are a document's score where it
    is not right (1) or wrong (0) over 1. `figures` holds for each language the target's figure, the share of answers
    that are entirely right, and the number of rows: over all of its own rows, also those that other languages lack.
    Where row i of a language has nothing to do with row i of another, `rows` are those that any language has, `clusters`
    are (rows, languages), -1 where a language has no such row, and its score there is 0 over 0.
    """

    languages: tuple[str, ...]
    rows: npt.NDArray[np.int32]
    labels: npt.NDArray[np.int8]
    predictions: npt.NDArray[np.int8]
    source: str
    anchor: str
    version: str
    limit: int | None
    fingerprints: Mapping[str, str]
    note: str | None = None
    clusters: npt.NDArray[np.int32] | None = None
    numerator: npt.NDArray[np.float64] | None = None
    denominator: npt.NDArray[np.float64] | None = None
    precision: str | None = None
    figures: Mapping[str, tuple[float, float, int]] = field(default_factory=dict)

    def only(self, languages: Sequence[str]) -> Scores | None:
        """The same for some of the languages, in the order of this one; None where it has none of them."""
        kept = [index for index, code in enumerate(self.languages) if code in languages]
        if not kept:
            return None
        codes = tuple(self.languages[index] for index in kept)
        clusters = self.clusters
        there: npt.NDArray[np.bool_] = np.ones(len(self.rows), np.bool_)
        if clusters is not None and clusters.ndim == 2:
            there = np.asarray((clusters[:, kept] >= 0).any(axis=1))
            clusters = clusters[there][:, kept]
        return replace(
            self,
            languages=codes,
            rows=self.rows[there],
            clusters=clusters,
            labels=self.labels[there][:, kept],
            predictions=self.predictions[there][:, kept],
            numerator=None if self.numerator is None else self.numerator[there][:, kept],
            denominator=None if self.denominator is None else self.denominator[there][:, kept],
            fingerprints={code: self.fingerprints.get(code, "") for code in codes},
            figures={code: figures for code, figures in self.figures.items() if code in codes},
        )

    @cached_property
    def data_key(self) -> tuple[str, ...]:
        """What two checkpoints must share to be compared; see `KEY_PARTS` for what each part is."""
        prints = ",".join(f"{code}={self.fingerprints.get(code, '')}" for code in self.languages)
        rows = hashlib.sha256(np.ascontiguousarray(self.rows, np.int32).tobytes())
        if self.clusters is not None and self.clusters.ndim == 2:
            rows.update((self.clusters >= 0).tobytes())
        return self.anchor, " ".join(self.languages), _sha(prints), self.version, rows.hexdigest()


KEY_PARTS = ("English labels", "languages", "texts", "task version", "rows")


@dataclass(frozen=True)
class Result:
    """A manifest entry with what is known of its predictions.

    `status` is "ok", "missing" (never evaluated), "stale" (made with other weights or an older task) or
    "damaged"; `problem` is one line for a person. `scores` is empty unless the status is "ok"; `more` has the scores of
    the entry's other prediction files: other data, or other documents of the same.
    """

    entry: Entry
    status: str
    problem: str | None = None
    scores: Mapping[str, Scores] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)
    more: tuple[Mapping[str, Scores], ...] = ()


def load_results(manifest: Manifest, results_folder: Path) -> list[Result]:
    """The predictions of every manifest entry, in the manifest's order. Never raises for a missing or bad
    file.
    """
    with ThreadPoolExecutor(max_workers=4) as pool:  # reading and decompressing run outside Python's lock
        return list(pool.map(lambda made: _load_all(made, results_folder / made.id), manifest.entries))


def _load_all(entry: Entry, folder: Path) -> Result:
    """All prediction files of an entry; those that are not the entry's any more count only where there is no other."""
    found = [_load(entry, path) for path in prediction_files(folder) or [folder / PREDICTIONS]]
    good = [result for result in found if result.status == "ok"]
    if not good:
        return found[0]
    seen = {(target, scores.data_key) for target, scores in good[0].scores.items()}
    states = list(dict.fromkeys(str(result.info.get("weights")) for result in good))
    if not entry.sha256 and len(states) > 1:
        shown = f"its answers are of {len(states)} states of a model of the hub: {', '.join(s[:12] for s in states)}"
        good = [
            replace(result, scores={name: _noted(scores, shown) for name, scores in result.scores.items()})
            for result in good
        ]
    more = []
    for result in good[1:]:  # of two answers to the same, those that were begun last count
        other = {t: scores for t, scores in result.scores.items() if (t, scores.data_key) not in seen}
        seen |= {(target, scores.data_key) for target, scores in other.items()}
        more += [other] if other else []
    return replace(good[0], more=tuple(more))


def _load(entry: Entry, path: Path) -> Result:
    if not path.is_file():
        return Result(entry, "missing", "not evaluated yet; run `xscale eval`")
    try:
        stored = read_predictions(path)
        scores = scores_of(stored)
        wrong = implausible(stored)
        if wrong:
            raise ValueError(wrong[0])
    except (UserError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        return Result(
            entry,
            "damaged",
            str(error)
            if isinstance(error, UserError)
            else f"{path}: damaged ({error}); delete its folder and run `xscale eval` again",
        )
    stale = _stale(entry, stored.info)
    if stale:
        return Result(entry, "stale", f"{stale}; run `xscale eval` again", info=stored.info)
    if not entry.sha256 and _is_on_the_hub(entry) and not COMMIT.fullmatch(str(stored.info.get("weights"))):
        scores = {name: _noted(found, UNKNOWN_STATE) for name, found in scores.items()}
    return Result(entry, "ok", scores=scores, info=stored.info)


UNKNOWN_STATE = (
    "answered by a hub model whose commit is not known: what it is may have changed between its answers"
)


def _is_on_the_hub(entry: Entry) -> bool:
    name = entry.model_args.get("pretrained")
    return isinstance(name, str) and not name.startswith((".", "/", "~")) and entry.model != LOCAL_MODEL


def _noted(scores: Scores, note: str) -> Scores:
    return replace(scores, note="; ".join(filter(None, (scores.note, note))))


def _stale(entry: Entry, info: Mapping[str, Any]) -> str | None:
    """Why these predictions are not the entry's any more, or None."""
    weights, revision = info.get("weights"), entry.model_args.get("revision")
    if entry.sha256 and weights and entry.sha256 != weights:
        return "evaluated with other weights"
    options = {} if entry.evaluation is None else entry.evaluation.settings()
    if (info.get("evaluation") or {}) != options:
        return "evaluated with other few-shot examples or chat template"
    pinned = isinstance(revision, str) and COMMIT.fullmatch(revision) is not None
    if not entry.sha256 and pinned and weights and str(revision) not in str(weights):
        return f"evaluated at another revision than {revision}"
    return None


def scores_of(stored: Predictions) -> dict[str, Scores]:
    """Matrices by target; those of further languages apart, as ``<target>/<part>``, since they have other rows.

    Raises ValueError where a document occurs twice or a label is no choice.
    """
    table, info = stored.table, stored.info
    columns = {name: table.column(name).combine_chunks() for name in ("target", "language")}
    targets, languages = (columns[name].dictionary_encode() for name in ("target", "language"))
    target_codes = targets.indices.to_numpy(zero_copy_only=False)
    language_codes = languages.indices.to_numpy(zero_copy_only=False)
    row, label, answer = (table.column(name).to_numpy() for name in ("row", "label", "prediction"))
    more = {
        name: table.column(name).to_numpy()
        for name in ("cluster", "numerator", "denominator")
        if name in table.column_names
    }
    names = languages.dictionary.to_pylist()
    result = {}
    for number, target in enumerate(targets.dictionary.to_pylist()):
        for part, codes in language_parts(target, names).items():
            here = target_codes == number
            if len(codes) < len(names):
                here &= np.isin(language_codes, codes)
            if not here.any():
                continue
            scores = _matrices(
                target,
                names,
                language_codes[here],
                row[here],
                label[here],
                answer[here],
                info,
                {name: values[here] for name, values in more.items()},
            )
            is_own = part and _own_rows(target, scores.languages[0])
            result[f"{target}/{part}" if part else target] = (
                replace(scores, anchor=OWN + scores.languages[0]) if is_own else scores
            )
    return result


def language_parts(target: str, names: Sequence[str]) -> dict[str, list[int]]:
    """Part -> numbers of the languages in it: "" for the official ones, then further ones by family of sets; a language
    whose rows translate no English ones is a part of its own."""
    spec = targets().get(target)
    parts: dict[str, list[int]] = {"": []}
    for number, name in enumerate(names):
        place = spec.places.get(name) if spec else None
        part = "" if place is None or place.official else place.group or "more"
        if part and _own_rows(target, name):
            part = name
        parts.setdefault(part, []).append(number)
    return parts


def _own_rows(target: str, language: str) -> bool:
    return targets()[target].places[language].rows.kind == "own"


def have_own_rows(target: str, languages: Sequence[str]) -> bool:
    """Whether row i of one of the languages has nothing to do with row i of another."""
    spec = targets().get(target)
    return (
        spec is not None
        and len(languages) > 1
        and all(code in spec.places and spec.places[code].rows.kind == "own" for code in languages)
    )


def _limit_of(limits: Any, target: str) -> int | None:
    """A description's limit for a target. Raises ValueError where it is no number."""
    limit = limits.get(target) if isinstance(limits, dict) else limits
    if limit is None or (isinstance(limit, int) and not isinstance(limit, bool) and limit > 0):
        return limit
    raise ValueError(f"{target}: its description has no usable limit")


def clusters_of(target: str, rows: Sequence[int]) -> npt.NDArray[np.int32]:
    """Clusters of English rows as the target's record numbers them; of an unknown target each row is its own."""
    known = targets()
    cluster = known[target].cluster if target in known else int
    return np.array([cluster(int(row)) for row in rows], np.int32)


def _matrices(
    target: str,
    names: Sequence[str],
    codes: Any,
    row: Any,
    label: Any,
    answer: Any,
    info: Mapping[str, Any],
    more: Mapping[str, Any],
) -> Scores:
    if label.min() < 0 or row.min() < 0:
        raise ValueError(f"{target}: a label or row below 0")
    present = sorted({names[code] for code in np.unique(codes)})
    parts = {}
    for code in np.unique(codes):
        here = np.flatnonzero(codes == code)
        ordered = here[np.argsort(row[here], kind="stable")]
        if (np.diff(row[ordered]) == 0).any():
            raise ValueError(f"{target}: a row occurs twice in {names[code]}")
        parts[names[code]] = ordered
    own, note = have_own_rows(target, present), None
    rows = row[parts[present[0]]]
    for language in present[1:]:
        join = np.union1d if own else partial(np.intersect1d, assume_unique=True)
        rows = join(rows, row[parts[language]])
    most = max(len(part) for part in parts.values())
    if not own and any(len(part) != len(rows) for part in parts.values()):
        odd = [language for language in present if len(parts[language]) != most]
        note = (
            f"languages differ in their rows ({', '.join(odd) or 'other rows'}): "
            f"{len(rows):,} of {most:,} rows are in all of them and count"
        )
        if not len(rows):
            raise ValueError(f"{target}: the languages have no row in common")
    kept = {language: part[np.isin(row[part], rows, assume_unique=True)] for language, part in parts.items()}
    figures = {}
    for language, part in parts.items():
        right = (label == answer)[part]
        above, below = (
            (more["numerator"][part], more["denominator"][part])
            if "numerator" in more and "denominator" in more
            else (right, np.ones(len(part)))
        )
        share = float(above.sum() / below.sum()) if below.sum() else float("nan")
        figures[language] = share, float(right.mean()), len(part)
    limits, fingerprints = info.get("limit"), (info.get("fingerprints") or {}).get(target) or {}

    def matrix(values: Any, absent: int = 0) -> Any:
        if not own:
            return np.stack([values[kept[language]] for language in present], axis=1)
        made = np.full((len(rows), len(present)), absent, dtype=values.dtype)
        for column, language in enumerate(present):
            made[np.searchsorted(rows, row[kept[language]]), column] = values[kept[language]]
        return made

    scored = "numerator" in more and "denominator" in more
    if own and not ("cluster" in more and scored):
        raise ValueError(f"{target}: its rows have no clusters and scores")
    if (
        scored
        and not own
        and (more["denominator"] == 1).all()
        and (more["numerator"] == (label == answer)).all()
    ):
        scored = False  # an accuracy, which needs a bit a document
    return Scores(
        languages=tuple(present),
        rows=rows.astype(np.int32),
        labels=matrix(label).astype(np.int8),
        predictions=matrix(answer, absent=-1).astype(np.int8),
        source=str(info.get("source") or "unknown"),
        anchor=str((info.get("anchors") or {}).get(target) or "unknown"),
        version=str((info.get("task_versions") or {}).get(target) or "unknown"),
        limit=_limit_of(limits, target),
        fingerprints={language: str(fingerprints.get(language, "")) for language in present},
        note=note,
        clusters=matrix(more["cluster"], absent=-1).astype(np.int32)
        if own
        else more["cluster"][kept[present[0]]].astype(np.int32)
        if "cluster" in more
        else clusters_of(target, rows),
        numerator=matrix(more["numerator"]).astype(float) if scored else None,
        denominator=matrix(more["denominator"]).astype(float) if scored else None,
        precision=str(info["precision"]) if info.get("precision") else None,
        figures=figures,
    )


@dataclass(frozen=True, eq=False)
class Panel:
    """Checkpoints of one target that were evaluated on the same rows of the same data.

    Shapes: `labels` (rows, languages); `predictions`, `correct` and, where a score is no accuracy, `scores`
    (numerator, denominator) (checkpoints, rows, languages); `clusters` and each of `masks` (rows,). `masks`
    holds "all" and then every subset that has a row here. Rows with the same number in `clusters` (0 to
    `cluster_count` − 1) are not independent, and are drawn together. Where languages have rows of their own
    (`own_rows`), `clusters` are (rows, languages): those of each language from 0 on, -1 where it has no such row.
    """

    target: str
    number: int  # 1 for the panel of this target with most checkpoints
    key: tuple[str, ...]
    entries: tuple[Entry, ...]
    languages: tuple[str, ...]
    rows: npt.NDArray[np.int32]
    labels: npt.NDArray[np.int8]
    predictions: npt.NDArray[np.int8]
    masks: Mapping[str, npt.NDArray[np.bool_]]
    sources: tuple[str, ...]
    limits: tuple[int | None, ...]
    notes: tuple[str, ...]
    clusters: npt.NDArray[np.int32]
    scores: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None = None

    @property
    def cluster_count(self) -> int:
        """How many clusters the panel has."""
        return int(self.clusters.max()) + 1

    @property
    def own_rows(self) -> bool:
        """Whether row i of a language has nothing to do with row i of another: a figure is then the mean over languages of
        each one's own."""
        return self.clusters.ndim == 2

    def row_count(self, subset: str = "all") -> int:
        """Rows of a subset; of all languages together where each has its own."""
        mask = self.masks[subset]
        return int((self.clusters[mask] >= 0).sum()) if self.own_rows else int(mask.sum())

    def by_cluster(
        self, values: npt.NDArray[Any], subset: str = "all", clusters: npt.NDArray[np.int32] | None = None
    ) -> npt.NDArray[Any]:
        """Sums over the subset's rows of each cluster: (..., rows) -> (..., clusters)."""
        if clusters is None:
            clusters = np.arange(len(self.rows), dtype=np.int32) if self.own_rows else self.clusters
        order = np.argsort(clusters, kind="stable")
        starts = np.flatnonzero(np.diff(clusters[order], prepend=-1))
        kept = values * self.masks[subset].astype(np.int8)  # integers stay integers, and none is left a bit
        if (np.diff(order) < 0).any():
            kept = kept[..., order]
        return np.asarray(np.add.reduceat(kept, starts, axis=-1))

    def totals(
        self, subset: str = "all", languages: Sequence[str] = ()
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Numerators and denominators of the subset's rows by cluster, summed over languages (of `own_rows` it is of one).

        Shapes: (checkpoints, clusters) and (clusters,); where scores are no accuracies the second is
        (checkpoints, clusters) too. A figure is the ratio of their sums over clusters.
        """
        index = self.language_indices(languages) if languages else list(range(len(self.languages)))
        if self.own_rows:
            assert self.scores is not None
            (column,) = index
            clusters = self.clusters[:, column]
            # rows that the language lacks score 0 over 0, whatever their cluster
            above, below = (
                self.by_cluster(part[:, :, column], subset, np.maximum(clusters, 0)) for part in self.scores
            )
            return above, below
        if self.scores is not None:
            numerator, denominator = (part[:, :, index].sum(axis=2) for part in self.scores)
            return self.by_cluster(numerator, subset), self.by_cluster(denominator, subset)
        ones = np.full(len(self.rows), len(index))
        right = self.right(languages or None).astype(np.int32)
        return self.by_cluster(right, subset), self.by_cluster(ones, subset)

    def figures_by_language(self, subset: str = "all") -> npt.NDArray[np.float64]:
        """The figure of every checkpoint in each language: (checkpoints, languages)."""
        mask = self.masks[subset]
        if self.scores is None:
            return np.asarray(self.correct[:, mask].mean(axis=1, dtype=float))
        above, below = (part[:, mask].sum(axis=1) for part in self.scores)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(above / below)

    @property
    def source_names(self) -> tuple[str, ...]:
        """The sources as they may be published: of a local mirror the folder's name, not its path."""
        return tuple(dict.fromkeys(source_label(source) for source in self.sources))

    @property
    def bundled(self) -> bool:
        """Whether this is the suite that ships with xscale, which is not the published test set; copies of it count by
        their content."""
        return any(of_bundled_suite(self.target, source, self.key[0]) for source in self.sources)

    @property
    def ids(self) -> list[str]:
        """The checkpoints' ids, in the order of the first axis."""
        return [entry.id for entry in self.entries]

    @cached_property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Which documents each checkpoint got right."""
        return np.asarray(self.predictions == self.labels)

    @cached_property
    def collapsed(self) -> list[str]:
        """Ids of checkpoints that give nearly always the same answer, or whose training was no better than that."""
        one_answer = self.scores is None and self.labels.max() > 0
        return [
            entry.id
            for entry, answers in zip(self.entries, self.predictions, strict=True)
            if self.target in (entry.collapsed or ())
            or (one_answer and share_of_one_answer(answers) >= ONE_ANSWER)
        ]

    def right(self, languages: Sequence[str] | None = None) -> npt.NDArray[np.int16]:
        """In how many of the languages each checkpoint got a row right: shape (checkpoints, rows)."""
        chosen = self.correct if languages is None else self.correct[:, :, self.language_indices(languages)]
        return np.asarray(chosen.sum(axis=2, dtype=np.int16))

    def language_indices(self, languages: Sequence[str]) -> list[int]:
        """Positions of those of `languages` that the panel has."""
        return [index for index, code in enumerate(self.languages) if code in languages]

    def commonest_label(self, subset: str = "all", languages: Sequence[str] | None = None) -> float:
        """Accuracy of always answering the commonest label of the subset; NaN where documents have no labels."""
        if self.own_rows or not _has_labels(self.target):
            return float("nan")
        chosen = self.labels if languages is None else self.labels[:, self.language_indices(languages)]
        values = chosen[self.masks[subset]].ravel()
        return float(np.bincount(values).max() / len(values)) if len(values) else float("nan")

    @property
    def measure(self) -> str:
        """What the figure is: accuracy, or F1."""
        return {"acc": "accuracy", "f1": "F1"}.get(self.metric, self.metric)

    @property
    def metric(self) -> str:
        """lm_eval's name of the figure. Of another version of a task without choices only the scores are stored, and what
        they are is not known."""
        spec, version = targets().get(self.target), self.key[3]
        if spec is None:
            return "acc"
        return spec.metrics[0] if is_todays(self.target, version) else f"score of task version {version}"

    @property
    def further(self) -> bool:
        """Whether these are languages that others added: no part of the headline."""
        return _are_further(self.target, self.languages)

    @property
    def title(self) -> str:
        """One line: target, source, languages, rows. The bundled suite is named as such."""
        name = TARGET_NAMES.get(self.target, self.target)
        what = f"{name}-like, BUNDLED SUITE (not {name})" if self.bundled else name
        what += "" if self.measure == "accuracy" else f" ({self.measure})"
        languages = self.languages[0] if len(self.languages) == 1 else f"{len(self.languages)} languages"
        if self.further:
            shown = f"{len(self.languages)}" if len(self.languages) > 6 else ", ".join(self.languages)
            languages = f"further languages ({shown})"
        limited = ", limited" if any(limit is not None for limit in self.limits) else ""
        source = "" if self.bundled else f", source {' and '.join(self.source_names)}"
        return f"{what}: {languages}, {self.row_count():,} rows{limited}{source}"


def is_todays(target: str, version: str) -> bool:
    """Whether stored scores are in the target's measure; those of documents with choices can always be told anew."""
    spec = targets().get(target)
    return spec is None or spec.has_choices or spec.version == version


def of_bundled_suite(target: str, source: str, anchor: str) -> bool:
    """Whether rows of this source and anchor are the bundled suite's; copies of it count by their content."""
    named = source == "bundled" or source.endswith("harness_tasks/bundled")
    return named or is_bundled(target, anchor)


def source_label(source: str) -> str:
    """The name of a data source without a local path: a mirror keeps the name of its folder."""
    kind, _, place = source.partition(":")
    if kind != "mirror" or not place:
        return source
    return f"mirror {re.split(r'[/:]', place.replace(chr(92), '/').rstrip('/'))[-1]}"


def build_panels(
    results: Iterable[Result],
    *,
    targets: Sequence[str] | None = None,
    languages: Sequence[str] | None = None,
    subset_files: Sequence[str] | None = None,
    membership: Membership | None = None,
) -> list[Panel]:
    """Group the results that can be compared; panels of a target stand together, its own
    languages first, then the fullest.

    `languages` restricts every checkpoint to those (checkpoints that were evaluated on different sets of
    languages may become comparable). `membership(target, anchor)` gives the subsets' rows, by default those
    that ship with the tasks. Raises `UserError` where no result has one of the targets or languages.
    """
    grouped: dict[tuple[str, tuple[str, ...]], list[tuple[Entry, Scores]]] = {}
    seen: set[str] = set()
    spoken: set[str] = set()
    for result in results:
        for name, scores in (pair for part in (result.scores, *result.more) for pair in part.items()):
            target = name.partition("/")[0]
            seen.add(target)
            if targets is not None and target not in targets:
                continue
            spoken.update(scores.languages)
            chosen = scores if languages is None else scores.only(languages)
            if chosen is not None:
                grouped.setdefault((target, chosen.data_key), []).append((result.entry, chosen))
    if seen:
        _known("target", targets, seen)
        _known("language", languages, spoken)
    order = [*TARGET_NAMES, *sorted({target for target, _ in grouped} - set(TARGET_NAMES))]
    panels = []
    for target in order:
        members = [(key, group) for (name, key), group in grouped.items() if name == target]
        members.sort(key=lambda item: (_are_further(target, item[1][0][1].languages), -len(item[1])))
        panels += [
            _panel(target, number, key, group, subset_files, membership)
            for number, (key, group) in enumerate(members, 1)
        ]
    return panels


def _has_labels(target: str) -> bool:
    """Whether a document's answer is one of the target's; of an unknown target it is assumed."""
    spec = targets().get(target)
    return spec is None or bool(spec.answers)


def _are_further(target: str, languages: Sequence[str]) -> bool:
    """Whether none of the languages is one of the target's own."""
    spec = targets().get(target)
    return spec is not None and not any(code in spec.languages for code in languages)


def _known(what: str, asked: Sequence[str] | None, there: set[str]) -> None:
    for name in asked or ():
        if name not in there:
            raise UserError(f"no result has the {what} {name!r}; there are: {', '.join(sorted(there))}")


def _panel(
    target: str,
    number: int,
    key: tuple[str, ...],
    group: Sequence[tuple[Entry, Scores]],
    subset_files: Sequence[str] | None,
    membership: Membership | None,
) -> Panel:
    first = group[0][1]
    notes = [f"{entry.id}: {scores.note}" for entry, scores in group if scores.note]
    notes += [f"{e.id}: {e.evaluation.words}" for e, _ in group if e.evaluation and e.evaluation.words]
    clusters = first.clusters if first.clusters is not None else clusters_of(target, first.rows.tolist())
    if clusters.ndim == 2:
        notes.append("each language has rows of its own; figures are means over languages")
    elif (first.labels != first.labels[:, :1]).any():
        notes.append("labels differ between languages; each language counts with its own")
    masks = {"all": np.ones(len(first.rows), bool)}
    members, problem = _members(target, first, subset_files, membership)
    for name, rows in members.items():
        mask = np.isin(first.rows, rows)
        if mask.any():
            masks[name] = mask
    if problem:
        notes.append(problem)
    scored = None
    if any(scores.numerator is not None for _, scores in group):
        parts = [
            (scores.predictions == scores.labels, np.ones(scores.labels.shape))
            if scores.numerator is None or scores.denominator is None
            else (scores.numerator, scores.denominator)
            for _, scores in group
        ]
        scored = np.stack([part[0] for part in parts]).astype(float), np.stack([part[1] for part in parts])
    precisions: dict[str, list[str]] = {}
    for entry, scores in group:
        if scores.precision:
            precisions.setdefault(scores.precision, []).append(entry.id)
    if len(precisions) > 1:
        notes.append(
            "numbers of different precision stand in this table: "
            + "; ".join(f"{name}: {_some(ids)}" for name, ids in sorted(precisions.items()))
        )
    return Panel(
        target=target,
        number=number,
        key=key,
        entries=tuple(entry for entry, _ in group),
        languages=first.languages,
        rows=first.rows,
        labels=first.labels,
        predictions=np.stack([scores.predictions for _, scores in group]),
        masks=masks,
        sources=tuple(sorted({scores.source for _, scores in group})),
        limits=tuple(sorted({scores.limit for _, scores in group}, key=str)),
        notes=tuple(dict.fromkeys(notes)),
        clusters=_from_zero(clusters),
        scores=scored,
    )


def _from_zero(clusters: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """The same clusters numbered from 0 on; of each language by itself where there is a column for each."""
    if clusters.ndim == 1:
        return np.unique(clusters, return_inverse=True)[1].astype(np.int32)
    made = np.full_like(clusters, -1)
    for column in range(clusters.shape[1]):
        there = clusters[:, column] >= 0
        made[there, column] = np.unique(clusters[there, column], return_inverse=True)[1]
    return made


def _some(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def differences(first: Panel, second: Panel) -> str:
    """In words, why two panels of one target are not compared."""
    parts = [
        part for part, mine, other in zip(KEY_PARTS, first.key, second.key, strict=True) if mine != other
    ]
    detail = {
        "languages": f"languages {' '.join(first.languages)} against {' '.join(second.languages)}",
        "rows": f"{len(first.rows):,} rows against {len(second.rows):,}"
        if len(first.rows) != len(second.rows)
        else "other rows",
        "task version": f"task version {first.key[3]} against {second.key[3]}",
    }
    if "languages" in parts and "texts" in parts:
        parts.remove("texts")  # other languages have other texts; that says nothing more
    return "; ".join(detail.get(part, f"other {part}") for part in parts)


def _members(
    target: str, first: Scores, subset_files: Sequence[str] | None, membership: Membership | None
) -> tuple[Mapping[str, npt.NDArray[Any]], str | None]:
    """The subsets that ship with the tasks and the user's own, and what went wrong with them."""
    try:
        if membership is not None:
            return membership(target, first.anchor), None
        return load_membership(target, first.anchor, subset_files, source_here(first.source)), None
    except DataError as error:
        problem = str(error)
    try:
        return shipped_membership(target, first.anchor), f"without the user's subsets: {problem}"
    except DataError:
        return {}, f"no subsets: {problem}"


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
