"""BigQuery in memory."""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from promptmill.config.errors import NotFound
from promptmill.config.tables import Table
from promptmill.workers.ports.warehouse import Column, JobState, TableJob

Row = dict[str, Any]


class FakeWarehouse:
    """A ``Warehouse`` with ``datasets`` (project.dataset); files are read and written by their URI."""

    def __init__(
        self,
        read: Callable[[str], bytes],
        datasets: Sequence[str] = ("acme.reviews",),
        write: Callable[[str, bytes], None] = lambda _, __: None,
    ) -> None:
        self.tables: dict[Table, list[Row]] = {}
        self.denied: set[str] = set()
        self.fail_next: list[JobState] = []
        """How the next jobs end, instead of doing anything."""
        self.looks_until_done = 0
        """How many looks at a job find it still under way."""
        self.begun: list[str] = []
        self._read = read
        self._write = write
        self._datasets = set(datasets)
        self._columns: dict[Table, list[Column]] = {}
        self._jobs: dict[str, JobState] = {}
        self._looks: dict[str, int] = {}
        self._lock = threading.RLock()

    def check_jobs(self, table: Table) -> None:
        """Raise NotFound without the dataset."""
        if f"{table.project}.{table.dataset}" not in self._datasets:
            raise NotFound(f"dataset {table.project}.{table.dataset} does not exist")

    def columns(self, table: Table) -> list[Column] | None:
        """Return the columns of a table."""
        return self._columns.get(table)

    def create(self, table: Table, columns: Sequence[Column], days: int = 0) -> None:  # noqa: ARG002
        """Create a table, if it is not there."""
        self.check_jobs(table)
        with self._lock:
            self._columns.setdefault(table, list(columns))
            self.tables.setdefault(table, [])

    def may(self, table: Table, permissions: Sequence[str]) -> set[str]:
        """Return all permissions but those ``denied``."""
        self._require(table)
        return set(permissions) - self.denied

    def look(self, job: TableJob) -> JobState | None:
        """Return how far a job is."""
        self.check_jobs(job.table)
        with self._lock:
            if job.id not in self._jobs:
                return None
            self._looks[job.id] += 1
            return self._jobs[job.id] if self._looks[job.id] > self.looks_until_done else JobState(False)

    def load(self, job: TableJob, uris: Sequence[str]) -> None:
        """Append the rows of files."""
        columns = [column.name for column in self._require(job.table)]

        def work() -> None:
            lines = [line for uri in uris for line in self._read(uri).split(b"\n") if line]
            rows: list[Row] = [msgspec.json.decode(line) for line in lines]
            self.tables[job.table] += [{name: row.get(name) for name in columns} for row in rows]

        self._run(job, work)

    def extract(self, job: TableJob, uri: str) -> None:
        """Write the rows of a table to one file."""
        self._require(job.table)
        lines = b"".join(msgspec.json.encode(row) + b"\n" for row in self.tables[job.table])
        self._run(job, lambda: self._write(uri.replace("*", "000000000000"), lines))

    def merge(self, job: TableJob, source: Table, on: Sequence[str]) -> None:
        """Replace the rows that are equal in the columns ``on``."""
        self._require(job.table)

        def work() -> None:
            self._require(source)
            merged = {_key(row, on): row for row in self.tables[source]}
            kept = [row for row in self.tables[job.table] if _key(row, on) not in merged]
            self.tables[job.table] = [*kept, *merged.values()]

        self._run(job, work)

    def drop(self, table: Table) -> None:
        """Delete a table, if it is there."""
        with self._lock:
            self._columns.pop(table, None)
            self.tables.pop(table, None)

    def rows(self, source: Table | str) -> Iterator[Row]:
        """Stream the rows of a table; a query is more than can be had here."""
        if isinstance(source, str):
            raise NotFound("queries are not faked")
        self._require(source)
        return iter(list(self.tables[source]))

    def _require(self, table: Table) -> list[Column]:
        if table not in self._columns:
            raise NotFound(f"{table} does not exist")
        return self._columns[table]

    def _run(self, job: TableJob, work: Callable[[], None]) -> None:
        with self._lock:
            if job.id in self._jobs:
                return
            self.begun.append(job.id)
            self._looks[job.id] = 0
            if self.fail_next:
                self._jobs[job.id] = self.fail_next.pop(0)
                return
            try:
                work()
                self._jobs[job.id] = JobState(True)
            except NotFound as error:
                self._jobs[job.id] = JobState(True, "notFound", str(error))


def _key(row: Row, on: Sequence[str]) -> tuple[Any, ...]:
    return tuple(row[name] for name in on)
