"""The bucket, Vertex and Redis as the tasks reach them: every call may fail, before its effect or after it."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol, TypeVar

from faults.simulation.faults import Fault, Faults
from faults.simulation.memory import Redis
from promptmill.config.errors import OutcomeUnknown, Transient
from promptmill.workers.ports.google import (
    BatchJobs,
    Bucket,
    CallbackBroker,
    CallbackTask,
    Job,
    JobRequest,
    ObjectInfo,
)

T = TypeVar("T")


class Seam(Protocol):
    """Where the simulation gets hold of the tasks."""

    faults: Faults

    def enter(self, port: str, what: str) -> Fault:
        """Begin a call: it may be held up, or go wrong before it has any effect."""
        ...

    def leave(self, port: str, fault: Fault) -> None:
        """End a call: it may go wrong after its effect."""
        ...

    def call(self, port: str, what: str, effect: Callable[[], T]) -> T:
        """Have an effect, between ``enter`` and ``leave``."""
        ...

    def later(self, seconds: float, event: Callable[[], Any]) -> None:
        """Let something happen after so many seconds."""
        ...


class FaultyBucket:
    """A ``Bucket`` whose every call passes the seam."""

    def __init__(self, bucket: Bucket, seam: Seam) -> None:
        self.url = bucket.url
        self._bucket = bucket
        self._call = seam.call

    def create(self, name: str, data: bytes) -> bool:
        return self._call("bucket.create", name, lambda: self._bucket.create(name, data))

    def write(self, name: str, data: bytes) -> None:
        self._call("bucket.write", name, lambda: self._bucket.write(name, data))

    def write_stream(self, name: str, pieces: Iterable[bytes]) -> int:
        whole = list(pieces)
        return self._call(
            "bucket.write_stream", name, lambda: self._bucket.write_stream(name, whole)
        )

    def replace(self, name: str, data: bytes, generation: int) -> None:
        self._call("bucket.replace", name, lambda: self._bucket.replace(name, data, generation))

    def read(self, name: str) -> bytes:
        return self._call("bucket.read", name, lambda: self._bucket.read(name))

    def read_each(self, names: Iterable[str]) -> Iterator[bytes]:
        return map(self.read, names)

    def read_range(self, name: str, start: int, end: int, generation: int) -> bytes:
        return self._call(
            "bucket.read_range", name, lambda: self._bucket.read_range(name, start, end, generation)
        )

    def find(self, name: str) -> ObjectInfo | None:
        return self._call("bucket.find", name, lambda: self._bucket.find(name))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return iter(self._call("bucket.list", prefix, lambda: [*self._bucket.list(prefix)]))

    def delete(self, name: str) -> None:
        self._call("bucket.delete", name, lambda: self._bucket.delete(name))


class FaultyJobs:
    """``BatchJobs`` whose every call passes the seam; a creation has troubles of its own as well."""

    def __init__(self, jobs: BatchJobs, seam: Seam, in_flight: float) -> None:
        self._jobs = jobs
        self._seam = seam
        self._in_flight = in_flight

    def create(self, request: JobRequest) -> Job:
        return self._seam.call("jobs.create", request.display_name, partial(self._create, request))

    def get(self, name: str) -> Job:
        return self._seam.call("jobs.get", name, lambda: self._jobs.get(name))

    def list(self, filter: str) -> Iterator[Job]:  # noqa: A002
        return iter(self._seam.call("jobs.list", filter, lambda: [*self._jobs.list(filter)]))

    def cancel(self, name: str) -> None:
        self._seam.call("jobs.cancel", name, lambda: self._jobs.cancel(name))

    def _create(self, request: JobRequest) -> Job:
        faults = self._seam.faults
        if not faults.happens(faults.rates.create):
            return self._jobs.create(request)
        match faults.rng.choice(("refused", "not created", "answer lost", "created late")):
            case "refused":
                faults.note("create: refused for now")
                raise Transient("simulated: 429")
            case "not created":
                faults.note("create: unanswered, and not created")
                raise OutcomeUnknown("simulated: time-out")
            case "answer lost":
                faults.note("create: unanswered, and created")
                self._jobs.create(request)
                raise OutcomeUnknown("simulated: time-out")
            case _:
                faults.note("create: unanswered, and created later")
                self._seam.later(
                    faults.rng.uniform(1, self._in_flight), partial(self._jobs.create, request)
                )
                raise OutcomeUnknown("simulated: time-out")


class FaultyCallbackBroker:
    """A ``Caller`` whose every call passes the seam."""

    def __init__(self, broker: CallbackBroker, seam: Seam) -> None:
        self._broker = broker
        self._seam = seam

    def send(self, task: CallbackTask) -> None:
        self._seam.call("caller.send", task.task_id, lambda: self._broker.send(task))

    def count_waiting(self, queue: str) -> int:
        return self._seam.call("caller.waiting", queue, lambda: self._broker.count_waiting(queue))


class FaultyConnection:
    """Stands in for ``promptmill.producers.contract.connection.Connection``: a block of commands is one call."""

    def __init__(self, redis: Redis, seam: Seam) -> None:
        self._redis = redis
        self.seam = seam

    @contextmanager
    def use_client(self) -> Iterator[Any]:
        fault = self.seam.enter("redis", "")
        yield self._redis
        self.seam.leave("redis", fault)
