"""Scores on disk batch by batch, so that a killed evaluation goes on where it was."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from pathlib import Path
from types import TracebackType

import numpy as np

_MAGIC = b"XSJRN001"
_RECORD = struct.Struct("<III")  # batch number, float64 values, CRC-32 of number and values


class Journal:
    """The scores of finished batches, by batch number; `add` appends one to the file.

    The file begins with a hash of `key`, which says what the scores are of: a file with another one is begun anew. A
    record that was being written when the process was killed is cut off. Without a path nothing is kept on disk. One
    process writes a path at a time (hold a lock).
    """

    def __init__(self, path: Path | None, key: str) -> None:
        self.done: dict[int, np.ndarray] = {}
        self._file: io.FileIO | None = None
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = io.FileIO(path, "r+" if path.exists() else "w+")
        header = _MAGIC + hashlib.sha256(key.encode()).digest()
        data = self._file.read()
        end = self._read_records(data, len(header)) if data.startswith(header) else 0
        self._file.truncate(end)
        self._file.seek(end)
        if end == 0:
            self._file.write(header)

    def add(self, number: int, scores: np.ndarray) -> None:
        """Append a finished batch; float32 scores are kept exactly."""
        values = np.ascontiguousarray(scores, dtype="<f8").reshape(-1)
        self.done[number] = values
        if self._file is not None:
            data = values.tobytes()
            self._file.write(_RECORD.pack(number, values.size, _checksum(number, data)) + data)

    def _read_records(self, data: bytes, start: int) -> int:
        """Read whole, undamaged records; returns where the first that is not begins."""
        while start + _RECORD.size <= len(data):
            number, count, checksum = _RECORD.unpack_from(data, start)
            end = start + _RECORD.size + 8 * count
            values = data[start + _RECORD.size : end]
            if end > len(data) or _checksum(number, values) != checksum:
                break
            self.done[number] = np.frombuffer(values, "<f8")
            start = end
        return start

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()


def _checksum(number: int, data: bytes) -> int:
    return zlib.crc32(data, number & 0xFFFFFFFF)
