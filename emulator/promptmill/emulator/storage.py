"""Access to Cloud Storage: streamed reads and writes of whole objects."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import cached_property
from typing import IO, Any, Protocol

READ_CHUNK_BYTES = 2 * 1024 * 1024
WRITE_CHUNK_BYTES = 8 * 1024 * 1024
BUFFER_BYTES = 256 * 1024
"""Sizes in bytes. The client holds a whole chunk while it sends it."""


class StorageFailed(Exception):
    """Cloud Storage is unreachable or returned an unexpected error."""


class Storage(Protocol):
    """The port to Cloud Storage; URIs are `gs://bucket/name`.

    Every method may raise StorageFailed.
    """

    def has_bucket(self, bucket: str) -> bool:
        """Return whether the bucket exists and is accessible."""
        ...

    def expand_uri(self, uri: str) -> list[str]:
        """Return the existing objects that match a URI, which may contain `*`."""
        ...

    def open_object(self, uri: str) -> IO[bytes]:
        """Open an object as a buffered stream. Raises FileNotFoundError."""
        ...

    def write_object(self, uri: str, content: IO[bytes]) -> None:
        """Write a file to an object. Raises FileNotFoundError or PermissionError."""
        ...


def split_uri(uri: str) -> tuple[str, str]:
    """Return the bucket and object name of a `gs://` URI."""
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    return bucket, name


class GoogleStorage:
    """Google's client, for the local server at STORAGE_EMULATOR_HOST (a URL).

    Without that variable every call fails: the emulator never connects to Google.
    """

    def connect(self) -> None:
        """Create the client, which takes a second."""
        _ = self._client

    @cached_property
    def _client(self) -> Any:
        if not os.environ.get("STORAGE_EMULATOR_HOST"):
            raise StorageFailed(
                "STORAGE_EMULATOR_HOST is not set; set it to the URL of `promptmill storage`"
            )
        # This import takes 50 MB and most of a second. Unit tests do not need it.
        from google.auth.credentials import AnonymousCredentials
        from google.cloud.storage import Client

        credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
        return Client(project="emulator", credentials=credentials)

    def has_bucket(self, bucket: str) -> bool:
        """Ask Cloud Storage whether the bucket exists."""
        with translate_errors(bucket):
            return bool(self._client.bucket(bucket).exists())

    def expand_uri(self, uri: str) -> list[str]:
        """Return the objects that match a URI; list the bucket only for a `*`."""
        bucket, name = split_uri(uri)
        with translate_errors(uri):
            if "*" in name:
                return sorted(self._match_objects(bucket, name))
            return [uri] if self._client.bucket(bucket).blob(name).exists() else []

    def open_object(self, uri: str) -> IO[bytes]:
        """Open an object, read in ranges of `READ_CHUNK_BYTES`. Raises FileNotFoundError."""
        bucket, name = split_uri(uri)
        with translate_errors(uri):
            blob = self._client.bucket(bucket).get_blob(name)
        if blob is None:
            raise FileNotFoundError(uri)
        # The client's reader has no fast readline, so it is buffered here.
        return io.BufferedReader(
            _ErrorTranslatingStream(blob.open("rb", chunk_size=READ_CHUNK_BYTES), uri), BUFFER_BYTES
        )

    def write_object(self, uri: str, content: IO[bytes]) -> None:
        """Upload a file in chunks of `WRITE_CHUNK_BYTES`."""
        bucket, name = split_uri(uri)
        content.seek(0)
        with translate_errors(uri):
            blob = self._client.bucket(bucket).blob(name, chunk_size=WRITE_CHUNK_BYTES)
            blob.upload_from_file(content, content_type="application/jsonl", checksum=None)

    def _match_objects(self, bucket: str, pattern: str) -> Iterator[str]:
        for blob in self._client.list_blobs(bucket, prefix=pattern.split("*", 1)[0]):
            if fnmatchcase(blob.name, pattern):
                yield f"gs://{bucket}/{blob.name}"


class _ErrorTranslatingStream(io.RawIOBase):
    """A stream over an object that raises this module's errors."""

    def __init__(self, stream: IO[bytes], uri: str) -> None:
        self._stream = stream
        self._uri = uri

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        with translate_errors(self._uri):
            chunk = self._stream.read(len(buffer))
        buffer[: len(chunk)] = chunk
        return len(chunk)


@contextmanager
def translate_errors(resource_name: str) -> Iterator[None]:
    """Translate errors of Google's clients into those of the ports."""
    from google.api_core.exceptions import Forbidden, GoogleAPIError, NotFound
    from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
    from requests.exceptions import RequestException

    failures = GoogleAPIError, InvalidResponse, DataCorruption, RequestException, ConnectionError
    try:
        yield
    except NotFound as error:
        raise FileNotFoundError(resource_name) from error
    except Forbidden as error:
        raise PermissionError(resource_name) from error
    except failures as error:
        raise StorageFailed(f"{resource_name}: {error}") from error
