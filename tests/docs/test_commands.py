"""Every command of README, docs and CONTRIBUTING does what it is there for: it is carried out, in order, in a copy of a folder as
the first run leaves it (`conftest.first_run`). Whatever is not in one of the two tables below is executed as it stands."""

import contextlib
import io
import json
import logging
import os
import re
import runpy
import shlex
import shutil
import sys
import traceback
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import typer.main
import yaml
from tiny_model import call, make_base, make_head

from xscale.cli.main import app
from xscale.experiment import read_experiment

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "studies").rglob("*.md")),
]

# Not executed: the beginning of a command (a regular expression), and why. Those of `xscale` are parsed all the same.
NOT_RUN = {
    r"(pip|tox|\.|python -m venv|pytest|python tools/|python benchmarks/)( |$)": "installs, tests or measures",
    r"(#SBATCH|#!|head=|address=|sleep |srun |ray )|xscale run .*--executor ray": "needs Slurm or a Ray cluster: "
    "tests/test_executors.py runs on Ray",
    r"xscale add --from 'owner/": "asks the hub for branches: tests/cli/test_entries.py",
    r"xscale (add --id|eval) x-layer9": "needs an encoder for retrieval: tests/evaluation/test_retrieval_targets.py",
    r"python -m harness_tasks.bucc ": "needs the archives of BUCC 2018: tests/evaluation/test_retrieval_targets.py",
    r"python -m harness_tasks.generate$": "writes into the checkout: tests/harness_tasks/test_generated_files.py",
    r"python -m harness_tasks.audit --languages amh": "reads sets that are no part of the repository: "
    "tests/harness_tasks/test_audit.py",
    r"python -m harness_tasks.subsets build": "needs tables of facts that are no part of the repository: "
    "tests/harness_tasks/test_subsets.py",
}
# Executed with this change, and why.
CHANGED = [
    (r"<id>|(?<=push )ID\b", "first-run-nli-4096-seed1", "a name to fill in"),
    (r"\bID\b", "my-model", "a name to fill in"),
    (r" A B\b", " first-run-0-seed1 first-run-nli-4096-seed1", "names to fill in"),
    (r"\bEXPERIMENT\b", "my.yaml", "a name to fill in"),
    (r"<mirror( folder)? or hub>", "../mirror", "a name to fill in"),
    (r"pretrained=\.\.\.", "pretrained=gpt2", "left out on the page"),
    (r"for gpu in .*; do CUDA_VISIBLE_DEVICES=\$gpu (.*) & done; wait", r"\1", "one process instead of four"),
    (
        r"^(ACCELERATE_USE_CPU=true )?(accelerate launch|torchrun) .*--no[_-]python ",
        "",
        "one process instead of several",
    ),
    (r"^XSCALE_DATA=hub ", "", "no hub here: the bundled suite"),
    (r"--data hub$", "--data ../mirror", "no hub here: a mirror"),
    (r"--languages yor,eu", "--languages de,sw", "the bundled suite has the official languages"),
    (
        r"^(xscale doctor --target .*--languages) all",
        r"\1 official",
        "the bundled suite has the official languages",
    ),
    (r"^(xscale fetch .*)", r"\1 --dry-run", "no hub here: tests/test_fetch.py fetches from one on loopback"),
    (r"--limit (200|60|20)", "--limit 2", "for time only"),
    (
        r"^((\w+=\S+ )?lm_eval .*|xscale (lm-eval|eval)(?!.*--dry-run).*)(?<!--limit 2)$",
        r"\1 --limit 2",
        "for time only",
    ),
    (r"^(xscale report.*)", r"\1 --draws 500", "for time only"),
]
OWN_PROGRAM = r"(xscale|lm_eval|python -m harness_tasks[.\w]*|accelerate launch --|torchrun --|[A-Z_]+=\S+ .*xscale)( |$)"


@dataclass(frozen=True)
class Command:
    """A command as it stands on a page, and as it is executed."""

    text: str
    line: int
    inline: bool = False
    study: bool = False

    @property
    def reason(self) -> str | None:
        """Why it is not executed; None where it is."""
        bare = re.sub(r"^([A-Z_]+=\S+ )+", "", self.text)
        if self.study:
            return "hours of training, in the study's own folder"
        return next((why for pattern, why in NOT_RUN.items() if re.match(pattern, bare)), None)

    @property
    def executed(self) -> str:
        text = self.text
        for pattern, replacement, _ in CHANGED:
            text = re.sub(pattern, replacement, text)
        return text


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """Line number and text of the page's code blocks in that language; those that were measured elsewhere are left out."""
    text = re.sub(
        r"<!-- measured.*?<!-- end -->",
        lambda found: "\n" * found[0].count("\n"),
        page.read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    found = re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text.count("\n", 0, match.start()) + 2, match[1]) for match in found]


