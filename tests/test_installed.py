"""xscale installed from its wheel beside lm_eval, whether that is installed from a wheel or editable: both work, and plain
lm_eval finds the tasks. Each environment is made of links to this one's packages."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
LIST = """
import lm_eval.tasks
names = lm_eval.tasks.TaskManager().all_tasks
print(lm_eval.tasks.__file__)
print(sorted(name for name in names if name in ("xnli_ood", "xcopa_ood", "xnli_ood_de", "stock_task")))
"""
PROJECT = """
[build-system]
requires = ["setuptools>=61"]
build-backend = "setuptools.build_meta"
[project]
name = "lm_eval"
version = "0.4.13"
[tool.setuptools.packages.find]
include = ["lm_eval*"]
[tool.setuptools.package-data]
"*" = ["**/*.yaml"]
"""
CLEAN = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PIP_CONSTRAINT")}
STOCK = "task: stock_task\ndataset_path: nowhere/nothing\noutput_type: multiple_choice\n"


def run(*command: object) -> str:
    words = [str(part) for part in command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=500, check=False, cwd="/", env=CLEAN)
    if done.returncode != 0 and "pip" in map(str, command) and "Could not find a version" in done.stderr:
        pytest.skip("no package index for the build's own requirements")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    if not (ROOT / "pyproject.toml").is_file():
        pytest.skip("not a checkout")
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", folder, ROOT)
    return next(folder.glob("xscale-*.whl"))


def lm_eval_source(folder: Path) -> Path:
    """lm_eval's package with one of its own tasks instead of fifteen thousand, in a project of lm_eval's (flat) layout."""
    import lm_eval

    package = Path(lm_eval.__file__).parent
    skip = {path.name for path in (package / "tasks").iterdir() if path.is_dir()}
    shutil.copytree(
        package,
        folder / "lm_eval",
        ignore=lambda where, names: skip & set(names) if Path(where).name == "tasks" else (),
    )
    (folder / "lm_eval" / "tasks" / "stock").mkdir()
    (folder / "lm_eval" / "tasks" / "stock" / "stock.yaml").write_text(STOCK)
    (folder / "pyproject.toml").write_text(PROJECT)
    return folder


@pytest.fixture
def python(tmp_path) -> Path:
    """The interpreter of a new environment with all that this one has, but lm_eval and xscale."""
    venv.create(tmp_path / "venv", with_pip=True)
    (packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    links = tmp_path / "links"
    links.mkdir()
    own = (
        "lm_eval",
        "lm-eval",
        "xscale",
        "harness_tasks",
        "__editable",
        "_editable",
        "pip",
        "setuptools",
        "pkg_",
    )
    for entry in Path(os.__file__).parent.joinpath("site-packages"), *map(Path, sys.path):
        for found in entry.iterdir() if entry.name == "site-packages" and entry.is_dir() else ():
            if not found.name.startswith(own) and not (links / found.name).exists():
                (links / found.name).symlink_to(found)
    (packages / "zz_links.pth").write_text(f"{links}\n")
    return tmp_path / "venv" / "bin" / "python"


@pytest.mark.parametrize("editable", [False, True], ids=["wheel", "editable"])
def test_plain_lm_eval_works_and_finds_the_tasks(wheel, python, tmp_path, editable):
    source = lm_eval_source(tmp_path / "lm-evaluation-harness")
    run(python, "-m", "pip", "install", "-q", "--no-deps", *(["-e"] if editable else []), source)
    where, names = run(python, "-c", LIST).splitlines()
    assert names == "['stock_task']"
    assert Path(where).is_relative_to(source) is editable
    before = sorted(path for path in Path(where).parent.rglob("*") if path.suffix != ".pyc")
    run(python, "-m", "pip", "install", "-q", "--no-deps", wheel)
    after_where, names = run(python, "-c", LIST).splitlines()
    assert after_where == where
    assert names == "['stock_task', 'xcopa_ood', 'xnli_ood', 'xnli_ood_de']"
    assert before == sorted(path for path in Path(where).parent.rglob("*") if path.suffix != ".pyc")
    listed = run(python, "-m", "lm_eval", "ls", "tasks")
    assert "xnli_ood_de" in listed and "stock_task" in listed
    folder = run(python.with_name("xscale"), "lm-eval-path").strip()
    if not editable:  # a Python that reads no .pth files needs the flag
        only = f"print('xnli_ood' in TaskManager(include_path={folder!r}).all_tasks)"
        code = f"import sys; sys.path += {paths(python)!r}; from lm_eval.tasks import TaskManager; {only}"
        assert run(python, "-S", "-c", code) == "True\n"


def paths(python: Path) -> list[str]:
    """Where that interpreter finds packages, for one that is started without `site`."""
    return run(python, "-c", "import sys; print(chr(10).join(sys.path[1:]))").split()


def test_an_environment_without_lm_eval_starts_in_silence(wheel, python):
    run(python, "-m", "pip", "install", "-q", "--no-deps", wheel)
    done = subprocess.run([python, "-c", "print(1)"], capture_output=True, text=True, check=True, env=CLEAN)
    assert (done.stdout, done.stderr) == ("1\n", "")
