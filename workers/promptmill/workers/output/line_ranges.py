"""Reads the lines in a range of an output object.

A line belongs to the range in which it starts.
"""

from collections.abc import Iterator

from promptmill.workers.facts.records import PartRange
from promptmill.workers.ports.google import Bucket

_MARGIN = 256 * 1024
"""Bytes to read past the end of a range, for the line that crosses it."""
_MAX_LINE_BYTES = 64 << 20


def read_lines(bucket: Bucket, part_range: PartRange) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, line) for each line that starts within ``part_range``.

    The last line of a file may lack its newline.
    """
    start = max(part_range.start - 1, 0)
    data = bucket.read_range(
        part_range.name, start, part_range.end + _MARGIN, part_range.generation
    )
    position = data.find(b"\n") + 1 if part_range.start else 0
    if part_range.start and not position:
        return
    while start + position < part_range.end:
        newline = data.find(b"\n", position)
        if newline < 0:
            line_end = _read_line_end(bucket, part_range, start + len(data))
            data, start, position = data[position:] + line_end, start + position, 0
            newline = data.find(b"\n")
            newline = len(data) if newline < 0 else newline
        if line := data[position:newline]:
            yield start + position, line
        position = newline + 1


def _read_line_end(bucket: Bucket, part_range: PartRange, offset: int) -> bytes:
    """Return the rest of the line at ``offset``, up to the end of a line or of the file."""
    line_end = bytearray()
    size = _MARGIN
    while len(line_end) < _MAX_LINE_BYTES:
        start = offset + len(line_end)
        block = bucket.read_range(part_range.name, start, start + size, part_range.generation)
        line_end += block
        if b"\n" in block or len(block) < size:
            break
        size *= 2
    return bytes(line_end)
