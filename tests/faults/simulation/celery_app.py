"""The real Celery app with the real tasks, traced as a worker traces them; only what they send goes elsewhere."""

import functools
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import kombu.exceptions
from celery.app.trace import build_tracer
from celery.exceptions import Ignore, Reject, Retry
from promptmill.config.settings import Settings
from promptmill.workers import tasks
from promptmill.workers.app import make_app
from promptmill.workers.services import Services


class Tasks:
    """The tasks of the pipeline; ``bind`` gives them a world to act in."""

    def __init__(self) -> None:
        self._app: Any = make_app(Settings(project="simulated", bucket="gs://simulated/mill"), _unbuilt)
        assert tasks.reconcile.name in self._app.tasks
        self._app.finalize()
        logging.getLogger("celery").setLevel(logging.CRITICAL + 1)
        self._tracers = {
            name: build_tracer(name, task, app=self._app, hostname="simulated")
            for name, task in self._app.tasks.items()
            if name.startswith("promptmill.")
        }

    def bind(self, services: Services, send_task: Callable[..., None], waiting: Callable[[str], int]) -> None:
        """Let the tasks act in a world from now on; ``waiting`` tells how many messages are in a queue."""
        self._app.services = lambda: services
        self._app.send_task = send_task
        self._app.connection_for_read = lambda: _Broker(waiting)

    @property
    def app(self) -> Any:
        """The app, for producers."""
        return self._app

    def run(self, name: str, args: list[Any], task_id: str, retries: int) -> BaseException | None:
        """Run a task as a worker does; returns the error with which it failed."""
        request = {
            "id": task_id,
            "task": name,
            "retries": retries,
            "delivery_info": {"exchange": "", "routing_key": "simulated"},
        }
        info = self._tracers[name](task_id, args, {}, request).info
        if info is None or isinstance(info.retval, Retry | Ignore | Reject):
            return None
        error: BaseException = info.retval
        return error


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
