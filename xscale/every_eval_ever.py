"""Results as records of Every Eval Ever (https://github.com/evaleval/every_eval_ever), schema 0.2.1."""

from __future__ import annotations

import datetime
import json
import math
import time
import uuid
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness_tasks.parsing import read_json
from harness_tasks.subsets.membership import is_official
from harness_tasks.targets import get_target
from harness_tasks.tasks import group_name, task_name
from xscale.errors import UserError
from xscale.files import write_text
from xscale.hub import is_repository
from xscale.leaderboard.figures import Figure, figures
from xscale.leaderboard.panels import Panel, Result, build_panels, load_results
from xscale.leaderboard.statistics import DRAWS, LEVEL
from xscale.manifest import Entry, checkpoint_folder, read_manifest
from xscale.portable import portable
from xscale.workspace import Workspace

SCHEMA_VERSION = "0.2.1"
LOCAL = "local"  # in place of an owner, of models that are on no hub


def write_records(
    workspace: Workspace, ids: Sequence[str], folder: Path, now: float | None = None
) -> list[Path]:
    """Write a record for each of these checkpoints (all with results where none is named), target and data they were
    evaluated on, as `<target>/<owner>/<model>/<uuid>.json`; returns the paths.

    The same results have the same path, so that a second export replaces what the first one wrote. Raises `UserError` for an
    unknown id, one without results, and where there are no results at all.
    """
    manifest = read_manifest(workspace.manifest)
    results = {result.entry.id: result for result in load_results(manifest, workspace.results)}
    for name in ids:
        if name not in results:
            raise UserError(f"{workspace.manifest}: no entry {name!r}; `xscale ls` lists them")
        if results[name].status != "ok":
            raise UserError(f"{name}: {results[name].problem}")
    wanted = [name for name, result in results.items() if result.status == "ok" and name in (ids or results)]
    if not wanted:
        raise UserError(f"{workspace.manifest}: no entry has results; `xscale eval` makes them")
    grouped: dict[tuple[str, int], list[Figure]] = {}
    panels = build_panels(list(results.values()))
    for figure in figures(panels, wanted):
        grouped.setdefault((figure.id, panels.index(figure.panel)), []).append(figure)
    written = []
    for (name, _), found in grouped.items():
        made = record(results[name], found, workspace, time.time() if now is None else now)
        path = folder / found[0].target / made["model_info"]["id"] / f"{_number(found)}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(made, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        written.append(path)
    return written


def record(result: Result, found: Sequence[Figure], workspace: Workspace, now: float) -> dict[str, Any]:
    """The record of one checkpoint's figures on one panel. No path of this machine is in it."""
    entry, panel = result.entry, found[0].panel
    identifier = model_id(entry, workspace.manifest)
    trained_here = (workspace.checkpoints / entry.id / "recipe.json").is_file()
    made: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": f"{group_name(panel.target)}/{identifier}/{now:.3f}",
        "retrieved_timestamp": f"{now:.3f}",
        "source_metadata": {
            "source_name": "xscale",
            "source_type": "evaluation_run",
            "source_organization_name": "unknown",
            "evaluator_relationship": "first_party" if trained_here else "third_party",
        },
        "eval_library": {
            "name": "lm_eval",
            "version": str(result.info.get("lm_eval") or "unknown"),
            "additional_details": {"plugin": f"xscale {version('xscale')}", "task_version": panel.key[3]},
        },
        "model_info": {
            "name": entry.id,
            "id": identifier,
            "developer": identifier.partition("/")[0],
            "inference_engine": {"name": f"lm_eval model type {entry.model}"},
            "additional_details": _trained_on(entry, panel.target),
        },
        "evaluation_results": [_result(figure) for figure in found],
    }
    moment = evaluated_at(workspace.results / entry.id)
    return dict(portable(made | ({"evaluation_timestamp": moment} if moment else {})))


def model_id(entry: Entry, manifest: Path) -> str:
    """`owner/name` of the hub, or `local/<id>` of what is on no hub."""
    name = str(entry.model_args.get("pretrained") or entry.model_args.get("model") or "")
    try:
        on_hub = is_repository(name) and checkpoint_folder(entry, manifest) is None
    except UserError:  # a folder that is gone
        on_hub = False
    return name if on_hub else f"{LOCAL}/{entry.id}"


