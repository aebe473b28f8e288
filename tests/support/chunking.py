"""Chunks of lines, as a producer cuts them."""

from collections.abc import Iterable, Iterator

from promptmill.producers.contract.messages import Chunk
from promptmill.producers.requests.chunks import Cutter
from promptmill.producers.requests.encode import Line


def cut(lines: Iterable[Line], max_bytes: int) -> Iterator[Chunk]:
    """Yield the chunks of some lines."""
    cutter = Cutter(max_bytes)
    for line in lines:
        if chunk := cutter.add(line):
            yield chunk
    if chunk := cutter.close():
        yield chunk
