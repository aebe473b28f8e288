"""Opens an object of any bucket as a seekable file, for sources of rows. It reads ranges."""

import io
from collections.abc import Callable
from typing import BinaryIO

from promptmill.config.errors import ConfigurationError, NotFound
from promptmill.config.settings import Settings, variable_name
from promptmill.workers.ports.google import Bucket, ObjectInfo
from promptmill.workers.services import build_services

_READ_BYTES = 4 << 20
"""Bytes to read in one request.

Lines and pages of columns are smaller. At 30 ms a request, larger reads are no faster.
"""


def open_object(settings: Settings, url: str) -> BinaryIO:
    """Open ``gs://bucket/name`` for reading.

    Raises NotFound, ConfigurationError, Transient, Permanent. Reading raises these too.
    """
    folder, _, name = url.removeprefix("gs://").rpartition("/")
    if not folder or not name:
        raise ConfigurationError(f"{url} is not an object, such as gs://bucket/rows.csv")
    return read_object(build_services(settings).open_bucket(f"gs://{folder}"), name)


def open_allowed(settings: Settings, open_bucket: Callable[[str], Bucket], url: str) -> BinaryIO:
    """Open an object whose URL was sent to a worker, if the workers' settings allow it.

    A worker can often read more than the sender may. Raises ConfigurationError for a URL
    outside ``settings.source_allowlist``, and the errors of ``open_object``.
    """
    if not url.startswith(settings.source_allowlist) or url.endswith("/"):
        raise ConfigurationError(
            f"the workers may not read source {url}; "
            f"ask an operator to add it to {variable_name('sources')}"
        )
    folder, _, name = url.rpartition("/")
    return read_object(open_bucket(folder), name)


def read_object(bucket: Bucket, name: str) -> BinaryIO:
    """Open the current generation of an object as a file; raises NotFound, Transient."""
    if (stored := bucket.find(name)) is None:
        raise NotFound(f"{bucket.url}/{name} does not exist")
    return io.BufferedReader(_RangeReader(bucket, stored), _READ_BYTES)


class _RangeReader(io.RawIOBase):
    """Reads one generation of an object, range by range.

    If the object is replaced meanwhile, it raises NotFound and never mixes generations.
    """

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
