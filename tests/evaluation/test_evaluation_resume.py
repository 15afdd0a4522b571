"""A killed evaluation goes on where it was, and ends as one that was not."""

import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from small_checkpoints import SELECTION

from xscale.evaluation.answers import PARTIAL, RESULTS, evaluate_entry
from xscale.evaluation.encoder_lm import EncoderLM
from xscale.evaluation.predictions import PREDICTIONS, read_predictions
from xscale.evaluation.scores import Journal
from xscale.manifest import Entry


class Killed(BaseException):
    """Nothing catches it."""


def run(entry: Entry, folder: Path) -> list[dict]:
    evaluate_entry(entry, SELECTION, "bundled", folder / "manifest.json", folder)
    return read_predictions(folder / entry.id / PREDICTIONS).table.to_pylist()


def small_batches(entry: Entry) -> Entry:
    return entry.model_copy(update={"model_args": {**entry.model_args, "tokens_a_batch": 200}})


def stop_after(monkeypatch: pytest.MonkeyPatch, batches: int) -> list[int]:
    """Let the model compute so many batches, then fail; returns a list that grows with each."""
    real, computed = EncoderLM._call, []

    def call(self: EncoderLM, *args: object) -> object:
        if len(computed) == batches:
            raise Killed
        computed.append(1)
        return real(self, *args)

    monkeypatch.setattr(EncoderLM, "_call", call)
    return computed


def test_the_end_is_the_same_and_nothing_is_computed_twice(
    entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = small_batches(entry)
    with monkeypatch.context() as patch:
        total = stop_after(patch, 10**6)
        reference = run(entry, tmp_path / "whole")
    done = 0
    for batches in (3, 5, len(total) - 10):
        with monkeypatch.context() as patch:
            computed = stop_after(patch, batches)
            with pytest.raises(Killed):
                run(entry, tmp_path / "stopped")
            done += len(computed)
        assert not (tmp_path / "stopped" / entry.id / RESULTS).exists()
    with monkeypatch.context() as patch:
        computed = stop_after(patch, 10**6)
        resumed = run(entry, tmp_path / "stopped")
        done += len(computed)
    assert resumed == reference  # to the last bit
    assert done == len(total)
    assert not (tmp_path / "stopped" / entry.id / PARTIAL).exists()


def test_what_other_weights_or_settings_left_is_not_used(
    entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(Killed):
            run(small_batches(entry), tmp_path)
    changed = small_batches(entry).model_copy(
        update={"model_args": {**entry.model_args, "tokens_a_batch": 201}}
    )
    with monkeypatch.context() as patch:
        total = stop_after(patch, 10**6)
        run(changed, tmp_path / "fresh")
    with monkeypatch.context() as patch:
        computed = stop_after(patch, 10**6)
        run(changed, tmp_path)
    assert len(computed) == len(total)


def test_a_journal_keeps_whole_records_only(tmp_path: Path) -> None:
    path = tmp_path / "x.scores"
    values = np.array([0.1, -2.5, 1e-30], dtype=np.float32)
    with Journal(path, "key") as journal:
        journal.add(4, values)
        journal.add(0, values[::-1])
        journal.add(7, values[:1])
    whole = path.read_bytes()
    with Journal(path, "key") as journal:
        assert sorted(journal.done) == [0, 4, 7]
        assert journal.done[4].astype(np.float32).tolist() == values.tolist()
    for cut in range(len(whole) - 1, len(whole) - 19, -1):  # anywhere within the last record
        path.write_bytes(whole[:cut])
        with Journal(path, "key") as journal:
            assert sorted(journal.done) == [0, 4]
            journal.add(7, values[:1])
        assert path.read_bytes() == whole
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 128]))
    with Journal(path, "key") as journal:
        assert sorted(journal.done) == [0, 4]
    path.write_bytes(whole[:45] + struct.pack("<I", 2**31) + whole[49:])
    with Journal(path, "key") as journal:
        assert not journal.done
    path.write_bytes(whole)
    with Journal(path, "another key") as journal:
        assert not journal.done
    with Journal(path, "another key") as journal:
        assert not journal.done and path.stat().st_size < len(whole)


def test_the_cache_changes_no_result(
    entry: Entry, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xscale.evaluation import tokens

    first = run(entry, tmp_path / "a")
    tokens._memory.clear()
    assert run(entry, tmp_path / "b") == first and list((own_cache / "tokens").glob("*.bin"))
    tokens._memory.clear()
    shutil.rmtree(own_cache)
    monkeypatch.setenv("XSCALE_TOKENS", "off")
    assert run(entry, tmp_path / "c") == first and not own_cache.exists()
