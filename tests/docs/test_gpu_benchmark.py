"""The benchmark for GPUs runs, with tiny models and without a GPU, so that it cannot rot."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
ROOT = Path(__file__).resolve().parents[2]


def test_it_writes_its_table(tmp_path: Path) -> None:
    table = tmp_path / "gpu.md"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XSCALE_CACHE": str(tmp_path), "TQDM_DISABLE": "1"}
    ended = subprocess.run(
        [sys.executable, "benchmarks/gpu.py", "--shapes", "tiny", "--write", str(table)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    rows = [line for line in table.read_text(encoding="utf-8").splitlines() if line.startswith("| ")][2:]
    names = " ".join(rows)
    for what in (
        "forward ceiling",
        "pipeline",
        "Trainer",
        "matrix-product peak",
        "log-probability",
        "shared trunk",
        "times hf",
    ):
        assert what in names
    assert all("nan" not in row for row in rows)
