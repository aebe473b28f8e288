"""What the live check needs of Vertex AI, and the times of its waits."""

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol, TypeVar

from promptmill.config.errors import Denied, Transient
from promptmill.config.json_types import JsonObject
from promptmill.workers.ports.google import Job, JobRequest

T = TypeVar("T")
_GROWTH = 1.3
"""Each pause between two polls is longer by this factor."""


class LiveJobs(Protocol):
    """Vertex AI's jobs, with their resources as it sends them. Errors as in ``BatchJobs``."""

    def create(self, request: JobRequest) -> tuple[Job, JsonObject]:
        """Create a job in one attempt."""
        ...

    def get(self, name: str) -> tuple[Job, JsonObject]:
        """Return a job. Raises NotFound."""
        ...

    def list(self, filter: str) -> list[Job]:  # noqa: A002
        """Return the jobs that match a filter."""
        ...

    def cancel(self, name: str) -> None:
        """Request the cancellation of a job."""
        ...

    def delete(self, name: str) -> None:
        """Request the deletion of a job that has ended."""
        ...


class LiveTimes(NamedTuple):
    """Seconds: the first and the longest pause between polls, and the limits of waits."""

    poll: float
    longest_poll: float
    visibility: float
    total: float
    cancel: float = 600.0
    cleanup: float = 180.0
    deletion: float = 60.0
    outage: float = 60.0

    def repeat_until(self, seconds: float) -> Iterator[None]:
        """Yield at growing intervals, at least once, until ``seconds`` have passed."""
        deadline, pause = time.monotonic() + seconds, self.poll
        while True:
            yield
            if time.monotonic() + pause > deadline:
                return
            time.sleep(pause)
            pause = min(pause * _GROWTH, self.longest_poll)

    def retry_call(self, call: Callable[[], T]) -> T:
        """Repeat a call that changes nothing while Google fails. Raises Transient at the end."""
        failure = Transient("")
        for _ in self.repeat_until(self.outage):
            try:
                return call()
            except Denied:
                raise
            except Transient as error:
                failure = error
        raise failure
