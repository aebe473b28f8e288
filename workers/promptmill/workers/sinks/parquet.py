"""Results as Parquet: the columns are the same for every run; what is JSON in a result is a column of JSON text."""

import io
from collections.abc import Iterable
from typing import Any, BinaryIO

import pyarrow as pa
from pyarrow import parquet

from promptmill.workers.sinks.file_format import Form
from promptmill.workers.sinks.rows import FIELDS, rows

_TYPES = {"text": pa.string(), "json": pa.string(), "number": pa.int64()}
SCHEMA = pa.schema([("run", pa.string()), *((field.name, _TYPES[field.form]) for field in FIELDS)])
_WRITTEN: dict[str, Any] = {"compression": "zstd", "version": "2.6"}


def encode(run: str, lines: bytes) -> bytes:
    """Return lines of results as one Parquet file."""
    held = [line.row for line in rows(lines)]
    columns = {field.name: [field.fill(row) for row in held] for field in FIELDS}
    out = io.BytesIO()
    parquet.write_table(pa.table({"run": [run] * len(held), **columns}, SCHEMA), out, **_WRITTEN)
    return out.getvalue()


def join(parts: Iterable[BinaryIO], out: BinaryIO) -> None:
    """Write parts as row groups of one file, one part in memory at a time."""
    with parquet.ParquetWriter(out, SCHEMA, **_WRITTEN) as writer:
        for part in parts:
            with part:
                writer.write_table(parquet.read_table(part))


PARQUET = Form(".parquet", encode, join)
