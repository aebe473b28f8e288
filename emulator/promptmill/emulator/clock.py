"""The emulated clock: seconds since the epoch, running at any speed."""

import threading
import time
from datetime import UTC, datetime

import msgspec


class ClockState(msgspec.Struct, frozen=True):
    """A clock as it is kept over a restart: what it showed at which wall time, and its speed."""

    emulated: float
    wall: float
    speed: float


class Clock:
    """Emulated time; a speed of 60 makes a minute of it pass in each second."""

    def __init__(self, speed: float = 1.0, start: float | None = None) -> None:
        self._speed = speed
        self._emulated = time.time() if start is None else start
        self._measured_at = time.monotonic()

    @classmethod
    def from_state(cls, state: ClockState) -> "Clock":
        """The clock of a process that ended, as if it had run on: Google's service does not stop with ours."""
        seconds_away = max(0.0, time.time() - state.wall)
        return cls(state.speed, state.emulated + seconds_away * state.speed)

    @property
    def speed(self) -> float:
        """Emulated seconds per real second."""
        return self._speed

    def now(self) -> float:
        """Emulated seconds since the epoch."""
        return self._emulated + (time.monotonic() - self._measured_at) * self._speed

    def set_speed(self, speed: float) -> None:
        """Go on from now at another speed."""
        self._emulated, self._measured_at = self.now(), time.monotonic()
        self._speed = speed

    def wait_until(self, moment: float) -> None:
        """Block the calling thread until the emulated moment has come, whatever happens to the speed meanwhile."""
        while (seconds_left := moment - self.now()) > 0:
            threading.Event().wait(min(seconds_left / self._speed, 0.2))

    def to_state(self) -> ClockState:
        """What `from_state` needs."""
        return ClockState(self.now(), time.time(), self._speed)


def format_timestamp(moment: float) -> str:
    """RFC 3339 with microseconds and Z, as Google prints a `Timestamp`."""
    return (
        datetime.fromtimestamp(moment, UTC)
        .isoformat(timespec="microseconds")
        .replace("+00:00", "Z")
    )
