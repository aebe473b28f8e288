"""A bucket in memory."""

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from promptmill.config.errors import Conflict, NotFound
from promptmill.workers.ports.google import Stored

Clock = Callable[[], float]
"""Tells the time in seconds since the epoch."""


class _Object(NamedTuple):
    data: bytes
    generation: int
    updated: float


class MemoryBucket:
    """A ``Bucket`` in memory, safe for threads; ``clock`` is the server's, which dates objects."""

    def __init__(self, url: str = "gs://fake/mill", clock: Clock = time.time) -> None:
        self.url = url.rstrip("/")
        self._clock = clock
        self._objects: dict[str, _Object] = {}
        self._generations = itertools.count(1)
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"MemoryBucket({self.url!r})"

    def create(self, name: str, data: bytes) -> bool:
        """Write an object unless it exists."""
        with self._lock:
            if name in self._objects:
                return False
            self._put(name, data)
            return True

    def write(self, name: str, data: bytes) -> None:
        """Write an object."""
        with self._lock:
            self._put(name, data)

    def write_stream(self, name: str, pieces: Iterable[bytes]) -> int:
        """Write an object of any size, which must fit into memory here; returns its size."""
        data = b"".join(pieces)
        self.write(name, data)
        return len(data)

    def replace(self, name: str, data: bytes, generation: int) -> None:
        """Write an object if it is still of this generation; raises Conflict."""
        with self._lock:
            held = self._objects.get(name)
            if held is None or held.generation != generation:
                raise Conflict(f"{self.url}/{name} was written by somebody else")
            self._put(name, data)

    def read(self, name: str) -> bytes:
        """Return an object's bytes; raises NotFound."""
        return self._get(name).data

    def read_each(self, names: Iterable[str]) -> Iterator[bytes]:
        """Yield the bytes of objects in the order of their names."""
        return map(self.read, names)

    def read_range(self, name: str, start: int, end: int, generation: int) -> bytes:
        """Return a range of this very generation; raises NotFound when it is gone."""
        held = self._get(name)
        if held.generation != generation:
            raise NotFound(f"{self.url}/{name} of generation {generation} does not exist")
        return held.data[start:end]

    def find(self, name: str) -> Stored | None:
        """Return what is known of an object."""
        held = self._objects.get(name)
        return None if held is None else Stored(name, len(held.data), held.generation, held.updated)

    def list(self, prefix: str) -> Iterator[Stored]:
        """Return the objects whose names start with ``prefix``, in order of their names, as they are now."""
        with self._lock:
            names = sorted(name for name in self._objects if name.startswith(prefix))
        return (stored for stored in map(self.find, names) if stored)

    def delete(self, name: str) -> None:
        """Delete an object, if it is there."""
        with self._lock:
            self._objects.pop(name, None)

    def _put(self, name: str, data: bytes) -> None:
        self._objects[name] = _Object(bytes(data), next(self._generations), self._clock())

    def _get(self, name: str) -> _Object:
        held = self._objects.get(name)
        if held is None:
            raise NotFound(f"{self.url}/{name} does not exist")
        return held
