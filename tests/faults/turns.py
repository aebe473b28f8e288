"""Turns at the processors, of which all processes of a test session share a few."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

BESIDE = 12
"""How many mills of all sweeps are at work beside each other: more of them only wait longer for a processor."""
_AGAIN = 0.2
"""Seconds between two looks for a free turn."""


@dataclass(frozen=True)
class Turns:
    """The turns of the test session whose processes have this folder in common."""

    folder: Path

    @contextmanager
    def one(self) -> Iterator[None]:
        """Hold a turn, as soon as one is free."""
        while not (held := self._free()):
            time.sleep(_AGAIN)
        with held:
            yield

    def _free(self) -> IO[str] | None:
        """A turn that is free, locked."""
        return next(filter(None, map(_locked, self._paths)), None)

    @property
    def _paths(self) -> list[Path]:
        return [self.folder / f"turn{number}.lock" for number in range(BESIDE)]


def _locked(path: Path) -> IO[str] | None:
    """The open file, which nobody else locks until it is closed; None when somebody does."""
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
