"""What the tasks of one process work with, built at its first task: no client may be shared over a fork."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from promptmill.config.errors import ConfigurationError, NotInstalled
from promptmill.config.settings import Settings
from promptmill.producers.connection import Connection
from promptmill.producers.index import Index
from promptmill.producers.messages import SinkSpec
from promptmill.workers.notes import Notes
from promptmill.workers.ports import BatchJobs, Bucket
from promptmill.workers.sinks import Sink, allowed
from promptmill.workers.sinks.bigquery import BigQuerySink
from promptmill.workers.sinks.jsonl import BucketSink, FileSink
from promptmill.workers.warehouse import Warehouse


def _no_warehouse() -> Warehouse:
    raise ConfigurationError("there is no BigQuery here")


@dataclass(frozen=True)
class Services:
    """Settings, what is kept in Redis, and the ways to reach the bucket and Vertex."""

    settings: Settings
    index: Index
    notes: Notes
    open_bucket: Callable[[str], Bucket]
    open_jobs: Callable[[], BatchJobs]
    open_warehouse: Callable[[], Warehouse] = _no_warehouse

    @cached_property
    def bucket(self) -> Bucket:
        """The bucket of this mill."""
        return self.open_bucket(self.settings.require("bucket"))

    @cached_property
    def jobs(self) -> BatchJobs:
        """Vertex's jobs; the client is the largest import, so only tasks that need it pay for it."""
        return self.open_jobs()

    @cached_property
    def warehouse(self) -> Warehouse:
        """BigQuery."""
        return self.open_warehouse()

    def open_sink(self, spec: SinkSpec, run: str) -> Sink:
        """Open a sink for a run; raises ConfigurationError when runs may not write there."""
        if spec.kind == "file":
            return FileSink(allowed.file(self.settings, spec), run)
        if spec.kind == "bigquery":
            return BigQuerySink(self.warehouse, self.bucket, allowed.table(self.settings, spec), spec, run)
        return BucketSink(self.open_bucket(allowed.folder(self.settings, spec, run)), run)


def build(settings: Settings) -> Services:
    """Build the services that reach the real systems."""

    def open_bucket(url: str) -> Bucket:
        from promptmill.workers.adapters import storage

        return storage.open_bucket(url, settings.project)

    def open_jobs() -> BatchJobs:
        from promptmill.workers.adapters import vertex

        return vertex.open_jobs(settings)

    def open_warehouse() -> Warehouse:
        try:
            from promptmill.workers.adapters import bigquery
        except ImportError as error:
            raise NotInstalled("BigQuery needs an extra: pip install 'promptmill[bigquery]'") from error
        return bigquery.open_warehouse(settings)

    connection = Connection(settings.index_url)
    return Services(settings, Index(connection), Notes(connection), open_bucket, open_jobs, open_warehouse)


class PerProcess:
    """Builds services once in each process, also when it was forked from one that had some."""

    def __init__(self, make: Callable[[], Services]) -> None:
        self._make = make
        self._pid = 0
        self._services: Services | None = None

    def __call__(self) -> Services:
        """Return this process's services."""
        if self._services is None or self._pid != os.getpid():
            self._services, self._pid = self._make(), os.getpid()
        return self._services
