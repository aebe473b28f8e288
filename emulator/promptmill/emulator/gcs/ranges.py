"""The headers `Range` of a download and `Content-Range` of an upload."""

import re
from dataclasses import dataclass

from .errors import RequestRefused

CHUNK_MULTIPLE = 256 * 1024
"""Bytes. Google keeps a multiple of it from every chunk but the last.

Source: Google's page on resumable uploads.
"""
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(?:(\d+)|\*)")
_GAP_MESSAGE = (
    "Invalid request.  According to the Content-Range header, the upload offset "
    "is {start} byte(s), which exceeds already uploaded size of {size} byte(s)."
)


# HTTP requires that an invalid header is ignored.
def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return start and end (exclusive), None for all bytes. Raises RequestRefused 416."""
    match = _RANGE.fullmatch(header) if header else None
    if match is None or not _is_valid_range(match[1], match[2]):
        return None
    if match[1]:
        start, end = int(match[1]), min(int(match[2]) + 1, size) if match[2] else size
    else:
        start, end = max(0, size - int(match[2])), size
    if start >= end:
        headers = {"Content-Range": f"bytes */{size}"}
        raise RequestRefused(416, "The requested range cannot be satisfied.", headers)
    return start, end


def _is_valid_range(first: str, last: str) -> bool:
    if first and last:
        return int(first) <= int(last)
    return bool(first or last)


@dataclass(frozen=True)
class ContentRange:
    """The bytes that a request carries: from `start` to `end` (exclusive) of `total`.

    If `start` and `end` are None, the request asks for the progress of the upload. If
    only `end` is None, it carries all remaining bytes.
    """

    start: int | None
    end: int | None
    total: int | None

    def skip_and_take(self, size: int) -> tuple[int, int | None]:
        """Return how many stored bytes to skip and how many to take then; None takes all.

        Raises RequestRefused 503, as Google does, if bytes between `size` and `start` are
        missing.
        """
        start = self.start or 0
        if start > size:
            raise RequestRefused(503, _GAP_MESSAGE.format(start=start, size=size))
        if self.end is None or self.end == self.total:
            return size - start, None
        return size - start, max(0, self.end // CHUNK_MULTIPLE * CHUNK_MULTIPLE - size)


WHOLE_OBJECT = ContentRange(0, None, None)


def parse_content_range(header: str | None) -> ContentRange:
    """Parse `Content-Range`; without it the request carries the whole object.

    Raises RequestRefused 400.
    """
    if header is None:
        return WHOLE_OBJECT
    match = _CONTENT_RANGE.fullmatch(header)
    if match is None:
        raise RequestRefused(400, f"Failed to parse Content-Range header {header!r}.")
    start, last, total = (None if number is None else int(number) for number in match.groups())
    return ContentRange(start, None if last is None else last + 1, total)


def range_header(size: int) -> dict[str, str]:
    """Return the header for the stored bytes of an upload, if any."""
    return {"Range": f"bytes=0-{size - 1}"} if size else {}
