"""Divides a run into shards: each within Vertex's limits, few, and of about the same size."""

from collections.abc import Iterator

from promptmill.config import names
from promptmill.config.errors import OverBudget
from promptmill.producers.contract.messages import ChunkSize, Manifest, Seal
from promptmill.producers.pricing import prices
from promptmill.workers.costs import plan_cost
from promptmill.workers.costs.plan_cost import FindPrices
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Plan, ShardPlan
from promptmill.workers.ports.google import Bucket


def plan(
    bucket: Bucket,
    run: str,
    max_requests: int,
    max_bytes: int,
    max_cost_usd: float = 0.0,
    find_prices: FindPrices = prices.find,
) -> Plan:
    """Write the shard plan, or return the one that is there: limits and prices may have changed, the plan does not.

    ``max_cost_usd`` is what this worker lets runs cost; 0: as much as they ask for. Raises OverBudget.
    """
    seal, manifest = records.get(bucket, names.seal(run), Seal), records.get(bucket, names.manifest(run), Manifest)
    shards = divide(seal.chunks, max_requests, max_bytes)
    limit = plan_cost.limit_of(manifest.max_cost_usd, max_cost_usd)
    try:
        said = plan_cost.of_run(manifest.model, seal, shards, limit, find_prices, records.now())
    except OverBudget:
        if bucket.find(names.plan(run)) is None:
            raise
    else:
        return records.keep(bucket, names.plan(run), Plan(shards, records.now(), said, seal.copies))
    return records.get(bucket, names.plan(run), Plan)


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
