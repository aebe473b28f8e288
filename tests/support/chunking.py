"""Chunks of lines, as a producer cuts them."""

from collections.abc import Iterable, Iterator

from promptmill.producers.contract.messages import Chunk
from promptmill.producers.requests.chunks import Chunker
from promptmill.producers.requests.request_line import RequestLine


def cut(lines: Iterable[RequestLine], max_bytes: int) -> Iterator[Chunk]:
    """Yield the chunks of some lines."""
    cutter = Chunker(max_bytes)
    for line in lines:
        if chunk := cutter.add_line(line):
            yield chunk
    if chunk := cutter.close_chunk():
        yield chunk
