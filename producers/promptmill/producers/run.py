"""A run, as the caller holds it."""

import functools
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import msgspec

from promptmill.config.errors import NotInstalled, RunNotFound, Transient, WaitTimeout
from promptmill.producers.contract import parsed_models
from promptmill.producers.contract.results import Result
from promptmill.producers.contract.status import Report, RunStatus

if TYPE_CHECKING:
    from promptmill.producers.client import Promptmill

_STATUS_RETRY_SECONDS = 120.0
"""Seconds for which a run that was known may be unknown while it is waited for."""


class Run:
    """One submission; cheap to hold, knows nothing but its ``id`` until asked."""

    def __init__(self, run: str, mill: "Promptmill") -> None:
        self.id = run
        self._mill = mill

    def __repr__(self) -> str:
        return f"Run({self.id!r})"

    @property
    def status(self) -> RunStatus:
        """What is known now: one read of the index, safe in a web request. Raises RunNotFound, Transient."""
        return self._mill.index.get_status(self.id)

    def wait(
        self, timeout: float | None = None, on_status: Callable[[RunStatus], None] | None = None
    ) -> RunStatus:
        """Wait until the run is done, at most ``timeout`` seconds; ``on_status`` hears of every look.

        Stopping the wait does not stop the run. A Redis that is away or was wiped is waited for: the workers bring back
        what it knew. Raises WaitTimeout, and RunNotFound or Transient when that lasts.
        """
        deadline = float("inf") if timeout is None else time.monotonic() + timeout
        pause = 0.1
        status = self.status
        while not status.done:
            if on_status:
                on_status(status)
            if time.monotonic() + pause > deadline:
                raise WaitTimeout(
                    f"run {self.id} is still {status.state} after {timeout:g} s; it goes on"
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
                return self.status
            except (RunNotFound, Transient):
                if time.monotonic() > deadline:
                    raise
            time.sleep(1.0)

    def results(self, *, late: bool = False, as_: Any = None) -> Iterator[Result]:
        """Stream the results of all shards that are settled, in no particular order; needs access to the bucket.

        ``late`` ones are instead the answers of jobs that were given up and ended after all; no sink has them, and their
        rows are failures among the results.

        ``as_`` is a pydantic model, such as the run's response schema was made of, or any type that pydantic can make of
        JSON: ``Result.parsed`` is then of that type. A row that its own validators refuse comes as a failure with reason
        SCHEMA_INVALID; sinks and the report, which know the JSON schema alone, count it as succeeded.
        """
        decode = msgspec.json.Decoder(Result).decode
        results = map(decode, self.result_lines(late=late))
        return results if as_ is None else parsed_models.parse_results(results, as_)

    def result_lines(self, *, late: bool = False) -> Iterator[bytes]:
        """Stream the results as lines of JSON, as they lie in the bucket."""
        lines: Iterator[bytes] = load_bucket_function("late_results" if late else "results")(
            self._mill.settings, self.id
        )
        return lines

    def failures(self) -> Iterator[Result]:
        """Stream the results that are failures."""
        return (result for result in self.results() if not result.succeeded)

    async def wait_async(self, timeout: float | None = None) -> RunStatus:
        """Wait as ``wait`` does, in an event loop; cancelling it stops the waiting, not the run."""
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
                    f"run {self.id} is still {status.state} after {timeout:g} s; it goes on"
                )
            await asyncio.sleep(pause)
            pause = min(pause * 1.2, 1.0)
        return status

    def retry(
        self, only: Collection[str] = (), generation_config: Mapping[str, Any] | None = None
    ) -> "Run":
        """Send the requests that have failed, or of them ``only`` those with these reasons, as a run of their own.

        ``generation_config`` is laid over that of each request, for example ``{"maxOutputTokens": 4096}``. The new run has
        the model, options, callbacks and sinks of this one, but for a local file, which it would overwrite; its ``parent``
        is this run. The same arguments again give the same run. Rows that lint refused are not sent again.

        Needs access to the bucket. Raises EmptyRun when nothing has failed so, PromptmillError while this run is not done.
        """
        return self._mill.retry(self.id, only, generation_config)

    def cancel(self) -> None:
        """Ask for the end of the run: what is finished is kept and delivered, the rest ends as cancelled."""
        from promptmill.producers.sender import Sender  # brings Celery, which is slow to import

        Sender(self._mill.settings).cancel_run(self.id)

    def report(self) -> Report:
        """Return the final report; raises NotFound while the run is not done."""
        data: bytes = load_bucket_function("report")(self._mill.settings, self.id)
        return msgspec.json.decode(data, type=Report)


@functools.cache
def load_bucket_function(name: str) -> Callable[..., Any]:
    """Return the function ``name`` of the installed part that can reach the bucket; raises NotInstalled.

    The thin producer never imports Google's libraries, so whoever can read the bucket announces it as an entry point.
    """
    for entry in entry_points(group="promptmill", name=name):
        try:
            function: Callable[..., Any] = entry.load()
        except ModuleNotFoundError as missing:
            raise NotInstalled(
                f"{missing.name} is missing: pip install 'promptmill[worker]'"
            ) from missing
        return function
    raise NotInstalled("reading the bucket needs: pip install 'promptmill[worker]'")
