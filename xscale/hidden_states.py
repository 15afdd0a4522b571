"""Hidden states of texts, kept on disk: what frozen layers make of a text is computed once and read by all who need it.

They lie in `hidden_states/<key>/` of the cache folder, in segments of one array each, and are read memory-mapped. All keys
together are bounded (`XSCALE_HIDDEN_STATES`, in GiB, 8 by default, 0 for none; never more than half of the free disk): segments
that were not used for longest make room.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from xscale.base_models import cache_folder
from xscale.errors import UserError
from xscale.files import HALF_WRITTEN, whole_folder

_LIMIT, _LIMIT_VARIABLE = 8.0, "XSCALE_HIDDEN_STATES"
_ABANDONED = 86400.0  # seconds after which what a killed process left half-written is removed
_STATES, _NAMES, _ENDS = "states.npy", "names.npy", "ends.npy"
_NAME_BYTES = 16


def limit() -> int:
    """Bytes that may be kept in all. Raises `UserError` when the variable is not a number of GiB."""
    given = os.environ.get(_LIMIT_VARIABLE, str(_LIMIT))
    try:
        size = float(given)
        if not 0 <= size < 1e6:
            raise ValueError
    except ValueError:
        raise UserError(f"{_LIMIT_VARIABLE}: a number of GiB from 0 is expected, not {given!r}") from None
    return int(size * 2**30)


def name_of(*tokens: Sequence[int] | None) -> bytes:
    """The name of a text: of its token ids and, where there are any, token types."""
    digest = hashlib.blake2b(digest_size=_NAME_BYTES)
    for ids in tokens:
        digest.update(b"-" if ids is None else np.asarray(ids, dtype="<i8").tobytes())
        digest.update(b"|")
    return digest.digest()


class HiddenStates:
    """The states of one key, shape (tokens, width) a text. What others add meanwhile is not seen."""

    def __init__(self, key: str, width: int, dtype: str, root: Path | None = None) -> None:
        self._root = root or cache_folder() / "hidden_states"
        self._folder = self._root / key
        self._width, self._dtype = width, np.dtype(dtype)
        self._arrays: dict[str, np.ndarray] = {}
        self._where: dict[bytes, tuple[str, int, int]] = {}
        for segment in sorted(self._folder.glob("[!.]*")):
            self._open(segment)

    def __contains__(self, name: bytes) -> bool:
        return name in self._where

    def get(self, name: bytes) -> np.ndarray:
        """A text's states, shape (tokens, width), still on the disk. Raises KeyError when it has none."""
        segment, start, end = self._where[name]
        return self._arrays[segment][start:end]

    def add(
        self, names: Sequence[bytes], lengths: Sequence[int], blocks: Iterable[tuple[int, np.ndarray]]
    ) -> bool:
        """Keep texts' states, which come in any order as (number of the text, its states). False, and nothing is computed,
        where there is no room for them beside what was used here."""
        size = sum(lengths) * self._width * self._dtype.itemsize
        if not self._make_room(size):
            return False
        ends = np.cumsum(lengths)
        path = self._folder / uuid.uuid4().hex
        with whole_folder(path) as temporary:
            states = np.lib.format.open_memmap(
                temporary / _STATES, mode="w+", dtype=self._dtype, shape=(int(ends[-1]), self._width)
            )
            for number, block in blocks:
                states[ends[number] - lengths[number] : ends[number]] = block
            states.flush()
            np.save(
                temporary / _NAMES, np.frombuffer(b"".join(names), dtype=np.uint8).reshape(-1, _NAME_BYTES)
            )
            np.save(temporary / _ENDS, ends.astype("<i8"))
        self._open(path)
        return True

    def _open(self, segment: Path) -> None:
        """Take a segment up; one that is torn, or of another shape, is passed over."""
        try:
            states = np.load(segment / _STATES, mmap_mode="r", allow_pickle=False)
            names = np.load(segment / _NAMES, allow_pickle=False)
            ends = np.load(segment / _ENDS, allow_pickle=False)
            right = states.dtype == self._dtype and states.shape == (int(ends[-1]), self._width)
            if not right or names.shape != (len(ends), _NAME_BYTES):
                return
            os.utime(segment)
        except (OSError, ValueError, IndexError, EOFError):
            return
        self._arrays[segment.name] = states
        starts = [0, *ends[:-1].tolist()]
        for name, start, end in zip(names, starts, ends.tolist(), strict=True):
            self._where[name.tobytes()] = (segment.name, start, end)

    def _make_room(self, size: int) -> bool:
        """Remove what was not used for longest, of any key, until `size` fits; never what was opened here."""
        mine = {self._folder / name for name in self._arrays}
        segments = []
        for segment in self._root.glob("*/*"):
            try:
                used, taken = segment.stat().st_mtime, sum(f.stat().st_size for f in segment.iterdir())
            except OSError:  # another process removed it
                continue
            if segment.name.endswith(HALF_WRITTEN) and time.time() - used < _ABANDONED:
                used = time.time()
                mine.add(segment)  # another process is writing it
            segments.append((used, segment, taken))
        self._root.mkdir(parents=True, exist_ok=True)
        held = sum(taken for _, _, taken in segments)
        bound = min(limit(), held + shutil.disk_usage(self._root).free // 2)
        for _, segment, taken in sorted(segments):
            if held + size <= bound:
                break
            if segment not in mine:
                shutil.rmtree(segment, ignore_errors=True)
                held -= taken
        return held + size <= bound
