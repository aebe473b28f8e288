"""One service of a stack: what it is, and one life of it after the other."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from promptmill.local.events import Event, Kind, OnEvent
from promptmill.local.log import Log
from promptmill.local.process import Process
from promptmill.local.readiness import Ready
from promptmill.local.restart import GiveUp, Patience, Restart
from promptmill.local.state import ServiceState


@dataclass(frozen=True)
class Service:
    """A command that is to be kept running.

    `ready` tells from its log or its socket that others can lean on it; when that takes longer than `slowest_start`
    seconds it is killed and started anew. `grace` is how many seconds it has to end by itself. It is started when the
    services that it comes `after` are ready, and they are stopped when it has ended.
    """

    name: str
    command: tuple[str, ...]
    ready: Ready
    environment: Mapping[str, str] = field(default_factory=dict)
    port: int | None = None
    url: str | None = None
    after: tuple[str, ...] = ()
    slowest_start: float = 60.0
    grace: float = 5.0
    patience: Patience = field(default_factory=Patience)


class Life:
    """A service as it goes from waiting to starting, ready, dead and starting again; `step` moves it on."""

    def __init__(self, service: Service, logs: Path, held: int, on_event: OnEvent):
        self.service, self.log = service, Log(logs, service.name)
        self.state = "waiting"
        self.was_ready = False
        self._held, self._on_event = held, on_event
        self._process: Process | None = None
        self._deaths: list[float] = []
        self._until = 0.0
        self.log.open_new()

    @property
    def status(self) -> ServiceState:
        """What is known of it now."""
        pid = self._process.pid if self._process else None
        return ServiceState(self.state, pid, self.service.port, self.service.url, len(self._deaths))

    def start(self) -> None:
        """Start it for the first time, or again."""
        self.log.mark()
        service = self.service
        self._process = Process(
            service.command, service.environment, self.log.path, grace=service.grace, held=self._held
        )
        self._until = time.monotonic() + service.slowest_start
        self._enter("starting", "starting", "starting")

    def step(self) -> None:
        """Look at it once, and do what is due."""
        match self.state:
            case "starting" | "ready":
                self._look()
            case "restarting" if time.monotonic() >= self._until:
                self.start()

    def end(self, *, hurry: bool) -> None:
        """Bring it nearer to its end, which is reached when it is `over`; in a hurry, without its grace."""
        if self._process:
            if self.state != "stopping":
                self._enter("stopping", "stopping", "stopping")
            if not self._process.end(hurry=hurry):
                return
        self._let_go()
        self._enter("stopped", "stopped", "stopped")

    @property
    def over(self) -> bool:
        """It was never started, or has been stopped."""
        return self.state in {"waiting", "stopped"}

    def _look(self) -> None:
        code = self._process.exit_code() if self._process else None
        if code is not None:
            self._died(f"ended with exit code {code}")
        elif self.state == "ready":
            self.log.bound()
        elif self.service.ready(self.log.since_start()):
            self.was_ready = True
            self._enter("ready", "ready", f"ready{f' at {self.service.url}' if self.service.url else ''}")
        elif time.monotonic() >= self._until:
            self._let_go()
            self._died(f"was not ready after {self.service.slowest_start:g} s")

    def _died(self, how: str) -> None:
        self._let_go()
        self._deaths.append(time.monotonic())
        match self.service.patience.after_death(self._deaths, was_ready=self.was_ready):
            case Restart(after):
                self._tell("died", how, self.log.tail())
                self._until = time.monotonic() + after
                self._enter("restarting", "restarting", f"starts again in {after:g} s")
            case GiveUp(deaths):
                self._enter("failed", "gave_up", f"{how}, {deaths} times by now, and stays down", self.log.tail())

    def _let_go(self) -> None:
        if self._process:
            self._process.close()
            self._process = None

    def _enter(self, state: str, kind: Kind, message: str, log: str = "") -> None:
        self.state = state
        self._tell(kind, message, log)

    def _tell(self, kind: Kind, message: str, log: str = "") -> None:
        self._on_event(Event(kind, self.service.name, message, log))
