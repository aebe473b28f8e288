"""The streamed body of a multipart upload: metadata and content."""

import re
from collections.abc import AsyncIterator

from .errors import RequestRefused

_MAX_METADATA_BYTES = 1 << 20
_BOUNDARY = re.compile(r'multipart/related;.*boundary=(?:"([^"]+)"|([^\s;]+))', re.IGNORECASE)
_CONTENT_TYPE = re.compile(rb"^content-type:[ \t]*([^\r\n]+)", re.IGNORECASE | re.MULTILINE)
_BLANK_LINE = b"\r\n\r\n"


class MultipartBody:
    """Call `read_metadata` first, then `read_content`, each once."""

    def __init__(self, body: AsyncIterator[bytes], content_type: str) -> None:
        """Raises RequestRefused 400 unless the content type names a boundary."""
        match = _BOUNDARY.match(content_type)
        if match is None:
            raise RequestRefused(
                400, "A multipart upload needs a content type of multipart/related with a boundary."
            )
        self._body = body
        self._delimiter = b"\r\n--" + (match[1] or match[2]).encode("latin-1")
        self._buffer = b"\r\n"
        self.content_type = ""
        """The content's type, set by `read_metadata`."""

    async def read_metadata(self) -> bytes:
        """Return the JSON of the first part. Raises RequestRefused 400."""
        while (parts := self._split_parts()) is None:
            chunk = await anext(self._body, None)
            if chunk is None or len(self._buffer) > _MAX_METADATA_BYTES:
                raise RequestRefused(400, "The multipart body does not have two parts.")
            self._buffer += chunk
        metadata, headers, self._buffer = parts
        match = _CONTENT_TYPE.search(headers)
        self.content_type = match[1].decode("latin-1").strip() if match else ""
        return metadata

    async def read_content(self) -> AsyncIterator[bytes]:
        """Yield the second part's bytes. Raises RequestRefused 400 without a last boundary."""
        closing_delimiter = self._delimiter + b"--"
        tail_length = len(closing_delimiter) + len(b"\r\n")
        async for chunk in self._body:
            self._buffer += chunk
            yield self._buffer[:-tail_length]
            self._buffer = self._buffer[-tail_length:]
        last_chunk, delimiter, _ = self._buffer.rpartition(closing_delimiter)
        if not delimiter:
            raise RequestRefused(400, "The multipart body has no end.")
        yield last_chunk

    def _split_parts(self) -> tuple[bytes, bytes, bytes] | None:
        """Return metadata, content headers and content; None if incomplete."""
        _, _, first = self._buffer.partition(self._delimiter)
        _, _, content = first.partition(_BLANK_LINE)
        metadata, delimiter, second = content.partition(self._delimiter)
        headers, blank_line, remainder = second.partition(_BLANK_LINE)
        return (metadata, headers, remainder) if delimiter and blank_line else None
