"""Keeps a live worker's messages from being redelivered, however long it holds them.

Redis redelivers a message that is not acknowledged within the visibility timeout. With a long
timeout, a killed worker's messages are missing for minutes. With a short one, a task that runs
long or waits for its countdown runs twice. So the timeout is short, and each worker renews the
messages that it holds. A message is redelivered soon after its worker died.
"""

import time
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import structlog
from celery.bootsteps import RUN  # type: ignore[attr-defined]
from redis.exceptions import RedisError

from promptmill.workers.runtime import task_request
from promptmill.workers.runtime.bootsteps import PeriodicStep

if TYPE_CHECKING:
    from celery.worker.consumer.consumer import Consumer

_log = structlog.get_logger(__name__)
_RENEWALS = 6
"""Renewals within one visibility timeout."""
_BATCH_SIZE = 500
"""Messages that one call to Redis requeues."""
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
    """Renews the messages that the worker holds, and requeues them when it stops.

    A finished message that the worker cannot release occupies a prefetch slot indefinitely. A
    worker without a free slot reads nothing, and so would not notice that its connection broke.
    """

    def interval_seconds(self, parent: "Consumer") -> float:
        """A fraction of the visibility timeout."""
        return float(parent.app.conf.visibility_timeout) / _RENEWALS

    def start(self, parent: Any) -> None:
        """Start the renewals."""
        self._finished_tags = frozenset[str]()
        super().start(parent)

    def shutdown(self, parent: Any) -> None:
        """Requeue held messages in batches, before kombu does so one by one."""
        if parent.task_consumer is None:
            return
        try:
            requeue_messages(parent)
        except (OSError, RedisError) as error:
            _log.warning("message_requeue_failed", error=type(error).__name__)

    def run_once(self, parent: Any) -> None:
        """Renew the messages, or reconnect if the worker cannot release a finished one."""
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
    if consumer.blueprint.state == RUN:  # a stopping worker finishes its loop
        raise ConnectionError("a finished message was not released: reconnecting to the broker")


def _held_tags(consumer: Any) -> list[str]:
    """Return the delivery tags of held messages.

    kombu keeps the tags of released messages until the next message arrives.
    """
    qos = consumer.task_consumer.channel.qos
    return [tag for tag in list(qos._delivered) if tag not in qos._dirty]


def renew_messages(consumer: Any) -> None:
    """Renew all messages that ``consumer`` holds, except those acknowledged meanwhile."""
    channel, tags = consumer.task_consumer.channel, _held_tags(consumer)
    if not tags:
        return
    try:
        with channel.conn_or_acquire() as redis:
            # kombu compares these times with the clock of a worker, so a worker's clock counts.
            redis.zadd(channel.unacked_index_key, dict.fromkeys(tags, time.time()), xx=True)
    except channel.connection_errors as error:
        _log.warning("message_renewal_failed", error=type(error).__name__)


# kombu needs four round trips for each message, and more while other workers change the same
# keys. With thousands of messages in countdown, a worker would not exit in time.
def requeue_messages(consumer: Any) -> None:
    """Put all messages that ``consumer`` holds back into their queues."""
    channel, held_tags = consumer.task_consumer.channel, iter(_held_tags(consumer))
    delivered = channel.qos._delivered
    keys = channel.unacked_key, channel.unacked_index_key
    while tags := list(islice(held_tags, _BATCH_SIZE)):
        pushes = [
            (tag, *push) for tag in tags for push in _restored_pushes(channel, delivered[tag])
        ]
        with channel.conn_or_acquire() as redis:
            redis.eval(_REQUEUE_SCRIPT, len(keys), *keys, *chain.from_iterable(pushes))
        for tag, *_ in pushes:
            delivered.pop(tag, None)


def _restored_pushes(channel: Any, message: Any) -> list[tuple[str, str]]:
    """Return the queue and data by which kombu would restore a message.

    Empty unless it is exactly one push; kombu handles the others.
    """
    pushes = _PushRecorder()
    info = message.delivery_info
    channel._do_restore_message(message._raw, info["exchange"], info["routing_key"], pushes)
    return pushes.pushes if len(pushes.pushes) == 1 else []


class _PushRecorder:
    """Records pushes in place of a Redis pipeline."""

    def __init__(self) -> None:
        self.pushes: list[tuple[str, str]] = []

    def rpush(self, queue: str, data: str) -> None:
        """Record a push."""
        self.pushes.append((queue, data))
