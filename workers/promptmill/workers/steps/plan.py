"""Divides a run into few shards of similar size, each within Vertex's limits."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from promptmill.config.errors import ConfigurationError, OverBudget
from promptmill.producers.contract.messages import ChunkSize, Manifest
from promptmill.producers.models.run_checks import check_run
from promptmill.producers.pricing import prices
from promptmill.workers.costs import plan_cost
from promptmill.workers.costs.plan_cost import FindPrices
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Plan, ShardPlan
from promptmill.workers.facts.run_folder import RunFolder

CheckModel = Callable[[Manifest], list[str]]
"""Returns the warnings about the model of a run; raises ConfigurationError."""
FindJobModel = Callable[[str], str]
"""Returns the model of a run's jobs for the model it names; raises ConfigurationError."""


def plan(
    run: RunFolder,
    max_requests: int,
    max_bytes: int,
    max_cost_usd: float = 0.0,
    find_prices: FindPrices = prices.find_prices,
    check_model: CheckModel = lambda _: [],
    find_job_model: FindJobModel = lambda model: model,
) -> Plan:
    """Write the shard plan and return it.

    An existing plan is returned unchanged, even if limits or prices have changed since.
    ``max_cost_usd`` is the workers' limit for a run; 0 means none. Raises OverBudget,
    and the errors of ``check_model`` and ``find_job_model``.
    """
    if existing := run.plan.find():
        return existing
    seal, manifest = run.seal.get(), run.manifest.get()
    shards = divide_chunks(seal.chunks, max_requests, max_bytes)
    limit = plan_cost.effective_limit(manifest.max_cost_usd, max_cost_usd)
    try:
        warnings = check_model(manifest)
        job_model = find_job_model(manifest.model)
        cost_plan = plan_cost.plan_run_cost(
            manifest.model, seal, shards, limit, find_prices, records.current_time()
        )
    except (ConfigurationError, OverBudget):
        if not run.plan.exists():
            raise
    else:
        now = records.current_time()
        warnings = [*warnings, *seal.warnings]
        model = job_model if job_model != manifest.model else ""
        return run.plan.create_or_get(
            Plan(shards, now, cost_plan, seal.deduplicated, warnings, model)
        )
    return run.plan.get()


def check_model(manifest: Manifest, location: str, *, refuse: bool) -> list[str]:
    """Return warnings about model, location and tables of a run.

    Raises ConfigurationError for a run that Google would refuse; see ``check_run``.
    """
    return check_run(
        manifest.model,
        tables=bool(manifest.tables),
        location=location,
        today=datetime.fromtimestamp(records.current_time(), UTC).date(),
        refuse=refuse,
    )


def divide_chunks(chunks: list[ChunkSize], max_requests: int, max_bytes: int) -> list[ShardPlan]:
    """Return the shards of a run; they are divided between chunks.

    Only a chunk of more than ``max_requests`` is divided. None may exceed ``max_bytes``.
    """
    pieces = list(_split_chunks(chunks, max_requests))
    fewest_shards = len(_fill_shards(pieces, max_requests, max_bytes))
    largest = max((piece.requests for piece in pieces), default=0)
    # An even share plus one piece keeps the number of shards minimal and the last one large.
    shard_size = sum(piece.requests for piece in pieces) // max(fewest_shards, 1) + largest
    return [
        _make_shard(shard_pieces)
        for shard_pieces in _fill_shards(pieces, min(shard_size, max_requests), max_bytes)
    ]


def _fill_shards(
    pieces: "list[_ChunkPiece]", max_requests: int, max_bytes: int
) -> "list[list[_ChunkPiece]]":
    shards: list[list[_ChunkPiece]] = []
    requests = size = 0
    for piece in pieces:
        if not shards or requests + piece.requests > max_requests or size + piece.size > max_bytes:
            shards.append([])
            requests = size = 0
        shards[-1].append(piece)
        requests += piece.requests
        size += piece.size
    return shards


class _ChunkPiece(ShardPlan, frozen=True):
    size: int


def _split_chunks(chunks: list[ChunkSize], max_requests: int) -> Iterator[_ChunkPiece]:
    row = 1
    for chunk_index, chunk in enumerate(chunks):
        for start in range(0, chunk.requests, max_requests):
            requests = min(max_requests, chunk.requests - start)
            size = -(-chunk.size * requests // chunk.requests)
            yield _ChunkPiece(row, requests, chunk_index, chunk_index, size)
            row += requests


def _make_shard(shard_pieces: list[_ChunkPiece]) -> ShardPlan:
    first, last = shard_pieces[0], shard_pieces[-1]
    requests = sum(piece.requests for piece in shard_pieces)
    return ShardPlan(first.first_row, requests, first.first_chunk, last.last_chunk)
