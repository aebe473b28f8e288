"""The bytes of an object, or a range of them, sent in pieces."""

import os
from dataclasses import dataclass

from starlette.types import Send

from . import conditions, ranges, resources
from .calls import Call, started
from .store import Store

PIECE = 256 * 1024
"""Bytes that are read at a time, which is all that a download takes of memory."""


@dataclass(frozen=True)
class Media:
    """An answer whose body comes out of a file, which it closes."""

    file: int
    start: int
    end: int
    status: int
    headers: dict[str, str]
    bare: bool = False

    async def send(self, send: Send) -> None:
        """Send it."""
        try:
            await send(started(self.status, self.headers, self.end - self.start))
            place = self.start
            while not self.bare and (piece := os.pread(self.file, min(PIECE, self.end - place), place)):
                place += len(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body"})
        finally:
            os.close(self.file)


def download(store: Store, call: Call, *, bare: bool = False) -> Media:
    """What `alt=media` asks for; `bare`: all but the bytes. Raises Refused 404, 412, 304 or 416."""
    stored = store.require(call.bucket, call.name, conditions.read(call.query))
    span = ranges.asked(call.header(b"range"), stored.size)
    start, end = span or (0, stored.size)
    headers = resources.media_headers(stored)
    if span:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{stored.size}"
    return Media(store.open(stored), start, end, 206 if span else 200, headers, bare)
