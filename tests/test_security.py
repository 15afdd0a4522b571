"""What a stranger's files cannot do, and what never gets into files of ours."""

import socket
from pathlib import Path

import pytest

pytest.importorskip("torch")

from tiny_model import call, make_base, write_experiment

from xscale.journal import journal_of, read_events, without_secrets, write_event

SECRET = "hf_PlantedSecretThatMustNotAppear42"


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "OPENAI_API_KEY", "MY_PASSWORD"):
        monkeypatch.setenv(name, SECRET)


def test_no_secret_in_results_logs_or_recipes(tmp_path: Path, secrets: None) -> None:
    path = write_experiment(tmp_path, make_base(tmp_path / "base"), sizes="[0, 32]")
    manifest = ("--manifest", tmp_path / "checkpoints_manifest.json")
    code, output, errors = call("run", path, *manifest)
    assert code == 0, errors
    printed = [output, errors]
    for arguments in (("board", "--format", "html"), ("status",), ("check",), ("ls",)):
        printed += call(*arguments, *manifest)[1:]
    assert SECRET not in "".join(printed)
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert {"runs.jsonl", "recipe.json", "results.json", "predictions.parquet"} <= {f.name for f in files}
    assert [file for file in files if SECRET.encode() in file.read_bytes()] == []


def test_a_secret_in_an_error_is_blotted_out_of_the_log(tmp_path: Path, secrets: None) -> None:
    journal = journal_of(tmp_path / "checkpoints_manifest.json")
    write_event(journal, "failed", problem=f"401 for https://user:{SECRET}@example.org")
    assert read_events(journal)[0]["problem"] == "401 for https://user:***@example.org"
    assert without_secrets("nothing here") == "nothing here"


def test_a_torn_line_of_the_log_is_left_out(tmp_path: Path) -> None:
    journal = tmp_path / "logs" / "runs.jsonl"
    write_event(journal, "started", kind="train", id="a")
    with journal.open("a") as file:
        file.write('{"event": "do\n[1]\nnull\n')
    write_event(journal, "done", kind="train", id="a")
    assert [event["event"] for event in read_events(journal)] == ["started", "done"]


def test_a_hostile_manifest_is_escaped_in_html(tmp_path: Path) -> None:
    manifest = tmp_path / "checkpoints_manifest.json"
    manifest.write_text(
        '{"version": 1, "entries": [{"id": "a", "model": "hf", "model_args": {"pretrained": "x/y"}, '
        '"base": "<script>alert(1)</script>", "intermediate": ["<img src=x onerror=alert(1)>"], '
        '"note": "\\"><script>alert(2)</script>"}]}',
        encoding="utf-8",
    )
    code, output, errors = call("board", "--format", "html", "--manifest", manifest)
    assert code == 0, errors
    assert "<script>alert" not in output and "<img" not in output


def test_nothing_listens_on_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a socket was opened for listening")

    monkeypatch.setattr(socket.socket, "listen", refuse)
    path = write_experiment(tmp_path, make_base(tmp_path / "base"), sizes="[0, 32]")
    code, _, errors = call("run", path, "--manifest", tmp_path / "checkpoints_manifest.json")
    assert code == 0, errors


def test_code_beside_a_checkpoint_does_not_run(tmp_path: Path) -> None:
    """A config that points to code in the folder: refused, and the code was not imported."""
    import json

    from tiny_model import make_head, write_manifest_json

    folder = make_head(tmp_path / "model", make_base(tmp_path / "base"))
    config = folder / "xnli" / "config.json"
    content = json.loads(config.read_text(encoding="utf-8"))
    content |= {
        "model_type": "never_heard_of",
        "auto_map": {"AutoConfig": "evil.Config", "AutoModelForSequenceClassification": "evil.Model"},
    }
    config.write_text(json.dumps(content), encoding="utf-8")
    proof = tmp_path / "it-ran"
    (folder / "xnli" / "evil.py").write_text(f"open({str(proof)!r}, 'w')\n", encoding="utf-8")
    manifest = write_manifest_json(tmp_path / "checkpoints_manifest.json", targets={"xnli": ["mnli"]})
    code, _, errors = call("eval", "--data", "bundled", "--limit", 2, "--manifest", manifest)
    assert code == 2 and "cannot be loaded" in errors and not proof.exists()
