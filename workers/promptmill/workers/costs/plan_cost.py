"""Fixes what a run may cost when it is planned: prices, an estimate and each shard's limit.

The limit is guaranteed before anything is billed:

- ``most`` is the maximum cost of each shard's first attempt. If their sum exceeds the
  run's limit, the run is refused.
- Otherwise each shard gets a share of the limit, in proportion to ``most``.
- A retry is sent only if it fits into its shard's share, together with the cost of the
  shard's earlier attempts.

Workers need no coordination for this. Every decision follows from the plan and from the
stored facts of one shard.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import accumulate
from typing import Protocol

import msgspec

from promptmill.config.errors import OverBudget
from promptmill.producers.contract.messages import Seal
from promptmill.producers.pricing import cost
from promptmill.producers.pricing.estimate import Estimate, build_estimate, max_cost
from promptmill.producers.pricing.prices import (
    MAX_JOB_DURATION,
    PICODOLLARS_PER_DOLLAR,
    Prices,
    to_dollars,
    to_picodollars,
)
from promptmill.producers.pricing.tokens import TokenTotals

_UNCOUNTED_TOKENS = (
    "the cost limit cannot be guaranteed, because an old producer did not count "
    "tokens. Upgrade the producers and submit the run again"
)
_UNKNOWN_PRICE = (
    "the cost limit cannot be guaranteed, because the price of {model} is unknown. "
    "Omit max_cost_usd, or choose a model that `promptmill models --prices` lists"
)


class PlanCost(msgspec.Struct, frozen=True, omit_defaults=True):
    """The prices of a run, its estimate, and its limit in picodollars (0: no limit).

    ``most`` is the maximum cost of each shard's first attempt, in picodollars. It is
    empty without a limit.
    """

    prices: Prices | None = None
    estimate: Estimate | None = None
    limit: int = 0
    most: list[int] = []

    def shard_limit(self, shard: int) -> int:
        """Return a shard's share of the limit, in picodollars."""
        if total := sum(self.most):
            return self.limit * self.most[shard] // total
        return self.limit // max(len(self.most), 1)


class ShardRows(Protocol):
    """The rows of a shard, and the chunks that contain them."""

    @property
    def first_row(self) -> int:
        """The first row, from 1."""
        ...

    @property
    def requests(self) -> int:
        """The number of rows."""
        ...

    @property
    def first_chunk(self) -> int:
        """The chunk of the first row."""
        ...

    @property
    def last_chunk(self) -> int:
        """The chunk of the last row."""
        ...


FindPrices = Callable[[str, datetime], Prices | None]


def effective_limit(max_cost_usd: float, worker_limit: float) -> int:
    """Return the lower limit of a run and its workers, in picodollars; 0 means no limit."""
    return min((to_picodollars(usd) for usd in (max_cost_usd, worker_limit) if usd), default=0)


def plan_run_cost(
    model: str,
    seal: Seal,
    shards: Sequence[ShardRows],
    limit: int,
    find_prices: FindPrices,
    at: float,
) -> PlanCost:
    """Return the costs for the plan of a run. ``limit`` is in picodollars.

    Raises OverBudget if the limit cannot be guaranteed.
    """
    today = datetime.fromtimestamp(at, UTC)
    prices, later_prices = find_prices(model, today), find_prices(model, today + MAX_JOB_DURATION)
    if len(seal.tokens) < len(seal.chunks):
        if limit:
            raise OverBudget(_UNCOUNTED_TOKENS)
        return PlanCost(prices)
    tokens = sum(seal.tokens, TokenTotals())
    cost_estimate = build_estimate(
        seal.total_requests, tokens, model, prices, len(shards), later_prices
    )
    if not limit:
        return PlanCost(prices, cost_estimate)
    if prices is None:
        raise OverBudget(_UNKNOWN_PRICE.format(model=model.rpartition("/")[2]))
    max_costs = _max_shard_costs(shards, seal, prices, later_prices or prices)
    if sum(max_costs) > limit:
        raise OverBudget(_over_budget_message(sum(max_costs), limit, cost_estimate))
    return PlanCost(prices, cost_estimate, limit, max_costs)


def _max_shard_costs(shards: Sequence[ShardRows], seal: Seal, *prices: Prices) -> list[int]:
    shard_tokens = (max_shard_tokens(shard, seal) for shard in shards)
    return [max(max_cost(tokens, table) for table in prices) for tokens in shard_tokens]


def max_shard_tokens(shard: ShardRows, seal: Seal) -> TokenTotals:
    """Return the maximum tokens of a shard.

    For a chunk that only partly belongs to the shard, any of its rows may be the largest.
    """
    ends = list(accumulate(chunk.requests for chunk in seal.chunks))
    shard_end = shard.first_row + shard.requests
    tokens = TokenTotals()
    for chunk_index in range(shard.first_chunk, shard.last_chunk + 1):
        requests, chunk_tokens = seal.chunks[chunk_index].requests, seal.tokens[chunk_index]
        chunk_end = ends[chunk_index] + 1
        row_count = min(chunk_end, shard_end) - max(chunk_end - requests, shard.first_row)
        tokens += chunk_tokens if row_count == requests else chunk_tokens.bound_for(row_count)
    return tokens


def format_usd(amount: int) -> str:
    """Format picodollars as US dollars, rounded up."""
    cents = -(-amount * 10_000 // PICODOLLARS_PER_DOLLAR)
    return (
        f"${cents / 10_000:,.4f}"
        if cents < 100 * 100
        else f"${-(-amount * 100 // PICODOLLARS_PER_DOLLAR) / 100:,.2f}"
    )


def _over_budget_message(max_cost: int, limit: int, cost_estimate: Estimate) -> str:
    likely = (
        f" (estimated {cost.format_usd(cost_estimate.usd)})"
        if cost_estimate.usd is not None
        else ""
    )
    return (
        f"the run could cost up to {format_usd(max_cost)}{likely}, which exceeds its limit of "
        f"{cost.format_usd(to_dollars(limit))}. "
        "Lower maxOutputTokens in the requests, or raise max_cost_usd"
    )
