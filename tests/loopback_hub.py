"""A Hugging Face hub on loopback: its HTTP API (repository info, tree, paths-info, resolve with ranges) over real files.

    hub = LoopbackHub(folder)                       # starts to serve; hub.close() ends it
    commit = hub.commit("datasets/owner/name", {"data/train.parquet": b"...", "README.md": b"..."})
    hub.trouble["owner/name"] = 503                 # or a number of seconds as text: "2.5s", or "slow": files at 7 MB a second

The libraries read the endpoint when they are imported, so a test runs its command in a process of its own, with
`hub.environment(cache)`. As on the hub, files that are not small text are LFS blobs, whose etag is their SHA-256, and every
answer names the commit. `hub.requests` lists what was asked for, with the range if there was one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
LFS_SUFFIXES = {".parquet", ".safetensors", ".gz", ".model", ".bin"}
_SLOW_CHUNK = 2**20


class LoopbackHub:
    """Repositories are `models/owner/name` or `datasets/owner/name`; each commit is a folder, each branch names one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.branches: dict[str, dict[str, str]] = {}
        self.trouble: dict[str, int | str] = {}
        self.requests: list[str] = []
        hub = self

        class Handler(_Handler):
            served = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def commit(
        self,
        repository: str,
        files: Mapping[str, bytes | str],
        branch: str = "main",
        digest: str | None = None,
    ) -> str:
        """Make these the repository's files at a new commit, to which the branch then points; returns the commit (`digest`, or
        made from the files)."""
        data = {name: text.encode() if isinstance(text, str) else text for name, text in files.items()}
        digest = digest or hashlib.sha1(repr(sorted(data.items())).encode()).hexdigest()
        for name, content in data.items():
            path = self.folder / repository / digest / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        self.branches.setdefault(repository, {})[branch] = digest
        return digest

    def environment(self, cache: Path, **more: str) -> dict[str, str]:
        """Variables of a process that asks this hub and keeps what it gets below `cache`."""
        drop = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "XSCALE_DATA")
        return {
            **{name: value for name, value in os.environ.items() if name not in drop},
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(cache),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_XET": "1",
            "PYTHONPATH": str(ROOT),
            **more,
        }

    def call(self, cache: Path, *arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
        """`xscale <arguments>` in a process that asks this hub."""
        program = "from xscale.cli.main import main; main()"
        command = [sys.executable, "-c", program, *map(str, arguments)]
        return subprocess.run(
            command,
            env=self.environment(cache, **more),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def python(self, cache: Path, code: str, **more: str) -> subprocess.CompletedProcess[str]:
        """`python -c code` in a process that asks this hub."""
        environment = self.environment(cache, **more)
        return subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )


def parquet(rows: list[dict[str, Any]]) -> bytes:
    """The rows as the bytes of a parquet file."""
    import io

    import pyarrow as pa
    import pyarrow.parquet

    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def card(splits: Mapping[str, Mapping[str, str]]) -> str:
    """A README that declares configs: {config: {split: path}}."""
    lines = ["---", "configs:"]
    for config, files in splits.items():
        lines += [f"- config_name: {config}", "  data_files:"]
        for split, path in files.items():
            lines += [f"  - split: {split}", f"    path: {path}"]
    return "\n".join([*lines, "---", ""])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: LoopbackHub

    def log_message(self, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        url = urlsplit(self.path)
        path = unquote(url.path)
        wanted = self.headers.get("Range")
        self.served.requests.append(f"{self.command} {path}" + (f" {wanted}" if wanted else ""))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        api = re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/(.+))?", path)
        file = re.fullmatch(r"/(datasets/)?([^/]+/[^/]+)/resolve/(.+)", path)
        if api:
            kind, name, verb, rest = api.groups()
            if not self._in_trouble(name):
                self._api(f"{kind}/{name}", verb, rest or "main", body, parse_qs(url.query))
        elif file:
            dataset, name, rest = file.groups()
            if not self._in_trouble(name):
                self._file(f"{'datasets' if dataset else 'models'}/{name}", rest)
        else:
            self._send(404, b"not served here")

    def _in_trouble(self, name: str) -> bool:
        trouble = self.served.trouble.get(name)
        if isinstance(trouble, int):
            self._send(trouble, b"trouble")
            return True
        if trouble and trouble != "slow":
            time.sleep(float(trouble.removesuffix("s")))
        return False

    def _api(self, repository: str, verb: str | None, rest: str, body: bytes, query: dict[str, Any]) -> None:
        found = self._resolve(repository, rest)
        if found is None:
            return
        commit, inner = found
        root = self.served.folder / repository / commit
        files = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
        if verb in (None, "revision"):
            info = {
                "id": repository.partition("/")[2],
                "sha": commit,
                "private": False,
                "gated": False,
                "disabled": False,
                "tags": [],
                "downloads": 0,
                "likes": 0,
                "siblings": [{"rfilename": name} for name in files],
            }
            self._json(info, commit)
        elif verb == "tree":
            recursive = query.get("recursive", ["false"])[0].lower() == "true"
            below = [name for name in files if not inner or name.startswith(f"{inner}/")]
            if inner and not below:
                self._error(404, "EntryNotFound")
                return
            self._json(_tree(root, inner, below, recursive), commit)
        else:
            wanted = json.loads(body)["paths"] if body[:1] == b"{" else parse_qs(body.decode())["paths"]
            entries = [_entry(root, name) for name in wanted if (root / name).exists()]
            self._json(entries, commit)

    def _file(self, repository: str, rest: str) -> None:
        found = self._resolve(repository, rest)
        if found is None:
            return
        commit, inner = found
        path = self.served.folder / repository / commit / inner
        if not inner or not path.is_file():
            self._error(404, "EntryNotFound", commit)
            return
        data = path.read_bytes()
        headers = {"X-Repo-Commit": commit, "ETag": f'"{_etag(path)}"', "Accept-Ranges": "bytes"}
        status, total = 200, len(data)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if wanted:
            start, end = int(wanted[1]), min(int(wanted[2] or total - 1), total - 1)
            if start >= total:
                self._send(416, b"", {"Content-Range": f"bytes */{total}"})
                return
            data, status = data[start : end + 1], 206
            headers["Content-Range"] = f"bytes {start}-{end}/{total}"
        self._send(status, data, headers, self.served.trouble.get(repository.partition("/")[2]) == "slow")

    def _resolve(self, repository: str, rest: str) -> tuple[str, str] | None:
        """The commit that the path begins with (itself, or the branch's) and what follows; None once an error is answered."""
        branches = self.served.branches.get(repository)
        if branches is None:
            self._error(404, "RepoNotFound")
            return None
        commits = {path.name for path in (self.served.folder / repository).iterdir()}
        for name, commit in [*branches.items(), *((commit, commit) for commit in commits)]:
            if rest == name or rest.startswith(f"{name}/"):
                return commit, rest[len(name) + 1 :]
        self._error(404, "RevisionNotFound")
        return None

    def _error(self, status: int, code: str, commit: str | None = None) -> None:
        headers = {"X-Error-Code": code, "X-Error-Message": code}
        self._send(status, code.encode(), {**headers, **({"X-Repo-Commit": commit} if commit else {})})

    def _json(self, value: Any, commit: str) -> None:
        headers = {"Content-Type": "application/json", "X-Repo-Commit": commit}
        self._send(200, json.dumps(value).encode(), headers)

    def _send(
        self, status: int, data: bytes, headers: Mapping[str, str] | None = None, slow: bool = False
    ) -> None:
        try:
            self.send_response(status)
            for name, value in {"Content-Type": "application/octet-stream", **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command == "HEAD":
                return
            for start in range(0, len(data), _SLOW_CHUNK if slow else max(1, len(data))):
                self.wfile.write(data[start : start + _SLOW_CHUNK] if slow else data)
                self.wfile.flush()
                if slow:
                    time.sleep(0.15)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True


def _tree(root: Path, inner: str, files: list[str], recursive: bool) -> list[dict[str, Any]]:
    entries: dict[str, dict[str, Any]] = {}
    depth = inner.count("/") + 1 if inner else 0
    for name in files:
        parts = name.split("/")
        for length in range(depth + 1, len(parts) + 1):
            if recursive or length == depth + 1:
                path = "/".join(parts[:length])
                entries[path] = _entry(root, path)
    return [entries[path] for path in sorted(entries)]


def _entry(root: Path, name: str) -> dict[str, Any]:
    path = root / name
    if path.is_dir():
        return {"type": "directory", "oid": hashlib.sha1(name.encode()).hexdigest(), "size": 0, "path": name}
    data = path.read_bytes()
    entry = {"type": "file", "oid": _blob(data), "size": len(data), "path": name}
    if path.suffix in LFS_SUFFIXES:
        entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return entry


def _blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _etag(path: Path) -> str:
    data = path.read_bytes()
    return hashlib.sha256(data).hexdigest() if path.suffix in LFS_SUFFIXES else _blob(data)
