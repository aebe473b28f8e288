"""Puts steps into Celery, and keeps note of those under way so that a sweep does not send them again."""

import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from kombu.exceptions import OperationalError

from promptmill.config import queues
from promptmill.config.errors import Transient
from promptmill.config.queues import TakeoverTimes
from promptmill.workers.coordination.step_leases import LeaseState, StepLeases
from promptmill.workers.facts.step import Step
from promptmill.workers.runtime import heartbeat

_POOL_QUEUED_SECONDS = 5.0
"""Seconds for which nobody else is sent to look after pools."""
_QUEUED_SECONDS = 600.0
"""Seconds for which a step in a queue is not sent again by a sweep, unless the queue is empty."""


def queue_of(step: Step) -> str:
    """Return the name of the queue that a step goes through."""
    return queues.TASK_QUEUES[f"promptmill.{step.task}"]


class Dispatcher:
    """Enqueues steps of the pipeline."""

    def __init__(self, app: Any, leases: StepLeases, takeover: TakeoverTimes) -> None:
        self._app = app
        self._leases = leases
        self._takeover = takeover

    def enqueue_steps(self, steps: Iterable[Step]) -> None:
        """Send steps; a step that is sent twice runs twice, and must bear it.

        One that was sent just now is not sent again, or each copy of a message would make copies of all that comes after it.
        Should that have been needed, because the step began too soon or its message was lost, a sweep sends it.
        """
        for step in steps:
            if self._leases.mark_queued_once(
                step.id, _QUEUED_SECONDS, self._takeover.start_timeout
            ):
                self._send_step(step)

    def enqueue_poll(self, chain: str) -> None:
        """Send the first look of a chain of polls."""
        self._send_task("promptmill.poll", [chain, 0], f"{chain}.poll", queues.POLL)

    def enqueue_pool(self) -> None:
        """Have what was collected stored, and runs cut, unless somebody was sent to do so and has not begun."""
        if self._leases.try_queue("pool", _POOL_QUEUED_SECONDS):
            self._send_task("promptmill.pool", [], f"pool-{secrets.token_hex(8)}", queues.INGEST)

    def enqueue_stalled(self, steps: Iterable[Step]) -> list[Step]:
        """Send those steps that nobody is known to be at, and return them."""
        stalled = [
            step
            for step in steps
            if self._leases.try_queue(step.id, _QUEUED_SECONDS) or self._is_message_lost(step)
        ]
        for step in stalled:
            self._leases.mark_queued(step.id, _QUEUED_SECONDS, self._takeover.start_timeout)
            self._send_step(step)
        return stalled

    def _send_step(self, step: Step) -> None:
        try:
            self._send_task(
                f"promptmill.{step.task}", [step.run, *step.indices], step.id, queue_of(step)
            )
        except Transient:
            with suppress(Transient):
                self._leases.unmark_queued(step.id)
            raise

    def _send_task(self, task: str, args: list[Any], task_id: str, queue: str) -> None:
        try:
            self._app.send_task(task, args=args, task_id=task_id, queue=queue)
        except OperationalError as error:
            raise Transient(f"the broker cannot be reached: {error}") from error

    def _is_message_lost(self, step: Step) -> bool:
        """Whether a step should be in a queue, but the queue is empty: its message was lost, or its worker died."""
        seconds_left = self._leases.queued_seconds_left(step.id)
        return (
            seconds_left is not None
            and seconds_left < _QUEUED_SECONDS - self._takeover.start_timeout
            and self._count_messages(queue_of(step)) == 0
        )

    def _count_messages(self, queue: str) -> int:
        with self._app.connection_for_read() as connection:
            try:
                return int(
                    connection.default_channel.queue_declare(queue, passive=True).message_count
                )
            except connection.channel_errors:  # no such queue, as Redis sees an empty one
                return 0
            except connection.connection_errors as error:
                raise Transient(f"the broker cannot be reached: {type(error).__name__}") from error

    def create_lease(self, step: str) -> "Lease":
        """Return a note of a start of a step, which is not written yet."""
        return Lease(self._leases, step, self._takeover)


class Lease:
    """That a step is being worked on, and that this start of it lives."""

    def __init__(self, leases: StepLeases, step: str, takeover: TakeoverTimes) -> None:
        self._leases = leases
        self._step = step
        self._lifetime = takeover.step_lease
        self._execution = secrets.token_hex(8)
        # A sweep that read the facts just before the step's end would take it for one that stands still.
        self._retention = takeover.start_timeout

    def acquire(self, limit: int) -> LeaseState:
        """Write the note, unless ``limit`` other starts of the step have not ended in order, or one of them is at work.

        Returns those, if they are known.
        """
        try:
            return self._leases.acquire(self._step, self._execution, self._lifetime, limit)
        except Transient:
            return LeaseState()

    @contextmanager
    def keep_alive(self) -> Iterator[None]:
        """Renew the note until the work is done or the process is dead; then let it stand for a while."""
        succeeded = False
        try:
            with heartbeat.keep_heartbeat(self._renew_lease, self._lifetime / 4):
                yield
            succeeded = True
        finally:
            with suppress(Transient):
                self._leases.release(
                    self._step, self._execution, succeeded=succeeded, retention=self._retention
                )

    def retain_for(self, seconds: float) -> None:
        """Let the note stand so long after the work, for a step that comes back by itself."""
        self._retention = seconds + self._lifetime

    def _renew_lease(self) -> None:
        with suppress(Transient):
            self._leases.renew(self._step, self._execution, self._lifetime)