def commands(page: Path) -> list[Command]:
    """All lines of ```bash blocks, `$ …` lines of ```text blocks, and commands within the text, in order. `a && b` are two."""
    found = []
    for start, block in blocks(page, "bash"):
        for number, line in enumerate(re.sub(r"\\\n\s*", "", block).splitlines(), start):
            for part in line.split(" && "):
                text = part if part.startswith("#") else re.sub(r"\s+#.*", "", part)
                if text.strip():
                    found.append(Command(text.strip(), number))
    for start, block in blocks(page, "text"):
        for number, line in enumerate(block.splitlines(), start):
            found += [Command(line[2:], number)] if line.startswith("$ ") else []
    text = re.sub(
        r"^```.*?^```$", lambda m: "\n" * m[0].count("\n"), page.read_text("utf-8"), flags=re.M | re.DOTALL
    )
    for match in re.finditer(r"`([^`]+)`", text):
        words = " ".join(match[1].split())
        if re.match(OWN_PROGRAM, words) and " " in words and "…" not in words:
            found.append(Command(words, text.count("\n", 0, match.start()) + 1, inline=True))
    study = (ROOT / "studies") in page.parents
    return sorted(dict.fromkeys(replace(one, study=study) for one in found), key=lambda one: one.line)


def is_a_name(text: str) -> bool:
    """Whether it is the name of a command that takes arguments, or of an option of lm_eval, not a command line."""
    words = text.split()
    if words[0] == "lm_eval":
        return "--tasks" not in words
    if len(words) != 2 or words[0] != "xscale":
        return False
    command = typer.main.get_command(app).commands.get(words[1])
    if command is None:  # an option, or no command at all, which running it will show
        return False
    return words[1] in ("lm-eval", "add", "export") or any(parameter.required for parameter in command.params)


def once(found: list[tuple[Path, Command]]) -> list[tuple[Path, Command]]:
    """Without names of commands, and without bare ones (`xscale run`) that another page or line has before."""
    kept, seen = [], set()
    for page, one in found:
        bare = len(one.text.split()) == 2
        if not (one.inline and (is_a_name(one.text) or (bare and one.text in seen))):
            kept.append((page, one))
        seen.add(one.text)
    return kept


EVERY = once([(page, one) for page in PAGES for one in commands(page)])


def test_there_are_commands_to_look_at() -> None:
    assert len(EVERY) > 80
    assert len([1 for _, one in EVERY if one.reason is None]) > 55


def test_the_tables_hold_nothing_that_no_page_has() -> None:
    for pattern in NOT_RUN:
        assert any(re.match(pattern, re.sub(r"^([A-Z_]+=\S+ )+", "", one.text)) for _, one in EVERY), pattern
    for pattern, _, _ in CHANGED:
        assert any(re.search(pattern, one.text) for _, one in EVERY), pattern


def test_commands_stand_in_blocks_that_say_so() -> None:
    """An indented or unnamed block would not be executed."""
    for page in PAGES:
        text, inside = page.read_text(encoding="utf-8"), False
        for number, line in enumerate(text.splitlines(), 1):
            if line.startswith("```"):
                inside = not inside
                assert not inside or len(line) > 3, f"{page.name}:{number}: a code block without its language"
            elif not inside:
                assert not re.match(r"    " + OWN_PROGRAM, line), f"{page.name}:{number}: use a ```bash block"


# a study's own commands are parsed only: they take hours, and name its files
PARSED = sorted(
    {(page.name, one.text) for page, one in EVERY if one.reason and one.text.startswith("xscale ")}
)


@pytest.mark.parametrize(("page", "text"), PARSED, ids=lambda value: value)
def test_what_is_not_executed_is_parsed(page: str, text: str) -> None:
    name, *words = shlex.split(text)[1:]
    command = typer.main.get_command(app).commands[name]
    command.make_context(name, words)  # raises where an option or value is not one


