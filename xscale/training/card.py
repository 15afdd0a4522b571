"""The model card of a checkpoint: what the hub shows, made from recipe.json alone."""

from __future__ import annotations

from typing import Any

import yaml

from harness_tasks.targets import get_target
from xscale.base_models import EMBEDDED_E5
from xscale.portable import portable
from xscale.training.tasks import known_tasks

_HUB_NAME = {EMBEDDED_E5: "intfloat/multilingual-e5-small"}


def model_card(record: dict[str, Any]) -> str:
    """Markdown with the hub's metadata block."""
    recipe = record["recipe"]
    targets = list(recipe["targets"])
    tasks = known_tasks()
    sets = [part.dataset for name in _trained_on(record) if name in tasks for part in tasks[name].parts]
    metadata: dict[str, Any] = {
        "library_name": "transformers",
        "language": sorted({code for target in targets for code in get_target(target).languages}),
        "datasets": sorted({name for name in sets if not name.startswith("xscale/")}),
        "tags": ["xscale", "cross-lingual", *targets],
    }
    base = _HUB_NAME.get(recipe["base"], recipe["base"])
    if base.count("/") == 1 and not base.startswith((".", "/", "~")):
        metadata["base_model"] = base
    base = str(portable(base))
    lines = ["---", yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True).strip(), "---", ""]
    lines += [f"# {recipe['id']}", ""]
    trained = "+".join(recipe["intermediate"])
    is_causal = recipe["objective"] == "causal_lm"
    after = "" if is_causal else ", fine-tuned in English on each target"
    lines += [
        f"`{base}` after intermediate training in English on {recipe['size']:,} examples of {trained}, "
        f"seed {recipe['seed']}{after}; made with xscale to measure what the number of intermediate-task "
        "examples changes in zero-shot cross-lingual accuracy."
        if recipe["size"]
        else f"`{base}` without intermediate training, seed {recipe['seed']}{after}: the "
        "baseline of a ladder made with xscale.",
        "",
        "| folder | what | how to load it |",
        "| --- | --- | --- |",
    ]
    if is_causal:
        what = "the language model after training on the intermediate task's prompts"
        lines.append(f"| `model` | {what} | `AutoModelForCausalLM` |")
    elif "encoder" in record.get("units", {"encoder": ""}):
        lines.append("| `encoder` | the encoder after the intermediate phase | `AutoModel` |")
    classes = {
        "pair_classification": "AutoModelForSequenceClassification",
        "multiple_choice": "AutoModelForMultipleChoice",
        "span": "AutoModelForQuestionAnswering",
        "token_classification": "AutoModelForTokenClassification",
        "retrieval": "AutoModel",
    }
    for target, plan in ({} if is_causal else recipe["targets"]).items():
        names = "+".join(plan["train"])
        what = f"fine-tuned on {names}" if names else "the encoder, as the intermediate phase left it"
        lines.append(f"| `{target}` | {what} | `{classes[get_target(target).head]}` |")
    lines += ["", "## Training", ""]
    lines += [
        "| phase | data | rows | of | dropped as leaked | updates | loss, first and last ten | licence |"
    ]
    lines += ["| --- | --- | ---: | ---: | ---: | ---: | --- | --- |"]
    for phase in record["phases"]:
        dropped = phase["leaked_rows_dropped"] + phase["leaked_premises_dropped"]
        full = f"{phase['rows_here']:,}"
        if phase["rows_full"] and phase["rows_full"] != phase["rows_here"]:
            full += f" here ({phase['rows_full']:,} in full)"
        lines.append(
            f"| {phase['phase']} | {phase['task']} | {phase['rows']:,} | {full} | {dropped} | {phase['steps']:,} | "
            f"{_loss(phase['loss_first'])}, {_loss(phase['loss_last'])} | {_licence(record, phase['task'])} |"
        )
    for phase in record["phases"]:
        if phase.get("rows_also_intermediate"):
            lines += [
                "",
                f"{phase['phase']}: {phase['rows_also_intermediate']:,} of its {phase['rows']:,} rows of {phase['task']} were "
                "trained on in the intermediate phase, too: what it gains shows repetition as well as more data.",
            ]
    for target, scores in record.get("development", {}).items():
        kept = (
            f"the mean of the weights at {len(scores['english_scores'])} steps of"
            if scores["choose"] == "average"
            else f"step {scores['step']} of"
        )
        lines += [
            "",
            f"{target}: {kept} {scores['steps']} was kept ({scores['choose']}), English development "
            f"{_measure(target)} {scores['english']:.4f}. Validation in other languages played no part in choosing.",
        ]
        if scores.get("collapsed"):
            lines += [
                "",
                f"**This training of {target} collapsed**: no better than giving the commonest label always "
                f"({scores['commonest_label']:.4f}).",
            ]
    if recipe["development"]["choose"] == "none":
        lines += ["", "The last step of each phase was kept; no development set was used."]
    lines += [
        "",
        "Batches, rates, fingerprints of the rows, library versions and hardware are in `recipe.json`.",
        "The licences of the training data and of the base apply.",
        "",
    ]
    return "\n".join(lines)


def _licence(record: dict[str, Any], name: str) -> str:
    """Of a set that comes with xscale, or what the user said of their own."""
    task = known_tasks().get(name.partition("@")[0])
    own = (record["recipe"].get("tasks") or {}).get(name) or {}
    return task.licence if task else own.get("licence") or "not said"


def _loss(value: float | None) -> str:
    return "–" if value is None else str(value)


def _trained_on(record: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(phase["task"].partition("@")[0] for phase in record["phases"]))


def _measure(target: str) -> str:
    spec = get_target(target)
    return "accuracy" if spec.has_choices or spec.metrics[0] == "acc" else spec.metrics[0].upper()
