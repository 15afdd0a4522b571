"""Tokenised documents: made once for each (texts, tokenizer), kept in memory and in a memory-mapped file.

The file's name is a hash of everything that the token ids depend on: the texts themselves in their order (which data,
task version and limit come down to), the tokenizer's files and the versions of the libraries that run them, and the
maximal length. Files appear whole, so several processes may share the folder; a damaged one is noticed by its
checksum and made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from xscale.base_models import cache_folder
from xscale.files import whole_file
from xscale.progress import say

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerBase

Pairs = Sequence[tuple[str, str]]

_MAGIC = b"XSTOK002"
# magic, texts, token ids, token types (as many as ids, or none), truncated texts, BLAKE2b of all that follows
_HEADER = struct.Struct("<8sQQQQ32s")
_IN_MEMORY = 4  # sets of texts (two targets, two tokenizers)
_ON_DISK = 2 << 30  # bytes; the files used longest ago go first
_CHUNK = 10_000  # texts the tokenizer gets at once
_memory: OrderedDict[str, Tokens] = OrderedDict()


@dataclass(frozen=True)
class Tokens:
    """Token ids of texts (pairs of texts, each with its special tokens).

    `ids` are all of them one after the other (int32); text i has `ids[starts[i]:starts[i + 1]]`, so `starts` (int64)
    has one element more than there are texts. `truncated` is how many texts were longer than the maximal length.
    `types` says which text of the pair each token is of (uint8), for tokenizers that give it to their models (BERT's).
    """

    ids: np.ndarray
    starts: np.ndarray
    truncated: int
    key: str
    types: np.ndarray | None = None

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each text (int64)."""
        return np.diff(self.starts)

    def content(self, texts: np.ndarray) -> tuple[bytes, bytes, bytes]:
        """All that these texts' tokens are, in this order: lengths, ids, types."""
        starts, lengths = self.starts[texts], self.lengths[texts]
        ends = np.cumsum(lengths)
        places = np.repeat(starts - (ends - lengths), lengths) + np.arange(int(ends[-1]) if len(ends) else 0)
        types = b"" if self.types is None else self.types[places].astype("<u1").tobytes()
        return lengths.astype("<i8").tobytes(), self.ids[places].astype("<i4").tobytes(), types


def cut_texts(pairs: Pairs, tokenizer: PreTrainedTokenizerBase, max_length: int) -> int:
    """How many of the pairs have more than `max_length` tokens."""
    return sum(len(text) > max_length for text in _encode(tokenizer, pairs, None)["input_ids"])


def tokenised(
    pairs: Pairs, folder: Path, max_length: int, load_tokenizer: Callable[[], PreTrainedTokenizerBase]
) -> Tokens:
    """The pairs' token ids, the longer text of a pair cut where both exceed `max_length`: from memory, the cache or anew.

    `folder` has the tokenizer's files, by which it is recognised; `load_tokenizer` is called only when needed. With
    XSCALE_TOKENS=off nothing is read from or written to disk.
    """
    key = _key(pairs, folder, max_length)
    if key in _memory:
        _memory.move_to_end(key)
        return _memory[key]
    path = cache_folder() / "tokens" / f"{key}.bin"
    on_disk = os.environ.get("XSCALE_TOKENS") != "off"
    tokens = _read(path, key, len(pairs)) if on_disk else None
    if tokens is None:
        tokens = _tokenise(pairs, load_tokenizer(), max_length, key)
        if on_disk:
            try:
                _write(path, tokens)
                _prune(path.parent)
            except OSError as error:  # a full or read-only disk costs time, not the evaluation
                say(f"tokenised documents are not kept: {path.parent}: {error.strerror}")
    _memory[key] = tokens
    while len(_memory) > _IN_MEMORY:
        _memory.popitem(last=False)
    return tokens


def tokenizer_fingerprint(folder: Path) -> str:
    """SHA-256 (hex) over the tokenizer's files in a checkpoint's folder and the versions of the libraries that run it."""
    names = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.model")
    digest = hashlib.sha256(_versions().encode())
    for path in sorted({path for name in names for path in folder.glob(name) if path.is_file()}):
        stat = path.stat()
        content = _file_digest(path, stat.st_size, stat.st_mtime_ns)
        digest.update(f"\n{path.name} {content}".encode())
    return digest.hexdigest()


@lru_cache(maxsize=1)
def _versions() -> str:
    return f"{version('tokenizers')} {version('transformers')} 2"  # the number: of xscale/tokenizer_files.py


@lru_cache(maxsize=256)
def _file_digest(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _key(pairs: Pairs, folder: Path, max_length: int) -> str:
    texts = [text for pair in pairs for text in pair]
    digest = hashlib.blake2b(digest_size=20)
    digest.update(f"{tokenizer_fingerprint(folder)} {max_length} {len(texts)}\n".encode())
    digest.update(np.array([len(text) for text in texts], dtype="<i8").tobytes())
    digest.update("".join(texts).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _tokenise(pairs: Pairs, tokenizer: PreTrainedTokenizerBase, max_length: int, key: str) -> Tokens:
    ids, types = [np.empty(0, np.int32)], [np.empty(0, np.uint8)]
    lengths: list[int] = []
    truncated = 0
    for first in range(0, len(pairs), _CHUNK):
        part = pairs[first : first + _CHUNK]
        encoded = _encode(tokenizer, part, max_length)
        texts = encoded["input_ids"]
        full = [pair for pair, text in zip(part, texts, strict=True) if len(text) >= max_length]
        if full:  # of these, some just fit
            truncated += sum(len(text) > max_length for text in _encode(tokenizer, full, None)["input_ids"])
        lengths += map(len, texts)
        ids.append(np.fromiter(chain.from_iterable(texts), dtype=np.int32))
        types.append(np.fromiter(chain.from_iterable(encoded.get("token_type_ids", ())), dtype=np.uint8))
    starts = np.concatenate([[0], np.cumsum(np.array(lengths, dtype=np.int64))]).astype(np.int64)
    of_types = np.concatenate(types)
    return Tokens(np.concatenate(ids), starts, truncated, key, of_types if len(of_types) else None)


def _encode(tokenizer: PreTrainedTokenizerBase, pairs: Pairs, max_length: int | None) -> BatchEncoding:
    return tokenizer(
        [a for a, _ in pairs],
        [b for _, b in pairs],
        truncation="longest_first" if max_length else False,
        max_length=max_length,
        return_attention_mask=False,
        return_token_type_ids="token_type_ids" in tokenizer.model_input_names,
        verbose=False,
    )


def _write(path: Path, tokens: Tokens) -> None:
    starts, ids = tokens.starts.astype("<i8").tobytes(), tokens.ids.astype("<i4").tobytes()
    types = b"" if tokens.types is None else tokens.types.tobytes()
    digest = hashlib.blake2b(starts, digest_size=32)
    digest.update(ids)
    digest.update(types)
    header = _HEADER.pack(
        _MAGIC, len(tokens.starts) - 1, len(tokens.ids), len(types), tokens.truncated, digest.digest()
    )
    with whole_file(path) as temporary, temporary.open("wb") as file:
        file.writelines((header, starts, ids, types))


def _read(path: Path, key: str, texts: int) -> Tokens | None:
    """The file's content as a view of the mapped file; None when there is no such file or it is damaged."""
    try:
        data = np.memmap(path, np.uint8, "r")
        magic, count, total, typed, truncated, digest = _HEADER.unpack(data[: _HEADER.size].tobytes())
        body = data[_HEADER.size :]
        first_id, first_type = 8 * (count + 1), 8 * (count + 1) + 4 * total
        if magic != _MAGIC or count != texts or len(body) != first_type + typed or typed not in (0, total):
            raise ValueError("its header does not fit")
        if hashlib.blake2b(body.data, digest_size=32).digest() != digest:
            raise ValueError("its checksum does not fit")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, struct.error) as error:
        say(f"{path}: damaged ({error}); tokenising again")
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # last used now
    starts, ids = body[:first_id].view("<i8"), body[first_id:first_type].view("<i4")
    return Tokens(ids, starts, truncated, key, body[first_type:] if typed else None)


def _prune(folder: Path) -> None:
    files = sorted(folder.glob("*.bin"), key=lambda path: path.stat().st_mtime, reverse=True)
    total = 0
    for path in files:
        total += path.stat().st_size
        if total > _ON_DISK:
            path.unlink(missing_ok=True)
