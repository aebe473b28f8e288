"""What steps need of Google: a bucket and batch jobs. And of Celery: the callback broker.

Adapters and fakes pass one contract suite.
"""

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
"""States that a job never leaves. Any other state, also an unknown one, means "not ended".

Google's own client lacks EXPIRED and PARTIALLY_SUCCEEDED and would wait indefinitely
(``aiplatform.jobs._JOB_COMPLETE_STATES``, 2.7.0)."""


class ObjectInfo(NamedTuple):
    """An object in a bucket. ``updated``: epoch seconds by the server's clock."""

    name: str
    size: int
    generation: int
    updated: float


class BucketSettings(NamedTuple):
    """Settings of a bucket: its location, and how long deleted objects are kept (0: off)."""

    location: str
    soft_delete_seconds: int


class Bucket(Protocol):
    """A folder of an object store. Object names are relative to it.

    Every method may raise Transient. Methods that need the bucket raise NotFound with its
    name if it does not exist.
    """

    @property
    def url(self) -> str:
        """``gs://bucket/prefix`` without a final slash."""
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Write an object unless it exists. Returns False if it does."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Write an object in one request. Only for names whose bytes are always the same."""
        ...

    def write_stream(self, name: str, pieces: Iterable[bytes]) -> int:
        """Write an object in constant memory, complete or not at all. Returns its size."""
        ...

    def replace(self, name: str, data: bytes, generation: int) -> None:
        """Write an object if it still has this generation. Raises Conflict otherwise."""
        ...

    def read(self, name: str) -> bytes:
        """Return an object's bytes. Raises NotFound."""
        ...

    def read_each(self, names: Iterable[str]) -> Iterator[bytes]:
        """Yield objects in order, perhaps read ahead. Raises NotFound when a missing one is due."""
        ...

    def read_range(self, name: str, start: int, end: int, generation: int) -> bytes:
        """Return bytes ``start`` to ``end`` (exclusive) or to the object's end. Raises NotFound."""
        ...

    def find(self, name: str) -> ObjectInfo | None:
        """Return the metadata of an object, or None if it does not exist."""
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Return the objects whose names start with ``prefix``, in order of names."""
        ...

    def delete(self, name: str) -> None:
        """Delete an object if it exists."""
        ...


class JobRequest(NamedTuple):
    """Google's fields of a new job. The URIs are both ``gs://…`` or both ``bq://…``."""

    display_name: str
    model: str
    input_uri: str
    output_uri: str
    labels: dict[str, str]


class Job(msgspec.Struct, frozen=True, omit_defaults=True):
    """A batch prediction job as Vertex returns it. Times: epoch seconds, 0 if not yet."""

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
        """Whether the job is in a terminal state."""
        return self.state in TERMINAL_STATES


class CallbackTask(NamedTuple):
    """A task to send to the caller's workers, in Celery's terms. ``task_id`` is stable."""

    task: str
    args: list[Any]
    kwargs: dict[str, Any]
    task_id: str
    options: dict[str, Any]

    @property
    def queue(self) -> str:
        """The queue of the task."""
        return str(self.options["queue"])


class CallbackBroker(Protocol):
    """The broker on which the callers' own workers listen."""

    def send(self, task: CallbackTask) -> None:
        """Enqueue a task. Raises Transient if it may be lost, Permanent if it is invalid."""
        ...

    def count_waiting(self, queue: str) -> int:
        """Return the number of tasks that wait in a queue. Raises Transient."""
        ...


class BatchJobs(Protocol):
    """Vertex's batch prediction jobs of one project and location."""

    def create(self, request: JobRequest) -> Job:
        """Create a job in one attempt.

        Raises Permanent if Vertex refused, OutcomeUnknown if a job may have been created
        anyway, and any other Transient if none was.
        """
        ...

    def get(self, name: str) -> Job:
        """Return a job. Raises NotFound, Transient."""
        ...

    def list(self, filter: str) -> Iterator[Job]:  # noqa: A002
        """Return all jobs that match Google's ``filter``. Raises Transient."""
        ...

    def cancel(self, name: str) -> None:
        """Request the cancellation of a job, unless it has ended. Raises NotFound, Transient."""
        ...


class Endpoint(NamedTuple):
    """An endpoint of Vertex AI: the resources of its models, with versions, and its labels."""

    models: tuple[str, ...]
    labels: dict[str, str]


class Endpoints(Protocol):
    """Vertex's endpoints of one location."""

    def get(self, name: str) -> Endpoint:
        """Return an endpoint by its resource. Raises NotFound, Denied, Transient, Permanent."""
        ...
