"""The local stack: all services, started and stopped together."""

import contextlib
import os
import shutil
from pathlib import Path
from typing import Self

from promptmill.local import ports
from promptmill.local.events import Event, OnEvent, ignore_event
from promptmill.local.service import Service
from promptmill.local.services import SERVICES, ServiceFactory, StackOptions, client_environment
from promptmill.local.state import (
    ServiceState,
    StackState,
    lock_directory,
    process_start_time,
    remove_state,
    write_state,
)
from promptmill.local.supervisor import Supervisor

UNRESTRICTED_SINKS = {"PROMPTMILL_SINKS": "/,gs://,bq://,postgresql://,https://,http://"}
"""Local runs may write to any sink. The user's own variable takes precedence."""
LOG_SETTINGS = {"PYTHONUNBUFFERED": "1", "PROMPTMILL_LOG_LEVEL": "INFO"}
"""Readiness checks read the log."""
DATA_FOLDERS = ("redis", "storage", "emulator", "logs")


class Stack:
    """The services of `options`, running between `start` and `stop` or in a `with`.

    `start` raises MissingServer, AlreadyRunning or ServiceFailed, and then stops all
    services.
    """

    def __init__(self, options: StackOptions | None = None, on_event: OnEvent = ignore_event):
        self.options = options or StackOptions()
        self.directory = self.options.directory.resolve()
        self._on_event = on_event
        self._ports: dict[str, int] = {}
        self._supervisor: Supervisor | None = None
        self._resources = contextlib.ExitStack()
        self._interrupt_count = 0

    def start(self) -> Self:
        """Start all services and return when each is ready."""
        try:
            self._start_services()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop all services in reverse order."""
        try:
            if self._supervisor:
                self._supervisor.stop()
                remove_state(self.directory)
                self._supervisor = None
        finally:
            self._resources.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait(self, timeout: float | None = None) -> bool:
        """Return True once interrupted, False after `timeout` seconds."""
        return self._supervisor is None or self._supervisor.wait(timeout)

    def interrupt(self) -> None:
        """Make `start` and `wait` return. A second call kills services. Safe in signal handlers."""
        self._interrupt_count += 1
        if self._supervisor:
            self._supervisor.request_stop()

    def status(self) -> dict[str, ServiceState]:
        """Return the state of each service, in order."""
        return self._supervisor.status() if self._supervisor else {}

    def client_environment(self) -> dict[str, str]:
        """Return the environment variables with which a client finds this stack."""
        return client_environment(self._ports) | {"GOOGLE_CLOUD_LOCATION": self.options.location}

    def _start_services(self) -> None:
        lock_fd = self._resources.enter_context(lock_directory(self.directory))
        if self.options.fresh:
            _remove_data(self.directory)
        self._choose_ports()
        log_directory = self.directory / "logs"
        supervisor = Supervisor(
            self._build_services(), log_directory, lock_fd, self._on_event, self._write_state
        )
        for _ in range(self._interrupt_count):
            supervisor.request_stop()
        self._supervisor = supervisor
        supervisor.start()

    def _choose_ports(self) -> None:
        preferred = {
            name: port for name, port in self.options.ports.items() if name in self.options.services
        }
        self._ports = self._resources.enter_context(ports.reserve_ports(preferred))
        for name, port in self._ports.items():
            if preferred[name] not in (0, port):
                self._on_event(
                    Event("moved", name, f"port {preferred[name]} is in use; using {port}")
                )

    def _build_services(self) -> list[Service]:
        environment = UNRESTRICTED_SINKS | os.environ | self.client_environment() | LOG_SETTINGS
        factory = ServiceFactory(self.options, self.directory, self._ports, environment)
        return [factory.create_service(name) for name in SERVICES if name in self.options.services]

    def _write_state(self, services: dict[str, ServiceState]) -> None:
        pid = os.getpid()
        state = StackState(
            pid,
            process_start_time(pid) or "",
            str(self.directory),
            self.client_environment(),
            services,
        )
        write_state(self.directory, state)


def _remove_data(directory: Path) -> None:
    for name in DATA_FOLDERS:
        shutil.rmtree(directory / name, ignore_errors=True)
