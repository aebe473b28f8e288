"""Objects on disk: their bodies in files, everything else in the index."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from .checksums import Checksums, Declared
from .conditions import Conditions
from .errors import Refused
from .index import Index, Stored


class Draft:
    """A body that is being written: nobody sees it before it is published."""

    def __init__(self, path: Path, file: int) -> None:
        self.path = path
        self.file = file
        self.size = 0
        self.checksums = Checksums()

    @contextmanager
    def appending(self) -> Iterator[Self]:
        """Have its file open for `add`."""
        with self.path.open("ab") as self._open:
            yield self

    def add(self, piece: bytes) -> None:
        """Append bytes."""
        self._open.write(piece)
        self.checksums.add(piece)
        self.size += len(piece)

    def discard(self) -> None:
        """Remove it."""
        self.path.unlink(missing_ok=True)


class Store:
    """The objects of one directory. Each call is done before another begins, so that of many creators one wins."""

    def __init__(self, directory: Path) -> None:
        """Open or make it, without what an earlier process left unfinished. Raises BlockingIOError if it is in use."""
        self._bodies = directory / "bodies"
        self._bodies.mkdir(parents=True, exist_ok=True)
        self.index = Index(directory / "index.sqlite3")
        self._last = self.index.newest()
        self._forget_drafts()

    def add_bucket(self, name: str) -> None:
        """Make a bucket. Raises Refused 409 if it exists."""
        if self.index.bucket(name) is not None:
            raise Refused(409, "Your previous request to create the named bucket succeeded and you already own it.")
        self.index.add_bucket(name, self._next())

    def require_bucket(self, name: str) -> int:
        """When a bucket was made. Raises Refused 404."""
        created = self.index.bucket(name)
        if created is None:
            raise Refused(404, "The specified bucket does not exist.")
        return created

    def remove_bucket(self, name: str) -> None:
        """Remove an empty bucket. Raises Refused 404 or 409."""
        self.require_bucket(name)
        if any(self.index.named(name, b"", b"", b"", 1)):
            raise Refused(409, "The bucket you tried to delete is not empty.")
        self.index.remove_bucket(name)

    def require(self, bucket: str, name: str, conditions: Conditions) -> Stored:
        """The object that a call means. Raises Refused 404, 412 or 304."""
        stored = self.index.find(bucket, name)
        if stored is None or conditions.generation not in {None, stored.generation}:
            self.require_bucket(bucket)
            raise Refused(404, f"No such object: {bucket}/{name}")
        conditions.require(stored)
        return stored

    def require_room(self, bucket: str, name: str, conditions: Conditions) -> Stored | None:
        """The object that a new one is to replace, if any. Raises Refused 404 without the bucket, or 412."""
        self.require_bucket(bucket)
        stored = self.index.find(bucket, name)
        conditions.require(stored)
        return stored

    def draft(self) -> Draft:
        """A new, empty body."""
        number = self._next()
        return Draft(self._path(number), number)

    def publish(
        self,
        draft: Draft,
        bucket: str,
        name: str,
        about: dict[str, Any],
        conditions: Conditions,
        declared: Declared,
    ) -> Stored:
        """Make a draft an object, in place of what has its name. Raises Refused 404, 412, or 400 by its checksums."""
        draft.checksums.require(declared)
        earlier = self.require_room(bucket, name, conditions)
        sums = draft.checksums
        stored = Stored(bucket, name, self._next(), draft.file, draft.size, sums.crc32c, sums.md5, about)
        self.index.put(stored)
        if earlier:
            self._path(earlier.file).unlink()
        return stored

    def delete(self, bucket: str, name: str, conditions: Conditions) -> None:
        """Remove an object. Raises Refused 404 or 412."""
        stored = self.require(bucket, name, conditions)
        self.index.remove(stored)
        self._path(stored.file).unlink()

    def open(self, stored: Stored) -> int:
        """A descriptor of an object's body, which stays readable when the object is replaced."""
        return os.open(self._path(stored.file), os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        """Let go of the directory."""
        self.index.close()

    def _next(self) -> int:
        """A number that no object or file had before: the time in microseconds, as Google's generations are."""
        self._last = max(self._last + 1, time.time_ns() // 1000)
        return self._last

    def _path(self, number: int) -> Path:
        return self._bodies / str(number)

    def _forget_drafts(self) -> None:
        published = set(self.index.files())
        for entry in os.scandir(self._bodies):
            if not (entry.name.isdecimal() and int(entry.name) in published):
                Path(entry.path).unlink()
