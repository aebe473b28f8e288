"""Judge seconds by how slow the machine is at that moment."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

LOOPS = 3_000_000
NOMINAL_SECONDS = 0.3
"""Seconds of the calibration loop on a machine with nothing else to do."""


@dataclass
class Stopwatch:
    """The ``seconds`` that a block took, and how much slower than nominal the machine was."""

    seconds: float = 0.0
    slowness: float = 1.0

    def assert_below(self, seconds: float) -> None:
        """Fail if the block took longer than this many seconds of a machine that is not busy."""
        limit = seconds * self.slowness
        assert self.seconds < limit, f"took {self.seconds:.1f} s, limit {limit:.1f} s"


@contextmanager
def stopwatch() -> Iterator[Stopwatch]:
    """Measure a block. The calibration loop runs at its beginning, and again after it."""
    watch = Stopwatch()
    began = time.monotonic()  # what is measured may have begun already
    before = measure_slowness()
    yield watch
    watch.seconds = time.monotonic() - began
    watch.slowness = max(before, measure_slowness())


def measure_slowness() -> float:
    """Return how many times longer than nominal a fixed loop takes; at least 1."""
    began = time.perf_counter()
    total = 0
    for number in range(LOOPS):
        total += number * number
    return max(1.0, (time.perf_counter() - began) / NOMINAL_SECONDS)


def timed_import(module: str) -> str:
    """Return code that sets ``imported`` and ``calibration``.

    They are the processor seconds of an import and of the calibration loop: a busy
    machine lengthens neither by much, and a slow one lengthens both.
    """
    return f"""
import time
began = time.process_time()
import {module}
imported = time.process_time() - began
began, total = time.process_time(), 0
for number in range({LOOPS}):
    total += number * number
calibration = time.process_time() - began
"""
