"""The body of a multipart upload: metadata and content, parted while they stream by."""

import re
from collections.abc import AsyncIterator

from .errors import Refused

_MOST_METADATA = 1 << 20
_BOUNDARY = re.compile(r'multipart/related;.*boundary=(?:"([^"]+)"|([^\s;]+))', re.IGNORECASE)
_CONTENT_TYPE = re.compile(rb"^content-type:[ \t]*([^\r\n]+)", re.IGNORECASE | re.MULTILINE)
_BLANK = b"\r\n\r\n"


class Multipart:
    """First `metadata`, then `content`, each once."""

    def __init__(self, body: AsyncIterator[bytes], content_type: str) -> None:
        """Raises Refused 400 unless the content type names a boundary."""
        match = _BOUNDARY.match(content_type)
        if match is None:
            raise Refused(400, "A multipart upload needs a content type of multipart/related with a boundary.")
        self._body = body
        self._line = b"\r\n--" + (match[1] or match[2]).encode("latin-1")
        self._held = b"\r\n"
        self.content_type = ""
        """That of the content, once the metadata are read."""

    async def metadata(self) -> bytes:
        """The JSON of the first part. Raises Refused 400."""
        while (parts := self._first_two()) is None:
            piece = await anext(self._body, None)
            if piece is None or len(self._held) > _MOST_METADATA:
                raise Refused(400, "The multipart body does not have two parts.")
            self._held += piece
        metadata, headers, self._held = parts
        match = _CONTENT_TYPE.search(headers)
        self.content_type = match[1].decode("latin-1").strip() if match else ""
        return metadata

    async def content(self) -> AsyncIterator[bytes]:
        """The bytes of the second part, in pieces. Raises Refused 400 at its end if the last boundary is missing."""
        ending = self._line + b"--"
        kept = len(ending) + len(b"\r\n")
        async for piece in self._body:
            self._held += piece
            yield self._held[:-kept]
            self._held = self._held[-kept:]
        rest, found, _ = self._held.rpartition(ending)
        if not found:
            raise Refused(400, "The multipart body has no end.")
        yield rest

    def _first_two(self) -> tuple[bytes, bytes, bytes] | None:
        """The first part's content, the second one's headers, and what follows; None until they are there."""
        _, _, first = self._held.partition(self._line)
        _, _, content = first.partition(_BLANK)
        metadata, found, second = content.partition(self._line)
        headers, blank, rest = second.partition(_BLANK)
        return (metadata, headers, rest) if found and blank else None
