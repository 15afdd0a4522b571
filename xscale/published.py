"""A checkpoint's results as the hub's model pages read them: the card's table and metadata, and `.eval_results/*.yaml`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from harness_tasks.hub import revision_of
from harness_tasks.parsing import load_text, read_text
from harness_tasks.targets import get_target
from xscale.every_eval_ever import evaluated_at, is_the_hubs
from xscale.leaderboard.figures import Figure, figures
from xscale.leaderboard.panels import build_panels, load_results
from xscale.leaderboard.render import percent
from xscale.manifest import read_manifest_or_empty
from xscale.portable import PUBLISHED, portable_text, published
from xscale.workspace import Workspace

TASKS = {  # the hub's names
    "pair_classification": "text-classification",
    "multiple_choice": "multiple-choice",
    "span": "question-answering",
    "token_classification": "token-classification",
}
METRICS = {"acc": "accuracy"}


def published_results(workspace: Workspace, name: str) -> dict[str, str]:
    """Files to upload with a checkpoint, by path in the repository: its card with results, a file of results for each target
    that was evaluated on all rows of its published test set, and its record, both without paths of this machine. Without what
    lies in its folder as it is to be uploaded."""
    folder = workspace.checkpoints / name
    kept = {file: portable_text(folder / file) for file in PUBLISHED if (folder / file).is_file()}
    files = {file: text for file, text in kept.items() if text is not None}
    manifest = read_manifest_or_empty(workspace.manifest)
    stored = load_results(manifest, workspace.results) if any(e.id == name for e in manifest.entries) else []
    mine = [result for result in stored if result.entry.id == name and result.status == "ok"]
    found = figures(build_panels(mine), [name]) if mine else []
    if not found:
        return files
    files["README.md"] = with_results(published(read_text(folder / "README.md")), name, found)
    date = evaluated_at(workspace.results / name)
    for target in dict.fromkeys(figure.target for figure in found):
        listed = [
            eval_result(figure, date)
            for figure in found
            if figure.target == target and _is_a_result_of_it(figure)
        ]
        if listed:
            files[f".eval_results/{target}.yaml"] = _yaml(listed)
    return files


def with_results(card: str, name: str, found: Sequence[Figure]) -> str:
    """The model card with a table of all figures, and those of published test sets as `model-index` in its metadata."""
    _, head, text = card.split("---\n", 2)
    metadata = dict(load_text(head, f"{name}: README.md") or {})
    entries = [_indexed(figure) for figure in found if _is_a_result_of_it(figure)]
    if entries:
        metadata["model-index"] = [{"name": name, "results": entries}]
    lines = [
        "",
        "## Results",
        "",
        "| test rows | subset | languages | figure | 95% interval | commonest label |",
    ]
    lines += ["| --- | --- | --- | ---: | ---: | ---: |"]
    for figure in found:
        languages = (
            figure.languages[0] if len(figure.languages) == 1 else f"{len(figure.languages)} languages"
        )
        lines.append(
            f"| {_rows(figure)} | {figure.subset} | {languages} | {percent(figure.value)} {figure.metric} | "
            f"{percent(figure.low)} to {percent(figure.high)} | {percent(figure.commonest_label)} |"
        )
    lines += [
        "",
        "Percent; intervals over clusters of rows. Fine-tuned in English only, but for what is said above.",
        "",
    ]
    return f"---\n{_yaml(metadata)}---\n{text.rstrip()}\n" + "\n".join(lines)


def eval_result(figure: Figure, date: str | None) -> dict[str, Any]:
    """An entry of `.eval_results/<target>.yaml`: a language's figure on the published test set.

    `task_id` is the set's configuration. The hub shows it where the set is one of its benchmarks.
    """
    place = get_target(figure.target).places[figure.languages[0]]
    commit = revision_of(place.dataset, place.revision)[1]
    interval = f"95% interval {percent(figure.low)} to {percent(figure.high)}"
    return {
        "dataset": {
            "id": place.dataset,
            "task_id": place.config,
            **({"revision": commit} if commit else {}),
        },
        "value": round(100 * figure.value, 2),
        **({"date": date} if date else {}),
        "notes": f"{figure.metric} in percent, {figure.rows:,} rows, {interval}; xscale through lm-evaluation-harness",
    }


def _is_a_result_of_it(figure: Figure) -> bool:
    """Whether it is one language's figure on all rows of a published test set."""
    panel = figure.panel
    whole = figure.subset == "all" and len(figure.languages) == 1 and not panel.bundled
    return whole and all(limit is None for limit in panel.limits) and is_the_hubs(panel)


def _indexed(figure: Figure) -> dict[str, Any]:
    target = get_target(figure.target)
    place = target.places[figure.languages[0]]
    metric = METRICS.get(figure.metric, figure.metric)
    return {
        "task": {"type": TASKS.get(target.head, target.head)},
        "dataset": {
            "name": f"{target.title} ({figure.languages[0]})",
            "type": place.dataset,
            "config": place.config,
            "split": place.test,
        },
        "metrics": [{"type": metric, "value": round(figure.value, 6), "name": f"{metric}, zero-shot"}],
    }


def _rows(figure: Figure) -> str:
    title = get_target(figure.target).title
    named = f"like {title}, bundled suite (not {title})" if figure.panel.bundled else title
    limited = ", limited" if any(limit is not None for limit in figure.panel.limits) else ""
    return f"{named}: {figure.rows:,} rows{limited}"


def _yaml(content: Any) -> str:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
