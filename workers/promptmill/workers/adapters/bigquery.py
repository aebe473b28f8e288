"""BigQuery behind the ``Warehouse`` port."""

import base64
import datetime
import decimal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Any

from google.auth import exceptions as auth_exceptions
from google.cloud import bigquery
from google.cloud.bigquery.retry import DEFAULT_RETRY

from promptmill.config.errors import (
    ConfigurationError,
    Conflict,
    Denied,
    NotFound,
    Permanent,
    PromptmillError,
    Transient,
)
from promptmill.config.settings import Settings
from promptmill.config.tables import Table
from promptmill.workers.adapters import failures
from promptmill.workers.ports.warehouse import Column, JobState, TableJob

_TIMEOUT = 30.0
_CALL: dict[str, Any] = {"timeout": _TIMEOUT, "retry": DEFAULT_RETRY.with_timeout(20.0)}
_PAGE = 5_000
_FOREIGN = (*failures.FOREIGN, ValueError, TypeError)
"""The library also raises bare ValueError and TypeError, for answers and arguments that it cannot read."""
_PASSING = frozenset({"backendError", "internalError", "jobRateLimitExceeded", "quotaExceeded", "rateLimitExceeded"})
"""Reasons that come with 403 or 400 and pass all the same (https://cloud.google.com/bigquery/docs/error-messages)."""


def open_warehouse(settings: Settings) -> "BigQuery":
    """Connect to BigQuery; jobs belong to the project of ``settings``. Raises ConfigurationError."""
    options: dict[str, Any] = {}
    if settings.bigquery_emulator_host:
        from google.auth.credentials import AnonymousCredentials

        options["credentials"] = AnonymousCredentials()  # type: ignore[no-untyped-call]
    try:
        return BigQuery(bigquery.Client(project=settings.require("project"), **options))
    except auth_exceptions.DefaultCredentialsError as error:
        raise ConfigurationError(
            "no Google credentials: run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS"
        ) from error


