"""The emulated clock."""

import threading
import time
from datetime import UTC, datetime

import msgspec


class ClockState(msgspec.Struct, frozen=True):
    """A saved clock: its emulated time at a wall time, and its speed."""

    emulated: float
    wall: float
    speed: float


class Clock:
    """Emulated time. At speed 60 a minute passes in each real second."""

    def __init__(self, speed: float = 1.0, start: float | None = None) -> None:
        self._speed = speed
        self._emulated = time.time() if start is None else start
        self._measured_at = time.monotonic()

    @classmethod
    def from_state(cls, state: ClockState) -> "Clock":
        """Restore a saved clock, advanced by the time since it was saved."""
        seconds_away = max(0.0, time.time() - state.wall)
        return cls(state.speed, state.emulated + seconds_away * state.speed)

    @property
    def speed(self) -> float:
        """Emulated seconds per real second."""
        return self._speed

    def now(self) -> float:
        """Return the emulated seconds since the epoch."""
        return self._emulated + (time.monotonic() - self._measured_at) * self._speed

    def set_speed(self, speed: float) -> None:
        """Continue from now at another speed."""
        self._emulated, self._measured_at = self.now(), time.monotonic()
        self._speed = speed

    def wait_until(self, moment: float) -> None:
        """Block until the emulated time reaches `moment`, even if the speed changes."""
        while (seconds_left := moment - self.now()) > 0:
            threading.Event().wait(min(seconds_left / self._speed, 0.2))

    def to_state(self) -> ClockState:
        """Return the state that `from_state` restores."""
        return ClockState(self.now(), time.time(), self._speed)


def format_timestamp(moment: float) -> str:
    """Return RFC 3339 with microseconds and Z, Google's format of a `Timestamp`."""
    text = datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds")
    return text.replace("+00:00", "Z")