def _number(found: Sequence[Figure]) -> uuid.UUID:
    """The same for the same checkpoint on the same rows of the same data."""
    return uuid.uuid5(uuid.NAMESPACE_URL, "/".join(("xscale", found[0].id, *found[0].panel.key)))


def _trained_on(entry: Entry, target: str) -> dict[str, str]:
    known = {
        "base_model": entry.base,
        "intermediate_tasks": "+".join(entry.intermediate),
        "intermediate_examples": entry.size,
        "training_seed": entry.seed,
        "arm": entry.arm,
        "baseline": entry.baseline,
        "fine_tuned_on": "+".join(entry.targets.get(target, ())),
        "weights_sha256": entry.sha256,
        "revision": entry.model_args.get("revision"),
        "asked": entry.evaluation.words if entry.evaluation else "",
        "note": entry.note,
    }
    return {name: str(value) for name, value in known.items() if value not in (None, "")}


def _result(figure: Figure) -> dict[str, Any]:
    one = figure.languages[0] if len(figure.languages) == 1 else None
    name = task_name(figure.target, one) if one else group_name(figure.target)
    what = "all rows" if figure.subset == "all" else f"the rows of the subset {figure.subset}"
    where = f"in {one}" if one else f"macro average over {len(figure.languages)} languages"
    details = {
        "subset": figure.subset,
        "languages": " ".join(figure.languages),
        "rows": str(figure.rows),
        "clusters": str(figure.clusters),
    }
    data = source_data(figure.panel, figure.languages)
    if any(limit is not None for limit in figure.panel.limits):
        details["limited"] = "not all rows of the test set were evaluated"
    if not math.isnan(figure.commonest_label):
        details["commonest_label"] = f"{figure.commonest_label:.6f}"
    score: dict[str, Any] = {"score": round(figure.value, 6), "details": details}
    if not math.isnan(figure.low):
        score["uncertainty"] = {
            "confidence_interval": {
                "lower": round(figure.low, 6),
                "upper": round(figure.high, 6),
                "confidence_level": LEVEL,
                "method": "bootstrap over clusters of rows with all their languages",
            },
            "num_samples": figure.rows,
            "num_bootstrap_samples": DRAWS,
        }
    return {
        "evaluation_name": name if figure.subset == "all" else f"{name}/{figure.subset}",
        "source_data": data,
        "metric_config": {
            "evaluation_description": f"{figure.metric} on {what} of {data['dataset_name']}, {where}",
            "lower_is_better": False,
            "score_type": "continuous",
            "min_score": 0,
            "max_score": 1,
        },
        "score_details": score,
    }


def source_data(panel: Panel, languages: Sequence[str]) -> dict[str, Any]:
    """Where the rows are from: the hub's set where they are its, else what they are."""
    target = get_target(panel.target)
    sets = sorted({target.places[code].dataset for code in languages if code in target.places})
    details = {
        "languages": " ".join(languages),
        "english_labels_sha256": panel.key[0],
        "texts_sha256": panel.key[2],
    }
    if not panel.bundled and len(sets) == 1 and is_the_hubs(panel):
        split = target.places[languages[0]].test
        return {
            "dataset_name": target.title,
            "source_type": "hf_dataset",
            "hf_repo": sets[0],
            "hf_split": split,
            "samples_number": len(panel.rows),
            "additional_details": details,
        }
    name = (
        f"the suite bundled with xscale, like {target.title} (not {target.title})"
        if panel.bundled
        else target.title
    )
    return {"dataset_name": name, "source_type": "other", "additional_details": details}


def is_the_hubs(panel: Panel) -> bool:
    """Whether the rows are those of the published set: by their labels, or because the hub was asked."""
    if get_target(panel.target).user is None and is_official(panel.target, panel.key[0]):
        return True
    return all(source == "hub" for source in panel.sources)


def evaluated_at(folder: Path) -> str | None:
    """When the results in a folder were made (ISO 8601, UTC), where that is known."""
    try:
        stored: Mapping[str, Any] = read_json(folder / "results.json")
        moment = datetime.datetime.fromtimestamp(float(stored["date"]), datetime.timezone.utc)
    except (UserError, OSError, LookupError, TypeError, ValueError, OverflowError):
        return None
    return moment.isoformat(timespec="seconds")
