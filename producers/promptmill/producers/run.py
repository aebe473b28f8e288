"""A submitted run: status, results, retry, cancellation."""

import functools
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from promptmill.config.errors import NotInstalled, RunNotFound, Transient, WaitTimeout
from promptmill.producers.contract import parsed_models
from promptmill.producers.contract.kept_parts import normalize_keep
from promptmill.producers.contract.results import Result
from promptmill.producers.contract.status import Report, RunStatus

if TYPE_CHECKING:
    from promptmill.config.settings import Settings
    from promptmill.producers.contract.run_index import RunIndex

_STATUS_RETRY_SECONDS = 120.0
"""Seconds for which ``wait`` tolerates a run that is missing in Redis."""


class RunClient(Protocol):
    """The part of ``Promptmill`` that a run uses. The client imports this module."""

    settings: "Settings"

    @functools.cached_property
    def index(self) -> "RunIndex":
        """The index of runs, in Redis."""
        ...

    def retry(
        self, run: str, only: Collection[str], generation_config: Mapping[str, object] | None
    ) -> "Run":
        """Submit the failed requests of ``run`` as a new run."""
        ...


class Run:
    """A submitted run. The object is cheap: it holds its ``id`` and the client."""

    def __init__(self, run: str, mill: RunClient) -> None:
        self.id = run
        self._mill = mill

    def __repr__(self) -> str:
        return f"Run({self.id!r})"

    @property
    def status(self) -> RunStatus:
        """The current status, from one Redis read. Raises RunNotFound, Transient."""
        return self._mill.index.get_status(self.id)

    def wait(
        self, timeout: float | None = None, on_status: Callable[[RunStatus], None] | None = None
    ) -> RunStatus:
        """Wait until the run is done, at most ``timeout`` seconds.

        Return its final status. ``on_status`` receives the status of every poll. A
        timeout does not stop the run. An unavailable or wiped Redis is tolerated for
        two minutes, because the workers restore the run index.

        Raises:
            WaitTimeout: The run is not done after ``timeout`` seconds.
            RunNotFound: The run is not in the index.
            Transient: Redis is unavailable.
        """
        deadline = float("inf") if timeout is None else time.monotonic() + timeout
        pause = 0.1
        status = self._read_status()
        while not status.done:
            if on_status:
                on_status(status)
            if time.monotonic() + pause > deadline:
                raise WaitTimeout(
                    f"run {self.id} is still {status.state} after {timeout:g} s; it continues"
                )
            time.sleep(pause)
            pause = min(pause * 1.2, 1.0)
            status = self._wait_for_status(min(deadline, time.monotonic() + _STATUS_RETRY_SECONDS))
        if on_status:
            on_status(status)
        return status

    def _wait_for_status(self, deadline: float) -> RunStatus:
        while True:
            try:
                return self._read_status()
            except (RunNotFound, Transient):
                if time.monotonic() > deadline:
                    raise
            time.sleep(1.0)

    def _read_status(self) -> RunStatus:
        status = self.status
        if status.state == "unreadable":
            raise RunNotFound(f"run {self.id}: {status.error}")
        return status

    def results(
        self, *, late: bool = False, as_: object = None, keep: str | Collection[str] = ()
    ) -> Iterator[Result]:
        """Yield the results of all settled shards, in no particular order.

        Needs access to the bucket. ``late`` selects the answers of abandoned jobs that
        ended after all. No sink has them, and their rows are failures in the results.

        ``as_`` is a pydantic model, or any type that pydantic can decode from JSON.
        Then ``Result.parsed`` is of that type. A row that the validators of the model
        refuse becomes a failure with reason SCHEMA_INVALID. Sinks and the report count
        it as succeeded, because they only check the JSON schema.

        ``keep`` names parts of Google's answer for ``Result.response``, as in ``submit``.
        Parts that the run did not keep are read from the raw output in the bucket.

        Raises:
            NotInstalled: ``promptmill[worker]`` is not installed.
        """
        decode = msgspec.json.Decoder(Result).decode
        results = map(decode, self.result_lines(late=late, keep=keep))
        return results if as_ is None else parsed_models.parse_results(results, as_)

    def result_lines(
        self, *, late: bool = False, keep: str | Collection[str] = ()
    ) -> Iterator[bytes]:
        """Yield the results as lines of UTF-8 JSON, as stored in the bucket.

        ``late`` and ``keep`` are those of ``results``, and so are the errors.
        """
        names = [normalize_keep(keep)] if keep and not late else []
        lines: Iterator[bytes] = load_bucket_function("late_results" if late else "results")(
            self._mill.settings, self.id, *names
        )
        return lines

    def failures(self) -> Iterator[Result]:
        """Yield the failed results. Raises the errors of ``results``."""
        return (result for result in self.results() if not result.succeeded)

    async def wait_async(self, timeout: float | None = None) -> RunStatus:
        """Wait like ``wait``, without blocking the event loop.

        The cancellation of the task does not stop the run. Raises the errors of
        ``wait``.
        """
        import asyncio

        deadline = float("inf") if timeout is None else time.monotonic() + timeout
        pause = 0.1
        while not (
            status := await asyncio.to_thread(
                self._wait_for_status, time.monotonic() + _STATUS_RETRY_SECONDS
            )
        ).done:
            if time.monotonic() + pause > deadline:
                raise WaitTimeout(
                    f"run {self.id} is still {status.state} after {timeout:g} s; it continues"
                )
            await asyncio.sleep(pause)
            pause = min(pause * 1.2, 1.0)
        return status

    def retry(
        self, only: Collection[str] = (), generation_config: Mapping[str, object] | None = None
    ) -> "Run":
        """Submit the failed requests as a new run, or ``only`` those with these
        reasons.

        ``generation_config`` is merged into that of each request, for example
        ``{"maxOutputTokens": 4096}``. The new run has the model, options, callbacks and
        sinks of this run, except sinks that are local files. Its ``parent`` is this
        run. The same arguments return the same run again. Invalid rows are not retried.

        Raises:
            EmptyRun: The run has no such failures.
            PromptmillError: The run is in progress.
            NotInstalled: ``promptmill[worker]`` is not installed.
        """
        return self._mill.retry(self.id, only, generation_config)

    def cancel(self) -> None:
        """Cancel the run, without waiting for its end.

        Answers that exist are delivered. Other requests fail with reason
        JOB_CANCELLED. Raises Transient.
        """
        from promptmill.producers.sender import Sender  # imports Celery, which is slow

        Sender(self._mill.settings).cancel_run(self.id)

    def report(self) -> Report:
        """Return the final report.

        Raises:
            NotFound: The run is in progress, or does not exist.
            NotInstalled: ``promptmill[worker]`` is not installed.
        """
        data: bytes = load_bucket_function("report")(self._mill.settings, self.id)
        return msgspec.json.decode(data, type=Report)


# Producers never import Google's libraries. The workers' package provides these functions
# as entry points.
@functools.cache
def load_bucket_function(name: str) -> Callable[..., Any]:
    """Return a function that reads the bucket, by its entry point; raises NotInstalled."""
    for entry in entry_points(group="promptmill", name=name):
        try:
            function: Callable[..., Any] = entry.load()
        except ModuleNotFoundError as missing:
            raise NotInstalled(
                f"{missing.name} is missing: pip install 'promptmill[worker]'"
            ) from missing
        return function
    raise NotInstalled("access to the bucket needs: pip install 'promptmill[worker]'")
