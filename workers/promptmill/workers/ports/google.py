"""What the steps need of the outside: a bucket and Vertex's batch jobs. Adapters and fakes pass one contract suite."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol

import msgspec

TERMINAL_STATES = frozenset(
    {
        "JOB_STATE_SUCCEEDED",
        "JOB_STATE_FAILED",
        "JOB_STATE_CANCELLED",
        "JOB_STATE_EXPIRED",
        "JOB_STATE_PARTIALLY_SUCCEEDED",
    }
)
"""States that a job never leaves. Google's own client leaves out EXPIRED and PARTIALLY_SUCCEEDED and would wait for ever
(``aiplatform.jobs._JOB_COMPLETE_STATES``, 2.7.0); a state that is not listed here means "not ended"."""


class ObjectInfo(NamedTuple):
    """An object in a bucket; ``updated`` in seconds since the epoch by the server's clock."""

    name: str
    size: int
    generation: int
    updated: float


class Bucket(Protocol):
    """A folder of an object store; names are relative to it.

    Every method may raise Transient; those that need the bucket to exist raise NotFound naming it.
    """

    @property
    def url(self) -> str:
        """``gs://bucket/prefix`` without a final slash."""
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Write an object unless it exists; False when it does, whatever it holds."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write an object in one request, or again: only for names whose bytes are always the same."""
        ...

    def write_stream(self, name: str, pieces: Iterable[bytes]) -> int:
        """Write an object of any size, holding little of it; returns its size. Nothing is visible when it fails."""
        ...

    def replace(self, name: str, data: bytes, generation: int) -> None:
        """Write an object if it is still of this generation; raises Conflict when it is not."""
        ...

    def read(self, name: str) -> bytes:
        """Return an object's bytes; raises NotFound."""
        ...

    def read_each(self, names: Iterable[str]) -> Iterator[bytes]:
        """Yield the bytes of objects in the order of their names, which may be read ahead of them a little.

        Raises NotFound at the turn of the object that is not there.
        """
        ...

    def read_range(self, name: str, start: int, end: int, generation: int) -> bytes:
        """Return bytes ``start`` to ``end`` (exclusive, cut at the object's end) of this very generation.

        Raises NotFound when that generation is gone.
        """
        ...

    def find(self, name: str) -> ObjectInfo | None:
        """Return what is known of an object, or None."""
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Return the objects whose names start with ``prefix``, in order of their names."""
        ...

    def delete(self, name: str) -> None:
        """Delete an object; one that is not there is fine."""
        ...


class JobRequest(NamedTuple):
    """What a job is created with: Google's fields, ``input_uri`` and ``output_uri`` as ``gs://…`` or both as ``bq://…``."""

    display_name: str
    model: str
    input_uri: str
    output_uri: str
    labels: dict[str, str]


class Job(msgspec.Struct, frozen=True, omit_defaults=True):
    """A batch prediction job as Vertex tells it; times in seconds since the epoch, 0 when not yet."""

    name: str
    state: str
    display_name: str = ""
    labels: dict[str, str] = {}
    create_time: float = 0.0
    start_time: float = 0.0
    end_time: float = 0.0
    output_directory: str = ""
    error_code: int = 0
    error_message: str = ""
    successful_count: int = -1
    failed_count: int = -1

    @property
    def has_ended(self) -> bool:
        """Whether the job has come to its end."""
        return self.state in TERMINAL_STATES


class CallbackTask(NamedTuple):
    """A task of the caller's that is to be sent: Celery's own words, and a ``task_id`` that is the same every time."""

    task: str
    args: list[Any]
    kwargs: dict[str, Any]
    task_id: str
    options: dict[str, Any]

    @property
    def queue(self) -> str:
        """The queue that it waits in."""
        return str(self.options["queue"])


class CallbackBroker(Protocol):
    """The broker on which the callers' own workers listen."""

    def send(self, task: CallbackTask) -> None:
        """Put a task into its queue; raises Transient when it may not be there, Permanent when it can never be."""
        ...

    def count_waiting(self, queue: str) -> int:
        """Return how many tasks wait in a queue; raises Transient."""
        ...


class BatchJobs(Protocol):
    """Vertex's batch prediction jobs of one project and location."""

    def create(self, request: JobRequest) -> Job:
        """Create a job, in one try.

        Raises Permanent when Vertex refused, Unanswered when a job may have been created all the same, and any other
        Transient when none was.
        """
        ...

    def get(self, name: str) -> Job:
        """Return a job; raises NotFound, Transient."""
        ...

    def list(self, filter: str) -> Iterator[Job]:  # noqa: A002
        """Return the jobs that Google's ``filter`` admits, all pages; raises Transient."""
        ...

    def cancel(self, name: str) -> None:
        """Ask for a job's cancellation; one that has ended is fine. Raises NotFound, Transient."""
        ...
