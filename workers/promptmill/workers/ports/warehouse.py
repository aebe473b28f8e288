"""What sinks and sources need of BigQuery. The adapter and the fake pass one contract suite."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from promptmill.config.tables import Table

MAX_SOURCE_URIS = 10_000
"""Source URIs that one load job takes (https://cloud.google.com/bigquery/quotas#load_jobs)."""


class Column(NamedTuple):
    """A column by BigQuery's names; ``fields`` of a RECORD."""

    name: str
    type: str
    mode: str = "NULLABLE"
    fields: "tuple[Column, ...]" = ()


class BigQueryJob(NamedTuple):
    """A job of BigQuery's by the id that we gave it: the same id is never run twice. It runs where ``table`` lies."""

    id: str
    table: Table


class BigQueryJobState(NamedTuple):
    """How far a job is; ``reason`` is BigQuery's word for why it failed, and empty when it did not."""

    done: bool
    reason: str = ""
    message: str = ""


class Warehouse(Protocol):
    """BigQuery. Every method may raise Transient and Permanent."""

    def check_job_access(self, table: Table) -> None:
        """Find out, at no cost, whether jobs may be run where ``table`` lies; raises NotFound without its dataset."""
        ...

    def get_columns(self, table: Table) -> list[Column] | None:
        """Return the columns of a table, or None when there is no such table."""
        ...

    def create_table(
        self, table: Table, columns: Sequence[Column], expiration_days: int = 0
    ) -> None:
        """Create a table, if it is not there; with ``expiration_days`` BigQuery deletes it after so many."""
        ...

    def test_permissions(self, table: Table, permissions: Sequence[str]) -> set[str]:
        """Return those of ``permissions`` that we have on a table."""
        ...

    def get_job_state(self, job: BigQueryJob) -> BigQueryJobState | None:
        """Return how far a job is; None when there is no such job."""
        ...

    def start_load(self, job: BigQueryJob, uris: Sequence[str]) -> None:
        """Begin to append ``gs://`` files of JSON lines to ``job.table``, all or nothing; fine if the job is there."""
        ...

    def start_extract(self, job: BigQueryJob, uri: str) -> None:
        """Begin to write ``job.table`` to ``gs://`` files of JSON lines, with numbers for the ``*``; fine if it is there."""
        ...

    def start_merge(self, job: BigQueryJob, source: Table, on: Sequence[str]) -> None:
        """Begin to put the rows of ``source`` into ``job.table``, in place of those that are equal in the columns ``on``.

        Both have the same columns. Fine if the job is there.
        """
        ...

    def delete_table(self, table: Table) -> None:
        """Delete a table; one that is not there is fine."""
        ...

    def stream_rows(self, source: Table | str) -> Iterator[dict[str, Any]]:
        """Stream the rows of a table or of a query, in pages."""
        ...
