"""A bucket in memory."""

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from promptmill.config.errors import Conflict, NotFound
from promptmill.workers.ports.google import ObjectInfo

Clock = Callable[[], float]
"""Returns the time in epoch seconds."""


class _Object(NamedTuple):
    data: bytes
    generation: int
    updated: float


class MemoryBucket:
    """A thread-safe ``Bucket`` in memory. ``clock`` sets the time of objects."""

    def __init__(self, url: str = "gs://fake/mill", clock: Clock = time.time) -> None:
        self.url, self._clock = url.rstrip("/"), clock
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
            self._put_object(name, data)
            return True

    def write(self, name: str, data: bytes) -> None:
        """Write an object."""
        with self._lock:
            self._put_object(name, data)

    def write_stream(self, name: str, pieces: Iterable[bytes]) -> int:
        """Write an object. Returns its size."""
        data = b"".join(pieces)
        self.write(name, data)
        return len(data)

    def replace(self, name: str, data: bytes, generation: int) -> None:
        """Write an object if it still has this generation. Raises Conflict."""
        with self._lock:
            current = self._objects.get(name)
            if current is None or current.generation != generation:
                raise Conflict(f"{self.url}/{name} was written by another process")
            self._put_object(name, data)

    def read(self, name: str) -> bytes:
        """Return an object's bytes. Raises NotFound."""
        return self._get_object(name).data

    def read_each(self, names: Iterable[str]) -> Iterator[bytes]:
        """Yield the bytes of objects in the given order."""
        return map(self.read, names)

    def read_range(self, name: str, start: int, end: int, generation: int) -> bytes:
        """Return a range of this generation. Raises NotFound."""
        if (current := self._get_object(name)).generation != generation:
            raise NotFound(f"{self.url}/{name} of generation {generation} does not exist")
        return current.data[start:end]

    def find(self, name: str) -> ObjectInfo | None:
        """Return the metadata of an object."""
        if (current := self._objects.get(name)) is None:
            return None
        return ObjectInfo(name, len(current.data), current.generation, current.updated)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Return the objects whose names start with ``prefix``, in order of names."""
        with self._lock:
            names = sorted(name for name in self._objects if name.startswith(prefix))
        return (object_info for object_info in map(self.find, names) if object_info)

    def delete(self, name: str) -> None:
        """Delete an object if it exists."""
        with self._lock:
            self._objects.pop(name, None)

    def _put_object(self, name: str, data: bytes) -> None:
        self._objects[name] = _Object(bytes(data), next(self._generations), self._clock())

    def _get_object(self, name: str) -> _Object:
        current = self._objects.get(name)
        if current is None:
            raise NotFound(f"{self.url}/{name} does not exist")
        return current
