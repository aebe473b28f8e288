"""What a supervisor tells whoever started it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

EventKind = Literal[
    "moved", "starting", "ready", "died", "restarting", "gave_up", "stopping", "stopped"
]


@dataclass(frozen=True)
class Event:
    """One thing that happened to a service; `message` is a sentence for a person, `log` the end of its output."""

    kind: EventKind
    service: str
    message: str
    log: str = ""

    def __str__(self) -> str:
        return f"{self.service}: {self.message}"


OnEvent = Callable[[Event], None]


def ignore_event(event: Event) -> None:
    """Tell nobody."""
