"""Scores on disk batch by batch, so that a killed evaluation goes on where it was."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

import numpy as np

from xscale.files import open_own, refuse_link

_MAGIC = b"XSJRN002"
_RECORD = struct.Struct("<QII")  # batch, float64 values, CRC-32 of batch and values


class Journal:
    """The scores of finished batches; `add` appends one to the file.

    A batch is known by a number of 64 bits that says what is in it (`batch_number`), so that scores are never taken for
    those of another batch, whatever else is computed before or after it. The file begins with a hash of `key`, which
    says what computed the scores: a file with another one is begun anew. A record that was being written when the process
    was killed is cut off. `others` are files of the same kind, whose batches count as done too. Without a path nothing is
    kept on disk. One process writes a path at a time (hold a lock).
    """

    def __init__(self, path: Path | None, key: str, others: Iterable[Path] = ()) -> None:
        self.done: dict[int, np.ndarray] = {}
        self._file: io.FileIO | None = None
        if path is None:
            return
        header = _MAGIC + hashlib.sha256(key.encode()).digest()
        for other in others:
            if other != path:
                self._read_records(other.read_bytes(), header)
        refuse_link(path.parent)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = io.FileIO(open_own(path, os.O_RDWR), "r+")
        end = self._read_records(self._file.read(), header)
        self._file.truncate(end)
        self._file.seek(end)
        if end == 0:
            self._file.write(header)

    def add(self, batch: int, scores: np.ndarray) -> None:
        """Append a finished batch; float32 scores are kept exactly."""
        values = np.ascontiguousarray(scores, dtype="<f8").reshape(-1)
        self.done[batch] = values
        if self._file is not None:
            data = values.tobytes()
            self._file.write(_RECORD.pack(batch, values.size, _checksum(batch, data)) + data)

    def _read_records(self, data: bytes, header: bytes) -> int:
        """Read whole, undamaged records; returns where the first that is not begins, 0 where the header is another."""
        if not data.startswith(header):
            return 0
        start = len(header)
        while start + _RECORD.size <= len(data):
            batch, count, checksum = _RECORD.unpack_from(data, start)
            end = start + _RECORD.size + 8 * count
            values = data[start + _RECORD.size : end]
            if end > len(data) or _checksum(batch, values) != checksum:
                break
            self.done[batch] = np.frombuffer(values, "<f8")
            start = end
        return start

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()


def batch_number(*content: bytes) -> int:
    """The number that a batch of that content is kept under."""
    digest = hashlib.blake2b(digest_size=8)
    for part in content:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return int.from_bytes(digest.digest(), "little")


def _checksum(batch: int, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(batch.to_bytes(8, "little")))
