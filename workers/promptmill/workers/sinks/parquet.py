"""Results as Parquet files, with the same columns for every run.

JSON values of a result are columns of JSON text.
"""

import io
from collections.abc import Iterable
from typing import BinaryIO, Literal, TypedDict

import pyarrow as pa
from pyarrow import parquet

from promptmill.producers.contract.messages import SinkSpec
from promptmill.workers.sinks.context import SinkContext
from promptmill.workers.sinks.file_format import FileFormat
from promptmill.workers.sinks.files import open_file_sink
from promptmill.workers.sinks.rows import RESULT_FIELDS, parse_lines
from promptmill.workers.sinks.sink import Sink

_ARROW_TYPES = {
    "text": pa.string(),
    "json": pa.string(),
    "number": pa.int64(),
    "numbers": pa.list_(pa.float32()),
}
SCHEMA = pa.schema(
    [
        ("run", pa.string()),
        *((field.name, _ARROW_TYPES[field.column_type]) for field in RESULT_FIELDS),
    ]
)


class _WriterOptions(TypedDict):
    compression: str
    version: Literal["2.6"]


_WRITER_OPTIONS: _WriterOptions = {"compression": "zstd", "version": "2.6"}


def open_sink(spec: SinkSpec, context: SinkContext) -> Sink:
    """Open a sink of Parquet files. Raises ConfigurationError."""
    return open_file_sink(spec, context, PARQUET)


def encode_results(run: str, lines: bytes) -> bytes:
    """Return lines of results as one Parquet file."""
    result_rows = [line.row for line in parse_lines(lines)]
    columns = {field.name: [field.get_value(row) for row in result_rows] for field in RESULT_FIELDS}
    out = io.BytesIO()
    parquet.write_table(
        pa.table({"run": [run] * len(result_rows), **columns}, SCHEMA), out, **_WRITER_OPTIONS
    )
    return out.getvalue()


def join_parts(parts: Iterable[BinaryIO], out: BinaryIO) -> None:
    """Write parts as row groups of one file. One part at a time is in memory."""
    with parquet.ParquetWriter(out, SCHEMA, **_WRITER_OPTIONS) as writer:
        for part in parts:
            with part:
                writer.write_table(_add_columns(parquet.read_table(part)))


def _add_columns(table: pa.Table) -> pa.Table:
    """Add the columns that a part lacks because an older worker wrote it."""
    for field in SCHEMA:
        if field.name not in table.schema.names:
            table = table.append_column(field, pa.nulls(len(table), field.type))
    return table.select(SCHEMA.names)


PARQUET = FileFormat(".parquet", encode_results, join_parts)
