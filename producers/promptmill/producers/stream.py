"""A run whose requests are sent as they come."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING

from promptmill.producers.pools import with_key
from promptmill.producers.requests.encode import Prompt, RequestEncoder, RequestLine
from promptmill.producers.run import Run

if TYPE_CHECKING:
    from promptmill.producers.submission import Submission

_MAX_CHUNK_AGE = 10.0
"""Seconds after which what was added is sent, when more is, though it does not fill a chunk."""


class Stream(AbstractContextManager["Stream"]):
    """Takes prompts one by one inside a ``with`` block, and sends them in chunks; leaving the block ends the run's input.

    Leaving it by an exception ends the run as cancelled, unless it has an idempotency key: then it stays open until the
    same requests come again. One thread at a time may add.
    """

    def __init__(
        self,
        run: Run,
        encoder: RequestEncoder,
        submission: "Submission",
        report_refusal: Callable[[RequestLine], None],
        *,
        close_by_age: bool,
    ) -> None:
        self.run = run
        self._encoder = encoder
        self._submission = submission
        self._report_refusal = report_refusal
        self._close_by_age = close_by_age
        self._chunk_opened_at = 0.0

    def __enter__(self) -> "Stream":
        self._submission.begin_run()
        return self

    def add(self, prompt: Prompt, key: str | None = None) -> None:
        """Add a prompt, of a kind that ``submit`` takes; its ``key`` may be named here.

        Waits while too much is queued. Raises what ``submit`` raises of a prompt, and Transient.
        """
        if key is not None:
            prompt = with_key(prompt, key, key)
        line = self._encoder.encode_row(prompt)
        self._report_refusal(line)
        self._submission.add_line(line)
        self._close_old_chunk()

    def _close_old_chunk(self) -> None:
        """A run with an idempotency key has to come in the same chunks again, so its chunks know no time."""
        if not self._close_by_age:
            return
        now = time.monotonic()
        self._chunk_opened_at = self._chunk_opened_at or now
        if now - self._chunk_opened_at > _MAX_CHUNK_AGE:
            self._submission.close_chunk()
            self._chunk_opened_at = now

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Send what is left, and the seal; raises EmptyRun, DuplicateKey, IdempotencyConflict, Transient."""
        if error is not None:
            self._submission.abandon_run(error)
        else:
            self._submission.finish_run()
