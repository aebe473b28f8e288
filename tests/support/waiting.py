"""Waiting in tests: for a condition, with a deadline, never for time to pass."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
LOOK = 0.05


def until(condition: Callable[[], T], seconds: float, what: str) -> T:
    """Return the first true value of `condition`; an AssertionError says `what` did not come in so many seconds."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(LOOK)
    return value
