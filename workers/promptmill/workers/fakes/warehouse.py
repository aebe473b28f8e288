"""BigQuery in memory."""

import threading
from collections.abc import Callable, Iterator, Sequence

import msgspec

from promptmill.config.errors import NotFound
from promptmill.config.tables import Table
from promptmill.workers.ports.warehouse import BigQueryJob, BigQueryJobState, Column

Row = dict[str, object]


class FakeWarehouse:
    """A ``Warehouse`` with some datasets. ``read`` and ``write`` take the URIs of files."""

    def __init__(
        self,
        read: Callable[[str], bytes],
        datasets: Sequence[str] = ("acme.reviews",),
        write: Callable[[str, bytes], None] = lambda _, __: None,
    ) -> None:
        self.tables: dict[Table, list[Row]] = {}
        self.denied_permissions: set[str] = set()
        self.next_job_states: list[BigQueryJobState] = []
        """The states of the next jobs, which do nothing."""
        self.polls_until_done = 0
        """The number of polls that find a job still running."""
        self.started_jobs: list[str] = []
        self._read = read
        self._write = write
        self._datasets = set(datasets)
        self._columns: dict[Table, list[Column]] = {}
        self._jobs: dict[str, BigQueryJobState] = {}
        self._poll_counts: dict[str, int] = {}
        self._lock = threading.RLock()

    def check_job_access(self, table: Table) -> None:
        """Raise NotFound if the dataset does not exist."""
        if f"{table.project}.{table.dataset}" not in self._datasets:
            raise NotFound(f"dataset {table.project}.{table.dataset} does not exist")

    def get_columns(self, table: Table) -> list[Column] | None:
        """Return the columns of a table."""
        return self._columns.get(table)

    def create_table(
        self,
        table: Table,
        columns: Sequence[Column],
        expiration_days: int = 0,  # noqa: ARG002
    ) -> None:
        """Create a table unless it exists."""
        self.check_job_access(table)
        with self._lock:
            self._columns.setdefault(table, list(columns))
            self.tables.setdefault(table, [])

    def test_permissions(self, table: Table, permissions: Sequence[str]) -> set[str]:
        """Return the permissions except ``denied_permissions``."""
        self._require_table(table)
        return set(permissions) - self.denied_permissions

    def get_job_state(self, job: BigQueryJob) -> BigQueryJobState | None:
        """Return the state of a job."""
        self.check_job_access(job.table)
        with self._lock:
            if job.id not in self._jobs:
                return None
            self._poll_counts[job.id] += 1
            return (
                self._jobs[job.id]
                if self._poll_counts[job.id] > self.polls_until_done
                else BigQueryJobState(False)
            )

    def start_load(self, job: BigQueryJob, uris: Sequence[str]) -> None:
        """Append the rows of files."""
        columns = [column.name for column in self._require_table(job.table)]

        def append_rows() -> None:
            lines = [line for uri in uris for line in self._read(uri).split(b"\n") if line]
            rows: list[Row] = [msgspec.json.decode(line) for line in lines]
            self.tables[job.table] += [{name: row.get(name) for name in columns} for row in rows]

        self._run_job(job, append_rows)

    def start_extract(self, job: BigQueryJob, uri: str) -> None:
        """Write the rows of a table to one file."""
        self._require_table(job.table)
        lines = b"".join(msgspec.json.encode(row) + b"\n" for row in self.tables[job.table])
        self._run_job(job, lambda: self._write(uri.replace("*", "000000000000"), lines))

    def start_merge(self, job: BigQueryJob, source: Table, on: Sequence[str]) -> None:
        """Replace the rows with equal values in the columns ``on``."""
        self._require_table(job.table)

        def replace_rows() -> None:
            self._require_table(source)
            source_rows = {_key_values(row, on): row for row in self.tables[source]}
            unmatched_rows = [
                row for row in self.tables[job.table] if _key_values(row, on) not in source_rows
            ]
            self.tables[job.table] = [*unmatched_rows, *source_rows.values()]

        self._run_job(job, replace_rows)

    def delete_table(self, table: Table) -> None:
        """Delete a table if it exists."""
        with self._lock:
            self._columns.pop(table, None)
            self.tables.pop(table, None)

    def stream_rows(self, source: Table | str) -> Iterator[Row]:
        """Stream the rows of a table. Queries raise NotFound."""
        if isinstance(source, str):
            raise NotFound("the fake runs no queries")
        self._require_table(source)
        return iter(list(self.tables[source]))

    def _require_table(self, table: Table) -> list[Column]:
        if table not in self._columns:
            raise NotFound(f"{table} does not exist")
        return self._columns[table]

    def _run_job(self, job: BigQueryJob, action: Callable[[], None]) -> None:
        with self._lock:
            if job.id in self._jobs:
                return
            self.started_jobs.append(job.id)
            self._poll_counts[job.id] = 0
            if self.next_job_states:
                self._jobs[job.id] = self.next_job_states.pop(0)
                return
            try:
                action()
                self._jobs[job.id] = BigQueryJobState(True)
            except NotFound as error:
                self._jobs[job.id] = BigQueryJobState(True, "notFound", str(error))


def _key_values(row: Row, on: Sequence[str]) -> tuple[object, ...]:
    return tuple(row[name] for name in on)
