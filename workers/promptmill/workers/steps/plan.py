"""Divides a run into shards: each within Vertex's limits, few, and of about the same size."""

from collections.abc import Iterator

from promptmill.config import names
from promptmill.producers.messages import ChunkSize, Seal
from promptmill.workers import facts
from promptmill.workers.facts import Plan, ShardPlan
from promptmill.workers.ports import Bucket


def plan(bucket: Bucket, run: str, max_requests: int, max_bytes: int) -> Plan:
    """Write the shard plan, or return the one that is there: limits may have changed, the plan does not."""
    seal = facts.get(bucket, names.seal(run), Seal)
    facts.put(bucket, names.plan(run), Plan(divide(seal.chunks, max_requests, max_bytes), facts.now()))
    return facts.get(bucket, names.plan(run), Plan)


def divide(chunks: list[ChunkSize], max_requests: int, max_bytes: int) -> list[ShardPlan]:
    """Return the shards of a run with ``chunks``, cut between chunks.

    A chunk of more than ``max_requests`` is divided among several shards. No chunk may be over ``max_bytes``.
    """
    pieces = list(_pieces(chunks, max_requests))
    fewest = len(_fill(pieces, max_requests, max_bytes))
    largest = max((piece.requests for piece in pieces), default=0)
    # An even share with room for one more piece: as few shards as can be, and the last one is not a crumb.
    share = sum(piece.requests for piece in pieces) // max(fewest, 1) + largest
    return [_shard(held) for held in _fill(pieces, min(share, max_requests), max_bytes)]


def _fill(pieces: "list[_Piece]", most: int, max_bytes: int) -> "list[list[_Piece]]":
    shards: list[list[_Piece]] = []
    requests = size = 0
    for piece in pieces:
        if not shards or requests + piece.requests > most or size + piece.size > max_bytes:
            shards.append([])
            requests = size = 0
        shards[-1].append(piece)
        requests += piece.requests
        size += piece.size
    return shards


class _Piece(ShardPlan, frozen=True):
    size: int


def _pieces(chunks: list[ChunkSize], max_requests: int) -> Iterator[_Piece]:
    row = 1
    for index, chunk in enumerate(chunks):
        for start in range(0, chunk.requests, max_requests):
            requests = min(max_requests, chunk.requests - start)
            size = -(-chunk.size * requests // chunk.requests)
            yield _Piece(row, requests, index, index, size)
            row += requests


def _shard(held: list[_Piece]) -> ShardPlan:
    return ShardPlan(
        first_row=held[0].first_row,
        requests=sum(piece.requests for piece in held),
        first_chunk=held[0].first_chunk,
        last_chunk=held[-1].last_chunk,
    )
