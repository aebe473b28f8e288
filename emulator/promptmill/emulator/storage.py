"""Cloud Storage, as far as a job needs it: streamed reads and writes of whole objects."""

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
"""Bytes. The client holds a whole piece while it sends it."""


class StorageFailed(Exception):
    """Cloud Storage cannot be reached, or answers with an error that nobody expects."""


class Storage(Protocol):
    """The seam to Cloud Storage; uris are `gs://bucket/name`. Every call may raise StorageFailed."""

    def has_bucket(self, bucket: str) -> bool:
        """Whether the bucket exists and can be seen."""
        ...

    def expand_uri(self, uri: str) -> list[str]:
        """The existing objects that a uri, perhaps with `*`, means."""
        ...

    def open_object(self, uri: str) -> IO[bytes]:
        """A buffered stream over an object. Raises FileNotFoundError."""
        ...

    def write_object(self, uri: str, content: IO[bytes]) -> None:
        """Make an object of a file. Raises FileNotFoundError (no bucket) or PermissionError."""
        ...


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and name of a `gs://` uri."""
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    return bucket, name


class GoogleStorage:
    """The real client with anonymous credentials, for the local server that STORAGE_EMULATOR_HOST names (with its scheme).

    Without that variable every call fails: the emulator never talks to Google.
    """

    def connect(self) -> None:
        """Make the client, which would otherwise cost the first job a second."""
        _ = self._client

    @cached_property
    def _client(self) -> Any:
        if not os.environ.get("STORAGE_EMULATOR_HOST"):
            raise StorageFailed(
                "STORAGE_EMULATOR_HOST is not set, and the emulator does not talk to Google"
            )
        # Here, not at the top: the import costs 50 MB and most of a second, and unit tests need none of it.
        from google.auth.credentials import AnonymousCredentials
        from google.cloud.storage import Client

        return Client(project="emulator", credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]

    def has_bucket(self, bucket: str) -> bool:
        """One look at the bucket."""
        with translate_errors(bucket):
            return bool(self._client.bucket(bucket).exists())

    def expand_uri(self, uri: str) -> list[str]:
        """Lists by prefix for a wildcard; otherwise looks for the object."""
        bucket, name = split_uri(uri)
        with translate_errors(uri):
            if "*" in name:
                return sorted(self._match_objects(bucket, name))
            return [uri] if self._client.bucket(bucket).blob(name).exists() else []

    def open_object(self, uri: str) -> IO[bytes]:
        """Reads ranges of `READ_CHUNK_BYTES`; buffered, because the client's own reader has no fast readline."""
        bucket, name = split_uri(uri)
        with translate_errors(uri):
            blob = self._client.bucket(bucket).get_blob(name)
        if blob is None:
            raise FileNotFoundError(uri)
        return io.BufferedReader(
            _ErrorTranslatingStream(blob.open("rb", chunk_size=READ_CHUNK_BYTES), uri), BUFFER_BYTES
        )

    def write_object(self, uri: str, content: IO[bytes]) -> None:
        """Uploads in pieces of `WRITE_CHUNK_BYTES`."""
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
    """A stream over an object, with this module's errors."""

    def __init__(self, stream: Any, uri: str) -> None:
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
    """Turn the errors of Google's clients, of storage and of BigQuery, into those of the seams."""
    from google.api_core.exceptions import Forbidden, GoogleAPIError, NotFound
    from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
    from requests.exceptions import RequestException

    try:
        yield
    except NotFound as error:
        raise FileNotFoundError(resource_name) from error
    except Forbidden as error:
        raise PermissionError(resource_name) from error
    except (
        GoogleAPIError,
        InvalidResponse,
        DataCorruption,
        RequestException,
        ConnectionError,
    ) as error:
        raise StorageFailed(f"{resource_name}: {error}") from error
