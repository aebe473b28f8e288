"""Opens an object of any bucket as a file, for sources of rows: read in ranges, sought in, never held."""

import io
from collections.abc import Callable
from typing import BinaryIO

from promptmill.config.errors import ConfigurationError, NotFound
from promptmill.config.settings import Settings, variable_name
from promptmill.workers.ports.google import Bucket, ObjectInfo
from promptmill.workers.services import build_services

_READ_BYTES = 4 << 20
"""Bytes of a request; a line or a column's page is smaller, and 4 MiB are as fast as more at 30 ms a request."""


def open_object(settings: Settings, url: str) -> BinaryIO:
    """Open ``gs://bucket/name`` for reading; raises NotFound, ConfigurationError, Transient, Permanent.

    The same errors come out of its ``read``, while the object is read.
    """
    folder, _, name = url.removeprefix("gs://").rpartition("/")
    if not folder or not name:
        raise ConfigurationError(f"{url} is not an object, such as gs://bucket/rows.csv")
    return read_object(build_services(settings).open_bucket(f"gs://{folder}"), name)


def open_allowed(settings: Settings, open_bucket: Callable[[str], Bucket], url: str) -> BinaryIO:
    """Open an object for whoever sent its URL to a worker, who may read more than they may.

    Raises ConfigurationError where it lies outside of ``settings.source_places``, and what ``open_object`` raises.
    """
    if not url.startswith(settings.source_allowlist) or url.endswith("/"):
        raise ConfigurationError(
            f"source {url}: the workers may not read there; {variable_name('sources')} names the places where they may"
        )
    folder, _, name = url.rpartition("/")
    return read_object(open_bucket(folder), name)


def read_object(bucket: Bucket, name: str) -> BinaryIO:
    """Return an object of ``bucket`` as a file of the generation that it has now; raises NotFound, Transient."""
    stored = bucket.find(name)
    if stored is None:
        raise NotFound(f"{bucket.url}/{name} does not exist")
    return io.BufferedReader(_RangeReader(bucket, stored), _READ_BYTES)


class _RangeReader(io.RawIOBase):
    """One generation of an object, range by range; one that is replaced meanwhile ends in NotFound, not in a mixture."""

    def __init__(self, bucket: Bucket, stored: ObjectInfo) -> None:
        self._bucket = bucket
        self._stored = stored
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = {
            io.SEEK_SET: 0,
            io.SEEK_CUR: self._position,
            io.SEEK_END: self._stored.size,
        }[whence] + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        end = min(self._position + len(buffer), self._stored.size)
        if end <= self._position:
            return 0
        data = self._bucket.read_range(
            self._stored.name, self._position, end, self._stored.generation
        )
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
