"""The index of all objects, in SQLite.

One commit publishes an object. A listing reads only its page: with 100,000 objects, a
page of 1,000 takes 10 ms.
"""

import sqlite3
from collections.abc import Iterator
from itertools import starmap
from pathlib import Path
from typing import NamedTuple

import msgspec

from ..json_types import JsonObject

_SCHEMA = """
CREATE TABLE IF NOT EXISTS buckets (name TEXT PRIMARY KEY, created INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS bucket_settings (
    name TEXT PRIMARY KEY, location TEXT NOT NULL, soft_delete INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS objects (
    bucket TEXT NOT NULL, name BLOB NOT NULL, generation INTEGER NOT NULL,
    file INTEGER NOT NULL, size INTEGER NOT NULL, crc32c TEXT NOT NULL, md5 TEXT NOT NULL,
    about BLOB NOT NULL, PRIMARY KEY (bucket, name)
) WITHOUT ROWID;
"""
_BUCKETS = (
    "SELECT name, created, ifnull(location, 'US'), ifnull(soft_delete, 0) "
    "FROM buckets LEFT JOIN bucket_settings USING (name)"
)
"""A bucket that an earlier version created has no settings."""
_COLUMNS = "bucket, name, generation, file, size, crc32c, md5, about"
_PAGE_CLAUSE = "WHERE bucket = ? AND name >= ? AND name < ? ORDER BY name LIMIT ?"
_INSERT_OBJECT = "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_PREFIX_END = b"\xff"
"""Sorts after every name with a given prefix: UTF-8 has no such byte."""

_Row = tuple[str, bytes, int, int, int, str, str, bytes]
"""One row of the table `objects`."""


class StoredBucket(NamedTuple):
    """One bucket. `created` is in microseconds since the epoch.

    `soft_delete` is how long deleted objects are kept, in seconds.
    """

    name: str
    created: int
    location: str = "US"
    soft_delete: int = 0


class StoredObject(msgspec.Struct, frozen=True):
    """One object.

    `metadata` holds the fields that its writer set. `generation` is the time of the
    write, in microseconds since the epoch. `file` is the number of its file.
    """

    bucket: str
    name: str
    generation: int
    file: int
    size: int
    crc32c: str
    md5: str
    metadata: JsonObject


class ObjectIndex:
    """Buckets and objects. One process opens it at a time; it survives a crash."""

    def __init__(self, file: Path) -> None:
        """Open or create the index. Raises BlockingIOError if it is in use."""
        self._database = sqlite3.connect(file, isolation_level=None, timeout=0)
        try:
            self._database.executescript(
                # Without fsync only a crash of the machine loses data.
                "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; "
                f"PRAGMA synchronous = OFF; {_SCHEMA}"
            )
        except sqlite3.OperationalError as error:
            raise BlockingIOError(f"{file} is in use: {error}") from error

    def list_buckets(self) -> list[StoredBucket]:
        """Return all buckets, in order of name."""
        return list(starmap(StoredBucket, self._database.execute(f"{_BUCKETS} ORDER BY name")))

    def find_bucket(self, name: str) -> StoredBucket | None:
        """Return a bucket; None if it does not exist."""
        row = self._database.execute(f"{_BUCKETS} WHERE name = ?", (name,)).fetchone()
        return StoredBucket(*row) if row else None

    def add_bucket(self, bucket: StoredBucket) -> None:
        """Add a bucket."""
        name, created, location, soft_delete = bucket
        settings = name, location, soft_delete
        insert = "INSERT OR REPLACE INTO bucket_settings VALUES (?, ?, ?)"
        self._database.execute(insert, settings)
        self._database.execute("INSERT INTO buckets VALUES (?, ?)", (name, created))

    def remove_bucket(self, name: str) -> None:
        """Remove a bucket."""
        self._database.execute("DELETE FROM buckets WHERE name = ?", (name,))

    def find_object(self, bucket: str, name: str) -> StoredObject | None:
        """Return the object; None if it does not exist."""
        query = f"SELECT {_COLUMNS} FROM objects WHERE bucket = ? AND name = ?"  # noqa: S608
        row = self._database.execute(query, (bucket, name.encode())).fetchone()
        return None if row is None else _decode_row(row)

    def put_object(self, stored: StoredObject) -> None:
        """Publish an object, replacing one with the same name."""
        row = msgspec.structs.astuple(stored)
        row = (row[0], stored.name.encode(), *row[2:-1], msgspec.json.encode(stored.metadata))
        self._database.execute(_INSERT_OBJECT, row)

    def remove_object(self, stored: StoredObject) -> None:
        """Remove an object."""
        where = (stored.bucket, stored.name.encode())
        self._database.execute("DELETE FROM objects WHERE bucket = ? AND name = ?", where)

    def list_objects(
        self, bucket: str, prefix: bytes, start: bytes, end: bytes, limit: int
    ) -> Iterator[StoredObject]:
        """Yield at most `limit` objects with a prefix, in order of name.

        Names start at `start` and stop before `end`, unless `end` is empty.
        """
        query = f"SELECT {_COLUMNS} FROM objects {_PAGE_CLAUSE}"  # noqa: S608
        last = min(end_of_prefix(prefix), end) if end else end_of_prefix(prefix)
        return map(
            _decode_row, self._database.execute(query, (bucket, max(prefix, start), last, limit))
        )

    def list_file_numbers(self) -> Iterator[int]:
        """Yield the file number of every object."""
        return (int(row[0]) for row in self._database.execute("SELECT file FROM objects"))

    def newest_number(self) -> int:
        """Return the largest generation or file number; 0 without objects."""
        query = "SELECT max(max(generation), max(file)) FROM objects"
        row = self._database.execute(query).fetchone()
        return int(row[0] or 0)

    def close(self) -> None:
        """Close the index."""
        self._database.close()


def end_of_prefix(prefix: bytes) -> bytes:
    """Return a name that sorts after every name with this prefix."""
    return prefix + _PREFIX_END


def _decode_row(row: _Row) -> StoredObject:
    bucket, name, generation, file, size, crc32c, md5, metadata = row
    return StoredObject(
        bucket, name.decode(), generation, file, size, crc32c, md5, msgspec.json.decode(metadata)
    )