@pytest.fixture
def furnished(
    workspace: Path, first_run: Path, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The workspace with all that the pages' commands name: experiments, checkpoints of other people, a language model, files
    with subsets and targets as the pages show them."""
    monkeypatch.setenv("XSCALE_CACHE", str(tmp_path / "cache"))
    make_language_model(workspace / "gpt2")
    shutil.copytree(workspace / "gpt2", workspace / "my-causal-lm")
    for seed in (1, 2):
        make_head(workspace / f"runs/nli-64-seed{seed}", workspace / "base")
    experiment = {
        "base": "./base",
        "data": "../mirror",
        "seeds": [1],
        "targets": {"xnli": {"train": ["mnli"], "size": 16}},
        "training": {
            name: {"epochs": 1, "batch_size": 256, "max_length": 32} for name in ("intermediate", "xnli")
        },
        "evaluation": {"xnli": {"languages": ["en"], "limit": 12}},
    }
    arms = {
        "arms": {"mnli": {"intermediate": "mnli"}, "snli": {"intermediate": "snli"}},
        "sizes": [0, 64, 4096],
    }
    ladder = {"intermediate": "snli", "sizes": [0, 64]}
    for name, kind in (
        ("my", ladder),
        ("my-experiment", ladder),
        ("which-task", arms),
        ("thousand", ladder),
        ("experiments/sweep", ladder),
        ("experiments/real-small", ladder),
    ):
        path = workspace / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump({"name": path.stem, **experiment, **kind}), encoding="utf-8")
    (workspace / "mirror").symlink_to(mirror)
    shutil.copytree(first_run, tmp_path / "theirs")
    for page, mark, name in (
        ("subsets.md", "universal", "quantifiers.yaml"),
        ("languages.md", "code: kmr", "mine.yaml"),
    ):
        (shown,) = (text for _, text in blocks(ROOT / "docs" / page, "yaml") if mark in text)
        (workspace / name).write_text(shown, encoding="utf-8")
    english = (mirror / "facebook/xnli/en/test.jsonl").read_text(encoding="utf-8").splitlines()
    rows = workspace / "mirror/me/xnli-kmr/default/test.jsonl"
    rows.parent.mkdir(parents=True, exist_ok=True)
    some = [
        {
            "sentence1": row["premise"],
            "sentence2": row["hypothesis"],
            "label": ("entailment", "neutral", "contradiction")[row["label"]],
        }
        for row in map(json.loads, english[:24:3])
    ]
    rows.write_text("".join(json.dumps(row) + "\n" for row in some), encoding="utf-8")
    (workspace / "kmr-rows.tsv").write_text(
        "split\trow\txnli_row\n" + "".join(f"test\t{row}\t{3 * row}\n" for row in range(8)), encoding="utf-8"
    )
    return workspace


def make_language_model(folder: Path) -> None:
    import torch
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    base = make_base(folder.with_name("base-of-it"))
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.eos_token = "[SEP]"
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=256, n_embd=16, n_layer=1, n_head=2, eos_token_id=2
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def execute(text: str) -> tuple[int, str]:
    """Exit code, and what it printed, of a command line in this process; its environment lasts, as in a shell, after `export`."""
    if text.startswith("export "):
        name, _, value = text.removeprefix("export ").partition("=")
        os.environ[name] = value
        return 0, ""
    while match := re.search(r"\$\((xscale [^)]*)\)", text):
        text = text.replace(match[0], call(*shlex.split(match[1])[1:])[1].strip())
    text, _, out = text.partition(" > ")
    words = shlex.split(text)
    with pytest.MonkeyPatch.context() as patch:
        while re.match(r"[A-Z_]+=", words[0]):
            patch.setenv(*words.pop(0).split("=", 1))
        if words[0] == "lm_eval" or words[:2] == ["xscale", "lm-eval"]:
            code, shown, printed = run_lm_eval(words, patch)
        elif words[0] == "xscale":
            code, shown, printed = call(*words[1:])
        elif words[:2] == ["python", "-m"]:
            code, shown, printed = run_module(words[2], words[3:], patch)
        else:
            pytest.fail(
                f"{text}: what program is {words[0]!r}? Put it into NOT_RUN, with the reason, or let it be executed"
            )
    if out:
        Path(out).write_text(shown, encoding="utf-8")
    return code, (shown + printed)[-1500:]


def run_lm_eval(words: list[str], patch: pytest.MonkeyPatch) -> tuple[int, str, str]:
    """lm_eval's own command line, with our tasks and those of `--include_path`: the index of its thousands of own tasks would
    take ten seconds each time (tests/test_installed.py does it once)."""
    import lm_eval.tasks

    from harness_tasks.tasks import yaml_folder
    from xscale.evaluation.lm_eval_command import run_lm_eval as through_xscale

    manager = lm_eval.tasks.TaskManager

    class OurTasks(manager):
        def __init__(self, verbosity=None, include_path=None, include_defaults=True, metadata=None) -> None:
            given = [include_path] if isinstance(include_path, (str, Path)) else list(include_path or ())
            more = [path for path in given if Path(path) != yaml_folder()]
            super().__init__(
                verbosity, [str(yaml_folder()), *more], include_defaults=False, metadata=metadata
            )

    patch.setattr(lm_eval.tasks, "TaskManager", OurTasks)
    patch.setattr(sys, "argv", words)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    arguments = words[2:] if words[0] == "xscale" else words[1:]
    try:
        return captured(lambda: through_xscale([*arguments, "--device", "cpu"]))
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def run_module(name: str, arguments: list[str], patch: pytest.MonkeyPatch) -> tuple[int, str, str]:
    patch.setattr(sys, "argv", [name, *arguments])
    for loaded in [module for module in sys.modules if module == name]:
        patch.delitem(sys.modules, loaded)  # runpy warns of a module that is there already
    return captured(lambda: runpy.run_module(name, run_name="__main__", alter_sys=False))


def captured(act) -> tuple[int, str, str]:
    out, err, code = io.StringIO(), io.StringIO(), 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            act()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        err.write(stop.code if isinstance(stop.code, str) else "")
    except Exception:  # what a user would see as a traceback
        code = 1
        err.write(traceback.format_exc())
    return code, out.getvalue(), err.getvalue()


EXECUTED = [page for page in PAGES if any(where == page and one.reason is None for where, one in EVERY)]


@pytest.mark.parametrize("page", EXECUTED, ids=lambda page: page.name)
def test_what_the_page_says_can_be_done(page: Path, furnished: Path) -> None:
    before, failed = dict(os.environ), []
    mine = [one for where, one in EVERY if where == page and one.reason is None]
    for name in ("my-lm", "my-model"):
        if not any(f"--id {name}" in one.text for one in mine):
            assert (
                call(
                    "add", "--id", name, "--model", "xscale", "--model-args", "pretrained=./runs/nli-64-seed1"
                )[0]
                == 0
            )
    try:
        for one in mine:
            code, printed = execute(one.executed)
            if code:
                failed.append(
                    f"{page.name}:{one.line}: {one.text}\n  executed: {one.executed}\n  exit {code}: {printed}"
                )
    finally:
        os.environ.clear()
        os.environ.update(before)
    assert not failed, "\n".join(failed)


SHOWN = [(page, line, text) for page in PAGES for line, text in blocks(page, "yaml")]


@pytest.mark.parametrize(("page", "line", "text"), SHOWN, ids=lambda value: getattr(value, "name", None))
def test_experiments_that_are_shown_are_read(page: Path, line: int, text: str, tmp_path: Path) -> None:
    """Parts of one, such as `resources:`, over the least that an experiment needs."""
    shown = yaml.safe_load(text)
    if not {"subsets", "languages"} & set(shown):  # those are carried out above
        least = {"name": "shown", "base": "a/b", "sizes": [0, 8], "targets": {"xnli": {"train": ["mnli"]}}}
        least |= {} if "arms" in shown else {"intermediate": "mnli"}
        (tmp_path / "e.yaml").write_text(yaml.safe_dump({**least, **shown}), encoding="utf-8")
        assert read_experiment(tmp_path / "e.yaml").name == shown.get("name", "shown")


PROGRAMS = [
    (page, line, text)
    for page in PAGES
    for line, text in blocks(page, "python")
    if ROOT / "studies" not in page.parents
]


@pytest.mark.parametrize(("page", "line", "text"), PROGRAMS, ids=lambda value: getattr(value, "name", None))
def test_python_that_is_shown_runs(page: Path, line: int, text: str, furnished: Path) -> None:
    exec(compile(text, f"{page.name}:{line}", "exec"), {})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
