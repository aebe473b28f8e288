"""The real Celery app with the real tasks, run as a worker runs them; only what they send goes elsewhere."""

import functools
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import kombu.exceptions
from celery.app.task import Context
from celery.exceptions import Ignore, Reject, Retry

from promptmill.config.settings import Settings
from promptmill.workers import tasks
from promptmill.workers.app import make_app
from promptmill.workers.services import Services


class Tasks:
    """The tasks of the pipeline; ``bind`` gives them a world to act in."""

    def __init__(self) -> None:
        self._app: Any = make_app(
            Settings(project="simulated", bucket="gs://simulated/mill"), _unbuilt
        )
        assert tasks.reconcile.name in self._app.tasks
        self._app.finalize()
        logging.getLogger("celery").setLevel(logging.CRITICAL + 1)

    def bind(
        self,
        services: Callable[[], Services],
        send_task: Callable[..., None],
        waiting: Callable[[str], int],
    ) -> None:
        """Let the tasks act in a world from now on; ``waiting`` tells how many messages are in a queue."""
        self._app.services = services
        self._app.send_task = send_task
        self._app.connection_for_read = lambda: _Broker(waiting)

    @property
    def app(self) -> Any:
        """The app, for producers."""
        return self._app

    def function(self, name: str) -> Any:
        """Return the function that a task is made of."""
        return self._app.tasks[name]._orig_run.__func__

    def run(self, name: str, args: list[Any], task_id: str, retries: int) -> BaseException | None:
        """Run a task as a worker does; returns the error with which it failed."""
        task = self._app.tasks[name]
        request = Context(
            id=task_id,
            args=args,
            kwargs={},
            retries=retries,
            delivery_info={"exchange": "", "routing_key": "simulated"},
            called_directly=False,
        )
        task.request_stack.push(request)
        try:
            task(*args)
        except (Retry, Ignore, Reject):
            return None
        except Exception as error:  # noqa: BLE001 - as a worker does
            task.on_failure(error, task_id, args, {}, None)
            return error
        finally:
            task.request_stack.pop()
        return None


class _Broker:
    """A connection to the broker, and its channel, as far as the tasks ask them."""

    channel_errors: tuple[type[Exception], ...] = ()
    connection_errors = (kombu.exceptions.OperationalError,)

    def __init__(self, waiting: Callable[[str], int]) -> None:
        self._waiting = waiting
        self.default_channel = self

    def __enter__(self) -> "_Broker":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to close."""

    def queue_declare(self, queue: str, passive: bool) -> "_Declared":
        return _Declared(self._waiting(queue))


class _Declared(NamedTuple):
    message_count: int


@functools.cache
def shared() -> Tasks:
    """The tasks of this process."""
    return Tasks()


def _unbuilt(_: Settings) -> Services:
    raise AssertionError("the tasks were not bound to a world")
