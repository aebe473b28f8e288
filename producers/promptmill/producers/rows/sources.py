"""Where rows come from: files, DataFrames, cursors, QuerySets, whatever can be iterated. One row at a time is held.

DataFrames and tables of Arrow, Django's QuerySets and cursors are known by what they can do; none of their libraries is
imported here.
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

Row = Mapping[str, Any]
"""The values of a row by the names of its columns."""

BATCH_ROWS = 1_000
"""Rows that are taken from a library at once."""

OpenObject = Callable[[str], BinaryIO]
"""Opens a ``gs://…`` object for reading; it can be sought in, and closed."""


class MalformedRow(NamedTuple):
    """A row that cannot be read in full: the columns that it has, and what is wrong."""

    row: Row
    reason: str


class RowSource(NamedTuple):
    """Rows, and whether each has the ``same_columns``, so that one that is missing in the first row is missing in all."""

    rows: Iterator[Row | MalformedRow]
    same_columns: bool


_QUERY_PATTERN = re.compile(r"\s*(SELECT|WITH)\s", re.IGNORECASE)


def is_bigquery_source(source: object) -> bool:
    """Whether a source is a table, ``bq://project.dataset.table``, or a query of BigQuery: workers' code reads those."""
    return isinstance(source, str) and (
        source.startswith("bq://") or bool(_QUERY_PATTERN.match(source))
    )


def open_rows(source: object, open_object: OpenObject) -> RowSource:
    """Return the rows of ``source``.

    A path or ``gs://`` URL of a ``.csv`` or ``.tsv`` file (UTF-8, names of columns in its first line, every value a
    string), ``.jsonl`` or ``.ndjson`` (an object a line; also ``-``, standard input), or ``.parquet``; a DataFrame of pandas
    or Polars; a table, dataset or stream of batches of Arrow; a DB-API cursor that has executed a query; a QuerySet of
    Django or its ``iterator()``; any iterable of mappings, named tuples, dataclass or model instances.

    Raises PromptmillError for anything else, and while the rows are read where the rest cannot be.
    """
    if isinstance(source, str | Path):
        return _read_file(str(source), open_object)
    if rows := _read_library_object(source):
        return RowSource(rows, same_columns=True)
    if isinstance(source, Iterable) and not isinstance(source, bytes | Mapping):
        return RowSource(map(_as_row, source), same_columns=False)
    raise PromptmillError(
        f"rows come from a file, a DataFrame, a cursor, or an iterable of mappings, not from {type(source).__name__}"
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
                f"{path}: a file of rows is .csv, .tsv, .jsonl, .ndjson or .parquet"
            )


def _read_csv(path: str, open_object: OpenObject, delimiter: str) -> Iterator[Row | MalformedRow]:
    """The standard library's reader: it can tell the row that is wrong, takes no value for a number, needs no extra.

    Bytes that are not UTF-8 become halves of surrogate pairs, for which the row alone is refused.
    """
    csv.field_size_limit(
        prompt_files.MAX_LINE_BYTES
    )  # 128 KiB by default, for the whole process; a document may be longer
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
                    reason = f"{name} line {reader.line_num}: there are {len(values)} values for {len(header)} columns"
                    yield MalformedRow(dict(zip(header, values, strict=False)), reason)
        except csv.Error as error:
            raise InvalidRequest(
                f"{name} line {reader.line_num}: this is not CSV: {error}"
            ) from None


def _check_header(name: str, header: list[str]) -> list[str]:
    if any("\0" in column or "\udc80" <= max(column, default="") <= "\udcff" for column in header):
        raise PromptmillError(
            f"{name}: the names of the columns are not UTF-8 text; save the file as CSV in UTF-8"
        )
    if duplicates := sorted({column for column in header if header.count(column) > 1}):
        raise PromptmillError(f"{name}: there are two columns called {duplicates[0]!r}")
    return header


