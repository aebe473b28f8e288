"""Wait in tests for a condition, never for time to pass."""

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
PATIENCE = 300.0 * float(os.environ.get("TEST_PATIENCE", "1"))
"""Seconds until a wait fails. It is long, as only a failing test waits for all of it.

``TEST_PATIENCE=3 make test`` triples it, for a very slow machine.
"""
CHECK_INTERVAL = 0.05


def wait_until(
    condition: Callable[[], T], what: str = "the condition", *, seconds: float = PATIENCE
) -> T:
    """Return the first true value of ``condition``, or fail and name ``what`` is missing."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(CHECK_INTERVAL)
    return value
