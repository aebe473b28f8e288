"""Cloud Storage behind the ``Bucket`` port."""

import base64
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from http import HTTPStatus
from itertools import islice
from typing import Any

import google_crc32c
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
from promptmill.workers.ports.google import ObjectInfo

_TIMEOUT = (5, 60)
_RETRY = DEFAULT_RETRY.with_timeout(20.0)
_CHUNK_SIZE = 4 << 20
"""Uploads of unknown size go up in requests of 4 MiB: the client holds three times as much, so this keeps memory flat, and
is fast enough at 30 ms a request."""
_SEQUENTIAL_READS = 8
"""Objects that are read one after another, through the socket that is open, before threads and further sockets pay."""
_PARALLEL_READS = 5
"""Objects, of some megabytes at most, that are read at once. The client keeps ten sockets: one reading may feed another."""
_LIBRARY_ERRORS = (*failures.GOOGLE_ERRORS, InvalidResponse, DataCorruption)
"""The library's own two come out of streamed uploads, and where a checksum does not fit."""
_CHECKSUM_MISMATCH = "doesn't match calculated"
"""How the service refuses an upload whose bytes do not fit the checksum that the client declares: `Provided CRC32C "…"
doesn't match calculated CRC32C "…".` (python-storage issue 1541)."""


def open_bucket(
    url: str, project: str = "", setting: str = "PROMPTMILL_BUCKET", client: Any = None
) -> "StorageBucket":
    """Open ``gs://bucket/prefix``, which ``setting`` names, if any does, through a ``client`` of its own if none is given.

    Raises ConfigurationError without credentials.
    """
    name, _, prefix = url.removeprefix("gs://").partition("/")
    return StorageBucket(client or open_client(project), name, prefix.strip("/"), setting)


def open_client(project: str) -> Any:
    """Return a client for buckets, with a token and sockets of its own; raises ConfigurationError without credentials."""
    from google.auth.exceptions import DefaultCredentialsError

    # The library would ask for the bucket's metadata in a thread of its own, for traces, and needs a permission for it.
    os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "1")
    try:
        client: Any = Client(project=project or None)
    except DefaultCredentialsError as error:
        raise ConfigurationError(
            "no Google credentials: run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS"
        ) from error
    _apply_environment_once(client._http, client.api_endpoint)
    return client


def _apply_environment_once(session: Any, url: str) -> None:
    """Take proxies and certificates from the environment once: requests goes through all of it for every call."""
    environment = session.merge_environment_settings(url, {}, None, None, None)
    session.proxies, session.verify, session.cert = (
        environment["proxies"],
        environment["verify"],
        environment["cert"],
    )
    session.trust_env = False


class StorageBucket:
    """A folder of a Cloud Storage bucket. Build one in each process: its sockets must not be shared over a fork."""

    def __init__(self, client: Any, bucket: str, prefix: str, setting: str = "") -> None:
        self._client = client
        self._setting = f" ({setting})" if setting else ""
        self._bucket = client.bucket(bucket)
        self._prefix = prefix + "/" if prefix else ""
        self.url = f"gs://{bucket}/{prefix}".rstrip("/")

    def __repr__(self) -> str:
        return f"StorageBucket({self.url!r})"

    def create(self, name: str, data: bytes) -> bool:
        """Write an object unless it exists.

        A retried request whose first answer was lost finds its own object; so False may mean "I did": what is there
        decides, not who wrote it, except where the data itself says who.
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
        """Write an object of any size: in one request while it is small, else resumable in pieces of 4 MiB."""
        head, rest = _read_head(iter(pieces), _CHUNK_SIZE)
        if rest is None:
            self._upload(name, head)
            return len(head)
        return self._upload_resumable(name, head, rest)

    def replace(self, name: str, data: bytes, generation: int) -> None:
        """Write an object if it is still of this generation; one whose answer was lost is recognized as in ``create``."""
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
        """Yield the bytes of objects in the order of their names; where there are many, some are read ahead."""
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
        """Return a range of this very generation; empty past the object's end.

        The service has a checksum of the whole object only, so a range is checked when it is the whole.
        """
        blob = self._bucket.blob(self._prefix + name, generation=generation)
        try:
            with self._translate_errors(name):
                data: bytes = blob.download_as_bytes(
                    start=start, end=end - 1, timeout=_TIMEOUT, retry=_RETRY
                )
        except _RangePastEnd:
            return b""
        if start == 0 and len(data) < end and blob.crc32c not in (None, _crc32c(data)):
            raise Transient(f"{self.url}/{name} came corrupted")
        return data

    def find(self, name: str) -> ObjectInfo | None:
        """Return what is known of an object."""
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
        """Delete an object, if it is there."""
        try:
            with self._translate_errors(name):
                self._blob(name).delete(timeout=_TIMEOUT, retry=_RETRY)
        except NotFound:
            pass

    def exists(self) -> bool:
        """Whether the bucket itself exists; raises Permanent when even that may not be asked."""
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
                # Closing, which its end does too, would make the half that is there the whole object.
                writer.terminate()
                raise
        object_info = self.find(name)
        if object_info is None or object_info.size != size:
            raise self._incomplete_upload_error()
        return size

    def _send_piece(self, send: Callable[..., Any], *piece: bytes) -> Any:
        """Storage may keep less than a request brings: the library gives up then, or, at the last one, does not notice."""
        try:
            return send(*piece)
        except ValueError as error:
            raise self._incomplete_upload_error() from error

    def _incomplete_upload_error(self) -> Transient:
        return Transient(f"{self.url}: storage did not keep all of an upload")

    def _is_own_write(self, name: str, data: bytes) -> bool:
        """Tell a lost answer from a lost race; data that cannot tell two writers apart counts as somebody else's."""
        try:
            return b'"owner"' in data and self.read(name) == data
        except NotFound:
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
        """The one place where the library's errors become ours; what is ``missing_bucket_only`` can only lack its bucket."""
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
                return Transient(f"{location}: the upload was forgotten, and has to begin anew")
            case HTTPStatus.PRECONDITION_FAILED:
                return Conflict(f"{location} was written by somebody else")
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
    """The range begins at or after the object's end."""


def _read_head(pieces: Iterator[bytes], size: int) -> tuple[bytes, Iterator[bytes] | None]:
    """Join pieces until they pass ``size``; the iterator is None when that was all."""
    head = bytearray()
    for piece in pieces:
        head += piece
        if len(head) > size:
            return bytes(head), pieces
    return bytes(head), None
