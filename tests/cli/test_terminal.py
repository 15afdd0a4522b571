"""What a stranger's names can do to a terminal, and what a terminal, or none, can do to us."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_model import call

from xscale.manifest import Entry, add_entries
from xscale.progress import console, say
from xscale.terminal import safe_text

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = [sys.executable, "-c", "from xscale.cli.main import main; main()"]


def run(folder: Path, *arguments: str, **options) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}
    return subprocess.run(
        [*PROGRAM, *arguments], cwd=folder, env=environment, capture_output=True, check=False, **options
    )


@pytest.fixture
def here(tmp_path: Path) -> Path:
    entry = Entry(id="a", model="hf", model_args={"pretrained": "b/c"}, intermediate=["größer 数"], note="x")
    add_entries(tmp_path / "checkpoints_manifest.json", [entry])
    return tmp_path


@pytest.mark.parametrize(
    "text", ["\x1b[2J", "\r", "\x07", "\x9b31m", "\u202e", "\u2066", "\u200f", "\u2028", "\ud800"]
)
def test_nothing_acts_on_the_terminal(text: str, capsys: pytest.CaptureFixture, monkeypatch) -> None:
    assert text not in safe_text(f"a{text}b") and safe_text("größer 数 \U0001f600") == "größer 数 \U0001f600"
    monkeypatch.setattr(console, "_file", sys.stderr)
    say(f"a{text}b [bold]c")
    shown = capsys.readouterr().err
    assert text not in shown.removesuffix("\n") and "[bold]c" in shown


def test_an_error_names_a_file_without_letting_it_act(here: Path) -> None:
    ended = run(here, "board", "--manifest", "\x1b[31mred\u202e.json")
    assert ended.returncode == 2 and b"\x1b" not in ended.stderr and b"\\u001b" in ended.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_terminal_of_few_characters(here: Path, encoding: str) -> None:
    ended = run(here, "ls", env={"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"})
    assert ended.returncode == 0 and b"\\u6570" in ended.stdout, ended.stderr


def test_no_standard_output_at_all(here: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = " ".join([f"'{part}'" for part in [*PROGRAM, "ls"]])
    for closed in (">&-", "2>&-", ">&- 2>&-"):
        ended = subprocess.run(
            ["bash", "-c", f"{command} {closed}"], cwd=here, env=environment, capture_output=True, check=False
        )
        assert ended.returncode == 0 and b"Traceback" not in ended.stderr, ended.stderr


@pytest.mark.parametrize(
    "name",
    ["x" * 300 + ".json", "loop.json", "folder", "checkpoints_manifest.json/inside", "\0"[:0] + "a\nb"],
)
def test_names_that_no_file_has(here: Path, name: str) -> None:
    (here / "loop.json").symlink_to(here / "loop.json")
    (here / "folder").mkdir()
    add = ["add", "--model", "hf", "--model-args", "pretrained=a/b"]
    for command in (["board"], ["ls"], ["check"], ["status"], ["eval"], add):
        ended = run(here, *command, "--manifest", name)
        assert b"Traceback" not in ended.stderr, ended.stderr.decode()
        assert ended.returncode in (0, 2) and ended.stderr.count(b"\n") <= 2


@pytest.mark.parametrize("refused", ["checkpoints_manifest.json", ".lock", "results"])
def test_permission_denied_is_one_line(here: Path, refused: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests may run as root, whom nothing is refused: the system call is made to."""
    real = os.open

    def refuse(path: object, *rest: object, **others: object) -> int:
        if str(path).endswith(refused):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *rest, **others)

    monkeypatch.setattr(os, "open", refuse)
    manifest = here / "checkpoints_manifest.json"
    server = ("--model", "local-completions", "--model-args", "model=m,base_url=http://127.0.0.1:1/v1")
    code, _, errors = call("add", *server, "--id", "server", "--manifest", manifest)
    lines = errors.splitlines()
    assert (code, len(lines)) == ((0, 0) if refused == "results" else (2, 1)), errors
    assert "Traceback" not in errors and (not lines or "ermission" in lines[0])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_leaves_a_word(here: Path, number: int, code: int) -> None:
    program = (
        "import signal, sys, time\nfrom xscale.cli import main as m\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored in what a shell starts in the background
        "def wait():\n    print('ready', flush=True)\n    time.sleep(60)\n"
        "m.app.command('wait')(wait)\nsys.argv = ['xscale', 'wait']\nm.main()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=here,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdout.readline() == b"ready\n"
    time.sleep(0.1)
    child.send_signal(number)
    _, errors = child.communicate(timeout=30)
    assert child.returncode == code and b"the same command goes on" in errors and b"Traceback" not in errors
