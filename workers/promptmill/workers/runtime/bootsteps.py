"""Periodic work of a worker, done alongside its tasks while it is connected to the broker."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celery import bootsteps
from celery.concurrency import solo

from promptmill.workers.runtime import heartbeat

if TYPE_CHECKING:
    from celery.worker.consumer.consumer import Consumer


class PeriodicStep(bootsteps.StartStopStep):
    """A part of Celery's consumer. It restarts with every connection to the broker."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: "Consumer", **options: object) -> None:
        super().__init__(parent, **options)
        self._stop: Callable[[], object] | None = None

    def interval_seconds(self, parent: "Consumer") -> float:
        """Return the seconds between two calls of ``run_once``."""
        raise NotImplementedError

    def run_once(self, parent: "Consumer") -> None:
        """Do the work once. Must not raise."""
        raise NotImplementedError

    def start(self, parent: Any) -> None:
        """Start the periodic calls.

        A solo pool runs tasks in the main thread and blocks its timers, so it needs a thread.
        """
        interval = self.interval_seconds(parent)
        if isinstance(parent.pool, solo.TaskPool):
            stop_event, _ = heartbeat.start_heartbeat(lambda: self.run_once(parent), interval)
            self._stop = stop_event.set
        else:
            self._stop = parent.timer.call_repeatedly(interval, self.run_once, (parent,)).cancel

    def stop(self, parent: Any) -> None:  # noqa: ARG002
        """Stop the periodic calls."""
        if self._stop is not None:
            self._stop()
