"""Imports the input of a job and rejects the files that Google rejects.

Google's importer works like a BigQuery load: it infers one type per JSON key over the
whole file. This was observed, it is not documented. One bad line therefore fails the
job before any row is answered.
"""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import IO

import msgspec

from .columns import Columns, ImportFailed
from .conversions import Conversion, plan_conversions
from .errors import INVALID_ARGUMENT, JobFailed, RowRefused
from .json_types import JsonObject
from .storage import Storage

MAX_REQUESTS = 200_000
MAX_EMBEDDINGS = 1_000_000
MAX_FILE_BYTES = 1_000_000_000


@dataclass(frozen=True)
class ImportLimits:
    """Limits on the input of one job."""

    requests: int = MAX_REQUESTS
    embeddings: int = MAX_EMBEDDINGS
    file_bytes: int = MAX_FILE_BYTES


class ImportedRows:
    """The imported lines of a job, in a temporary file, with their offsets.

    Rows of a table have typed columns, so they have no `conversion`.
    """

    def __init__(self, lines: IO[bytes]) -> None:
        self.conversion: Conversion | None = None
        self._lines = lines
        self._size = 0
        self._offsets = array("Q")

    def __len__(self) -> int:
        return len(self._offsets)

    def append_line(self, line: bytes) -> None:
        """Append one line, which ends with a newline."""
        self._offsets.append(self._size)
        self._size += self._lines.write(line)

    def read_row(self, index: int) -> JsonObject:
        """Return the decoded row with the values that the importer made of it."""
        self._lines.seek(self._offsets[index])
        row: JsonObject = msgspec.json.decode(self._lines.readline())
        if self.conversion is not None:
            self.conversion.apply(row)
        return row

    def refuse_row(self, row: JsonObject) -> None:
        """Raise RowRefused (400) if an imported value is of a type that Gemini refuses."""
        conversion = self.conversion.fields.get("request") if self.conversion else None
        if conversion and (refusal := conversion.find_refusal(row["request"], "")):
            raise RowRefused(400, refusal)

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
    imported, columns = ImportedRows(lines), Columns()
    for uri in _find_objects(storage, uris):
        with storage.open_object(uri) as stream:
            _load_object(stream, imported, columns, limits)
    if not len(imported):
        raise import_failure("the input has no rows")
    imported.conversion = plan_conversions(columns.fields)
    return imported


def import_table_rows(
    rows: Iterable[bytes], lines: IO[bytes], limits: ImportLimits
) -> ImportedRows:
    """Import the rows of a table. Raises JobFailed for no rows or too many."""
    imported = ImportedRows(lines)
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


def _find_objects(storage: Storage, uris: Iterable[str]) -> list[str]:
    object_uris = []
    for uri in uris:
        objects = storage.expand_uri(uri)
        if not objects:
            raise JobFailed(INVALID_ARGUMENT, f"Failed to import data. Not found: Files {uri}.")
        object_uris += objects
    return object_uris


def _load_object(
    stream: IO[bytes], imported: ImportedRows, columns: Columns, limits: ImportLimits
) -> None:
    size = 0
    for number, line in enumerate(stream, 1):
        size += len(line)
        if size > limits.file_bytes:
            raise import_failure(f"the file is larger than {limits.file_bytes} bytes")
        if not line.strip():
            continue
        _check_line(line, number, columns)
        imported.append_line(line if line.endswith(b"\n") else line + b"\n")
        if len(imported) > limits.requests:
            raise import_failure(f"more than {limits.requests} requests")


def _check_line(line: bytes, number: int, columns: Columns) -> None:
    try:
        columns.add_row(_decode_row(line))
    except ImportFailed as error:
        raise JobFailed(INVALID_ARGUMENT, f"Failed to import data. {error}") from error
    except (ValueError, RecursionError) as error:
        raise import_failure(str(error), number) from error


def _decode_row(line: bytes) -> JsonObject:
    row = msgspec.json.decode(line)
    if not isinstance(row, dict):
        raise ValueError("a line must be a JSON object")
    if not isinstance(row.get("request"), dict):
        raise ValueError("the field request is missing or not an object")
    return row