class BigQuery:
    """The tables that one account may use. Build one in each process: its sockets must not be shared over a fork."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._locations: dict[tuple[str, str], str] = {}

    def check_jobs(self, table: Table) -> None:
        """Have a query that reads nothing looked at, but not run."""
        config = bigquery.QueryJobConfig(dry_run=True, use_query_cache=False)
        location = self._location(table)
        with _translated(f"queries in project {self._client.project}"):
            self._client.query("SELECT 1", job_config=config, location=location, job_retry=None, **_CALL)

    def columns(self, table: Table) -> list[Column] | None:
        """Return the columns of a table, or None when there is no such table."""
        try:
            return [_column(field) for field in self._schema(table)]
        except NotFound:
            return None

    def create(self, table: Table, columns: Sequence[Column], days: int = 0) -> None:
        """Create a table, if it is not there."""
        made = bigquery.Table(str(table), schema=[_field(column) for column in columns])
        if days:
            made.expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
        with _translated(str(table)):
            self._client.create_table(made, exists_ok=True, **_CALL)

    def may(self, table: Table, permissions: Sequence[str]) -> set[str]:
        """Return those of ``permissions`` that we have on a table."""
        with _translated(str(table)):
            told = self._client.test_iam_permissions(str(table), list(permissions), **_CALL)
            return set(told.get("permissions", ()))

    def look(self, job: TableJob) -> JobState | None:
        """Return how far a job is; None when there is no such job."""
        location = self._location(job.table)
        try:
            with _translated(f"job {job.id}"):
                return _state(self._client.get_job(job.id, location=location, **_CALL))
        except NotFound:
            return None

    def load(self, job: TableJob, uris: Sequence[str]) -> None:
        """Begin to append files to a table, by its own columns; what it has no column for is left out."""
        config = bigquery.LoadJobConfig(
            source_format="NEWLINE_DELIMITED_JSON",
            schema=self._schema(job.table),
            ignore_unknown_values=True,
            create_disposition="CREATE_NEVER",
            write_disposition="WRITE_APPEND",
        )
        location = self._location(job.table)
        with _begun(job):
            self._client.load_table_from_uri(
                list(uris), str(job.table), job_id=job.id, location=location, job_config=config, **_CALL
            )

    def extract(self, job: TableJob, uri: str) -> None:
        """Begin to write a table to files."""
        config: Any = bigquery.ExtractJobConfig(destination_format="NEWLINE_DELIMITED_JSON")  # type: ignore[no-untyped-call]
        location = self._location(job.table)
        with _begun(job):
            self._client.extract_table(
                str(job.table), uri, job_id=job.id, location=location, job_config=config, **_CALL
            )

    def merge(self, job: TableJob, source: Table, on: Sequence[str]) -> None:
        """Begin a MERGE."""
        sql = _merge(job.table, source, on, [field.name for field in self._schema(job.table)])
        location = self._location(job.table)
        with _begun(job):
            self._client.query(sql, job_id=job.id, location=location, job_retry=None, **_CALL)

    def drop(self, table: Table) -> None:
        """Delete a table, if it is there."""
        with _translated(str(table)):
            self._client.delete_table(str(table), not_found_ok=True, **_CALL)

    def rows(self, source: Table | str) -> Iterator[dict[str, Any]]:
        """Stream the rows of a table or of a query, in pages; values are such as JSON knows."""
        with _translated(str(source) if isinstance(source, Table) else "the query"):
            if isinstance(source, Table):
                found = self._client.list_rows(str(source), page_size=_PAGE, **_CALL)
            else:
                found = self._client.query(source, **_CALL).result(page_size=_PAGE)
            for row in found:
                yield {name: _plain(value) for name, value in row.items()}

    def _schema(self, table: Table) -> list[Any]:
        with _translated(str(table)):
            return list(self._client.get_table(str(table), **_CALL).schema)

    def _location(self, table: Table) -> str:
        """Where a dataset lies: its jobs are found nowhere else."""
        key = (table.project, table.dataset)
        if key not in self._locations:
            with _translated(f"dataset {table.project}.{table.dataset}"):
                self._locations[key] = str(self._client.get_dataset(".".join(key), **_CALL).location)
        return self._locations[key]


def _merge(table: Table, source: Table, on: Sequence[str], columns: Sequence[str]) -> str:
    """Backticks are quotes enough: names of tables were checked, and no column's has one, as BigQuery named it."""
    equal = " AND ".join(f"old.`{name}` = new.`{name}`" for name in on)
    update = ", ".join(f"`{name}` = new.`{name}`" for name in columns)
    names = ", ".join(f"`{name}`" for name in columns)
    values = ", ".join(f"new.`{name}`" for name in columns)
    return (
        f"MERGE `{table}` AS old USING `{source}` AS new ON {equal} "  # noqa: S608
        f"WHEN MATCHED THEN UPDATE SET {update} WHEN NOT MATCHED THEN INSERT ({names}) VALUES ({values})"
    )


def _column(field: Any) -> Column:
    return Column(field.name, field.field_type, field.mode, tuple(_column(inner) for inner in field.fields))


def _field(column: Column) -> Any:
    return bigquery.SchemaField(
        column.name, column.type, column.mode, fields=[_field(inner) for inner in column.fields]
    )


def _state(job: Any) -> JobState:
    error = job.error_result or {}
    return JobState(job.state == "DONE", str(error.get("reason", "")), str(error.get("message", "")))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value) if isinstance(value, decimal.Decimal) else value


@contextmanager
def _begun(job: TableJob) -> Iterator[None]:
    """A job whose id was used before is there already, and is the same."""
    with suppress(Conflict), _translated(f"job {job.id} on {job.table}"):
        yield


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """The one place where the library's errors become ours."""
    try:
        yield
    except PromptmillError:
        raise
    except _FOREIGN as error:
        raise _translation(what, error) from error


def _translation(what: str, error: Exception) -> PromptmillError:
    words = f"BigQuery, {what}: {failures.words(error)}"
    match failures.code(error):
        case HTTPStatus.NOT_FOUND:
            return NotFound(words)
        case HTTPStatus.CONFLICT:
            return Conflict(words)
    if _reason(error) in _PASSING or failures.may_pass(error):
        return Transient(words)
    return (Denied if failures.is_denied(error) else Permanent)(words)


def _reason(error: Exception) -> str:
    told = getattr(error, "errors", None) or [{}]
    return str(told[0].get("reason", "")) if isinstance(told[0], dict) else ""
