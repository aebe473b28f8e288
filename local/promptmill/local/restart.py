"""Decides when to restart a service, from the times of its deaths. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Restart:
    """Restart the service after `delay` seconds."""

    delay: float


@dataclass(frozen=True)
class Abandon:
    """Do not restart: the service died too often."""

    deaths: int


@dataclass(frozen=True)
class RestartPolicy:
    """How often a service may die, and the delay before each restart.

    It is abandoned after `max_deaths` within `window_seconds`. Before it was ready
    once, `max_unready_deaths` are enough: its settings are probably wrong. The first
    delay is `first_delay` seconds. Each death multiplies it by `backoff_factor`, up to
    `max_delay`.
    """

    first_delay: float = 0.5
    backoff_factor: float = 3.0
    max_delay: float = 10.0
    window_seconds: float = 60.0
    max_deaths: int = 5
    max_unready_deaths: int = 3

    def decide_restart(self, deaths: Sequence[float], *, was_ready: bool) -> Restart | Abandon:
        """Decide from the times of all deaths, in seconds, the newest last."""
        recent = sum(1 for death in deaths if deaths[-1] - death < self.window_seconds)
        if recent >= self.max_deaths or (not was_ready and len(deaths) >= self.max_unready_deaths):
            return Abandon(len(deaths))
        return Restart(min(self.first_delay * self.backoff_factor ** (recent - 1), self.max_delay))