def _read_json_lines(path: str, open_object: OpenObject) -> Iterator[Row | MalformedRow]:
    with ExitStack() as stack:
        name, file = prompt_files.open_binary(path, stack, open_object)
        for number, line in prompt_files.read_numbered_lines(name, file):
            try:
                row = msgspec.json.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                yield MalformedRow({}, f"{name} line {number}: this is not JSON: {error}")
                continue
            yield (
                row
                if isinstance(row, dict)
                else MalformedRow({}, f"{name} line {number}: a row is a JSON object")
            )


def _read_parquet(path: str, open_object: OpenObject) -> Iterator[Row]:
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise NotInstalled("reading Parquet needs: pip install 'promptmill[parquet]'") from None
    with ExitStack() as stack:
        name, file = prompt_files.open_binary(path, stack, open_object)
        try:
            # With a buffer a column is read page by page; without, a group of rows is read whole, which may be the file.
            table = parquet.ParquetFile(file, buffer_size=64 << 10, pre_buffer=False)
            yield from _read_batches(table.iter_batches(BATCH_ROWS, use_threads=False))
        except arrow.ArrowException as error:
            raise PromptmillError(f"{name} is not Parquet that can be read: {error}") from None


def _read_library_object(source: Any) -> Iterator[Row | MalformedRow] | None:
    if hasattr(source, "iter_rows") and hasattr(source, "columns"):  # Polars
        return _rows_from_tuples(map(str, source.columns), source.iter_rows())
    if hasattr(source, "itertuples") and hasattr(source, "columns"):  # pandas
        return _rows_from_tuples(
            map(str, source.columns), source.itertuples(index=False, name=None)
        )
    if hasattr(source, "to_batches"):  # a table or dataset of Arrow
        return _read_batches(source.to_batches())
    if hasattr(source, "read_next_batch"):  # a stream of Arrow
        return _read_batches(source)
    if hasattr(source, "num_rows") and hasattr(source, "to_pylist"):  # one batch of Arrow
        return _read_batches([source])
    if hasattr(source, "fetchmany") and hasattr(source, "description"):
        return _read_cursor(source)
    if hasattr(source, "iterator") and hasattr(
        source, "model"
    ):  # a QuerySet, which would keep all it has read
        return map(_as_row, source.iterator(chunk_size=BATCH_ROWS))
    return None


def _rows_from_tuples(columns: Iterable[str], rows: Iterable[tuple[Any, ...]]) -> Iterator[Row]:
    names = list(columns)
    for values in rows:
        yield {name: _plain_value(value) for name, value in zip(names, values, strict=True)}


def _plain_value(value: Any) -> Any:
    """Make None of what a DataFrame has where a value is missing, and Python's own of a number of numpy's or a Timestamp."""
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return None if value != value else float(value)
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    if hasattr(value, "to_pydatetime"):
        return value.to_pydatetime(
            warn=False
        )  # of the nanoseconds, which JSON's readers would not understand either
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
        raise PromptmillError("the cursor has no rows: let it execute a query first")
    names = [str(column[0]) for column in cursor.description]
    while rows := cursor.fetchmany(BATCH_ROWS):
        for row in rows:
            yield row if isinstance(row, Mapping) else dict(zip(names, row, strict=True))


def _as_row(item: Any) -> Row | MalformedRow:
    if isinstance(item, Mapping):
        return item
    if hasattr(item, "_asdict"):  # a named tuple, a row of SQLAlchemy
        return dict(item._asdict())
    if fields := getattr(
        getattr(item, "_meta", None), "concrete_fields", None
    ):  # a model instance of Django
        return {field.attname: getattr(item, field.attname) for field in fields}
    if hasattr(item, "keys"):  # sqlite3.Row
        return {name: item[name] for name in item.keys()}  # noqa: SIM118 - to iterate it would give its values
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        return {field.name: getattr(item, field.name) for field in dataclasses.fields(item)}
    return MalformedRow({}, f"a row is a mapping of its columns, not {type(item).__name__}")
