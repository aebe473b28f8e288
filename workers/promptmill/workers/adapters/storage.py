"""Cloud Storage behind the ``Bucket`` port."""

import base64
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http import HTTPStatus
from itertools import islice
from typing import Any, TypeVar

import google_crc32c
import requests
from google.cloud.storage import Client
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from google.cloud.storage.retry import DEFAULT_RETRY

from promptmill.config.errors import (
    ConfigurationError,
    Conflict,
    Denied,
    NotFound,
    Permanent,
    PromptmillError,
    Transient,
)
from promptmill.workers.adapters import failures
from promptmill.workers.ports.google import BucketSettings, ObjectInfo

T = TypeVar("T")
_TIMEOUT = (5, 60)
_RETRY = DEFAULT_RETRY.with_timeout(20.0)
_CHUNK_SIZE = 4 << 20
"""Size of the requests of a resumable upload, in bytes.

The client holds three times as much, so memory stays flat. At 30 ms a request, it is
fast enough."""
_SEQUENTIAL_READS = 8
"""Objects that are read one by one through the open socket, before threads pay off."""
_PARALLEL_READS = 5
"""Objects of at most some megabytes that are read concurrently.

The client keeps ten sockets, as one reading may feed another."""
_LIBRARY_ERRORS = (*failures.GOOGLE_ERRORS, InvalidResponse, DataCorruption)
"""The library's own two come from resumable uploads and wrong checksums."""
_CHECKSUM_MISMATCH = "doesn't match calculated"
"""Part of the service's message for an upload with a wrong checksum: `Provided CRC32C "…"
doesn't match calculated CRC32C "…".` (python-storage issue 1541)."""


def open_bucket(
    url: str, project: str = "", setting: str = "PROMPTMILL_BUCKET", client: Client | None = None
) -> "StorageBucket":
    """Open ``gs://bucket/prefix``.

    Errors name ``setting``. Without ``client``, one is opened for this bucket. Raises
    ConfigurationError without credentials.
    """
    name, _, prefix = url.removeprefix("gs://").partition("/")
    return StorageBucket(client or open_client(project), name, prefix.strip("/"), setting)


def open_client(project: str) -> Client:
    """Return a client with its own token and sockets. Raises ConfigurationError."""
    from google.auth.exceptions import DefaultCredentialsError

    # For traces, the library would fetch the bucket's metadata in a thread. That needs
    # another permission.
    os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "1")
    try:
        client = Client(project=project or None)
    except DefaultCredentialsError as error:
        raise ConfigurationError(failures.NO_CREDENTIALS) from error
    _apply_environment_once(client._http, client.api_endpoint)
    return client


def _apply_environment_once(session: requests.Session, url: str) -> None:
    """Read proxies and certificates from the environment once.

    requests would read all of it for every call.
    """
    environment = session.merge_environment_settings(url, {}, None, None, None)
    session.proxies, session.verify, session.cert = (
        environment["proxies"],
        environment["verify"],
        environment["cert"],
    )
    session.trust_env = False


