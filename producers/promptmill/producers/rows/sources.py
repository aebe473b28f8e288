"""Reads rows from files, DataFrames, cursors, QuerySets and iterables, one at a time.

DataFrames, Arrow tables, QuerySets and cursors are recognized by their methods. None of
their libraries is imported here.
"""

import csv
import dataclasses
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec

from promptmill.config.errors import InvalidRequest, NotInstalled, PromptmillError
from promptmill.producers.rows import prompt_files

Row = Mapping[str, object]
"""The values of a row by column name."""

BATCH_ROWS = 1_000
"""Number of rows that are read from a library at once."""

OpenObject = Callable[[str], BinaryIO]
"""Opens a ``gs://…`` object for reading, as a seekable file."""


class MalformedRow(NamedTuple):
    """A row that cannot be read completely: its readable columns, and the reason."""

    row: Row
    reason: str


class RowSource(NamedTuple):
    """Rows, and whether they all have the same columns.

    With ``same_columns`` a column missing in one row is missing in all rows.
    """

    rows: Iterator[Row | MalformedRow]
    same_columns: bool


_QUERY_PATTERN = re.compile(r"\s*(SELECT|WITH)\s", re.IGNORECASE)


def is_bigquery_source(source: object) -> bool:
    """Whether a source is a BigQuery query, or a table (``bq://…``)."""
    return isinstance(source, str) and (
        source.startswith("bq://") or bool(_QUERY_PATTERN.match(source))
    )


def open_rows(source: object, open_object: OpenObject) -> RowSource:
    """Return the rows of ``source``. Sources are:

    - the path or ``gs://`` URL of a ``.csv`` or ``.tsv`` file: UTF-8, column names in the
      first line, all values strings
    - the path or URL of a ``.jsonl`` or ``.ndjson`` file, one object per line; ``-`` is
      standard input
    - the path or URL of a ``.parquet`` file
    - a DataFrame of pandas or Polars
    - a table, dataset or batch stream of Arrow
    - a DB-API cursor that has executed a query
    - a QuerySet of Django, or its ``iterator()``
    - an iterable of mappings, named tuples, dataclass instances or model instances

    Raises PromptmillError for any other source, and for an unreadable rest while the
    rows are read.
    """
    if isinstance(source, str | Path):
        return _read_file(str(source), open_object)
    if rows := _read_library_object(source):
        return RowSource(rows, same_columns=True)
    if isinstance(source, Iterable) and not isinstance(source, bytes | Mapping):
        return RowSource(map(_as_row, source), same_columns=False)
    raise PromptmillError(
        "rows must come from a file, a DataFrame, a cursor or an iterable of mappings, "
        f"not from {type(source).__name__}"
    )


def _read_file(path: str, open_object: OpenObject) -> RowSource:
    match "" if path == prompt_files.STDIN else Path(path).suffix.lower():
        case ".csv":
            return RowSource(_read_csv(path, open_object, ","), same_columns=True)
        case ".tsv":
            return RowSource(_read_csv(path, open_object, "\t"), same_columns=True)
        case ".parquet":
            return RowSource(_read_parquet(path, open_object), same_columns=True)
        case ".jsonl" | ".ndjson" | "":
            return RowSource(_read_json_lines(path, open_object), same_columns=False)
        case _:
            raise PromptmillError(
                f"{path}: a file of rows must be .csv, .tsv, .jsonl, .ndjson or .parquet"
            )


def _read_csv(path: str, open_object: OpenObject, delimiter: str) -> Iterator[Row | MalformedRow]:
    """Read CSV with the standard library: it keeps values as text and reports bad rows.

    Bytes that are not UTF-8 become lone surrogates. Later only that row is refused.
    """
    # The default, for the whole process, is 128 KiB. A document can be longer.
    csv.field_size_limit(prompt_files.MAX_LINE_BYTES)
    with ExitStack() as stack:
        name, file = prompt_files.open_binary(path, stack, open_object)
        text = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        try:
            header = _check_header(name, next(reader, []))
            for values in reader:
                if len(values) == len(header):
                    yield dict(zip(header, values, strict=True))
                elif values:
                    counts = f"{_format_count(len(values))} for {len(header)} columns"
                    reason = f"{name} line {reader.line_num}: the row has {counts}"
                    yield MalformedRow(dict(zip(header, values, strict=False)), reason)
        except csv.Error as error:
            raise InvalidRequest(
                f"{name} line {reader.line_num}: the file is not CSV: {error}"
            ) from None


def _format_count(values: int) -> str:
    return "1 value" if values == 1 else f"{values} values"


def _check_header(name: str, header: list[str]) -> list[str]:
    if any("\0" in column or "\udc80" <= max(column, default="") <= "\udcff" for column in header):
        raise PromptmillError(
            f"{name}: the column names are not UTF-8 text; save the file as CSV in UTF-8"
        )
    if duplicates := sorted({column for column in header if header.count(column) > 1}):
        raise PromptmillError(f"{name}: two columns have the name {duplicates[0]!r}")
    return header


