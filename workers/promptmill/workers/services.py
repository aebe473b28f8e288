"""What the tasks of one process work with, built at its first task: no client may be shared over a fork."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from promptmill.config.settings import Settings
from promptmill.producers.connection import Connection
from promptmill.producers.index import Index
from promptmill.producers.messages import Signature, SinkSpec
from promptmill.workers import calls
from promptmill.workers.notes import Notes
from promptmill.workers.ports import BatchJobs, Bucket, Caller
from promptmill.workers.sinks import Sink, allowed
from promptmill.workers.sinks.callback import MAX_BYTES, CallbackSink
from promptmill.workers.sinks.jsonl import BucketSink, FileSink


@dataclass(frozen=True)
class Services:
    """Settings, what is kept in Redis, and the ways to reach the bucket, Vertex and the callers' own workers."""

    settings: Settings
    index: Index
    notes: Notes
    open_bucket: Callable[[str], Bucket]
    open_jobs: Callable[[], BatchJobs]
    open_caller: Callable[[], Caller]

    @cached_property
    def bucket(self) -> Bucket:
        """The bucket of this mill."""
        return self.open_bucket(self.settings.require("bucket"))

    @cached_property
    def jobs(self) -> BatchJobs:
        """Vertex's jobs; the client is the largest import, so only tasks that need it pay for it."""
        return self.open_jobs()

    @cached_property
    def caller(self) -> Caller:
        """The broker of the callers' own workers."""
        return self.open_caller()

    def check_callback(self, chain: list[Signature]) -> None:
        """Raise ConfigurationError when runs may not have these tasks called."""
        calls.check(self.settings, chain)

    def open_sink(self, spec: SinkSpec, run: str) -> Sink:
        """Open a sink for a run; raises ConfigurationError when runs may not write there."""
        if spec.kind == "celery":
            room = self.settings.max_queued_bytes // MAX_BYTES
            return CallbackSink(lambda: self.caller, spec, run, room, self.check_callback)
        if spec.kind == "file":
            return FileSink(allowed.file(self.settings, spec), run)
        return BucketSink(self.open_bucket(allowed.folder(self.settings, spec, run)), run)


def build(settings: Settings) -> Services:
    """Build the services that reach the real systems."""

    def open_bucket(url: str) -> Bucket:
        from promptmill.workers.adapters import storage

        return storage.open_bucket(url, settings.project)

    def open_jobs() -> BatchJobs:
        from promptmill.workers.adapters import vertex

        return vertex.open_jobs(settings)

    def open_caller() -> Caller:
        from promptmill.workers.adapters.calls import CeleryCaller

        return CeleryCaller(settings)

    connection = Connection(settings.index_url)
    return Services(settings, Index(connection), Notes(connection), open_bucket, open_jobs, open_caller)


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