class StorageBucket:
    """A folder of a bucket. Build one per process: sockets must not survive a fork."""

    def __init__(self, client: Any, bucket: str, prefix: str, setting: str = "") -> None:
        self._client = client
        self._setting = f" ({setting})" if setting else ""
        self._bucket = client.bucket(bucket)
        self._prefix = prefix + "/" if prefix else ""
        self.url = f"gs://{bucket}/{prefix}".rstrip("/")

    def __repr__(self) -> str:
        return f"StorageBucket({self.url!r})"

    def fetch_settings(self) -> BucketSettings:
        """Return the settings of the bucket. Needs the permission ``storage.buckets.get``."""
        with self._translate_errors(""):
            self._bucket.reload(timeout=_TIMEOUT, retry=_RETRY)
        kept_seconds = self._bucket.soft_delete_policy.retention_duration_seconds
        return BucketSettings(self._bucket.location or "", int(kept_seconds or 0))

    def create(self, name: str, data: bytes) -> bool:
        """Write an object unless it exists.

        A retried request may find its own object, if the first response was lost. So False
        may mean that this call wrote it, unless the data names its owner.
        """
        try:
            self._upload(name, data, if_generation_match=0)
        except Conflict:
            return self._is_own_write(name, data)
        return True

    def write(self, name: str, data: bytes) -> None:
        """Write an object in one request."""
        self._upload(name, data)

    def write_stream(self, name: str, pieces: Iterable[bytes]) -> int:
        """Write an object of any size. Large ones are uploaded in requests of 4 MiB."""
        head, rest = _read_head(iter(pieces), _CHUNK_SIZE)
        if rest is None:
            self._upload(name, head)
            return len(head)
        return self._upload_resumable(name, head, rest)

    def replace(self, name: str, data: bytes, generation: int) -> None:
        """Write an object if it still has this generation.

        A write whose response was lost is recognized, as in ``create``.
        """
        try:
            self._upload(name, data, if_generation_match=generation)
        except Conflict:
            if not self._is_own_write(name, data):
                raise

    def read(self, name: str) -> bytes:
        """Return an object's bytes."""
        with self._translate_errors(name):
            data: bytes = self._blob(name).download_as_bytes(timeout=_TIMEOUT, retry=_RETRY)
            return data

    def read_each(self, names: Iterable[str]) -> Iterator[bytes]:
        """Yield the bytes of objects in the given order. Of many, some are read ahead."""
        remaining = iter(names)
        yield from map(self.read, islice(remaining, _SEQUENTIAL_READS))
        pending: deque[Future[bytes]] = deque()
        with ThreadPoolExecutor(_PARALLEL_READS) as executor:
            for name in remaining:
                pending.append(executor.submit(self.read, name))
                if len(pending) == _PARALLEL_READS:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()

    def read_range(self, name: str, start: int, end: int, generation: int) -> bytes:
        """Return a range of this generation. Empty past the object's end."""
        blob = self._bucket.blob(self._prefix + name, generation=generation)
        try:
            with self._translate_errors(name):
                data: bytes = blob.download_as_bytes(
                    start=start, end=end - 1, timeout=_TIMEOUT, retry=_RETRY
                )
        except _RangePastEnd:
            return b""
        # The service has no checksum of a range, only of the whole object.
        if start == 0 and len(data) < end and blob.crc32c not in (None, _crc32c(data)):
            raise Transient(f"{self.url}/{name} was corrupted in transit")
        return data

    def find(self, name: str) -> ObjectInfo | None:
        """Return the metadata of an object, or None if it does not exist."""
        with self._translate_errors(name):
            blob = self._bucket.get_blob(self._prefix + name, timeout=_TIMEOUT, retry=_RETRY)
        return None if blob is None else self._to_object_info(blob)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Return the objects whose names start with ``prefix``."""
        with self._translate_errors(prefix, missing_bucket_only=True):
            for blob in self._client.list_blobs(
                self._bucket,
                prefix=self._prefix + prefix,
                fields="items(name,size,generation,updated),nextPageToken",
                timeout=_TIMEOUT,
                retry=_RETRY,
            ):
                yield self._to_object_info(blob)

    def delete(self, name: str) -> None:
        """Delete an object if it exists."""
        with suppress(NotFound), self._translate_errors(name):
            self._blob(name).delete(timeout=_TIMEOUT, retry=_RETRY)

    def exists(self) -> bool:
        """Whether the bucket exists. Raises Denied without permission to ask."""
        with self._translate_errors(""):
            return bool(self._bucket.exists(timeout=_TIMEOUT, retry=_RETRY))

    def _blob(self, name: str) -> Any:
        return self._bucket.blob(self._prefix + name, chunk_size=None)

    def _upload(self, name: str, data: bytes, **precondition: int) -> None:
        with self._translate_errors(name, missing_bucket_only=True):
            self._blob(name).upload_from_string(
                data,
                content_type="application/octet-stream",
                timeout=_TIMEOUT,
                retry=_RETRY,
                **precondition,
            )

    def _upload_resumable(self, name: str, head: bytes, rest: Iterator[bytes]) -> int:
        with self._translate_errors(name, missing_bucket_only=True):
            writer = self._bucket.blob(self._prefix + name).open(
                "wb",
                chunk_size=_CHUNK_SIZE,
                content_type="application/octet-stream",
                timeout=_TIMEOUT,
                retry=_RETRY,
            )
            try:
                size = int(self._send_piece(writer.write, head))
                del head
                for piece in rest:
                    size += self._send_piece(writer.write, piece)
                self._send_piece(writer.close)
            except BaseException:
                # Closing would turn the incomplete upload into an object.
                writer.terminate()
                raise
        object_info = self.find(name)
        if object_info is None or object_info.size != size:
            raise self._incomplete_upload_error()
        return size

    def _send_piece(self, send: Callable[..., T], *piece: bytes) -> T:
        """Send one request of an upload. Storage may persist less than it contains.

        The library then raises ValueError, but not for the last request.
        """
        try:
            return send(*piece)
        except ValueError as error:
            raise self._incomplete_upload_error() from error

    def _incomplete_upload_error(self) -> Transient:
        return Transient(f"{self.url}: storage did not persist the whole upload")

    def _is_own_write(self, name: str, data: bytes) -> bool:
        """Whether this client wrote the object. False for data that names no owner."""
        with suppress(NotFound):
            return b'"owner"' in data and self.read(name) == data
        return False

    def _to_object_info(self, blob: Any) -> ObjectInfo:
        return ObjectInfo(
            name=str(blob.name).removeprefix(self._prefix),
            size=int(blob.size or 0),
            generation=int(blob.generation or 0),
            updated=blob.updated.timestamp() if blob.updated else 0.0,
        )

    @contextmanager
    def _translate_errors(self, name: str, *, missing_bucket_only: bool = False) -> Iterator[None]:
        """Translate the library's errors into Promptmill's. Nothing else does.

        With ``missing_bucket_only``, status 404 means that the bucket does not exist.
        """
        try:
            yield
        except _LIBRARY_ERRORS as error:
            raise self._classify_error(
                f"{self.url}/{name}".rstrip("/"), error, missing_bucket_only
            ) from error

    def _classify_error(
        self, location: str, error: Exception, missing_bucket_only: bool
    ) -> PromptmillError:
        message = failures.describe_error(error)
        match failures.http_status(error):
            case HTTPStatus.BAD_REQUEST if _CHECKSUM_MISMATCH in message:
                return Transient(f"{location}: {message}")
            case HTTPStatus.GONE:
                return Transient(f"{location}: the upload expired and has to start again")
            case HTTPStatus.PRECONDITION_FAILED:
                return Conflict(f"{location} was written by another process")
            case HTTPStatus.NOT_FOUND if missing_bucket_only:
                return NotFound(f"bucket gs://{self._bucket.name} does not exist{self._setting}")
            case HTTPStatus.NOT_FOUND:
                return NotFound(f"{location} does not exist")
            case HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                return _RangePastEnd(location)
        if failures.is_denied(error):
            return Denied(f"{location}: {message}")
        return (Transient if failures.is_transient(error) else Permanent)(f"{location}: {message}")


def _crc32c(data: bytes) -> str:
    return base64.b64encode(google_crc32c.value(data).to_bytes(4, "big")).decode()


class _RangePastEnd(Permanent):
    """The range starts at or after the object's end."""


def _read_head(pieces: Iterator[bytes], size: int) -> tuple[bytes, Iterator[bytes] | None]:
    """Join pieces until they exceed ``size``. The iterator is None after the last piece."""
    head = bytearray()
    for piece in pieces:
        head += piece
        if len(head) > size:
            return bytes(head), pieces
    return bytes(head), None
