"""When to start a dead service again: pure, from the times at which it died."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Restart:
    """Start it again after so many seconds."""

    after: float


@dataclass(frozen=True)
class GiveUp:
    """It died too often: so many times in all."""

    deaths: int


@dataclass(frozen=True)
class Patience:
    """How often a service may die: `most_deaths` within `window` seconds, or `most_before_ready` at all before it was
    ready for the first time, are too many; a mistake in its settings will not go away by waiting.

    The pause before a new start is `first` seconds, `factor` times longer at each death, up to `longest`.
    """

    first: float = 0.5
    factor: float = 3.0
    longest: float = 10.0
    window: float = 60.0
    most_deaths: int = 5
    most_before_ready: int = 3

    def after_death(self, deaths: Sequence[float], *, was_ready: bool) -> Restart | GiveUp:
        """Decide from the times of all deaths in seconds, the newest last; those before the window are forgotten."""
        recent = sum(1 for death in deaths if deaths[-1] - death < self.window)
        if recent >= self.most_deaths or (not was_ready and len(deaths) >= self.most_before_ready):
            return GiveUp(len(deaths))
        return Restart(min(self.first * self.factor ** (recent - 1), self.longest))
