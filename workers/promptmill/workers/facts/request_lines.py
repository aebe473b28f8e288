"""Reads the request lines of a shard from the chunks of its run."""

from collections.abc import Iterator
from typing import NamedTuple

from promptmill.producers.contract.messages import Chunk, decode_chunk
from promptmill.workers.facts.records import ShardPlan
from promptmill.workers.facts.run_folder import RunFolder


class RequestLine(NamedTuple):
    """One request of a shard as a line of JSON, its row, and whether validation refused it."""

    row: int
    data: bytes
    refused: bool


def read_lines(run: RunFolder, rows: ShardPlan) -> Iterator[RequestLine]:
    """Yield the request lines of a shard in order, including refused ones."""
    for chunk in read_chunks(run, rows):
        refused = set(chunk.refused)
        for row, line in enumerate(chunk.decompress_lines().split(b"\n")[:-1], chunk.first_row):
            if rows.first_row <= row < rows.first_row + rows.requests:
                yield RequestLine(row, line, row in refused)


def read_chunks(run: RunFolder, rows: ShardPlan) -> Iterator[Chunk]:
    """Yield the chunks that hold rows of a shard, in order."""
    for chunk_index in range(rows.first_chunk, rows.last_chunk + 1):
        yield decode_chunk(run.bucket.read(run.chunk(chunk_index)))
