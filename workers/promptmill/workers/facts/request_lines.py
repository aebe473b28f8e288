"""The wire lines of a shard, as the chunks of its run hold them."""

from collections.abc import Iterator
from typing import NamedTuple

from promptmill.config import names
from promptmill.producers.contract.messages import Chunk, decode_chunk
from promptmill.workers.facts.records import ShardPlan
from promptmill.workers.ports.google import Bucket


class RequestLine(NamedTuple):
    """A wire line of a shard, its row, and whether lint refused it."""

    row: int
    data: bytes
    refused: bool


def read_lines(bucket: Bucket, run: str, rows: ShardPlan) -> Iterator[RequestLine]:
    """Stream the wire lines of a shard, refused ones too, in order."""
    for chunk in read_chunks(bucket, run, rows):
        refused = set(chunk.refused)
        for row, line in enumerate(chunk.decompress_lines().split(b"\n")[:-1], chunk.first_row):
            if rows.first_row <= row < rows.first_row + rows.requests:
                yield RequestLine(row, line, row in refused)


def read_chunks(bucket: Bucket, run: str, rows: ShardPlan) -> Iterator[Chunk]:
    """Yield the chunks that hold rows of a shard, in order."""
    for chunk_index in range(rows.first_chunk, rows.last_chunk + 1):
        yield decode_chunk(bucket.read(names.chunk(run, chunk_index)))
