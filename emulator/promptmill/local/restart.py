"""When to start a dead service again: pure, from the times at which it died."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Restart:
    """Start it again after so many seconds."""

    after: float


@dataclass(frozen=True)
class GiveUp:
    """It died too often: so many times within the window."""

    deaths: int


@dataclass(frozen=True)
class Patience:
    """How often a service may die: `most_deaths` within `window` seconds are too many.

    The pause before a new start is `first` seconds, `factor` times longer at each death, up to `longest`.
    """

    first: float = 0.5
    factor: float = 3.0
    longest: float = 10.0
    window: float = 60.0
    most_deaths: int = 5

    def after_death(self, deaths: Sequence[float]) -> Restart | GiveUp:
        """Decide from the times of all deaths in seconds, the newest last; those before the window are forgotten."""
        recent = sum(1 for death in deaths if deaths[-1] - death < self.window)
        if recent >= self.most_deaths:
            return GiveUp(recent)
        return Restart(min(self.first * self.factor ** (recent - 1), self.longest))
