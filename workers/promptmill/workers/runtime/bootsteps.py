"""What a worker does every few seconds beside its tasks, while it is connected to the broker."""

from collections.abc import Callable
from typing import Any

from celery import bootsteps
from celery.concurrency import solo

from promptmill.workers.runtime import heartbeat


class PeriodicStep(bootsteps.StartStopStep):
    """A part of Celery's consumer; starts anew with each connection to the broker."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._stop: Callable[[], Any] | None = None

    def interval_seconds(self, parent: Any) -> float:
        """Return the seconds between two times."""
        raise NotImplementedError

    def run_once(self, parent: Any) -> None:
        """Do it once; must not raise."""
        raise NotImplementedError

    def start(self, parent: Any) -> None:
        """Do it again and again from now on; beside a pool that works in the main thread, and keeps its timers waiting."""
        interval = self.interval_seconds(parent)
        if isinstance(parent.pool, solo.TaskPool):
            stop_event, _ = heartbeat.start_heartbeat(lambda: self.run_once(parent), interval)
            self._stop = stop_event.set
        else:
            self._stop = parent.timer.call_repeatedly(interval, self.run_once, (parent,)).cancel

    def stop(self, parent: Any) -> None:  # noqa: ARG002
        """Do it no more."""
        if self._stop is not None:
            self._stop()
