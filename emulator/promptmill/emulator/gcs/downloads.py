"""Downloads: the bytes of an object or of a range."""

import os
from dataclasses import dataclass

from starlette.types import Send

from . import conditions, ranges, resources
from .request import GcsRequest
from .response import response_start
from .store import ObjectStore

CHUNK_BYTES = 256 * 1024
"""Bytes read at a time, and the memory of a download."""


@dataclass(frozen=True)
class MediaResponse:
    """A response whose body is a file, which it closes."""

    descriptor: int
    start: int
    end: int
    status: int
    headers: dict[str, str]
    headers_only: bool = False

    async def send(self, send: Send) -> None:
        """Send the response."""
        try:
            await send(response_start(self.status, self.headers, self.end - self.start))
            offset = self.start
            while not self.headers_only and (
                chunk := os.pread(self.descriptor, min(CHUNK_BYTES, self.end - offset), offset)
            ):
                offset += len(chunk)
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body"})
        finally:
            os.close(self.descriptor)


def download_object(
    store: ObjectStore, request: GcsRequest, *, headers_only: bool = False
) -> MediaResponse:
    """Return the object's bytes. Raises RequestRefused 404, 412, 304 or 416."""
    preconditions = conditions.from_query(request.query)
    stored = store.require_object(request.bucket, request.name, preconditions)
    byte_range = ranges.parse_range(request.get_header(b"range"), stored.size)
    start, end = byte_range or (0, stored.size)
    headers = resources.media_headers(stored)
    if byte_range:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{stored.size}"
    return MediaResponse(
        store.open_object(stored), start, end, 206 if byte_range else 200, headers, headers_only
    )
