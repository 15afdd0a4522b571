"""Units: what is trained once for all checkpoints that share it, and what makes a unit another one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tiny import make_base, make_recipe

from xscale import pipeline, workspace
from xscale.check import check_workspace
from xscale.errors import UserError
from xscale.evaluation.encoder_lm import EncoderLM
from xscale.evaluation.predictions import PREDICTIONS, read_predictions
from xscale.experiment import (
    Development,
    Experiment,
    LoRA,
    MaskedLM,
    Mixing,
    OwnTask,
    Phase,
    Recipe,
    Target,
    plan,
    read_experiment,
)
from xscale.files import sha256_of_folder
from xscale.leaderboard.panels import load_results
from xscale.manifest import read_manifest
from xscale.pipeline import evaluate, train
from xscale.training import phases, samples, units
from xscale.training.phases import train_recipe
from xscale.training.units import digests_of, recipe_digest, unlinked_units
from xscale.workspace import Workspace, untrained

TARGETS = {"xnli": {"train": ["bundled_nli_target"], "size": 16}}
FAST = {"epochs": 1, "batch_size": 16, "max_length": 32, "freeze": "nothing", "precision": "fp32"}


def fp32(asked: str) -> str:
    return "fp32" if asked == "auto" else asked


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base"))


def experiment(base: Path, **changes: Any) -> Experiment:
    fields: dict[str, Any] = {
        "name": "which",
        "data": "bundled",
        "base": str(base),
        "sizes": [0, 32],
        "targets": TARGETS,
        "arms": {"nli": {"intermediate": "bundled_nli"}, "copa": {"intermediate": "bundled_copa"}},
        "training": {"intermediate": FAST, "xnli": FAST},
    } | changes
    return Experiment.model_validate(fields)


class Counted:
    """Begun units by part, counted where they are made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.parts: list[str] = []
        original = phases._make

        def make(recipe: Recipe, *rest: Any) -> None:
            self.parts.append(f"{recipe.id} {rest[-1]}")
            original(recipe, *rest)

        monkeypatch.setattr(phases, "_make", make)

    def taken(self) -> list[str]:
        parts, self.parts = self.parts, []
        return parts


def test_arms_share_one_baseline_and_differ_in_anything_of_the_intermediate_phase(base: Path) -> None:
    arms = {
        "nli": {"intermediate": "bundled_nli"},
        "copa": {"intermediate": "bundled_copa", "sizes": [0, 16]},
        "both": {"intermediate": ["bundled_nli", "bundled_copa"], "mixing": {"rule": "uniform"}},
        "fast": {"intermediate": "bundled_nli", "training": {"learning_rate": 0.01}},
    }
    recipes = plan(experiment(base, arms=arms, seeds=[1, 2]), "bundled")
    first = [recipe for recipe in recipes if recipe.seed == 1]
    assert [recipe.id for recipe in first] == [
        "which-0-seed1",
        "which-nli-32-seed1",
        "which-copa-16-seed1",
        "which-both-32-seed1",
        "which-fast-32-seed1",
    ]
    assert [recipe.arm for recipe in first] == [None, "nli", "copa", "both", "fast"]
    assert {recipe.baseline for recipe in first[1:]} == {"which-0-seed1"}
    assert [recipe.phases["intermediate"].learning_rate for recipe in first[1:]] == [1e-4] * 3 + [0.01]
    ladders = {recipe_digest(recipe, fp32) for recipe in recipes}
    assert len(ladders) == 5  # the seeds of an arm have the same one
    assert [len(digests_of(recipe, fp32)) for recipe in first] == [1, 2, 2, 2, 2]


def test_one_intermediate_at_the_top_keeps_its_ids(base: Path) -> None:
    one = experiment(base, arms=None, intermediate="bundled_nli", sizes=[0, 16, 32])
    assert [(recipe.id, recipe.arm) for recipe in plan(one, "bundled")] == [
        ("which-0-seed1", None),
        ("which-16-seed1", "bundled_nli"),
        ("which-32-seed1", "bundled_nli"),
    ]


