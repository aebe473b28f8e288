"""Results as Parquet files, with the same columns for every run.

JSON values of a result are columns of JSON text.
"""

import io
from array import array
from collections.abc import Iterable
from typing import Any, BinaryIO, Literal, TypedDict

import msgspec
import pyarrow as pa
from pyarrow import parquet

from promptmill.producers.contract.messages import SinkSpec
from promptmill.workers.sinks.context import SinkContext
from promptmill.workers.sinks.file_format import FileFormat
from promptmill.workers.sinks.files import open_file_sink
from promptmill.workers.sinks.rows import RESULT_FIELDS, ResultField, ResultRow, parse_lines
from promptmill.workers.sinks.sink import Sink

_decode_numbers = msgspec.json.Decoder(list[float]).decode
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
    use_dictionary: Any  # names of columns; the type stubs of pyarrow know only a bool
    use_byte_stream_split: Any


_WRITER_OPTIONS: _WriterOptions = {
    "compression": "zstd",
    "version": "2.6",
    "use_dictionary": [name for name in SCHEMA.names if name != "embedding"],
    "use_byte_stream_split": ["embedding.list.element"],
}
"""Numbers of vectors rarely repeat: without a dictionary they are written four times as fast,
and a quarter smaller."""


def open_sink(spec: SinkSpec, context: SinkContext) -> Sink:
    """Open a sink of Parquet files. Raises ConfigurationError."""
    return open_file_sink(spec, context, PARQUET)


def encode_results(run: str, lines: bytes) -> bytes:
    """Return lines of results as one Parquet file."""
    result_rows = [line.row for line in parse_lines(lines)]
    columns = {field.name: _build_column(field, result_rows) for field in RESULT_FIELDS}
    out = io.BytesIO()
    parquet.write_table(
        pa.table({"run": [run] * len(result_rows), **columns}, SCHEMA), out, **_WRITER_OPTIONS
    )
    return out.getvalue()


def _build_column(field: ResultField, result_rows: list[ResultRow]) -> object:
    values = [field.get_value(row) for row in result_rows]
    return _build_vectors(values) if field.column_type == "numbers" else values


def _build_vectors(values: list[Any]) -> pa.Array:
    """Return a column of vectors, given as JSON. A list of objects would take four times as long.

    Numbers are stored with 32 bits, as in PostgreSQL and in vector indexes.
    """
    numbers, ends = array("f"), array("i", [0])
    for value in values:
        numbers.extend(_decode_numbers(value) if value else ())
        ends.append(len(numbers))
    flat = pa.Array.from_buffers(pa.float32(), len(numbers), [None, pa.py_buffer(numbers)])
    offsets = pa.Array.from_buffers(pa.int32(), len(ends), [None, pa.py_buffer(ends)])
    mask = pa.array([not value for value in values], pa.bool_())
    return pa.ListArray.from_arrays(offsets, flat, mask=mask)


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
