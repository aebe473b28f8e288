"""The two headers that speak of ranges: `Range` of a download, `Content-Range` of a piece of an upload."""

import re
from dataclasses import dataclass

from .errors import Refused

QUANTUM = 256 * 1024
"""Bytes. Of a piece that is not the last, Google keeps a multiple of it; see its page on resumable uploads."""
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(?:(\d+)|\*)")


def asked(header: str | None, size: int) -> tuple[int, int] | None:
    """Start and end (exclusive) of the range that is asked for; None for the whole object.

    A header that makes no sense asks for nothing, as HTTP has it. Raises Refused 416 for a range past the end.
    """
    match = _RANGE.fullmatch(header) if header else None
    if match is None or match[1] == match[2] == "" or (match[1] and match[2] and int(match[1]) > int(match[2])):
        return None
    if match[1]:
        start, end = int(match[1]), min(int(match[2]) + 1, size) if match[2] else size
    else:
        start, end = max(0, size - int(match[2])), size
    if start >= end:
        raise Refused(416, "The requested range cannot be satisfied.", {"Content-Range": f"bytes */{size}"})
    return start, end


@dataclass(frozen=True)
class Piece:
    """Which bytes of an object a request carries: from `start` to `end` (exclusive), of `total` if that is known.

    Both None ask how far the upload has come; `end` None is the rest, whatever its length.
    """

    start: int | None
    end: int | None
    total: int | None

    def wanted(self, size: int) -> tuple[int, int | None]:
        """How many of its bytes to skip, as they are there already, and how many to take after that; None for all.

        Raises Refused 503, as Google does, if bytes are missing between the first `size` and this piece.
        """
        start = self.start or 0
        if start > size:
            raise Refused(
                503,
                f"Invalid request.  According to the Content-Range header, the upload offset is {start} byte(s), which "
                f"exceeds already uploaded size of {size} byte(s).",
            )
        if self.end is None or self.end == self.total:
            return size - start, None
        return size - start, max(0, self.end // QUANTUM * QUANTUM - size)


WHOLE = Piece(0, None, None)


def piece(header: str | None) -> Piece:
    """What a `Content-Range` says; without one, the request is the whole object. Raises Refused 400."""
    if header is None:
        return WHOLE
    match = _CONTENT_RANGE.fullmatch(header)
    if match is None:
        raise Refused(400, f"Failed to parse Content-Range header {header!r}.")
    start, last, total = (None if number is None else int(number) for number in match.groups())
    return Piece(start, None if last is None else last + 1, total)


def so_far(size: int) -> dict[str, str]:
    """The header that says how much of an upload is there; none before its first byte."""
    return {"Range": f"bytes=0-{size - 1}"} if size else {}
