"""One service of a stack: its definition, and a runner that starts and restarts it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from promptmill.local.events import Event, EventKind, OnEvent
from promptmill.local.log import ServiceLog
from promptmill.local.process import GuardedProcess
from promptmill.local.readiness import ReadinessCheck
from promptmill.local.restart import Abandon, Restart, RestartPolicy
from promptmill.local.state import ServiceState


@dataclass(frozen=True)
class Service:
    """A command to keep running.

    It starts when the services in `depends_on` are ready, and stops before them. It is
    restarted if `is_ready` is not true after `start_timeout` seconds. `grace_period` is
    the time in seconds between SIGTERM and SIGKILL.
    """

    name: str
    command: tuple[str, ...]
    is_ready: ReadinessCheck
    environment: Mapping[str, str] = field(default_factory=dict)
    port: int | None = None
    url: str | None = None
    depends_on: tuple[str, ...] = ()
    start_timeout: float = 60.0
    grace_period: float = 5.0
    restart_policy: RestartPolicy = field(default_factory=RestartPolicy)


class ServiceRunner:
    """Runs a service through its states; `advance_state` makes one step."""

    def __init__(self, service: Service, log_directory: Path, lock_fd: int, on_event: OnEvent):
        self.service, self.log = service, ServiceLog(log_directory, service.name)
        self.state = "waiting"
        self.was_ready = False
        self._lock_fd, self._on_event = lock_fd, on_event
        self._process: GuardedProcess | None = None
        self._deaths: list[float] = []
        self._due_at = 0.0
        self.log.open_new()

    @property
    def status(self) -> ServiceState:
        """The current state of the service."""
        pid = self._process.pid if self._process else None
        return ServiceState(self.state, pid, self.service.port, self.service.url, len(self._deaths))

    def start(self) -> None:
        """Start or restart the service."""
        self.log.mark_start()
        service = self.service
        self._process = GuardedProcess(
            service.command,
            service.environment,
            self.log.path,
            grace_period=service.grace_period,
            lock_fd=self._lock_fd,
        )
        self._due_at = time.monotonic() + service.start_timeout
        self._enter_state("starting", "starting", "starting")

    def advance_state(self) -> None:
        """Check the service once; restart it if due."""
        match self.state:
            case "starting" | "ready":
                self._check_process()
            case "restarting" if time.monotonic() >= self._due_at:
                self.start()

    def advance_stop(self, *, force: bool) -> None:
        """Make one step towards `is_stopped`; `force` skips the grace period."""
        if self._process:
            if self.state != "stopping":
                self._enter_state("stopping", "stopping", "stopping")
            if not self._process.request_stop(force=force):
                return
        self._close_process()
        self._enter_state("stopped", "stopped", "stopped")

    @property
    def is_stopped(self) -> bool:
        """Whether the service was never started, or has been stopped."""
        return self.state in {"waiting", "stopped"}

    def _check_process(self) -> None:
        code = self._process.exit_code() if self._process else None
        if code is not None:
            self._handle_death(f"exited with code {code}")
        elif self.state == "ready":
            self.log.limit_size()
        elif self.service.is_ready(self.log.read_since_start()):
            self.was_ready = True
            self._enter_state(
                "ready", "ready", f"ready{f' at {self.service.url}' if self.service.url else ''}"
            )
        elif time.monotonic() >= self._due_at:
            self._close_process()
            self._handle_death(f"was not ready after {self.service.start_timeout:g} s")

    def _handle_death(self, reason: str) -> None:
        self._close_process()
        self._deaths.append(time.monotonic())
        match self.service.restart_policy.decide_restart(self._deaths, was_ready=self.was_ready):
            case Restart(delay):
                self._emit_event("died", reason, self.log.read_tail())
                self._due_at = time.monotonic() + delay
                self._enter_state("restarting", "restarting", f"restarts in {delay:g} s")
            case Abandon(deaths):
                message = f"{reason}, {deaths} times in all; not restarted"
                self._enter_state("failed", "failed", message, self.log.read_tail())

    def _close_process(self) -> None:
        if self._process:
            self._process.close()
            self._process = None

    def _enter_state(self, state: str, kind: EventKind, message: str, log: str = "") -> None:
        self.state = state
        self._emit_event(kind, message, log)

    def _emit_event(self, kind: EventKind, message: str, log: str = "") -> None:
        self._on_event(Event(kind, self.service.name, message, log))