def test_a_part_has_its_baselines(base: Path) -> None:
    asked = plan(experiment(base, sizes=[0, 16, 32]), "bundled", arms=["copa"], sizes=[32])
    assert [recipe.id for recipe in asked] == ["which-0-seed1", "which-copa-32-seed1"]
    with pytest.raises(UserError, match=r"--arm: which has no arm 'rte'; it has: nli, copa"):
        plan(experiment(base), "bundled", arms=["rte"])
    with pytest.raises(UserError, match=r"--size: which has no size 5; it has: 0, 32"):
        plan(experiment(base), "bundled", sizes=[5])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"intermediate": "bundled_nli"}, "give either `intermediate` .one arm. or `arms`"),
        ({"arms": None}, "give either `intermediate` .one arm. or `arms`"),
        ({"masked_lm": {"texts": "x"}}, "masked_lm: with `arms` each says its own"),
        ({"arms": {"a/b": {"intermediate": "rte"}}}, "an id is 1 to 128 letters"),
        ({"arms": {"a": {"intermediate": "rte"}, "A": {"intermediate": "rte"}}}, "differ in case only"),
        (
            {"arms": {"a": {"intermediate": "rte", "training": {"epoch": 1}}}},
            r"arms.a.training.epoch: unknown",
        ),
        ({"arms": {"a": {"intermediate": "rte", "sizes": [4, 2]}}}, "sizes must ascend"),
        ({"arms": {"a": {"intermediate": "rte", "seeds": [4]}}}, "seeds"),
        ({"question": {"targets": ["xcopa"]}}, "question.targets: 'xcopa' is not among the targets"),
    ],
)
def test_arms_that_cannot_be_are_refused(base: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        experiment(base, **changes)


def test_what_is_shared_is_trained_once(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two arms one baseline, two experiments one encoder, a new target its head only."""
    counted, work = Counted(monkeypatch), Workspace(tmp_path / "checkpoints_manifest.json")
    train(plan(experiment(base), "bundled"), work)
    assert counted.taken() == [
        "which-0-seed1 xnli",
        "which-nli-32-seed1 encoder",
        "which-nli-32-seed1 xnli",
        "which-copa-32-seed1 encoder",
        "which-copa-32-seed1 xnli",
    ]
    train(plan(experiment(base, name="renamed"), "bundled"), work)
    assert counted.taken() == []
    first, second = (work.checkpoints / f"{name}-nli-32-seed1" for name in ("which", "renamed"))
    for file in ("encoder", "xnli"):
        weights = sorted((first / file).glob("*.safetensors"))
        assert weights and all(path.samefile(second / file / path.name) for path in weights)
    more = TARGETS | {"xcopa": {"train": ["bundled_copa"], "size": 16}}
    training = {"intermediate": FAST, "xnli": FAST, "xcopa": FAST}
    wider = plan(experiment(base, targets=more, training=training), "bundled")
    assert [recipe.id for recipe in untrained(wider, work)] == [recipe.id for recipe in wider]
    train(wider, work)
    assert counted.taken() == [f"{recipe.id} xcopa" for recipe in wider]
    assert (first / "xcopa").is_dir() and untrained(wider, work) == []


@pytest.mark.parametrize("touched", [False, True])
def test_answers_for_a_target_stay_when_another_target_is_added(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, touched: bool
) -> None:
    """They were computed with files that are all still there; where one of these has changed, they count no more."""
    work = Workspace(tmp_path / "checkpoints_manifest.json")
    asked = {"xnli": (("en", "de"), 12)}
    answered: list[str] = []
    real = EncoderLM.answers

    def answers(self: EncoderLM, target: str, sections: Any) -> Any:
        answered.append(f"{self.description} {target}")
        return real(self, target, sections)

    monkeypatch.setattr(EncoderLM, "answers", answers)
    few = experiment(base, arms=None, intermediate="bundled_nli", sizes=[0, 32])
    train(plan(few, "bundled"), work)
    before = read_manifest(work.manifest).entries[1]
    assert evaluate([before], asked, "bundled", work) == [before.id] and answered == [f"{before.id} xnli"]
    path = work.results / before.id / PREDICTIONS
    rows = read_predictions(path).table.to_pylist()
    more = TARGETS | {"xcopa": {"train": ["bundled_copa"], "size": 16}}
    wider = experiment(
        base, arms=None, intermediate="bundled_nli", sizes=[0, 32], targets=more,
        training={"intermediate": FAST, "xnli": FAST, "xcopa": FAST},
    )  # fmt: skip
    if touched:  # between the training of the new head and its registration
        real_register = workspace.register

        def register(recipes: Any, *rest: Any) -> None:
            head = work.checkpoints / before.id / "xnli" / "tokenizer_config.json"
            text = head.read_text()
            head.unlink()  # the unit keeps its own
            head.write_text(text + " ")
            real_register(recipes, *rest)

        monkeypatch.setattr(pipeline, "register", register)
    train(plan(wider, "bundled"), work)
    entry = read_manifest(work.manifest).entries[1]
    assert entry.sha256 != before.sha256 and set(entry.targets) == {"xnli", "xcopa"}
    status = load_results(read_manifest(work.manifest), work.results)[1].status
    assert status == ("stale" if touched else "ok")
    both = asked | {"xcopa": (("en",), 12)}
    answered.clear()
    assert evaluate([entry], both, "bundled", work) == [entry.id]
    assert answered == [f"{entry.id} {target}" for target in (["xnli"] if touched else []) + ["xcopa"]]
    if not touched:
        table = read_predictions(path).table.to_pylist()
        assert [row for row in table if row["target"] == "xnli"] == rows
        assert check_workspace(work) == []


def test_the_manifest_knows_arm_and_recipe(base: Path, tmp_path: Path) -> None:
    work = Workspace(tmp_path / "checkpoints_manifest.json")
    train(plan(experiment(base, seeds=[1, 2], sizes=[0, 16, 32]), "bundled"), work)
    entries = read_manifest(work.manifest).entries
    assert [entry.arm for entry in entries] == [None, "nli", "nli", "copa", "copa"] * 2
    by_arm = {arm: {entry.recipe for entry in entries if entry.arm == arm} for arm in (None, "nli", "copa")}
    assert all(len(recipes) == 1 for recipes in by_arm.values())
    assert len(set.union(*by_arm.values())) == 3
    record = json.loads((work.checkpoints / "which-nli-32-seed1" / "recipe.json").read_text())
    assert record["base"] == sha256_of_folder(base)


def own_file(path: Path, rows: int = 60) -> Path:
    labels = ["entailment", "neutral", "contradiction"]
    lines = [
        json.dumps({"text1": f"the dog saw {i}", "text2": f"a man {i}", "label": labels[i % 3]})
        for i in range(rows)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def own_recipe(base: Path, file: Path, **changes: Any) -> Recipe:
    from xscale.files import sha256_of_file

    tasks = {"mine": OwnTask(file=str(file), head="pair_classification")}
    recipe = make_recipe(base, intermediate=["mine"], size=30, tasks=tasks, **changes)
    return recipe.model_copy(update={"own_files": {str(file): sha256_of_file(file)}})


def test_what_changes_no_digest(base: Path, tmp_path: Path) -> None:
    file = own_file(tmp_path / "a" / "mine.jsonl")
    first = own_recipe(base, file)
    expected, ladder = digests_of(first, fp32), recipe_digest(first, fp32)
    moved_base = Path(shutil.copytree(base, tmp_path / "elsewhere"))
    moved_file = Path(shutil.copy(file, tmp_path / "other.jsonl"))
    same = [
        own_recipe(moved_base, moved_file),
        first.model_copy(update={"id": "another", "arm": "renamed", "baseline": "x"}),
        first.model_copy(update={"own_files": first.own_files | {"texts.txt": "0" * 64}}),
        first.model_copy(
            update={
                "phases": {n: p.model_copy(update={"precision": "auto"}) for n, p in first.phases.items()}
            }
        ),
        Recipe.model_validate_json(first.model_dump_json()),
        Recipe(**dict(reversed(list(first.model_dump().items())))),
    ]
    for recipe in same:
        assert digests_of(recipe, fp32) == expected
        assert recipe_digest(recipe, fp32) == ladder
    seed = first.model_copy(update={"seed": 2})
    assert recipe_digest(seed, fp32) == ladder and not set(digests_of(seed, fp32).values()) & set(
        expected.values()
    )


def test_a_field_that_is_new_changes_no_digest(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make_recipe(base)
    expected = digests_of(first, fp32), recipe_digest(first, fp32)

    class Later(Phase):
        smoothing: float = 0.0

    class LaterEncoder(units.EncoderUnit):
        order: str = "shuffled"

    LaterEncoder.__name__ = "EncoderUnit"
    monkeypatch.setattr(units, "EncoderUnit", LaterEncoder)
    later = {name: Later(**phase.model_dump()) for name, phase in first.phases.items()}
    second = first.model_copy(update={"phases": later})
    assert (digests_of(second, fp32), recipe_digest(second, fp32)) == expected
    later["intermediate"] = later["intermediate"].model_copy(update={"smoothing": 0.1})
    assert digests_of(first.model_copy(update={"phases": later}), fp32)["encoder"] != expected[0]["encoder"]


def test_a_moved_mirror_changes_no_digest_and_a_changed_row_does(base: Path, tmp_path: Path) -> None:
    from harness_tasks.sources import BUNDLED

    one = Path(shutil.copytree(BUNDLED, tmp_path / "one"))
    two = Path(shutil.copytree(BUNDLED, tmp_path / "two"))
    recipe = own_recipe(base, own_file(tmp_path / "mine.jsonl"), data="bundled")
    here, there = (digests_of(recipe.model_copy(update={"data": str(m)}), fp32) for m in (one, two))
    assert here == there == digests_of(recipe, fp32)
    changed = own_file(tmp_path / "changed.jsonl")
    changed.write_text(changed.read_text().replace("a man 7", "a woman 7"))
    whole = own_recipe(base, own_file(tmp_path / "mine.jsonl")).model_copy(update={"size": 60})
    other = own_recipe(base, changed).model_copy(update={"size": 60})
    assert digests_of(whole, fp32)["encoder"] != digests_of(other, fp32)["encoder"]
    assert recipe_digest(whole, fp32) != recipe_digest(other, fp32)


def test_what_changes_a_digest(base: Path, tmp_path: Path) -> None:
    def phase(name: str, **changes: Any) -> dict[str, Any]:
        return {"phases": first.phases | {name: first.phases[name].model_copy(update=changes)}}

    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "de.txt").write_text("der Hund sah den Mann\n" * 3)
    first = make_recipe(base)
    expected = digests_of(first, fp32)
    both: list[dict[str, Any]] = [
        {"seed": 2},
        {"size": 63},
        {"intermediate": ["bundled_copa"]},
        {"intermediate": ["bundled_nli", "bundled_copa"], "mixing": Mixing(rule="uniform")},
        {"masked_lm": MaskedLM(texts=str(tmp_path / "texts"), ratio=0.3)},
        {"masked_lm": MaskedLM(texts=str(tmp_path / "texts"), ratio=0.4)},
        {"lora": LoRA()},
        {"base": str(make_base(tmp_path / "bert", "bert"))},
        phase("intermediate", learning_rate=2e-3),
        phase("intermediate", weight_decay=0.0),
        phase("intermediate", precision="bf16"),
        phase("intermediate", updates="fixed", budget=5),
    ]
    head: list[dict[str, Any]] = [
        phase("xnli", epochs=2.0),
        phase("xnli", precision="bf16"),
        {"targets": {"xnli": Target(train=["bundled_nli_target"], size=31)}},
        {"development": Development(choose="best", rows=20)},
        {"development": Development(choose="average", rows=20)},
    ]
    seen = [expected]
    for change in both + head:
        found = digests_of(first.model_copy(update=change), fp32)
        assert (found["encoder"] == expected["encoder"]) == (change in head), change
        seen.append(found)
    assert len({found["xnli"] for found in seen}) == len(seen)
    assert len({recipe_digest(first.model_copy(update=c), fp32) for c in both[2:] + head}) == len(both) + 3


def test_size_zero_is_the_base_whatever_the_arm(base: Path, tmp_path: Path) -> None:
    """The fine-tuned head starts from the base's own pooler, whatever head the arm's task has."""
    folders = []
    for name in ("bundled_nli", "bundled_copa"):
        recipe = make_recipe(
            base, size=0, intermediate=[name], targets={"xcopa": Target(train=["bundled_copa"], size=16)}
        )
        folders.append(tmp_path / name / "tiny")
        train_recipe(recipe, folders[-1])
        assert [path.name for path in folders[-1].iterdir() if path.is_dir()] == ["xcopa"]
    assert sha256_of_folder(folders[0]) == sha256_of_folder(folders[1])


@pytest.mark.parametrize("architecture", ["bert", "xlm-roberta"])
def test_an_encoder_is_the_whole_base_with_its_own_pooler(architecture: str, tmp_path: Path) -> None:
    """Also after a span task, whose head has none; it is then the base's, untouched."""
    rows = [
        {"question": "the dog", "context": "the dog saw a man", "answer": "a man", "answer_start": 12}
    ] * 40
    (tmp_path / "span.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    base = make_base(tmp_path / "base", architecture)
    own = {"spans": OwnTask(file=str(tmp_path / "span.jsonl"), head="span")}
    train_recipe(make_recipe(base, intermediate=["spans"], size=32, tasks=own), tmp_path / "tiny")
    before, after = (
        {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}
        for folder in (base, tmp_path / "tiny" / "encoder")
    )
    assert before.keys() == after.keys()
    assert torch.equal(before["pooler.dense.weight"], after["pooler.dense.weight"])
    word = next(name for name in before if "layer.1" in name and "query.weight" in name)
    assert not torch.equal(before[word], after[word])


def test_a_changed_base_is_another_recipe(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    work = Workspace(tmp_path / "checkpoints_manifest.json")
    recipes = plan(experiment(base), "bundled")
    train(recipes, work)
    shutil.rmtree(base)
    make_base(base, "bert")
    with pytest.raises(UserError, match="which-0-seed1: trained with another recipe .the base or the rows"):
        untrained(recipes, work)


def test_finished_units_survive_other_library_versions_and_it_is_said(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    counted, folder = Counted(monkeypatch), tmp_path / "tiny"
    train_recipe(make_recipe(base), folder)
    assert len(counted.taken()) == 2
    shutil.rmtree(folder)
    monkeypatch.setattr(phases, "_libraries", lambda: {"torch": "9.9"})
    capsys.readouterr()
    record = train_recipe(make_recipe(base), folder)
    said = " ".join(capsys.readouterr().err.split())
    assert counted.taken() == [] and record is not None
    assert f"encoder was made with torch {torch.__version__}" in said.replace("+cpu", "+cpu")
    assert "here 9.9; it is taken as it is" in said


@pytest.mark.parametrize("keep", ["heads", "all"])
def test_heads_only_keep_no_encoder(keep: Any, base: Path, tmp_path: Path) -> None:
    recipes = plan(experiment(base), "bundled")
    work = Workspace(tmp_path / "checkpoints_manifest.json")
    train(recipes, work, keep=keep)
    folder = work.checkpoints / "which-nli-32-seed1"
    assert (folder / "encoder").exists() == (keep == "all") and (folder / "xnli").is_dir()
    made = [path for path in (work.checkpoints / ".units").iterdir() if path.is_dir()]
    assert len(made) == (5 if keep == "all" else 3)
    assert untrained(recipes, work) == [] and unlinked_units(work.checkpoints) == []


def test_units_that_nothing_links_to_are_named(base: Path, tmp_path: Path) -> None:
    work = Workspace(tmp_path / "checkpoints_manifest.json")
    train(plan(experiment(base), "bundled"), work)
    mine = work.checkpoints / ".units" / "my-notes"
    mine.mkdir()
    shutil.rmtree(work.checkpoints / "which-copa-32-seed1")
    found = unlinked_units(work.checkpoints)
    assert sorted(words for _, _, words in found) == [
        "encoder made for which-copa-32-seed1",
        "xnli made for which-copa-32-seed1",
    ]
    assert all(size > 10_000 for _, size, _ in found)
    for folder, _, _ in found:
        assert units.remove_unit(folder) and not folder.exists()
    assert mine.is_dir() and unlinked_units(work.checkpoints) == []


TRAIN = """
import sys
from pathlib import Path
from xscale.experiment import plan, read_experiment
from xscale.pipeline import train
from xscale.workspace import Workspace
from xscale.training import phases
original = phases._make
def make(recipe, *rest):
    print(recipe.id, rest[-1], flush=True)
    original(recipe, *rest)
phases._make = make
train(plan(read_experiment(Path(sys.argv[1])), "bundled"), Workspace(Path(sys.argv[2])))
"""


def test_two_runs_in_one_folder_share_the_units(base: Path, tmp_path: Path) -> None:
    path = tmp_path / "e.yaml"
    fields = experiment(base, seeds=[1, 2]).model_dump(mode="json", exclude_defaults=True)
    path.write_text(yaml.safe_dump(fields))
    read_experiment(path)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(phases.__file__).parents[2])}
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", TRAIN, str(path), str(tmp_path / "checkpoints_manifest.json")],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    outputs = [run.communicate(timeout=300) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    made = [line for output, _ in outputs for line in output.splitlines()]
    assert len(made) == len(set(made)) == 10  # two baselines of one part, four checkpoints of two
    assert all(output.splitlines() for output, _ in outputs)  # both had work
    assert unlinked_units(tmp_path / "checkpoints") == []


def test_a_taken_unit_is_left_to_the_other_run_and_the_rest_is_done(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    from filelock import FileLock

    counted, work = Counted(monkeypatch), Workspace(tmp_path / "checkpoints_manifest.json")
    recipes = plan(experiment(base), "bundled")
    store = work.checkpoints / ".units"
    store.mkdir(parents=True)
    lock, held = units.lock_of(store, digests_of(recipes[0], fp32)["xnli"]), threading.Event()

    def other_run() -> None:  # a thread of its own: filelock refuses to let one wait for itself
        with FileLock(lock):
            held.set()
            _until(lambda: len(counted.parts) == 4)

    threading.Thread(target=other_run).start()
    assert held.wait(60)
    train(recipes, work)
    assert counted.taken() == [
        "which-nli-32-seed1 encoder",
        "which-nli-32-seed1 xnli",
        "which-copa-32-seed1 encoder",
        "which-copa-32-seed1 xnli",
        "which-0-seed1 xnli",
    ]


def _until(true: Any) -> None:
    deadline = time.monotonic() + 60
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)


def test_checkpoints_of_version_01_are_taken_as_they_are_and_not_mixed(base: Path, tmp_path: Path) -> None:
    work = Workspace(tmp_path / "checkpoints_manifest.json")
    recipes = plan(experiment(base, arms=None, intermediate="bundled_nli", sizes=[0, 16]), "bundled")
    for recipe in recipes:
        folder = work.checkpoints / recipe.id
        train_recipe(recipe, folder)
        record = json.loads((folder / "recipe.json").read_text())
        del record["units"], record["base"], record["recipe"]["arm"]
        record["recipe"]["data"] = "/some/mirror"
        (folder / "recipe.json").write_text(json.dumps(record))
    assert untrained(recipes, work) == []
    longer = plan(experiment(base, arms=None, intermediate="bundled_nli", sizes=[0, 16, 32]), "bundled")
    with pytest.raises(UserError, match="trained by xscale 0.1, which drew other rows"):
        train(longer, work)
    other = plan(
        experiment(
            base, arms=None, intermediate="bundled_nli", sizes=[0, 16], development={"choose": "last"}
        ),
        "bundled",
    )
    with pytest.raises(UserError, match="trained with another recipe .development differ"):
        untrained(other, work)


def test_the_same_rows_are_read_again_when_a_file_changes(base: Path, tmp_path: Path) -> None:
    file = own_file(tmp_path / "mine.jsonl")
    before = digests_of(own_recipe(base, file), fp32)
    own_file(file, 59)
    assert digests_of(own_recipe(base, file), fp32) != before
    own_file(file, 60)
    assert digests_of(own_recipe(base, file), fp32) == before
    assert samples.set_of(own_recipe(base, file), "mine")


def test_early_refusals_are_before_anything_is_written(base: Path, tmp_path: Path) -> None:
    work = Workspace(tmp_path / "w" / "checkpoints_manifest.json")
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"training": {"intermediate": FAST | {"freeze_layers": 99}}}, "freeze_layers: 99 layers to freeze"),
        ({"base": str(tmp_path)}, "no transformers checkpoint"),
        ({"base": "nobody/has-this-one"}, "nobody/has-this-one"),
        (
            {"training": {"intermediate": FAST, "xnli": FAST | {"max_length": 139}}},
            "training.xnli: texts of 139 tokens .*has positions for 138; lower it",
        ),
        ({"lora": {"modules": ["query", "valeu"]}}, "no linear layer 'valeu'; it has: .*value"),
        ({"lora": {"rank": 33}}, "lora.rank: 33 is more than the 32 of the layer 'query'"),
    ]
    for changes, message in wrong:
        with pytest.raises(UserError, match=message):
            train(plan(experiment(**{"base": base} | changes), "bundled"), work)
    assert not work.manifest.parent.exists()
    phases.check_base(
        plan(experiment(base, training={"xnli": FAST | {"max_length": 138}}, lora={"rank": 32}), "bundled")[0]
    )


def test_lora_without_peft_is_refused_before_anything_is_written(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = phases.importlib.util.find_spec
    monkeypatch.setattr(
        phases.importlib.util, "find_spec", lambda name: None if name == "peft" else find(name)
    )
    phases._check_base_once.cache_clear()
    with pytest.raises(UserError, match="lora: peft is not installed"):
        train(plan(experiment(base, lora={"rank": 2}), "bundled"), Workspace(tmp_path / "w" / "m.json"))
    assert not (tmp_path / "w").exists()
    phases._check_base_once.cache_clear()
