"""Keeps the messages that a worker holds from being handed to another while it lives, however long it holds them.

Redis hands a message out again when it was not acknowledged within the visibility timeout. With a long one a killed
worker's messages are missing for minutes; with a short one a long task, or one that waits for its countdown, runs twice.
So the timeout is short, and each worker renews what it holds: a message comes back soon after its worker died.
"""

import time
from itertools import chain, islice
from typing import Any

import structlog
from celery.bootsteps import RUN  # type: ignore[attr-defined]
from redis.exceptions import RedisError

from promptmill.workers.runtime import task_request
from promptmill.workers.runtime.bootsteps import PeriodicStep

_log = structlog.get_logger(__name__)
_RENEWALS = 6
"""How often a message is renewed before its time is over."""
_BATCH_SIZE = 500
"""Messages that are given back in one call."""
_REQUEUE_SCRIPT = """
    for i = 1, #ARGV, 3 do
        if redis.call('hexists', KEYS[1], ARGV[i]) == 1 then
            redis.call('rpush', ARGV[i + 1], ARGV[i + 2])
            redis.call('hdel', KEYS[1], ARGV[i])
            redis.call('zrem', KEYS[2], ARGV[i])
        end
    end
"""


class MessageLeases(PeriodicStep):
    """Renews what the worker holds; when it stops, that goes back to the queue."""

    def interval_seconds(self, parent: Any) -> float:
        """A fraction of the time for which a message is the worker's own."""
        return float(parent.app.conf.visibility_timeout) / _RENEWALS

    def start(self, parent: Any) -> None:
        """Renew from now on."""
        self._finished_tags = frozenset[str]()
        super().start(parent)

    def shutdown(self, parent: Any) -> None:
        """Give back what is held, before kombu does so one by one."""
        if parent.task_consumer is None:
            return
        try:
            requeue_messages(parent)
        except (OSError, RedisError) as error:
            _log.warning("message_requeue_failed", error=type(error).__name__)

    def run_once(self, parent: Any) -> None:
        """Renew, unless there is a message that could not be given back: then let the worker connect anew.

        Such a message takes the place of another for ever, and a worker without a free place reads nothing by which it would
        notice that its connection broke.
        """
        task_request.finished_tags.intersection_update(_held_tags(parent))
        previous_tags, self._finished_tags = (
            self._finished_tags,
            frozenset(task_request.finished_tags),
        )
        if previous_tags & self._finished_tags:
            parent.hub.call_soon(_drop_connection, parent)
        else:
            renew_messages(parent)


def _drop_connection(consumer: Any) -> None:
    if consumer.blueprint.state == RUN:  # one that ends does what is left in its loop
        raise ConnectionError("a message could not be given back")


def _held_tags(consumer: Any) -> list[str]:
    """Return the tags of what is held: kombu keeps those of what was given back until the next message comes."""
    qos = consumer.task_consumer.channel.qos
    return [tag for tag in list(qos._delivered) if tag not in qos._dirty]


def renew_messages(consumer: Any) -> None:
    """Renew all messages that ``consumer`` holds; one that it has just acknowledged stays gone."""
    channel, tags = consumer.task_consumer.channel, _held_tags(consumer)
    if not tags:
        return
    try:
        with channel.conn_or_acquire() as redis:
            # kombu compares with the clock of the worker that looks, so a worker's clock is what counts here.
            redis.zadd(channel.unacked_index_key, dict.fromkeys(tags, time.time()), xx=True)
    except channel.connection_errors as error:
        _log.warning("message_renewal_failed", error=type(error).__name__)


def requeue_messages(consumer: Any) -> None:
    """Put all messages that ``consumer`` holds back into their queues.

    kombu takes four round trips for each, and tries one again when another worker changes what is held meanwhile: with
    thousands that wait for their countdown a worker would not end in time.
    """
    channel, held_tags = consumer.task_consumer.channel, iter(_held_tags(consumer))
    delivered = channel.qos._delivered
    while tags := list(islice(held_tags, _BATCH_SIZE)):
        pushes = [
            (tag, *push) for tag in tags for push in _restored_pushes(channel, delivered[tag])
        ]
        with channel.conn_or_acquire() as redis:
            redis.eval(
                _REQUEUE_SCRIPT,
                2,
                channel.unacked_key,
                channel.unacked_index_key,
                *chain.from_iterable(pushes),
            )
        for tag, *_ in pushes:
            delivered.pop(tag, None)


def _restored_pushes(channel: Any, message: Any) -> list[tuple[str, str]]:
    """Return what kombu would put into which queue to restore a message; none if it is not one, which is left to kombu."""
    pushes = _PushRecorder()
    info = message.delivery_info
    channel._do_restore_message(message._raw, info["exchange"], info["routing_key"], pushes)
    return pushes.pushes if len(pushes.pushes) == 1 else []


class _PushRecorder:
    """Takes the place of a pipeline of Redis, and keeps what is pushed."""

    def __init__(self) -> None:
        self.pushes: list[tuple[str, str]] = []

    def rpush(self, queue: str, data: str) -> None:
        """Keep what is pushed."""
        self.pushes.append((queue, data))
