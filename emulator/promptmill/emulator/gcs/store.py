"""Stores objects: their bodies in files, everything else in the index."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from ..json_types import JsonObject
from .checksums import Checksums, DeclaredChecksums
from .conditions import Conditions
from .errors import RequestRefused
from .index import ObjectIndex, StoredBucket, StoredObject


class Draft:
    """A body that is being written; invisible until published."""

    def __init__(self, path: Path, file: int) -> None:
        self.path = path
        self.file = file
        self.size = 0
        self.checksums = Checksums()

    @contextmanager
    def open_for_append(self) -> Iterator[Self]:
        """Keep the file open for `append_chunk`."""
        with self.path.open("ab") as self._open_file:
            yield self

    def append_chunk(self, chunk: bytes) -> None:
        """Append bytes."""
        self._open_file.write(chunk)
        self.checksums.add_chunk(chunk)
        self.size += len(chunk)

    def discard(self) -> None:
        """Delete the file."""
        self.path.unlink(missing_ok=True)


class ObjectStore:
    """The objects of one directory. Calls never overlap: of many creators one wins."""

    def __init__(self, directory: Path) -> None:
        """Open or create the store, and delete unfinished drafts.

        Raises BlockingIOError if another process uses it.
        """
        self._bodies = directory / "bodies"
        self._bodies.mkdir(parents=True, exist_ok=True)
        self.index = ObjectIndex(directory / "index.sqlite3")
        self._last_number = self.index.newest_number()
        self._remove_drafts()

    def add_bucket(self, name: str, location: str = "US", soft_delete: int = 0) -> None:
        """Create a bucket. Raises RequestRefused 409 if it exists."""
        if self.index.find_bucket(name) is not None:
            raise RequestRefused(
                409,
                "Your previous request to create the named bucket succeeded "
                "and you already own it.",
            )
        self.index.add_bucket(StoredBucket(name, self._next_number(), location, soft_delete))

    def require_bucket(self, name: str) -> StoredBucket:
        """Return a bucket. Raises RequestRefused 404."""
        if (bucket := self.index.find_bucket(name)) is None:
            raise RequestRefused(404, "The specified bucket does not exist.")
        return bucket

    def remove_bucket(self, name: str) -> None:
        """Remove an empty bucket. Raises RequestRefused 404 or 409."""
        self.require_bucket(name)
        if any(self.index.list_objects(name, b"", b"", b"", 1)):
            raise RequestRefused(409, "The bucket you tried to delete is not empty.")
        self.index.remove_bucket(name)

    def require_object(self, bucket: str, name: str, conditions: Conditions) -> StoredObject:
        """Return the object of a call. Raises RequestRefused 404, 412 or 304."""
        stored = self.index.find_object(bucket, name)
        if stored is None or conditions.generation not in {None, stored.generation}:
            self.require_bucket(bucket)
            raise RequestRefused(404, f"No such object: {bucket}/{name}")
        conditions.check_object(stored)
        return stored

    def require_writable(
        self, bucket: str, name: str, conditions: Conditions
    ) -> StoredObject | None:
        """Return the object that a write replaces, if any.

        Raises RequestRefused 404 without the bucket, or 412.
        """
        self.require_bucket(bucket)
        stored = self.index.find_object(bucket, name)
        conditions.check_object(stored)
        return stored

    def create_draft(self) -> Draft:
        """Return a new, empty body."""
        number = self._next_number()
        return Draft(self._body_path(number), number)

    def publish_draft(
        self,
        draft: Draft,
        bucket: str,
        name: str,
        metadata: JsonObject,
        conditions: Conditions,
        declared: DeclaredChecksums,
    ) -> StoredObject:
        """Publish a draft as an object, replacing one with the same name.

        Raises RequestRefused 404, 412, or 400 for a wrong checksum.
        """
        draft.checksums.require_match(declared)
        replaced_object = self.require_writable(bucket, name, conditions)
        checksums = draft.checksums
        stored = StoredObject(
            bucket,
            name,
            self._next_number(),
            draft.file,
            draft.size,
            checksums.crc32c,
            checksums.md5,
            metadata,
        )
        self.index.put_object(stored)
        if replaced_object:
            self._body_path(replaced_object.file).unlink()
        return stored

    def delete_object(self, bucket: str, name: str, conditions: Conditions) -> None:
        """Remove an object. Raises RequestRefused 404 or 412."""
        stored = self.require_object(bucket, name, conditions)
        self.index.remove_object(stored)
        self._body_path(stored.file).unlink()

    def open_object(self, stored: StoredObject) -> int:
        """Open an object's body; it stays readable if the object is replaced."""
        return os.open(self._body_path(stored.file), os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        """Close the store."""
        self.index.close()

    def _next_number(self) -> int:
        """Return a unique number: the time in microseconds, as in generations."""
        self._last_number = max(self._last_number + 1, time.time_ns() // 1000)
        return self._last_number

    def _body_path(self, number: int) -> Path:
        return self._bodies / str(number)

    def _remove_drafts(self) -> None:
        published = set(self.index.list_file_numbers())
        for entry in os.scandir(self._bodies):
            if not (entry.name.isdecimal() and int(entry.name) in published):
                Path(entry.path).unlink()
