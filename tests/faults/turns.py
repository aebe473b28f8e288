"""A limit on concurrent groups of workers, shared by all processes of a test session."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

BESIDE = 12
"""Maximum number of concurrent groups; more would only wait for a processor."""
_AGAIN = 0.2
"""Seconds between two checks for a free turn."""


@dataclass(frozen=True)
class Turns:
    """The turns of a test session, as locked files in a folder that its processes share."""

    folder: Path

    @contextmanager
    def one(self) -> Iterator[None]:
        """Wait for a free turn, and hold it."""
        while not (held := self._free()):
            time.sleep(_AGAIN)
        with held:
            yield

    def _free(self) -> IO[str] | None:
        """Return a free turn, locked; None if all are held."""
        return next(filter(None, map(_locked, self._paths)), None)

    @property
    def _paths(self) -> list[Path]:
        return [self.folder / f"turn{number}.lock" for number in range(BESIDE)]


def _locked(path: Path) -> IO[str] | None:
    """Return the file, locked until it is closed; None if another process holds it."""
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
