"""A run whose prompts are added one at a time."""

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING

from promptmill.producers.pools import with_key
from promptmill.producers.requests.encode import Prompt, RequestEncoder
from promptmill.producers.requests.request_line import RequestLine
from promptmill.producers.run import Run

if TYPE_CHECKING:
    from promptmill.producers.submission import Submission

_MAX_CHUNK_AGE = 10.0
"""Age in seconds at which the next prompt closes an incomplete chunk."""


class Stream(AbstractContextManager["Stream"]):
    """Takes prompts inside a ``with`` block, and sends them in chunks.

    The end of the block seals the run. An exception in the block cancels the run. With
    an idempotency key the run stays open instead, until the same requests are submitted
    again. Only one thread at a time can add prompts.
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
        """Add a prompt, as for ``Promptmill.submit``, optionally with its ``key``.

        Waits while the ingest queue is full. A prompt such as "42" is held until a
        later one keeps Vertex's importer from taking it for a number.

        Raises:
            InvalidRequest: The key is invalid, or ``strict`` is set and this or a held
                prompt is invalid.
            IdempotencyConflict: The idempotency key belongs to other content.
            Transient: Redis is unavailable.
        """
        keyed = prompt if key is None else with_key(prompt, key, key)
        self._add_lines(self._encoder.add_prompt(keyed))
        self._close_old_chunk()

    def _add_lines(self, lines: Iterable[RequestLine]) -> None:
        for line in lines:
            self._report_refusal(line)
            self._submission.add_line(line)

    def _close_old_chunk(self) -> None:
        """Close an old chunk, but not in a run with an idempotency key.

        Such a run must be repeatable in the same chunks.
        """
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
        """Send the last chunk and the seal.

        Raises EmptyRun, DuplicateKey, IdempotencyConflict, Transient.
        """
        if error is not None:
            self._submission.abandon_run(error)
        else:
            self._send_held_lines()
            self._submission.finish_run()

    def _send_held_lines(self) -> None:
        try:
            self._add_lines(self._encoder.held.release_lines())
        except BaseException as error:
            self._submission.abandon_run(error)
            raise
