"""The prediction store: one row a document, from which every statistic is computed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from xscale.errors import UserError
from xscale.files import whole_file

SCHEMA = pa.schema(
    [
        ("target", pa.string()),
        ("task", pa.string()),
        ("language", pa.string()),
        ("row", pa.int32()),
        ("label", pa.int8()),
        ("prediction", pa.int8()),
        ("logprobs", pa.list_(pa.float32())),
    ]
)
PREDICTIONS = "predictions.parquet"  # its name in results/<id>/
_KEY = b"xscale"
_CONTENT_KEY = b"xscale content"


@dataclass(frozen=True)
class Predictions:
    """What one checkpoint answered.

    `table` has the columns of `SCHEMA`: `row` is the row of the official test split, `label` and `prediction` are
    indices of choices, `logprobs` the log-probability of each choice (natural logarithm). `info` says what they were
    computed with: checkpoint, weights, source, fingerprints, anchors, task_versions, lm_eval, limit.
    """

    table: pa.Table
    info: dict[str, Any]


def write_predictions(path: Path, table: pa.Table, info: dict[str, Any]) -> None:
    """Write the predictions of one checkpoint, whole or not at all, with a checksum of their values."""
    table = table.cast(SCHEMA)
    stamped = table.replace_schema_metadata(
        {_KEY: json.dumps(info, sort_keys=True).encode(), _CONTENT_KEY: _checksum(table)}
    )
    with whole_file(path) as temporary:
        pq.write_table(stamped, temporary, compression="zstd", write_page_checksum=True)


def read_info(path: Path) -> dict[str, Any]:
    """What the predictions at `path` were computed with. Raises `UserError` when the file is damaged."""
    try:
        metadata = pq.read_schema(path).metadata or {}
        info = json.loads(metadata[_KEY])
    except KeyError:
        raise _damaged(path, "xscale's description is not in it") from None
    except (OSError, pa.ArrowException, ValueError) as error:
        raise _damaged(path, error) from None
    if not isinstance(info, dict):
        raise _damaged(path, "its description is not a mapping")
    return info


def read_predictions(path: Path) -> Predictions:
    """Read predictions. Raises `UserError` when the file is absent, cut short, or holds other columns or values than were
    written."""
    info = read_info(path)
    try:
        table = pq.read_table(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, error) from None
    if not table.schema.equals(SCHEMA):
        raise _damaged(path, "other columns than expected")
    if table.num_rows == 0 or any(column.null_count for column in table.columns):
        raise _damaged(path, "empty, or values are missing")
    checksum = (table.schema.metadata or {}).get(_CONTENT_KEY)
    if checksum is None:
        raise _damaged(path, "it has no checksum of its rows")
    if checksum != _checksum(table):
        raise _damaged(path, "its rows were changed since it was written")
    return Predictions(table, info)


def _checksum(table: pa.Table) -> bytes:
    """BLAKE2b in hex over the values of all columns, however the file lays them out."""
    digest = hashlib.blake2b(digest_size=20)
    for column in table.combine_chunks().columns:
        for part in column.chunks:
            values = part
            if pa.types.is_string(part.type):
                coded = part.dictionary_encode()
                digest.update(json.dumps(coded.dictionary.to_pylist()).encode())
                values = coded.indices
            elif pa.types.is_list(part.type):
                digest.update(pc.list_value_length(part).to_numpy())
                values = part.flatten()
            digest.update(values.to_numpy())
    return digest.hexdigest().encode()


def _damaged(path: Path, why: object) -> UserError:
    reason = str(why).splitlines()[0] if str(why) else type(why).__name__
    return UserError(
        f"{path}: predictions cannot be read ({reason}); delete its folder and run `xscale eval` again"
    )
