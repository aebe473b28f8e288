"""The services that tasks use. Each process builds its own, as no client survives a fork."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from typing import Any

from promptmill.config.errors import ConfigurationError, NotInstalled
from promptmill.config.settings import Settings, variable_name
from promptmill.producers.contract.connection import Connection
from promptmill.producers.contract.messages import Manifest, Signature, SinkSpec
from promptmill.producers.contract.run_index import RunIndex
from promptmill.producers.pools import PoolQueue, open_pool_queue
from promptmill.workers.coordination.alarm_counts import AlarmCounts
from promptmill.workers.coordination.claims import Claims
from promptmill.workers.coordination.joins import Joins
from promptmill.workers.coordination.open_jobs import OpenJobs
from promptmill.workers.coordination.pool_sizes import PoolSizes
from promptmill.workers.coordination.step_leases import StepLeases
from promptmill.workers.facts import snapshot
from promptmill.workers.facts.run_folder import AttemptFolder, RunFolder
from promptmill.workers.facts.snapshot import RunSnapshot, SnapshotReader
from promptmill.workers.ports import callbacks
from promptmill.workers.ports.database import Database
from promptmill.workers.ports.google import BatchJobs, Bucket, CallbackBroker, Endpoints
from promptmill.workers.ports.warehouse import Warehouse
from promptmill.workers.ports.web import WebClient
from promptmill.workers.sinks import Sink, opening
from promptmill.workers.sinks.context import Connectors, SinkContext


def _no_endpoints() -> Endpoints:
    raise ConfigurationError("Vertex AI's endpoints cannot be reached from this process")


@dataclass(frozen=True)
class Services:
    """Settings, state in Redis, and clients of the bucket, Vertex, sinks and callbacks."""

    settings: Settings
    connection: Connection
    open_bucket: Callable[[str], Bucket]
    open_batch_jobs: Callable[[], BatchJobs]
    connectors: Connectors = field(default_factory=Connectors)
    open_pending_calls: Callable[[], PoolQueue] | None = None
    open_endpoints: Callable[[], Endpoints] = _no_endpoints

    @cached_property
    def index(self) -> RunIndex:
        """The status of runs, as users see it."""
        return RunIndex(self.connection)

    @cached_property
    def leases(self) -> StepLeases:
        """Leases on steps."""
        return StepLeases(self.connection)

    @cached_property
    def open_jobs(self) -> OpenJobs:
        """The jobs to poll. Raises ConfigurationError without a project."""
        return OpenJobs(self.connection, self.settings.parent)

    @cached_property
    def joins(self) -> Joins:
        """Sets of finished tasks."""
        return Joins(self.connection)

    @cached_property
    def claims(self) -> Claims:
        """Claims, by which one worker at a time does something."""
        return Claims(self.connection)

    @cached_property
    def pool_sizes(self) -> PoolSizes:
        """The sizes of batches in pools."""
        return PoolSizes(self.connection)

    @cached_property
    def alarm_counts(self) -> AlarmCounts:
        """Counts of alarms."""
        return AlarmCounts(self.connection)

    @cached_property
    def bucket(self) -> Bucket:
        """The bucket of this deployment."""
        return self.open_bucket(self.settings.get_required("bucket"))

    def run_folder(self, run: str) -> RunFolder:
        """Return the folder of a run."""
        return RunFolder(self.bucket, run)

    def attempt_folder(self, run: str, shard: int, attempt: int) -> AttemptFolder:
        """Return the folder of an attempt of a shard."""
        return RunFolder(self.bucket, run).attempt(shard, attempt)

    @cached_property
    def _snapshot_reader(self) -> SnapshotReader:
        return SnapshotReader(self.bucket)

    def load_snapshot(self, run: str) -> RunSnapshot:
        """Return which facts of a run exist."""
        return snapshot.load_snapshot(self.bucket, run, self._snapshot_reader)

    @cached_property
    def pending_calls(self) -> PoolQueue:
        """The calls that were collected for pools and are not stored yet."""
        return (
            self.open_pending_calls() if self.open_pending_calls else open_pool_queue(self.settings)
        )

    @cached_property
    def jobs(self) -> BatchJobs:
        """Vertex's batch jobs. Opened on first use, since the client is a slow import."""
        return self.open_batch_jobs()

    @cached_property
    def warehouse(self) -> Warehouse:
        """BigQuery. Opened on first use."""
        return self.connectors.open_warehouse()

    @cached_property
    def caller(self) -> CallbackBroker:
        """The broker that callbacks are sent to."""
        return self.connectors.open_callback_broker()

    def check_callback(self, chain: list[Signature]) -> None:
        """Raise ConfigurationError if these callback tasks are not allowed."""
        callbacks.check_callback_tasks(self.settings, chain)

    def open_sink(self, spec: SinkSpec, run: str, manifest: Manifest | None = None) -> Sink:
        """Open a sink for a run. A check of the sink also needs the run's ``manifest``.

        Raises ConfigurationError if runs may not write there.
        """
        connectors = self.connectors._replace(
            open_warehouse=lambda: self.warehouse, open_callback_broker=lambda: self.caller
        )
        context = SinkContext(self.settings, self.open_bucket, connectors, run)
        return opening.open_sink(spec, context.describe_run(manifest) if manifest else context)


def build_services(settings: Settings) -> Services:
    """Build services that reach the real systems. All buckets share one client."""
    open_warehouse, open_caller = (
        partial(_open_warehouse, settings),
        partial(_open_caller, settings),
    )
    return Services(
        settings,
        Connection(settings.index_url),
        _share_storage_client(settings),
        partial(_open_batch_jobs, settings),
        Connectors(_open_database, _open_web, open_warehouse, open_caller),
        open_endpoints=partial(_open_endpoints, settings),
    )


def _share_storage_client(settings: Settings) -> Callable[[str], Bucket]:
    @cache
    def storage_client() -> Any:
        from promptmill.workers.adapters import storage

        return storage.open_client(settings.project)

    def open_bucket(url: str) -> Bucket:
        from promptmill.workers.adapters import storage

        setting = variable_name("bucket") if url == settings.bucket else ""
        return storage.open_bucket(url, setting=setting, client=storage_client())

    return open_bucket


def _open_batch_jobs(settings: Settings) -> BatchJobs:
    from promptmill.workers.adapters import vertex

    return vertex.open_jobs(settings)


def _open_endpoints(settings: Settings) -> Endpoints:
    from promptmill.workers.adapters import endpoints

    return endpoints.open_endpoints(settings)


def _open_database(url: str, name: str) -> Database:
    from promptmill.workers.adapters import postgres

    return postgres.open_database(url, name)


def _open_web() -> WebClient:
    from promptmill.workers.adapters import web

    return web.open_web()


def _open_warehouse(settings: Settings) -> Warehouse:
    try:
        from promptmill.workers.adapters import bigquery
    except ImportError as error:
        raise NotInstalled("BigQuery needs an extra: pip install 'promptmill[bigquery]'") from error
    return bigquery.open_warehouse(settings)


def _open_caller(settings: Settings) -> CallbackBroker:
    from promptmill.workers.adapters.calls import CeleryCallbackBroker

    return CeleryCallbackBroker(settings)


class PerProcessServices:
    """Builds the services once in each process, including forked ones."""

    def __init__(self, factory: Callable[[], Services]) -> None:
        self._factory = factory
        self._pid = 0
        self._services: Services | None = None

    def __call__(self) -> Services:
        """Return this process's services."""
        if self._services is None or self._pid != os.getpid():
            self._services, self._pid = self._factory(), os.getpid()
        return self._services
