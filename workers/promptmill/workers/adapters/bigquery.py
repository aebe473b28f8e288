"""BigQuery behind the ``Warehouse`` port."""

import base64
import datetime
import decimal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Any, Protocol, TypedDict

from google.api_core.retry import Retry
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
from promptmill.workers.ports.warehouse import BigQueryJob, BigQueryJobState, Column

_TIMEOUT = 30.0


class _CallOptions(TypedDict):
    timeout: float
    retry: Retry


_CALL_OPTIONS: _CallOptions = {"timeout": _TIMEOUT, "retry": DEFAULT_RETRY.with_timeout(20.0)}
_PAGE_SIZE = 5_000
_LIBRARY_ERRORS = (*failures.GOOGLE_ERRORS, ValueError, TypeError)
"""The library also raises ValueError and TypeError for unreadable responses and arguments."""
_TRANSIENT_REASONS = frozenset(
    {"backendError", "internalError", "jobRateLimitExceeded", "quotaExceeded", "rateLimitExceeded"}
)
"""Transient reasons that come with status 403 or 400.

See https://cloud.google.com/bigquery/docs/error-messages."""


def open_warehouse(settings: Settings) -> "BigQueryWarehouse":
    """Connect to BigQuery. Jobs belong to ``settings.project``. Raises ConfigurationError."""
    credentials = None
    if settings.bigquery_emulator_host:
        from google.auth.credentials import AnonymousCredentials

        credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
    try:
        return BigQueryWarehouse(
            bigquery.Client(project=settings.get_required("project"), credentials=credentials)
        )
    except auth_exceptions.DefaultCredentialsError as error:
        raise ConfigurationError(failures.NO_CREDENTIALS) from error


