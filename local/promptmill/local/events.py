"""Events that a supervisor reports to its caller."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

EventKind = Literal[
    "moved", "starting", "ready", "died", "restarting", "failed", "stopping", "stopped"
]


@dataclass(frozen=True)
class Event:
    """An event of a service, with a readable message and the end of its log."""

    kind: EventKind
    service: str
    message: str
    log: str = ""

    def __str__(self) -> str:
        return f"{self.service}: {self.message}"


OnEvent = Callable[[Event], None]


def ignore_event(event: Event) -> None:
    """Ignore the event."""
