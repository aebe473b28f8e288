"""Keeps the messages that a worker holds from being handed to another while it lives, however long it holds them.

Redis hands a message out again when it was not acknowledged within the visibility timeout. With a long one a killed
worker's messages are missing for minutes; with a short one a long task, or one that waits for its countdown, runs twice.
So the timeout is short, and each worker renews what it holds: a message comes back soon after its worker died.
"""

import time
from typing import Any

import structlog
from celery import bootsteps

from promptmill.config.queues import VISIBILITY_TIMEOUT

_log = structlog.get_logger(__name__)
_PERIOD = VISIBILITY_TIMEOUT / 6


class Leases(bootsteps.StartStopStep):
    """A part of Celery's consumer; starts anew with each connection to the broker."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._timer: Any = None

    def start(self, parent: Any) -> None:
        """Renew from now on."""
        self._timer = parent.timer.call_repeatedly(_PERIOD, renew, (parent,))

    def stop(self, parent: Any) -> None:  # noqa: ARG002
        """Renew no more: what is held now goes back to the queue."""
        if self._timer is not None:
            self._timer.cancel()


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