def _read_json_lines(path: str, open_object: OpenObject) -> Iterator[Row | MalformedRow]:
    with ExitStack() as stack:
        name, file = prompt_files.open_binary(path, stack, open_object)
        for number, line in prompt_files.read_numbered_lines(name, file):
            yield _decode_row(name, number, line)


def _decode_row(name: str, number: int, line: bytes) -> Row | MalformedRow:
    try:
        row = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problem = prompt_files.describe_json_error(error)
        return MalformedRow({}, f"{name} line {number}: {problem}")
    if isinstance(row, dict):
        return row
    return MalformedRow({}, f"{name} line {number}: a row must be a JSON object")


def _read_parquet(path: str, open_object: OpenObject) -> Iterator[Row]:
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise NotInstalled("reading Parquet needs: pip install 'promptmill[parquet]'") from None
    with ExitStack() as stack:
        name, file = prompt_files.open_binary(path, stack, open_object)
        try:
            # Without a buffer, a row group is read at once, which can be the whole file.
            table = parquet.ParquetFile(file, buffer_size=64 << 10, pre_buffer=False)
            yield from _read_batches(table.iter_batches(BATCH_ROWS, use_threads=False))
        except arrow.ArrowException as error:
            raise PromptmillError(f"{name} is not readable Parquet: {error}") from None


def _read_library_object(source: Any) -> Iterator[Row | MalformedRow] | None:
    if hasattr(source, "iter_rows") and hasattr(source, "columns"):  # Polars
        return _rows_from_tuples(map(str, source.columns), source.iter_rows())
    if hasattr(source, "itertuples") and hasattr(source, "columns"):  # pandas
        tuples = source.itertuples(index=False, name=None)
        return _rows_from_tuples(map(str, source.columns), tuples)
    if rows := _read_arrow(source):
        return rows
    if hasattr(source, "fetchmany") and hasattr(source, "description"):
        return _read_cursor(source)
    if hasattr(source, "iterator") and hasattr(source, "model"):  # a QuerySet, without its cache
        return map(_as_row, source.iterator(chunk_size=BATCH_ROWS))
    return None


def _read_arrow(source: Any) -> Iterator[Row] | None:
    if hasattr(source, "to_batches"):  # a table or dataset
        return _read_batches(source.to_batches())
    if hasattr(source, "read_next_batch"):  # a stream
        return _read_batches(source)
    is_batch = hasattr(source, "num_rows") and hasattr(source, "to_pylist")
    return _read_batches([source]) if is_batch else None


def _rows_from_tuples(columns: Iterable[str], rows: Iterable[tuple[object, ...]]) -> Iterator[Row]:
    names = list(columns)
    for values in rows:
        yield {name: _plain_value(value) for name, value in zip(names, values, strict=True)}


def _plain_value(value: Any) -> object:
    """Return a plain Python value; None for a missing value of a DataFrame."""
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return None if value != value else float(value)
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    if hasattr(value, "to_pydatetime"):
        return value.to_pydatetime(warn=False)  # without a warning about lost nanoseconds
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value


def _read_batches(batches: Iterable[Any]) -> Iterator[Row]:
    for batch in batches:
        for start in range(0, batch.num_rows, BATCH_ROWS):
            piece = batch.slice(start, BATCH_ROWS)
            yield from _rows_from_tuples(
                piece.schema.names,
                zip(*(column.to_pylist() for column in piece.columns), strict=True),
            )


def _read_cursor(cursor: Any) -> Iterator[Row | MalformedRow]:
    if cursor.description is None:
        raise PromptmillError("the cursor has no rows; execute a query first")
    names = [str(column[0]) for column in cursor.description]
    while rows := cursor.fetchmany(BATCH_ROWS):
        for row in rows:
            yield row if isinstance(row, Mapping) else dict(zip(names, row, strict=True))


def _as_row(item: Any) -> Row | MalformedRow:
    if isinstance(item, Mapping):
        return item
    if hasattr(item, "_asdict"):  # a named tuple, a row of SQLAlchemy
        return dict(item._asdict())
    meta = getattr(item, "_meta", None)
    if fields := getattr(meta, "concrete_fields", None):  # a model instance of Django
        return {field.attname: getattr(item, field.attname) for field in fields}
    if hasattr(item, "keys"):  # sqlite3.Row
        # Iterating a Row itself yields values.
        return {name: item[name] for name in item.keys()}  # noqa: SIM118
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        return {field.name: getattr(item, field.name) for field in dataclasses.fields(item)}
    return MalformedRow({}, f"a row must be a mapping of its columns, not {type(item).__name__}")
