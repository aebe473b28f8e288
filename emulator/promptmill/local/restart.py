"""When to start a dead service again: pure, from the times at which it died."""

from collections.abc import Sequence
from dataclasses import dataclass

WINDOW = 60.0
MOST_DEATHS = 5
FIRST_PAUSE, FACTOR, LONGEST_PAUSE = 0.5, 3.0, 10.0


@dataclass(frozen=True)
class Restart:
    """Start it again after so many seconds."""

    after: float


@dataclass(frozen=True)
class GiveUp:
    """It died too often; so often within the window."""

    deaths: int


def after_death(deaths: Sequence[float]) -> Restart | GiveUp:
    """Decide from the times of all deaths, in seconds, the newest last: 0.5 s, then three times as long up to 10 s.

    Deaths more than a minute before the newest are forgotten; the fifth within a minute is the last.
    """
    recent = sum(1 for death in deaths if deaths[-1] - death < WINDOW)
    if recent >= MOST_DEATHS:
        return GiveUp(recent)
    return Restart(min(FIRST_PAUSE * FACTOR ** (recent - 1), LONGEST_PAUSE))