class BigQueryWarehouse:
    """The tables of one account. Build one per process: sockets must not survive a fork."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._locations: dict[tuple[str, str], str] = {}

    def check_job_access(self, table: Table) -> None:
        """Send a query that reads nothing, as a dry run."""
        config = bigquery.QueryJobConfig(dry_run=True, use_query_cache=False)
        location = self._dataset_location(table)
        with _translate_errors(f"queries in project {self._client.project}"):
            self._client.query(
                "SELECT 1", job_config=config, location=location, job_retry=None, **_CALL_OPTIONS
            )

    def get_columns(self, table: Table) -> list[Column] | None:
        """Return the columns of a table, or None when there is no such table."""
        with suppress(NotFound):
            return [_to_column(field) for field in self._fetch_schema(table)]
        return None

    def create_table(
        self, table: Table, columns: Sequence[Column], expiration_days: int = 0
    ) -> None:
        """Create a table unless it exists."""
        new_table = bigquery.Table(
            str(table), schema=[_to_schema_field(column) for column in columns]
        )
        if expiration_days:
            new_table.expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(
                days=expiration_days
            )
        with _translate_errors(str(table)):
            self._client.create_table(new_table, exists_ok=True, **_CALL_OPTIONS)

    def test_permissions(self, table: Table, permissions: Sequence[str]) -> set[str]:
        """Return which of these permissions the account has on a table."""
        with _translate_errors(str(table)):
            response = self._client.test_iam_permissions(
                str(table), list(permissions), **_CALL_OPTIONS
            )
            return set(response.get("permissions", ()))

    def get_job_state(self, job: BigQueryJob) -> BigQueryJobState | None:
        """Return the state of a job, or None if it does not exist."""
        location = self._dataset_location(job.table)
        try:
            with _translate_errors(f"job {job.id}"):
                return _to_job_state(
                    self._client.get_job(job.id, location=location, **_CALL_OPTIONS)
                )
        except NotFound:
            return None

    def start_load(self, job: BigQueryJob, uris: Sequence[str]) -> None:
        """Start to append files to a table. Values without a column are ignored."""
        config = bigquery.LoadJobConfig(
            source_format="NEWLINE_DELIMITED_JSON",
            schema=self._fetch_schema(job.table),
            ignore_unknown_values=True,
            create_disposition="CREATE_NEVER",
            write_disposition="WRITE_APPEND",
        )
        options = self._job_options(job)
        with _ignore_existing_job(job):
            self._client.load_table_from_uri(
                list(uris), str(job.table), job_config=config, **options
            )

    def start_extract(self, job: BigQueryJob, uri: str) -> None:
        """Start to write a table to files."""
        config = bigquery.ExtractJobConfig(  # type: ignore[no-untyped-call]
            destination_format="NEWLINE_DELIMITED_JSON"
        )
        options = self._job_options(job)
        with _ignore_existing_job(job):
            self._client.extract_table(str(job.table), uri, job_config=config, **options)

    def start_merge(self, job: BigQueryJob, source: Table, on: Sequence[str]) -> None:
        """Start a MERGE."""
        sql = _merge_statement(
            job.table, source, on, [field.name for field in self._fetch_schema(job.table)]
        )
        options = self._job_options(job)
        with _ignore_existing_job(job):
            self._client.query(sql, job_retry=None, **options)

    def delete_table(self, table: Table) -> None:
        """Delete a table if it exists."""
        with _translate_errors(str(table)):
            self._client.delete_table(str(table), not_found_ok=True, **_CALL_OPTIONS)

    def stream_rows(self, source: Table | str) -> Iterator[dict[str, object]]:
        """Stream the rows of a table or a query, in pages. Values are JSON values."""
        with _translate_errors(str(source) if isinstance(source, Table) else "the query"):
            if isinstance(source, Table):
                row_iterator = self._client.list_rows(
                    str(source), page_size=_PAGE_SIZE, **_CALL_OPTIONS
                )
            else:
                row_iterator = self._client.query(source, **_CALL_OPTIONS).result(
                    page_size=_PAGE_SIZE
                )
            for row in row_iterator:
                yield {name: _to_json_value(value) for name, value in row.items()}

    def _fetch_schema(self, table: Table) -> list[bigquery.SchemaField]:
        with _translate_errors(str(table)):
            return list(self._client.get_table(str(table), **_CALL_OPTIONS).schema)

    def _job_options(self, job: BigQueryJob) -> dict[str, object]:
        location = self._dataset_location(job.table)
        return {"job_id": job.id, "location": location, **_CALL_OPTIONS}

    def _dataset_location(self, table: Table) -> str:
        """Return the location of a dataset. Its jobs are found only there."""
        key = (table.project, table.dataset)
        if key not in self._locations:
            with _translate_errors(f"dataset {table.project}.{table.dataset}"):
                self._locations[key] = str(
                    self._client.get_dataset(".".join(key), **_CALL_OPTIONS).location
                )
        return self._locations[key]


def _merge_statement(
    table: Table, source: Table, key_columns: Sequence[str], columns: Sequence[str]
) -> str:
    """Return a MERGE. Backticks suffice: tables were checked, and columns cannot have any."""
    join_condition = " AND ".join(f"old.`{name}` = new.`{name}`" for name in key_columns)
    assignments = ", ".join(f"`{name}` = new.`{name}`" for name in columns)
    names = ", ".join(f"`{name}`" for name in columns)
    values = ", ".join(f"new.`{name}`" for name in columns)
    return (
        f"MERGE `{table}` AS old USING `{source}` AS new ON {join_condition} "  # noqa: S608
        f"WHEN MATCHED THEN UPDATE SET {assignments} "
        f"WHEN NOT MATCHED THEN INSERT ({names}) VALUES ({values})"
    )


def _to_column(field: bigquery.SchemaField) -> Column:
    return Column(
        field.name, field.field_type, field.mode, tuple(_to_column(inner) for inner in field.fields)
    )


def _to_schema_field(column: Column) -> bigquery.SchemaField:
    return bigquery.SchemaField(
        column.name,
        column.type,
        column.mode,
        fields=[_to_schema_field(inner) for inner in column.fields],
    )


class _LibraryJob(Protocol):
    @property
    def state(self) -> object: ...

    @property
    def error_result(self) -> Mapping[str, object] | None: ...


def _to_job_state(job: _LibraryJob) -> BigQueryJobState:
    error = job.error_result or {}
    return BigQueryJobState(
        job.state == "DONE", str(error.get("reason", "")), str(error.get("message", ""))
    )


def _to_json_value(value: object) -> object:
    if isinstance(value, dict):
        return {name: _to_json_value(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json_value(inner) for inner in value]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value) if isinstance(value, decimal.Decimal) else value


@contextmanager
def _ignore_existing_job(job: BigQueryJob) -> Iterator[None]:
    """Ignore a conflict: a job with the same id is the same job."""
    with suppress(Conflict), _translate_errors(f"job {job.id} on {job.table}"):
        yield


@contextmanager
def _translate_errors(subject: str) -> Iterator[None]:
    """Translate the library's errors into Promptmill's. Nothing else does."""
    try:
        yield
    except PromptmillError:
        raise
    except _LIBRARY_ERRORS as error:
        raise _classify_error(subject, error) from error


def _classify_error(subject: str, error: Exception) -> PromptmillError:
    message = f"BigQuery, {subject}: {failures.describe_error(error)}"
    match failures.http_status(error):
        case HTTPStatus.NOT_FOUND:
            return NotFound(message)
        case HTTPStatus.CONFLICT:
            return Conflict(message)
    if _error_reason(error) in _TRANSIENT_REASONS or failures.is_transient(error):
        return Transient(message)
    return (Denied if failures.is_denied(error) else Permanent)(message)


def _error_reason(error: Exception) -> str:
    error_details = getattr(error, "errors", None) or [{}]
    return str(error_details[0].get("reason", "")) if isinstance(error_details[0], dict) else ""
