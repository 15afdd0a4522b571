"""The cache of tokenised documents: in memory, on disk, shared and damaged."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from xscale.evaluation import tokens
from xscale.evaluation.batches import batch_plan, padded
from xscale.evaluation.encoder_lm import load_tokenizer
from xscale.evaluation.tokens import Tokens, tokenised, tokenizer_fingerprint

PAIRS = [("the man sleeps", "a man is here"), ("a", "b"), ("the dog runs and runs", "the dog"), ("", "x")] * 3


def make(folder: Path, pairs: list = PAIRS, max_length: int = 9, calls: list | None = None) -> Tokens:
    def load() -> object:
        if calls is not None:
            calls.append(1)
        return load_tokenizer(folder)

    return tokenised(pairs, folder, max_length, load)  # type: ignore[arg-type]


def forget() -> None:
    tokens._memory.clear()


def types_of(made: Tokens) -> list[int]:
    assert made.types is not None
    return made.types.tolist()


def as_lists(made: Tokens) -> list[list[int]]:
    return [made.ids[a:b].tolist() for a, b in zip(made.starts[:-1], made.starts[1:], strict=True)]


def test_the_same_from_tokenizer_memory_and_disk(tiny_base: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    encoded = [tokenizer(a, b, truncation="longest_first", max_length=9) for a, b in PAIRS]
    expected = [one["input_ids"] for one in encoded]
    types = [number for one in encoded for number in one["token_type_ids"]]
    calls: list[int] = []
    first = make(tiny_base, calls=calls)
    assert types_of(first) == types and 1 in types
    assert as_lists(first) == expected and first.lengths.tolist() == [len(ids) for ids in expected]
    assert first.truncated == sum(len(tokenizer(a, b)["input_ids"]) > 9 for a, b in PAIRS) > 0
    assert make(tiny_base, calls=calls) is first
    forget()
    again = make(tiny_base, calls=calls)
    assert as_lists(again) == expected and again.truncated == first.truncated
    assert types_of(again) == types
    assert len(calls) == 1


def test_another_text_order_length_or_tokenizer_is_another_key(tiny_base: Path, tmp_path: Path) -> None:
    import shutil

    other = tmp_path / "other"
    shutil.copytree(tiny_base, other)
    assert tokenizer_fingerprint(other) == tokenizer_fingerprint(tiny_base)
    with (other / "tokenizer_config.json").open("a") as file:
        file.write(" ")
    keys = {
        make(tiny_base).key,
        make(tiny_base, PAIRS[::-1]).key,
        make(tiny_base, PAIRS[:-1]).key,
        make(tiny_base, [("the man sleeps a", " man is here"), *PAIRS[1:]]).key,
        make(tiny_base, max_length=8).key,
        make(other).key,
    }
    assert len(keys) == 6


@pytest.mark.parametrize("damage", ["cut", "flip a byte", "flip the header", "empty"])
def test_damage_is_noticed_and_repaired(tiny_base: Path, own_cache: Path, damage: str) -> None:
    first = as_lists(make(tiny_base))
    (path,) = (own_cache / "tokens").glob("*.bin")
    whole = path.read_bytes()
    place = {"flip a byte": len(whole) - 3, "flip the header": 9}.get(damage, 0)
    damaged = {"cut": whole[:-5], "empty": b""}.get(
        damage, whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
    )
    path.write_bytes(damaged)
    forget()
    calls: list[int] = []
    assert as_lists(make(tiny_base, calls=calls)) == first
    assert calls and path.read_bytes() == whole


def test_processes_that_start_together_share_it(tiny_base: Path, own_cache: Path) -> None:
    program = f"""
from pathlib import Path
from transformers import PreTrainedTokenizerFast
from xscale.evaluation.tokens import tokenised
folder = Path({str(tiny_base)!r})
print(sum(tokenised({PAIRS!r}, folder, 9, lambda: PreTrainedTokenizerFast.from_pretrained(folder)).ids.tolist()))
"""
    root = str(Path(tokens.__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root}
    running = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    ]
    answers = [process.communicate(timeout=120)[0].strip() for process in running]
    assert answers == [str(sum(make(tiny_base).ids.tolist()))] * 2
    assert len(list((own_cache / "tokens").glob("*.bin"))) == 1
    assert not list((own_cache / "tokens").glob("*.part"))


def test_a_folder_that_cannot_be_written_costs_only_time(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XSCALE_CACHE", str(tmp_path / "file"))
    assert len(as_lists(make(tiny_base))) == len(PAIRS)


def test_files_used_longest_ago_go_first(
    tiny_base: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 0
    for number in range(4):
        make(tiny_base, max_length=9 + number)
        for age, path in enumerate(sorted((own_cache / "tokens").glob("*.bin"))):
            size = max(size, path.stat().st_size)
            os.utime(path, (1000 - age, 1000 - age))
    monkeypatch.setattr(tokens, "_ON_DISK", int(2.5 * size))
    newest = make(tiny_base, max_length=20).key
    left = {path.stem for path in (own_cache / "tokens").glob("*.bin")}
    assert newest in left and len(left) == 2


def test_batches_hold_every_text_once_within_the_budget() -> None:
    lengths = np.random.default_rng(0).integers(1, 70, 500)
    for budget in (1, 64, 300, 10**6):
        plan = batch_plan(lengths, budget)
        assert sorted(np.concatenate(plan).tolist()) == list(range(500))
        assert all(len(batch) == 1 or len(batch) * lengths[batch].max() <= budget for batch in plan)
        longest = [int(lengths[batch].max()) for batch in plan]
        assert longest == sorted(longest, reverse=True)
    assert batch_plan(np.array([], dtype=np.int64), 8) == []


def test_padding_is_on_the_right_and_masked(tiny_base: Path) -> None:
    made = make(tiny_base)
    batch = np.array([1, 0, len(PAIRS) - 1])
    assert set(padded(made, batch, pad=77)) == {"input_ids", "attention_mask"}
    ids, mask, types = padded(made, batch, pad=77, types=True).values()
    for row, text in enumerate(batch):
        real = as_lists(made)[text]
        assert ids[row].tolist() == real + [77] * (ids.shape[1] - len(real))
        assert mask[row].tolist() == [1] * len(real) + [0] * (ids.shape[1] - len(real))
        first, second = (
            load_tokenizer(tiny_base)(part, add_special_tokens=False).input_ids for part in PAIRS[text]
        )
        if len(first) + len(second) + 3 == len(real):  # not cut
            told = [0] * (len(first) + 2) + [1] * (len(second) + 1)
            assert types[row].tolist() == told + [0] * (ids.shape[1] - len(told))
