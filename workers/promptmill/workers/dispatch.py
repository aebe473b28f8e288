"""Puts steps into Celery, and keeps note of those under way so that a sweep does not send them again."""

import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from kombu.exceptions import OperationalError

from promptmill.config import queues
from promptmill.config.errors import Transient
from promptmill.config.queues import Takeover
from promptmill.workers.coordination.notes import Notes, Starts
from promptmill.workers.facts.step import Step
from promptmill.workers.runtime import heartbeat

_QUEUED_POOL = 5.0
"""Seconds for which nobody else is sent to look after pools."""
_QUEUED = 600.0
"""Seconds for which a step in a queue is not sent again by a sweep, unless the queue is empty."""


def queue_of(step: Step) -> str:
    """Return the name of the queue that a step goes through."""
    return queues.QUEUE_OF[f"promptmill.{step.task}"]


class Flow:
    """Enqueues steps of the pipeline."""

    def __init__(self, app: Any, notes: Notes, takeover: Takeover) -> None:
        self._app = app
        self._notes = notes
        self._takeover = takeover

    def enqueue(self, steps: Iterable[Step]) -> None:
        """Send steps; a step that is sent twice runs twice, and must bear it.

        One that was sent just now is not sent again, or each copy of a message would make copies of all that comes after it.
        Should that have been needed, because the step began too soon or its message was lost, a sweep sends it.
        """
        for step in steps:
            if self._notes.queue_once(step.id, _QUEUED, self._takeover.fetched):
                self._send_step(step)

    def enqueue_poll(self, chain: str) -> None:
        """Send the first look of a chain of polls."""
        self._send("promptmill.poll", [chain, 0], f"{chain}.poll", queues.POLL)

    def enqueue_pool(self) -> None:
        """Have what was collected stored, and runs cut, unless somebody was sent to do so and has not begun."""
        if self._notes.claim("pool", _QUEUED_POOL):
            self._send("promptmill.pool", [], f"pool-{secrets.token_hex(8)}", queues.INGEST)

    def enqueue_stalled(self, steps: Iterable[Step]) -> list[Step]:
        """Send those steps that nobody is known to be at, and return them."""
        stalled = [step for step in steps if self._notes.claim(step.id, _QUEUED) or self._went_missing(step)]
        for step in stalled:
            self._notes.queue(step.id, _QUEUED, self._takeover.fetched)
            self._send_step(step)
        return stalled

    def _send_step(self, step: Step) -> None:
        try:
            self._send(f"promptmill.{step.task}", [step.run, *step.place], step.id, queue_of(step))
        except Transient:
            with suppress(Transient):
                self._notes.forget(step.id)
            raise

    def _send(self, task: str, args: list[Any], task_id: str, queue: str) -> None:
        try:
            self._app.send_task(task, args=args, task_id=task_id, queue=queue)
        except OperationalError as error:
            raise Transient(f"the broker cannot be reached: {error}") from error

    def _went_missing(self, step: Step) -> bool:
        """Whether a step should be in a queue, but the queue is empty: its message was lost, or its worker died."""
        left = self._notes.left_in_queue(step.id)
        return left is not None and left < _QUEUED - self._takeover.fetched and self._waiting(queue_of(step)) == 0

    def _waiting(self, queue: str) -> int:
        with self._app.connection_for_read() as connection:
            try:
                return int(connection.default_channel.queue_declare(queue, passive=True).message_count)
            except connection.channel_errors:  # no such queue, as Redis sees an empty one
                return 0
            except connection.connection_errors as error:
                raise Transient(f"the broker cannot be reached: {type(error).__name__}") from error

    def note(self, step: str) -> "Note":
        """Return a note of a start of a step, which is not written yet."""
        return Note(self._notes, step, self._takeover)


class Note:
    """That a step is being worked on, and that this start of it lives."""

    def __init__(self, notes: Notes, step: str, takeover: Takeover) -> None:
        self._notes = notes
        self._step = step
        self._life = takeover.steps
        self._start = secrets.token_hex(8)
        # A sweep that read the facts just before the step's end would take it for one that stands still.
        self._keep = takeover.fetched

    def begin(self, most: int) -> Starts:
        """Write the note, unless ``most`` other starts of the step have not ended in order, or one of them is at work.

        Returns those, if they are known.
        """
        try:
            return self._notes.begin(self._step, self._start, self._life, most)
        except Transient:
            return Starts()

    @contextmanager
    def renewed(self) -> Iterator[None]:
        """Renew the note until the work is done or the process is dead; then let it stand for a while."""
        through = False
        try:
            with heartbeat.done(self._renew, self._life / 4):
                yield
            through = True
        finally:
            with suppress(Transient):
                self._notes.end(self._step, self._start, through=through, keep=self._keep)

    def keep(self, seconds: float) -> None:
        """Let the note stand so long after the work, for a step that comes back by itself."""
        self._keep = seconds + self._life

    def _renew(self) -> None:
        with suppress(Transient):
            self._notes.renew(self._step, self._start, self._life)
