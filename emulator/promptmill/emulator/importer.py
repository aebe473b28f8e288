"""Imports the input of a job and rejects the files that Google rejects.

Google's importer works like a BigQuery load: it infers one type per JSON key over the
whole file. This was observed, it is not documented. One bad line therefore fails the
job before any row is answered.
"""

import re
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import IO

import msgspec

from .errors import INVALID_ARGUMENT, JobFailed
from .json_types import JsonObject
from .storage import Storage

MAX_REQUESTS = 200_000
MAX_EMBEDDINGS = 1_000_000
MAX_FILE_BYTES = 1_000_000_000
MAX_DEPTH = 15
MAX_COLUMNS = 10_000
"""BigQuery's limit on the columns of a table."""

_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,299}")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True)
class ImportLimits:
    """Limits on the input of one job."""

    requests: int = MAX_REQUESTS
    embeddings: int = MAX_EMBEDDINGS
    file_bytes: int = MAX_FILE_BYTES


class ImportedRows:
    """The imported lines of a job, in a temporary file, with their offsets.

    With `from_table`, the lines are rows of a table with typed columns.
    """

    def __init__(self, lines: IO[bytes], *, from_table: bool = False) -> None:
        self._lines = lines
        self._from_table = from_table
        self._size = 0
        self._offsets = array("Q")

    def __len__(self) -> int:
        return len(self._offsets)

    def append_line(self, line: bytes) -> None:
        """Append one line, which ends with a newline."""
        self._offsets.append(self._size)
        self._size += self._lines.write(line)

    def read_row(self, index: int) -> JsonObject:
        """Return the decoded row, with numeric top-level strings as numbers."""
        self._lines.seek(self._offsets[index])
        row: JsonObject = msgspec.json.decode(self._lines.readline())
        return (
            row if self._from_table else {name: coerce_number(value) for name, value in row.items()}
        )

    def shuffle_indexes(self, seed: str) -> "array[int]":
        """Return all row indexes, shuffled by `seed`: Google's output has no order."""
        order = array("I", range(len(self)))
        Random(seed).shuffle(order)  # noqa: S311 - not a secret
        return order


def import_objects(
    storage: Storage, uris: Iterable[str], lines: IO[bytes], limits: ImportLimits
) -> ImportedRows:
    """Stream every input object into `lines`.

    Raises JobFailed for input that Google's importer rejects.
    """
    imported, types = ImportedRows(lines), ColumnTypes()
    for uri in _find_objects(storage, uris):
        with storage.open_object(uri) as stream:
            _load_object(stream, imported, types, limits)
    if not len(imported):
        raise import_failure("the input has no rows")
    return imported


def import_table_rows(
    rows: Iterable[bytes], lines: IO[bytes], limits: ImportLimits
) -> ImportedRows:
    """Import the rows of a table. Raises JobFailed for no rows or too many."""
    imported = ImportedRows(lines, from_table=True)
    for row in rows:
        if len(imported) >= limits.requests:
            raise import_failure(f"the input has more than {limits.requests} rows")
        imported.append_line(row)
    if not len(imported):
        raise import_failure("the input has no rows")
    return imported


def import_failure(reason: str, line: int | None = None) -> JobFailed:
    """Return the error of a file that cannot be imported; `line` counts from 1."""
    location = f" in line {line}" if line else ""
    message = f"Failed to import data. Error while reading data{location}: {reason}."
    return JobFailed(INVALID_ARGUMENT, message)


def coerce_number(value: object) -> object:
    """Convert a numeric string to a number, as observed: "000000" becomes 0."""
    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        return value
    return int(value) if value.lstrip("+-").isdecimal() else float(value)


class ColumnTypes:
    """The inferred type of every JSON key, the same over the whole file."""

    def __init__(self) -> None:
        self._kinds: dict[str, str] = {}

    def check_row(self, row: object) -> None:
        """Infer types from one row. Raises ValueError if the row does not fit them."""
        if not isinstance(row, dict):
            raise ValueError("a line must be a JSON object")
        if not isinstance(row.get("request"), dict):
            raise ValueError("the field request is missing or not an object")
        for name, value in row.items():
            self._check_field(name, value, name, 1)

    def _check_field(self, name: str, value: object, path: str, depth: int) -> None:
        if not _COLUMN.fullmatch(name):
            raise ValueError(
                f"invalid field name {name!r} at {path}: no BigQuery column can have it"
            )
        if isinstance(value, dict):
            self._record_kind(path, "record")
            self._check_record(value, path, depth)
        elif isinstance(value, list):
            self._record_kind(path, "array")
            self._check_array(value, path, depth)
        elif value is not None:
            self._record_kind(path, "scalar")

    def _check_record(self, record: JsonObject, path: str, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise ValueError(f"nesting of more than {MAX_DEPTH} levels at {path}")
        if not record:
            raise ValueError(f"empty object at {path}")
        for name, value in record.items():
            self._check_field(name, value, f"{path}.{name}", depth + 1)

    def _check_array(self, items: list[object], path: str, depth: int) -> None:
        for item in items:
            if item is None or isinstance(item, list):
                raise ValueError(
                    f"{'null' if item is None else 'array'} inside the array at {path}"
                )
            self._record_kind(f"{path}[]", "record" if isinstance(item, dict) else "scalar")
            if isinstance(item, dict):
                self._check_record(item, path, depth)

    def _record_kind(self, path: str, kind: str) -> None:
        if (earlier_kind := self._kinds.setdefault(path, kind)) != kind:
            raise ValueError(f"{path} is {kind} here and {earlier_kind} before")
        if len(self._kinds) > MAX_COLUMNS:
            raise ValueError(f"more than {MAX_COLUMNS} different fields")


def _find_objects(storage: Storage, uris: Iterable[str]) -> list[str]:
    object_uris = []
    for uri in uris:
        objects = storage.expand_uri(uri)
        if not objects:
            raise JobFailed(INVALID_ARGUMENT, f"Failed to import data. Not found: Files {uri}.")
        object_uris += objects
    return object_uris


def _load_object(
    stream: IO[bytes], imported: ImportedRows, types: ColumnTypes, limits: ImportLimits
) -> None:
    size = 0
    for number, line in enumerate(stream, 1):
        size += len(line)
        if size > limits.file_bytes:
            raise import_failure(f"the file is larger than {limits.file_bytes} bytes")
        if not line.strip():
            continue
        _check_line(line, number, types)
        imported.append_line(line if line.endswith(b"\n") else line + b"\n")
        if len(imported) > limits.requests:
            raise import_failure(f"more than {limits.requests} requests")


def _check_line(line: bytes, number: int, types: ColumnTypes) -> None:
    try:
        types.check_row(msgspec.json.decode(line))
    except (ValueError, RecursionError) as error:
        raise import_failure(str(error), number) from error
