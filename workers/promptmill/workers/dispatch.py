"""Enqueues steps in Celery, and records them so that a sweep does not send them again."""

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
"""Seconds for which no other ``pool`` task is enqueued."""
_QUEUED_SECONDS = 600.0
"""Seconds for which a sweep does not send a queued step again, unless its queue is empty."""


def queue_of(step: Step) -> str:
    """Return the name of a step's queue."""
    return queues.TASK_QUEUES[f"promptmill.{step.task}"]


class Dispatcher:
    """Enqueues steps of the pipeline."""

    def __init__(self, app: Any, leases: StepLeases, takeover: TakeoverTimes) -> None:
        self._app = app
        self._leases = leases
        self._takeover = takeover

    def enqueue_steps(self, steps: Iterable[Step]) -> None:
        """Enqueue steps, except those that were sent a moment ago."""
        # Otherwise each duplicate delivery would duplicate everything that follows. If the
        # step did have to run again, a sweep sends it.
        for step in steps:
            if self._leases.mark_queued_once(
                step.id, _QUEUED_SECONDS, self._takeover.start_timeout
            ):
                self._send_step(step)

    def enqueue_poll(self, chain: str) -> None:
        """Enqueue the first poll of a chain."""
        self._send_task("promptmill.poll", [chain, 0], f"{chain}.poll", queues.POLL)

    def enqueue_pool(self) -> None:
        """Enqueue ``pool``, unless it was enqueued a moment ago and has not started."""
        if self._leases.try_queue("pool", _POOL_QUEUED_SECONDS):
            self._send_task("promptmill.pool", [], f"pool-{secrets.token_hex(8)}", queues.INGEST)

    def enqueue_stalled(self, steps: Iterable[Step]) -> list[Step]:
        """Enqueue the steps that are neither queued nor running, and return them."""
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

    def _send_task(self, task: str, args: list[object], task_id: str, queue: str) -> None:
        try:
            self._app.send_task(task, args=args, task_id=task_id, queue=queue)
        except OperationalError as error:
            raise Transient(
                f"cannot reach the broker to send {task_id}: {error}; check CELERY_BROKER_URL"
            ) from error

    def _is_message_lost(self, step: Step) -> bool:
        """Whether a step is marked as queued, but its queue is empty: its worker may have died."""
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
            except connection.channel_errors:  # Redis does not know an empty queue
                return 0
            except connection.connection_errors as error:
                raise Transient(
                    f"cannot reach the broker to count the messages in {queue}: "
                    f"{type(error).__name__}; check CELERY_BROKER_URL"
                ) from error

    def create_lease(self, step: str) -> "Lease":
        """Return a lease on one execution of a step, which is not acquired yet."""
        return Lease(self._leases, step, self._takeover)


class Lease:
    """A lease on one execution of a step: proof that it is alive."""

    def __init__(self, leases: StepLeases, step: str, takeover: TakeoverTimes) -> None:
        self._leases = leases
        self._step = step
        self._lifetime = takeover.step_lease
        self._execution = secrets.token_hex(8)
        # A sweep that read the facts just before the step ended would treat it as stalled.
        self._retention = takeover.start_timeout

    def acquire(self, limit: int) -> LeaseState:
        """Acquire the lease. Returns the other unfinished executions of the step.

        Refused while another execution is running, or once ``limit`` others are unfinished.
        Without Redis, the execution goes ahead.
        """
        try:
            return self._leases.acquire(self._step, self._execution, self._lifetime, limit)
        except Transient:
            return LeaseState()

    @contextmanager
    def keep_alive(self) -> Iterator[None]:
        """Renew the lease during the block. Then the step counts as running for a moment more."""
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
        """Retain the lease after the block for a step that will be retried after ``seconds``."""
        self._retention = seconds + self._lifetime

    def _renew_lease(self) -> None:
        with suppress(Transient):
            self._leases.renew(self._step, self._execution, self._lifetime)
