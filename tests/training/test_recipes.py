"""Experiment files: published recipes by their numbers, what is refused, and digests that hold still."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from xscale.errors import UserError
from xscale.experiment import RECIPES, find_experiment, phases, plan, read_experiment

BASIC: dict[str, Any] = {
    "name": "test",
    "base": "FacebookAI/xlm-roberta-base",
    "intermediate": "mnli",
    "sizes": [0, 100],
    "targets": {"xnli": {"train": ["mnli"]}, "xcopa": {"train": ["social_iqa", "copa"]}},
}


def read(folder: Path, **changes: Any) -> Any:
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump(BASIC | changes), encoding="utf-8")
    return read_experiment(path)


def test_paper_is_phang_et_al_2020() -> None:
    for head, phase in RECIPES["paper"].items():
        if head == "retrieval":  # nothing is trained
            continue
        assert (phase.learning_rate, phase.max_length) == (1e-5, 256)
        assert phase.batch_size == (16 if head == "span" else 32)
        assert (phase.warmup, phase.adam_epsilon, phase.max_gradient_norm) == (0.1, 1e-8, 1.0)
        assert phase.freeze == "nothing"
    assert RECIPES["paper"]["pair_classification"].epochs == 2
    assert (RECIPES["paper"]["span"].epochs, RECIPES["paper"]["span"].window) == (2, 384)
    assert RECIPES["paper"]["token_classification"].epochs == 10


def test_xtremes_other_heads_are_those_of_its_scripts(tmp_path: Path) -> None:
    """train_qa.sh, train_udpos.sh and train_panx.sh, also for a large base."""
    targets = {"xquad": {"train": ["squad"]}}
    for base in ("FacebookAI/xlm-roberta-base", "FacebookAI/xlm-roberta-large"):
        phase = phases(read(tmp_path, recipe="xtreme", base=base, targets=targets, evaluation={}))["xquad"]
        assert (phase.learning_rate, phase.epochs, phase.batch_size, phase.window) == (3e-5, 3, 32, 384)
        assert phase.weight_decay == 1e-4
        assert phase.warmup * 3 * 88_000 / 32 == pytest.approx(500, rel=0.02)
    tags = RECIPES["xtreme"]["token_classification"]
    assert (tags.learning_rate, tags.epochs, tags.batch_size, tags.max_length) == (2e-5, 10, 32, 128)
    assert (tags.warmup, tags.weight_decay) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("base", "rate"), [("FacebookAI/xlm-roberta-base", 2e-5), ("FacebookAI/xlm-roberta-large", 3e-5)]
)
def test_xtreme_is_hu_et_al_2020(base: str, rate: float, tmp_path: Path) -> None:
    """scripts/train_xnli.sh and the defaults of run_classify.py: no warm-up, no weight decay."""
    for phase in phases(read(tmp_path, recipe="xtreme", base=base)).values():
        assert (phase.learning_rate, phase.epochs, phase.batch_size, phase.max_length) == (rate, 5, 32, 128)
        assert (phase.warmup, phase.weight_decay) == (0.0, 0.0)


def test_what_is_written_overrides_the_recipe(tmp_path: Path) -> None:
    changed = phases(read(tmp_path, recipe="xtreme", training={"xnli": {"learning_rate": 7e-6, "epochs": 1}}))
    assert (changed["xnli"].learning_rate, changed["xnli"].epochs) == (7e-6, 1)
    assert changed["xcopa"].epochs == 5


def test_sizes_differ_in_size_alone(tmp_path: Path) -> None:
    recipes = plan(read(tmp_path, sizes=[0, 10, 100], seeds=[1, 2]), "bundled")
    assert [recipe.id for recipe in recipes][:3] == ["test-0-seed1", "test-10-seed1", "test-100-seed1"]
    for seed in (1, 2):
        ladder = [recipe for recipe in recipes if recipe.seed == seed]
        rest = [recipe.model_dump(exclude={"id", "size", "baseline"}) for recipe in ladder]
        assert rest[1] == rest[2]
        own = {"arm", "phases"}  # the baseline is of no arm and has no intermediate phase
        assert [{k: v for k, v in one.items() if k not in own} for one in rest[:1]] == [
            {k: v for k, v in one.items() if k not in own} for one in rest[1:2]
        ]
        assert [recipe.baseline for recipe in ladder] == [None, ladder[0].id, ladder[0].id]


def test_the_step_is_chosen_as_the_recipe_says_unless_the_file_does(tmp_path: Path) -> None:
    def choose(**changes: Any) -> str:
        return plan(read(tmp_path, **changes), "bundled")[0].development.choose

    assert [choose(recipe=name) for name in ("laptop", "paper", "xtreme")] == ["none", "best", "best"]
    assert choose(recipe="paper", development={"choose": "last"}) == "last"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"training": {"xnli": {"updates": "fixed"}}},
            r"training.xnli: `updates: fixed` and `budget: <number",
        ),
        (
            {"training": {"xnli": {"epoch": 1}}},
            r"training.xnli.epoch: .*learning_rate",
        ),
        ({"intermediate": []}, r"intermediate: one task or a list of different tasks"),
        ({"intermediate": ["mnli", "mnli"]}, r"intermediate: one task or a list of different tasks"),
        (
            {"mixing": {"rule": "equal"}},
            r"mixing.rule: .*'capped', 'uniform', 'proportional' or 'temperature'",
        ),
        ({"masked_lm": {"ratio": 0.5}}, r"masked_lm: give either `texts`"),
        ({"masked_lm": {"texts": "a", "ratio": 1.0}}, r"masked_lm.ratio: .*at most 0.95"),
        ({"development": {"choose": "first"}}, r"development.choose"),
        ({"lora": {"rnak": 4}}, r"lora.rnak: unknown field; did you mean 'rank'"),
        ({"tasks": {"mine": {"file": "x", "head": "pairs"}}}, r"tasks.mine.head"),
        ({"recipe": "papr"}, r"unknown recipe 'papr'; known are: laptop, paper, xtreme"),
    ],
)
def test_errors_say_the_field_and_what_is_expected(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        read(tmp_path, **changes)


@pytest.mark.parametrize(
    "name", [path.stem for path in (Path(__file__).parents[2] / "experiments").glob("*.yaml")]
)
def test_every_experiment_that_comes_with_xscale_is_valid(name: str) -> None:
    assert plan(read_experiment(find_experiment(name)), "bundled")[0].size == 0
