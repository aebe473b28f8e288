"""Keeps the messages that a worker holds from being handed to another while it lives, however long it holds them.

Redis hands a message out again when it was not acknowledged within the visibility timeout. With a long one a killed
worker's messages are missing for minutes; with a short one a long task, or one that waits for its countdown, runs twice.
So the timeout is short, and each worker renews what it holds: a message comes back soon after its worker died.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

import structlog
from celery import bootsteps
from celery.concurrency import solo

_log = structlog.get_logger(__name__)
_TIMES = 6
"""How often a message is renewed before its time is over."""


class Leases(bootsteps.StartStopStep):
    """A part of Celery's consumer; starts anew with each connection to the broker."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._stop: Callable[[], Any] | None = None

    def start(self, parent: Any) -> None:
        """Renew from now on."""
        period = parent.app.conf.visibility_timeout / _TIMES
        if isinstance(parent.pool, solo.TaskPool):
            self._stop = _renew_beside(parent, period)
        else:
            self._stop = parent.timer.call_repeatedly(period, renew, (parent,)).cancel

    def stop(self, parent: Any) -> None:  # noqa: ARG002
        """Renew no more: what is held now goes back to the queue."""
        if self._stop is not None:
            self._stop()


def _renew_beside(consumer: Any, period: float) -> Callable[[], Any]:
    """Renew in a thread, as a pool that works in the main one keeps its timers waiting; returns what ends it."""
    over = threading.Event()

    def keep_renewing() -> None:
        while not over.wait(period):
            renew(consumer)

    threading.Thread(target=keep_renewing, daemon=True).start()
    return over.set


def renew(consumer: Any) -> None:
    """Renew all messages that ``consumer`` holds; one that it has just acknowledged stays gone."""
    channel = consumer.task_consumer.channel
    tags = list(channel.qos._delivered)
    if not tags:
        return
    try:
        with channel.conn_or_acquire() as redis:
            # kombu compares with the clock of the worker that looks, so a worker's clock is what counts here.
            redis.zadd(channel.unacked_index_key, dict.fromkeys(tags, time.time()), xx=True)
    except channel.connection_errors as error:
        _log.warning("messages could not be renewed", error=type(error).__name__)
