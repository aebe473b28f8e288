"""Reads the lines of a range of an output object: each line belongs to the range in which it starts."""

from collections.abc import Iterator

from promptmill.workers.facts.records import PartRange
from promptmill.workers.ports.google import Bucket

_MARGIN = 256 * 1024
"""How much is read past the end of a range for the line that crosses it."""
_MAX_LINE = 64 << 20


def lines(bucket: Bucket, piece: PartRange) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, line) of the lines that start within ``piece``; the last of a file may lack its newline."""
    start = max(piece.start - 1, 0)
    data = bucket.read_range(piece.name, start, piece.end + _MARGIN, piece.generation)
    position = data.find(b"\n") + 1 if piece.start else 0
    if piece.start and not position:
        return
    while start + position < piece.end:
        newline = data.find(b"\n", position)
        if newline < 0:
            more = _rest_of_line(bucket, piece, start + len(data))
            data, start, position = data[position:] + more, start + position, 0
            newline = data.find(b"\n")
            newline = len(data) if newline < 0 else newline
        if line := data[position:newline]:
            yield start + position, line
        position = newline + 1


def _rest_of_line(bucket: Bucket, piece: PartRange, offset: int) -> bytes:
    """Return what is left of the line that ``offset`` lies in: up to the next newline, or the file's end."""
    found = bytearray()
    size = _MARGIN
    while len(found) < _MAX_LINE:
        more = bucket.read_range(piece.name, offset + len(found), offset + len(found) + size, piece.generation)
        found += more
        if b"\n" in more or len(more) < size:
            break
        size *= 2
    return bytes(found)
