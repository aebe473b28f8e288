"""Keeps services running: each is started when those that it needs are ready, and again when it dies."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from promptmill.local.errors import Interrupted, ServiceFailed
from promptmill.local.events import Event, OnEvent
from promptmill.local.service import Life, Service
from promptmill.local.state import ServiceState

LOOK = 0.05
News = TypeVar("News")


class Supervisor:
    """Services in order, looked after by a thread; `changed` is called after every change with what is known of each.

    The thread alone touches the processes until it ends; `stop` ends it and then does the rest itself.
    """

    def __init__(
        self,
        services: Sequence[Service],
        logs: Path,
        held: int,
        on_event: OnEvent,
        changed: Callable[[dict[str, ServiceState]], None],
    ):
        self._lives = [Life(service, logs, held, self._tell) for service in services]
        self._on_event, self._changed = on_event, changed
        self._known = {service.name: ServiceState("waiting") for service in services}
        self._asked_to_stop = 0  # plain numbers and flags: a signal handler sets them, which must not take a lock
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def start(self) -> None:
        """Start all and return when each was ready; then some may be running even when it raises.

        Raises ServiceFailed, Interrupted, or what the listener raised.
        """
        self._thread.start()
        while not all(life.was_ready for life in self._lives):
            self._raise_what_went_wrong()
            if self._asked_to_stop:
                raise Interrupted("stopped before everything was ready")
            time.sleep(LOOK)
        self._raise_what_went_wrong()

    def wait(self, timeout: float | None = None) -> bool:
        """Return True when it was asked to stop, False after so many seconds. Raises what the listener raised."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._asked_to_stop:
            if self._error:
                raise self._error
            if deadline is not None and time.monotonic() >= deadline:
                return False
            time.sleep(LOOK)
        return True

    def ask_to_stop(self) -> None:
        """Make `wait` and `start` return; asked again, what is being stopped is killed. For signal handlers."""
        self._asked_to_stop += 1

    def stop(self) -> None:
        """Stop all, each after those that need it. May be called again, and without a start."""
        self._asked_to_stop = max(self._asked_to_stop, 1)
        if self._thread.is_alive():
            self._thread.join()
        while not all(life.over for life in self._lives):
            self._end_step()
            time.sleep(LOOK)

    def status(self) -> dict[str, ServiceState]:
        """What is known of each service."""
        return self._known

    def _run(self) -> None:
        try:
            while not self._asked_to_stop:
                self._step()
                time.sleep(LOOK)
        except BaseException as error:  # noqa: BLE001 (raised again where the caller waits)
            self._error = error

    def _step(self) -> None:
        for life in self._lives:
            if life.state == "waiting" and all(needed.was_ready for needed in self._needed_by(life)):
                life.start()
            life.step()
        self._report()

    def _end_step(self) -> None:
        for life in reversed(self._lives):
            if not life.over and all(other.over for other in self._lives if life in self._needed_by(other)):
                life.end(hurry=self._asked_to_stop > 1)
        self._report()

    def _needed_by(self, life: Life) -> list[Life]:
        return [other for other in self._lives if other.service.name in life.service.after]

    def _report(self) -> None:
        if (now := {life.service.name: life.status for life in self._lives}) != self._known:
            self._known = now
            self._inform(self._changed, now)

    def _tell(self, event: Event) -> None:
        self._inform(self._on_event, event)

    def _inform(self, listener: Callable[[News], None], news: News) -> None:
        """Once a listener has raised none is told more, so that it cannot keep the services from being stopped."""
        if self._error is None:
            try:
                listener(news)
            except Exception as error:  # noqa: BLE001 (raised again where the caller waits)
                self._error = error

    def _raise_what_went_wrong(self) -> None:
        if self._error:
            raise self._error
        for life in self._lives:
            if life.state == "failed":
                raise ServiceFailed(life.service.name, "does not stay up", life.log.tail())
