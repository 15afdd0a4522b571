"""An experiment's plan as jobs for a cluster: train each recipe, evaluate it when it and its baseline are trained.

`python -m xscale.executors.jobs <recipe.json> <manifest> <keep>` trains one recipe; a job with several GPUs
starts it once for each.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xscale import pipeline
from xscale.errors import UserError
from xscale.evaluation.answers import Selection
from xscale.executors import Job, Resources
from xscale.experiment import Recipe
from xscale.workspace import Workspace, register, registered, untrained


def make_jobs(
    recipes: Sequence[Recipe],
    chosen: Selection,
    source: str,
    workspace: Workspace,
    resources: Mapping[str, Resources],
    keep: pipeline.Keep = "all",
) -> list[Job]:
    """A training job for each recipe without a checkpoint, an evaluation job for each recipe."""
    manifest = str(workspace.manifest.resolve())
    missing = {recipe.id for recipe in untrained(recipes, workspace)}
    text = {recipe.id: recipe.model_dump_json() for recipe in recipes}
    jobs = []
    for recipe in recipes:
        if recipe.id in missing:
            wanted = resources.get("train", Resources())
            arguments: dict[str, Any] = {
                "recipe": text[recipe.id],
                "manifest": manifest,
                "processes": max(1, int(wanted.gpus)),
                "keep": keep,
            }
            jobs.append(
                Job(f"train {recipe.id}", "xscale.executors.jobs:train_job", arguments, resources=wanted)
            )
    for recipe in recipes:
        lineage = [name for name in (recipe.baseline, recipe.id) if name]
        arguments = {
            "recipes": [text[name] for name in lineage],
            "trained": sorted(missing & set(lineage)),
            "chosen": {target: [list(languages), limit] for target, (languages, limit) in chosen.items()},
            "source": source,
            "manifest": manifest,
            "keep": keep,
        }
        needs = tuple(f"train {name}" for name in lineage if name in missing)
        wanted = resources.get("evaluate", Resources())
        jobs.append(
            Job(f"evaluate {recipe.id}", "xscale.executors.jobs:evaluate_job", arguments, needs, wanted)
        )
    return jobs


def on_ray(
    recipes: Sequence[Recipe],
    chosen: Selection,
    source: str,
    workspace: Workspace,
    *,
    resources: Mapping[str, Resources],
    address: str | None,
    keep: pipeline.Keep = "all",
) -> None:
    """Do all jobs on a Ray cluster. Raises `JobsFailed` at the end when some failed, `UserError` before for bad input."""
    from xscale.executors.ray import run_jobs

    pipeline.check_recipes(untrained(recipes, workspace))
    jobs = make_jobs(recipes, chosen, source, workspace, resources, keep)
    failures = run_jobs(jobs, workspace.manifest.resolve().parent, address)
    pipeline.raise_failures(failures, len(jobs))


def train_job(recipe: str, manifest: str, processes: int, keep: pipeline.Keep = "all") -> None:
    """Train one recipe, without registering it; on several GPUs by as many processes."""
    if processes == 1:
        pipeline.train_only(Recipe.model_validate_json(recipe), Workspace(Path(manifest)), keep=keep)
        return
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        file.write(recipe)
        file.flush()
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += [f"--nproc-per-node={processes}", "-m", "xscale.executors.jobs", file.name, manifest, keep]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        raise UserError((lines or done.stderr.splitlines() or ["training failed"])[0].removeprefix("error: "))


def evaluate_job(
    recipes: list[str],
    trained: list[str],
    chosen: dict[str, list[Any]],
    source: str,
    manifest: str,
    keep: pipeline.Keep = "all",
) -> None:
    """Register the recipes, whose checkpoints are there, and evaluate the last of them."""
    workspace = Workspace(Path(manifest))
    loaded = [Recipe.model_validate_json(text) for text in recipes]
    register(loaded, workspace, set(trained))
    selection: Selection = {
        target: (tuple(languages), limit) for target, (languages, limit) in chosen.items()
    }
    pipeline.evaluate(registered(loaded[-1:], workspace), selection, source, workspace)
    if keep == "predictions":
        pipeline.drop_if_evaluated(loaded[-1], selection, source, workspace)


def main() -> None:
    """One of several processes that train one recipe together."""
    recipe = Recipe.model_validate_json(Path(sys.argv[1]).read_text(encoding="utf-8"))
    try:
        keep: Any = sys.argv[3]
        pipeline.train_only(recipe, Workspace(Path(sys.argv[2])), keep=keep)
    except Exception as error:
        traceback.print_exc()
        sys.stderr.write(f"error: {pipeline.last_line(error)}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
