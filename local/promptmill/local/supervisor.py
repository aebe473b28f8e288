"""Keeps services running: starts them in order of dependency and restarts them."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from promptmill.local.errors import Interrupted, ServiceFailed
from promptmill.local.events import Event, OnEvent
from promptmill.local.service import Service, ServiceRunner
from promptmill.local.state import ServiceState

POLL_SECONDS = 0.05
Payload = TypeVar("Payload")


class Supervisor:
    """Runs services in a thread; calls `on_change` with all states after every change.

    Only the thread touches the processes. `stop` ends the thread, then stops them.
    """

    def __init__(
        self,
        services: Sequence[Service],
        log_directory: Path,
        lock_fd: int,
        on_event: OnEvent,
        on_change: Callable[[dict[str, ServiceState]], None],
    ):
        runner_options = (log_directory, lock_fd, self._notify_event)
        self._runners = [ServiceRunner(service, *runner_options) for service in services]
        self._on_event, self._on_change = on_event, on_change
        self._states = {service.name: ServiceState("waiting") for service in services}
        self._stop_requests = 0  # a signal handler writes it and must not take a lock
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run_loop, name="supervisor", daemon=True)

    def start(self) -> None:
        """Start all services and return when each was ready.

        Raises ServiceFailed, Interrupted or the listener's error. Services may then be
        running.
        """
        self._thread.start()
        while not all(runner.was_ready for runner in self._runners):
            self._raise_failure()
            if self._stop_requests:
                raise Interrupted("stopped before everything was ready")
            time.sleep(POLL_SECONDS)
        self._raise_failure()

    def wait(self, timeout: float | None = None) -> bool:
        """Return True once a stop is requested, False after `timeout` seconds.

        Raises the listener's error.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._stop_requests:
            if self._error:
                raise self._error
            if deadline is not None and time.monotonic() >= deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def request_stop(self) -> None:
        """Make `wait` and `start` return; safe in signal handlers. A second call kills services."""
        self._stop_requests += 1

    def stop(self) -> None:
        """Stop all services, dependent ones first. May be called repeatedly."""
        self._stop_requests = max(self._stop_requests, 1)
        if self._thread.is_alive():
            self._thread.join()
        while not all(runner.is_stopped for runner in self._runners):
            self._advance_stop()
            time.sleep(POLL_SECONDS)

    def status(self) -> dict[str, ServiceState]:
        """Return the state of each service."""
        return self._states

    def _run_loop(self) -> None:
        try:
            while not self._stop_requests:
                self._advance_services()
                time.sleep(POLL_SECONDS)
        except BaseException as error:  # noqa: BLE001 (raised again where the caller waits)
            self._error = error

    def _advance_services(self) -> None:
        for runner in self._runners:
            if runner.state == "waiting" and all(
                dependency.was_ready for dependency in self._find_dependencies(runner)
            ):
                runner.start()
            runner.advance_state()
        self._report_changes()

    def _advance_stop(self) -> None:
        for runner in reversed(self._runners):
            if not runner.is_stopped and all(
                other.is_stopped
                for other in self._runners
                if runner in self._find_dependencies(other)
            ):
                runner.advance_stop(force=self._stop_requests > 1)
        self._report_changes()

    def _find_dependencies(self, runner: ServiceRunner) -> list[ServiceRunner]:
        return [other for other in self._runners if other.service.name in runner.service.depends_on]

    def _report_changes(self) -> None:
        states = {runner.service.name: runner.status for runner in self._runners}
        if states != self._states:
            self._states = states
            self._notify_listener(self._on_change, states)

    def _notify_event(self, event: Event) -> None:
        self._notify_listener(self._on_event, event)

    def _notify_listener(self, listener: Callable[[Payload], None], payload: Payload) -> None:
        """Call a listener. After its first error no listener is called."""
        if self._error is None:
            try:
                listener(payload)
            except Exception as error:  # noqa: BLE001 (raised again where the caller waits)
                self._error = error

    def _raise_failure(self) -> None:
        if self._error:
            raise self._error
        for runner in self._runners:
            if runner.state == "failed":
                raise ServiceFailed(runner.service.name, "exits repeatedly", runner.log.read_tail())
