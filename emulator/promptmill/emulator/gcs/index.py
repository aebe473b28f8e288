"""What is known of every object, in SQLite: one commit publishes an object, and a listing reads only its page.

With 100,000 objects a page of 1,000 takes 10 ms and no memory that grows; a walk over a directory would read all of it.
"""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

_SCHEMA = """
CREATE TABLE IF NOT EXISTS buckets (name TEXT PRIMARY KEY, created INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS objects (
    bucket TEXT NOT NULL, name BLOB NOT NULL, generation INTEGER NOT NULL, file INTEGER NOT NULL, size INTEGER NOT NULL,
    crc32c TEXT NOT NULL, md5 TEXT NOT NULL, about BLOB NOT NULL, PRIMARY KEY (bucket, name)
) WITHOUT ROWID;
"""
_COLUMNS = "bucket, name, generation, file, size, crc32c, md5, about"
_PREFIX_END = b"\xff"
"""No byte of UTF-8 is as large, so this ends a prefix after every name that begins with it."""


class StoredObject(msgspec.Struct, frozen=True):
    """One object; `metadata` is what its writer said of it, in the words of Google's metadata.

    `generation` is when it was written, in microseconds since the epoch; `file` is the number of its file.
    """

    bucket: str
    name: str
    generation: int
    file: int
    size: int
    crc32c: str
    md5: str
    metadata: dict[str, Any]


class ObjectIndex:
    """Buckets and objects. One process has it at a time; what was put is there after its death, however it dies."""

    def __init__(self, file: Path) -> None:
        """Open or make it. Raises BlockingIOError if another process has it."""
        self._database = sqlite3.connect(file, isolation_level=None, timeout=0)
        try:
            self._database.executescript(
                # Without fsync nothing is lost but with the machine.
                f"PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; {_SCHEMA}"
            )
        except sqlite3.OperationalError as error:
            raise BlockingIOError(f"{file} is in use: {error}") from error

    def list_buckets(self) -> dict[str, int]:
        """When each bucket was made, in microseconds since the epoch, by name."""
        return dict(self._database.execute("SELECT name, created FROM buckets ORDER BY name"))

    def find_bucket(self, name: str) -> int | None:
        """When the bucket was made; None if it does not exist."""
        row = self._database.execute(
            "SELECT created FROM buckets WHERE name = ?", (name,)
        ).fetchone()
        return None if row is None else int(row[0])

    def add_bucket(self, name: str, created: int) -> None:
        """Make a bucket."""
        self._database.execute("INSERT INTO buckets VALUES (?, ?)", (name, created))

    def remove_bucket(self, name: str) -> None:
        """Forget a bucket."""
        self._database.execute("DELETE FROM buckets WHERE name = ?", (name,))

    def find_object(self, bucket: str, name: str) -> StoredObject | None:
        """The object of that name."""
        query = f"SELECT {_COLUMNS} FROM objects WHERE bucket = ? AND name = ?"  # noqa: S608
        row = self._database.execute(query, (bucket, name.encode())).fetchone()
        return None if row is None else _decode_row(row)

    def put_object(self, stored: StoredObject) -> None:
        """Publish an object in place of what had its name."""
        row = msgspec.structs.astuple(stored)
        row = (row[0], stored.name.encode(), *row[2:-1], msgspec.json.encode(stored.metadata))
        self._database.execute(
            "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row
        )

    def remove_object(self, stored: StoredObject) -> None:
        """Forget an object."""
        where = (stored.bucket, stored.name.encode())
        self._database.execute("DELETE FROM objects WHERE bucket = ? AND name = ?", where)

    def list_objects(
        self, bucket: str, prefix: bytes, start: bytes, end: bytes, limit: int
    ) -> Iterator[StoredObject]:
        """At most so many objects by name: those with the prefix, from `start` on, before `end` if there is one."""
        query = f"SELECT {_COLUMNS} FROM objects WHERE bucket = ? AND name >= ? AND name < ? ORDER BY name LIMIT ?"  # noqa: S608
        last = min(end_of_prefix(prefix), end) if end else end_of_prefix(prefix)
        return map(
            _decode_row, self._database.execute(query, (bucket, max(prefix, start), last, limit))
        )

    def list_file_numbers(self) -> Iterator[int]:
        """The number of every file that is an object's."""
        return (int(row[0]) for row in self._database.execute("SELECT file FROM objects"))

    def newest_number(self) -> int:
        """The largest generation or number of a file; 0 without objects."""
        row = self._database.execute(
            "SELECT max(max(generation), max(file)) FROM objects"
        ).fetchone()
        return int(row[0] or 0)

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()


def end_of_prefix(prefix: bytes) -> bytes:
    """What comes after every name with this prefix."""
    return prefix + _PREFIX_END


def _decode_row(row: tuple[Any, ...]) -> StoredObject:
    bucket, name, generation, file, size, crc32c, md5, metadata = row
    return StoredObject(
        bucket, name.decode(), generation, file, size, crc32c, md5, msgspec.json.decode(metadata)
    )
