"""Access to BigQuery: reads one table, appends to another."""

import os
from collections.abc import Iterator
from functools import cached_property
from typing import IO, Any, Protocol

import msgspec

from .errors import INVALID_ARGUMENT, JobFailed
from .json_types import JsonObject
from .storage import StorageFailed, translate_errors

RESERVED_COLUMNS = ("response", "status")
_ANSWER_COLUMNS = (("response", "JSON"), ("status", "STRING"), ("processed_time", "TIMESTAMP"))
_DROPPED_TYPES = frozenset({"RECORD", "STRUCT", "RANGE", "DATETIME", "GEOGRAPHY"})
"""Column types that the output omits, like arrays (Google's batch inference page)."""


class Tables(Protocol):
    """The port to BigQuery; URIs are `bq://project.dataset.table`.

    Every method may raise StorageFailed.
    """

    def has_dataset(self, uri: str) -> bool:
        """Return whether the dataset of a table exists."""
        ...

    def read_rows(self, uri: str) -> Iterator[bytes]:
        """Yield the rows as JSON lines. Raises JobFailed without a column `request`."""
        ...

    def append_rows(self, source: str, uri: str, lines: IO[bytes]) -> None:
        """Append lines to a table; create it with the columns of `source` and of the answer."""
        ...


class GoogleTables:
    """Google's client, for the local server at BIGQUERY_EMULATOR_HOST.

    Without that variable every call fails: the emulator never connects to Google.
    """

    @cached_property
    def _bigquery(self) -> Any:
        if not os.environ.get("BIGQUERY_EMULATOR_HOST"):
            raise StorageFailed(
                "BIGQUERY_EMULATOR_HOST is not set; set it to the URL of a BigQuery emulator"
            )
        from google.cloud import bigquery

        return bigquery

    @cached_property
    def _client(self) -> Any:
        from google.auth.credentials import AnonymousCredentials

        credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
        return self._bigquery.Client(project="emulator", credentials=credentials)

    def has_dataset(self, uri: str) -> bool:
        """See Tables."""
        from google.api_core.exceptions import NotFound

        with translate_errors(uri):
            try:
                self._client.get_dataset(_table_name(uri).rpartition(".")[0])
            except NotFound:
                return False
            return True

    def read_rows(self, uri: str) -> Iterator[bytes]:
        """See Tables. Reads pages of 1,000 rows."""
        with translate_errors(uri):
            table = self._client.get_table(_table_name(uri))
            _check_columns([(field.name, field.field_type) for field in table.schema])
            for row in self._client.list_rows(table, page_size=1000):
                yield (
                    msgspec.json.encode(_decode_request(uri, dict(row.items())), enc_hook=str)
                    + b"\n"
                )

    def append_rows(self, source: str, uri: str, lines: IO[bytes]) -> None:
        """See Tables. Runs one load job."""
        lines.seek(0)
        with translate_errors(uri):
            config = self._bigquery.LoadJobConfig(
                source_format="NEWLINE_DELIMITED_JSON",
                schema=self._output_schema(source),
                ignore_unknown_values=True,
            )
            self._client.load_table_from_file(lines, _table_name(uri), job_config=config).result()

    def _output_schema(self, source: str) -> list[Any]:
        columns = self._client.get_table(_table_name(source)).schema
        answer_columns = [self._bigquery.SchemaField(*column) for column in _ANSWER_COLUMNS]
        return [*filter(_is_returned, columns), *answer_columns]


def _table_name(uri: str) -> str:
    return uri.removeprefix("bq://")


def _check_columns(columns: list[tuple[str, str]]) -> None:
    names = {name.lower(): kind for name, kind in columns}
    if names.get("request") not in {"JSON", "STRING"}:
        raise JobFailed(
            INVALID_ARGUMENT, "The input table needs a column `request` of type JSON or STRING."
        )
    for name in RESERVED_COLUMNS:
        if name in names:
            raise JobFailed(
                INVALID_ARGUMENT,
                f"The input table must not have a column `{name}`: the name is reserved.",
            )


def _decode_request(uri: str, row: JsonObject) -> JsonObject:
    if not isinstance(row["request"], str):
        return row
    try:
        return row | {"request": msgspec.json.decode(row["request"])}
    except msgspec.DecodeError as error:
        raise StorageFailed(f"{uri}: {error}") from error


def _is_returned(field: Any) -> bool:
    return field.mode != "REPEATED" and field.field_type not in _DROPPED_TYPES
