"""Where an evaluation keeps the batches that it has finished, below `results/<id>/`."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

PARTIAL = ".partial"  # what an evaluation under way has computed so far
AHEAD = ".ahead"  # finished batches in which not every document was asked for yet


@dataclass(frozen=True)
class Kept:
    """The journals of one entry (`folder` is `results/<id>/`) for what `key` describes: weights, settings, precision."""

    folder: Path
    key: str

    @property
    def _digest(self) -> str:
        return hashlib.sha256(self.key.encode()).hexdigest()[:12]

    def path(self, target: str, part: str = "") -> Path:
        """The journal of a target that this process writes; `part` tells it from other processes'."""
        return self.folder / PARTIAL / f"{target}-{self._digest}{part}.scores"

    def others(self, target: str) -> list[Path]:
        """All journals of the target that there are, whoever wrote them."""
        return [
            path
            for place in (AHEAD, PARTIAL)
            for path in sorted((self.folder / place).glob(f"{target}-{self._digest}*.scores"))
            if path.is_file()
        ]

    def settle(self, target: str, *, complete: bool) -> None:
        """Everything that was asked for is stored: put the journals away, or remove them where all they have is stored
        (`complete`)."""
        for path in self.others(target):
            if complete:
                path.unlink()
            elif path.parent.name == PARTIAL:
                place = self.folder / AHEAD / path.name
                place.parent.mkdir(exist_ok=True)
                number = 1
                while place.exists():
                    number += 1
                    place = place.with_name(f"{path.stem}.{number}.scores")
                os.replace(path, place)
        for name in (PARTIAL, AHEAD):
            folder = self.folder / name
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
