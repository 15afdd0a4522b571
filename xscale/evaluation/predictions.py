"""The prediction store: one row a document, from which every statistic is computed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harness_tasks.targets import get_target, targets
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
        ("cluster", pa.int32()),
        ("numerator", pa.float64()),
        ("denominator", pa.float64()),
    ]
)
# one column more where a target has a second ratio of sums: its numerator and denominator, nothing for other targets
WITH_SECOND = SCHEMA.append(pa.field("second", pa.list_(pa.float64())))
PREDICTIONS = (
    "predictions.parquet"  # its name in results/<id>/; others beside it are predictions-2.parquet, ...
)
DERIVED = ("cluster", "numerator", "denominator")  # of files without them (xscale 0.1): see `with_scores`
_SCHEMA_0_1 = pa.schema([field for field in SCHEMA if field.name not in DERIVED])
_OTHER = re.compile(r"predictions-([1-9]\d{0,5})\.parquet")
_KEY = b"xscale"
_CONTENT = b"xscale content"  # a checksum of the values
_DESCRIPTION = b"xscale description"  # a checksum of the description; files of xscale 0.1 have none


@dataclass(frozen=True)
class Predictions:
    """What one checkpoint answered.

    `table` has the columns of `SCHEMA`, or of `WITH_SECOND`: `row` is the row of the official test split; rows with the same
    `cluster` are not independent; `label` and `prediction` are indices of choices; accuracy is the sum of `numerator` over
    that of `denominator`; `logprobs` is the log-probability of each choice (natural logarithm). `info` says what they were
    computed with: checkpoint, weights, model_args, precision, encoding_version, source, fingerprints, anchors,
    task_versions, lm_eval, limit.
    """

    table: pa.Table
    info: dict[str, Any]


def write_predictions(path: Path, table: pa.Table, info: dict[str, Any]) -> None:
    """Write the predictions of one checkpoint, whole or not at all, with a checksum of their values and of `info`."""
    table = with_scores(table)
    table = table.cast(WITH_SECOND if "second" in table.column_names else SCHEMA)
    text = json.dumps(info, sort_keys=True).encode()
    stamped = table.replace_schema_metadata(
        {_KEY: text, _CONTENT: _checksum(table), _DESCRIPTION: _digest(text)}
    )
    with whole_file(path) as temporary:
        pq.write_table(stamped, temporary, compression="zstd", write_page_checksum=True)


def with_scores(table: pa.Table) -> pa.Table:
    """The table with the columns of `DERIVED`: as they are, else a document counts 1 where its prediction is its label,
    and its cluster is what its target says of its row."""
    if all(name in table.column_names for name in DERIVED):
        return table
    label, prediction = (table.column(name).to_numpy() for name in ("label", "prediction"))
    names = table.column("target").to_pylist()
    rows = table.column("row").to_numpy()
    columns = {name: table.column(name) for name in table.column_names}
    columns["cluster"] = pa.array(clusters(names, rows), pa.int32())
    columns["numerator"] = pa.array((label == prediction).astype(np.float64))
    columns["denominator"] = pa.array(np.ones(len(rows)))
    return pa.table({name: columns[name] for name in SCHEMA.names}).cast(SCHEMA)


def second_of(table: pa.Table) -> list[list[float]]:
    """By row, numerator and denominator of the target's second ratio; nothing where it has none."""
    return table.column("second").to_pylist() if "second" in table.column_names else [[]] * table.num_rows


def clusters(names: Sequence[str], rows: np.ndarray) -> np.ndarray:
    """The cluster of each row (int32): `names` are the rows' targets; rows of an unknown target are their own."""
    result = np.array(rows, dtype=np.int32)
    of = np.array(names, dtype=object)
    for name in set(names) & set(targets()):
        here = of == name
        result[here] = [get_target(name).cluster(int(row)) for row in rows[here]]
    return result


def prediction_files(folder: Path) -> list[Path]:
    """The prediction files in `results/<id>/`, those begun last first: `predictions.parquet`, then the highest number."""
    numbered = []
    for path in folder.iterdir() if folder.is_dir() else ():
        match = _OTHER.fullmatch(path.name)
        if match and path.is_file():
            numbered.append((int(match[1]), path))
    first = [folder / PREDICTIONS] if (folder / PREDICTIONS).is_file() else []
    return first + [path for _, path in sorted(numbered, reverse=True)]


def read_info(path: Path) -> dict[str, Any]:
    """What the predictions at `path` were computed with. Raises `UserError` when the file is damaged."""
    return _read_info(path)[0]


def _read_info(path: Path) -> tuple[dict[str, Any], dict[bytes, bytes]]:
    try:
        metadata = pq.read_schema(path).metadata or {}
        info = json.loads(metadata[_KEY])
    except KeyError:
        raise _damaged(path, "xscale's description is not in it") from None
    except (OSError, pa.ArrowException, ValueError, RecursionError) as error:
        raise _damaged(path, error) from None
    if not isinstance(info, dict):
        raise _damaged(path, "its description is not a mapping")
    return info, metadata


def read_predictions(path: Path) -> Predictions:
    """Read predictions, also those of xscale 0.1.

    Raises `UserError` when the file is absent, cut short, or holds another description, columns or values than were
    written.
    """
    info, metadata = _read_info(path)
    try:
        table = pq.read_table(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, error) from None
    old = table.schema.equals(_SCHEMA_0_1)
    if not old and not any(table.schema.equals(schema) for schema in (SCHEMA, WITH_SECOND)):
        raise _damaged(path, "other columns than expected")
    if table.num_rows == 0 or any(column.null_count for column in table.columns):
        raise _damaged(path, "empty, or values are missing")
    checksum = metadata.get(_CONTENT)
    if checksum is None or not (old or _DESCRIPTION in metadata):
        raise _damaged(path, "it has no checksum of its rows")
    if checksum != _checksum(table):
        raise _damaged(path, "its rows were changed since it was written")
    if not old and metadata[_DESCRIPTION] != _digest(metadata[_KEY]):
        raise _damaged(path, "its description was changed since it was written")
    return Predictions(with_scores(table), info)


def _digest(description: bytes) -> bytes:
    return hashlib.blake2b(description, digest_size=20).hexdigest().encode()


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
