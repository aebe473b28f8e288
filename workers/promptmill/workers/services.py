"""What the tasks of one process work with, built at its first task: no client may be shared over a fork."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from promptmill.config.errors import NotInstalled
from promptmill.config.settings import Settings, variable
from promptmill.producers.contract.connection import Connection
from promptmill.producers.contract.messages import Signature, SinkSpec
from promptmill.producers.contract.run_index import Index
from promptmill.producers.pools import Collected, open_collected
from promptmill.workers.coordination.notes import Notes
from promptmill.workers.facts import snapshot
from promptmill.workers.facts.snapshot import Reader, RunFacts
from promptmill.workers.ports import callbacks
from promptmill.workers.ports.database import Database
from promptmill.workers.ports.google import BatchJobs, Bucket, Caller
from promptmill.workers.ports.warehouse import Warehouse
from promptmill.workers.sinks import Sink, opening
from promptmill.workers.sinks.opening import Ways

if TYPE_CHECKING:
    from promptmill.workers.sinks.webhook import Web


@dataclass(frozen=True)
class Services:
    """Settings, what is kept in Redis, and the ways to reach the bucket, Vertex and the callers' own workers."""

    settings: Settings
    index: Index
    notes: Notes
    open_bucket: Callable[[str], Bucket]
    open_jobs: Callable[[], BatchJobs]
    ways: Ways = field(default_factory=Ways)
    open_collected: Callable[[], Collected] | None = None

    @cached_property
    def bucket(self) -> Bucket:
        """The bucket of this mill."""
        return self.open_bucket(self.settings.require("bucket"))

    @cached_property
    def _reader(self) -> Reader:
        return Reader(self.bucket)

    def known(self, run: str) -> RunFacts:
        """Return which facts of a run exist."""
        return snapshot.load(self.bucket, run, self._reader)

    @cached_property
    def collected(self) -> Collected:
        """What was collected for pools, and is not stored yet."""
        return self.open_collected() if self.open_collected else open_collected(self.settings)

    @cached_property
    def jobs(self) -> BatchJobs:
        """Vertex's jobs; the client is the largest import, so only tasks that need it pay for it."""
        return self.open_jobs()

    @cached_property
    def warehouse(self) -> Warehouse:
        """BigQuery."""
        return self.ways.open_warehouse()

    @cached_property
    def caller(self) -> Caller:
        """The broker of the callers' own workers."""
        return self.ways.open_caller()

    def check_callback(self, chain: list[Signature]) -> None:
        """Raise ConfigurationError when runs may not have these tasks called."""
        callbacks.check(self.settings, chain)

    def open_sink(self, spec: SinkSpec, run: str, schema: Mapping[str, Any] | None = None) -> Sink:
        """Open a sink for a run with this response schema; raises ConfigurationError when runs may not write there."""
        ways = self.ways._replace(open_warehouse=lambda: self.warehouse, open_caller=lambda: self.caller)
        return opening.open_sink(self.settings, self.open_bucket, ways, spec, run, schema)


def build(settings: Settings) -> Services:
    """Build the services that reach the real systems; all buckets share one client, and so its token and sockets."""

    @cache
    def storage_client() -> Any:
        from promptmill.workers.adapters import storage

        return storage.open_client(settings.project)

    def open_bucket(url: str) -> Bucket:
        from promptmill.workers.adapters import storage

        setting = variable("bucket") if url == settings.bucket else ""
        return storage.open_bucket(url, setting=setting, client=storage_client())

    def open_jobs() -> BatchJobs:
        from promptmill.workers.adapters import vertex

        return vertex.open_jobs(settings)

    def open_database(url: str, name: str) -> Database:
        from promptmill.workers.adapters import postgres

        return postgres.open_database(url, name)

    def open_web() -> "Web":
        from promptmill.workers.adapters import web

        return web.open_web()

    def open_warehouse() -> Warehouse:
        try:
            from promptmill.workers.adapters import bigquery
        except ImportError as error:
            raise NotInstalled("BigQuery needs an extra: pip install 'promptmill[bigquery]'") from error
        return bigquery.open_warehouse(settings)

    def open_caller() -> Caller:
        from promptmill.workers.adapters.calls import CeleryCaller

        return CeleryCaller(settings)

    connection = Connection(settings.index_url)
    ways = Ways(open_database, open_web, open_warehouse, open_caller)
    return Services(settings, Index(connection), Notes(connection), open_bucket, open_jobs, ways)


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
