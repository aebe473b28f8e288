"""When to start a dead service again: pure, from the times at which it died."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Restart:
    """Start it again after so many seconds."""

    delay: float


@dataclass(frozen=True)
class GiveUp:
    """It died too often: so many times in all."""

    deaths: int


@dataclass(frozen=True)
class RestartPolicy:
    """How often a service may die: `max_deaths` within `window_seconds`, or `max_unready_deaths` at all before it was
    ready for the first time, are too many; a mistake in its settings will not go away by waiting.

    The pause before a new start is `first_delay` seconds, `backoff_factor` times longer at each death, up to `max_delay`.
    """

    first_delay: float = 0.5
    backoff_factor: float = 3.0
    max_delay: float = 10.0
    window_seconds: float = 60.0
    max_deaths: int = 5
    max_unready_deaths: int = 3

    def decide_restart(self, deaths: Sequence[float], *, was_ready: bool) -> Restart | GiveUp:
        """Decide from the times of all deaths in seconds, the newest last; those before the window are forgotten."""
        recent = sum(1 for death in deaths if deaths[-1] - death < self.window_seconds)
        if recent >= self.max_deaths or (not was_ready and len(deaths) >= self.max_unready_deaths):
            return GiveUp(len(deaths))
        return Restart(min(self.first_delay * self.backoff_factor ** (recent - 1), self.max_delay))
