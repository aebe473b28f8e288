"""Sends tasks to the caller's own Celery workers."""

from typing import Any

from celery import Celery
from kombu.exceptions import EncodeError, OperationalError
from redis.exceptions import RedisError

from promptmill.config import queues
from promptmill.config.errors import Permanent, Transient
from promptmill.config.settings import Settings
from promptmill.workers.ports import callbacks
from promptmill.workers.ports.google import CallbackTask

_CONNECTION_ERRORS = (OperationalError, RedisError, OSError)


class CeleryCallbackBroker:
    """A Celery app that only sends, without Promptmill's own routes and defaults."""

    def __init__(self, settings: Settings) -> None:
        url = (settings.callback_broker_url or settings.broker_url).get_secret_value()
        options = queues.celery_options(settings, url)
        self._app: Any = Celery("promptmill-callbacks", set_as_current=False)
        self._app.config_from_object(
            options | {"task_routes": {}, "task_default_queue": callbacks.DEFAULT_QUEUE}
        )

    def send(self, task: CallbackTask) -> None:
        """Enqueue a task. Monitoring shows its id, because the arguments may be answers."""
        shown = {"argsrepr": f"({task.task_id})", "kwargsrepr": "{}"}
        options = {"task_id": task.task_id, "serializer": "json", **shown}
        try:
            self._app.send_task(task.task, task.args, task.kwargs, **options, **task.options)
        except _CONNECTION_ERRORS as error:
            raise _unreachable_error(error) from error
        except (EncodeError, TypeError, ValueError) as error:
            raise Permanent(f"{task.task} cannot be sent: {type(error).__name__}") from error

    def count_waiting(self, queue: str) -> int:
        """Return the number of tasks that wait in a queue."""
        try:
            with self._app.connection_for_write() as connection:
                try:
                    return int(
                        connection.default_channel.queue_declare(queue, passive=True).message_count
                    )
                except connection.channel_errors:  # an empty queue does not exist in Redis
                    return 0
        except _CONNECTION_ERRORS as error:
            raise _unreachable_error(error) from error


def _unreachable_error(error: Exception) -> Transient:
    return Transient(f"the callback broker cannot be reached: {type(error).__name__}")
