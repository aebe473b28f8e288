"""What sinks and sources need of BigQuery.

The adapter and the fake pass one contract suite.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from promptmill.config.tables import Table

MAX_SOURCE_URIS = 10_000
"""Maximum source URIs of a load job.

See https://cloud.google.com/bigquery/quotas#load_jobs."""


class Column(NamedTuple):
    """A column in BigQuery's terms. ``fields`` are those of a RECORD."""

    name: str
    type: str
    mode: str = "NULLABLE"
    fields: "tuple[Column, ...]" = ()


class BigQueryJob(NamedTuple):
    """A BigQuery job with our id. BigQuery never runs an id twice.

    It runs in the location of ``table``.
    """

    id: str
    table: Table


class BigQueryJobState(NamedTuple):
    """The state of a job. ``reason`` is BigQuery's error reason, empty without an error."""

    done: bool
    reason: str = ""
    message: str = ""


class Warehouse(Protocol):
    """BigQuery. Every method may raise Transient and Permanent.

    Starting a job that exists does nothing.
    """

    def check_job_access(self, table: Table) -> None:
        """Check, free of charge, that jobs can run. Raises NotFound without ``table``'s dataset."""
        ...

    def get_columns(self, table: Table) -> list[Column] | None:
        """Return the columns of a table, or None if it does not exist."""
        ...

    def create_table(
        self, table: Table, columns: Sequence[Column], expiration_days: int = 0
    ) -> None:
        """Create a table unless it exists. BigQuery deletes it after ``expiration_days``."""
        ...

    def test_permissions(self, table: Table, permissions: Sequence[str]) -> set[str]:
        """Return which of these permissions the account has on a table."""
        ...

    def get_job_state(self, job: BigQueryJob) -> BigQueryJobState | None:
        """Return the state of a job, or None if it does not exist."""
        ...

    def start_load(self, job: BigQueryJob, uris: Sequence[str]) -> None:
        """Start to append ``gs://`` files of JSON lines to ``job.table``, all or nothing."""
        ...

    def start_extract(self, job: BigQueryJob, uri: str) -> None:
        """Start to write ``job.table`` to files of JSON lines. Numbers replace the ``*``."""
        ...

    def start_merge(self, job: BigQueryJob, source: Table, on: Sequence[str]) -> None:
        """Start to upsert ``source`` into ``job.table`` of the same columns, by those in ``on``."""
        ...

    def delete_table(self, table: Table) -> None:
        """Delete a table if it exists."""
        ...

    def stream_rows(self, source: Table | str) -> Iterator[dict[str, object]]:
        """Stream the rows of a table or a query, in pages."""
        ...
