"""What a run may cost, fixed by its plan: the prices of that day, an estimate, and how the limit is shared by its shards.

A limit is promised before anything is paid for. The first attempts of all shards together cannot cost more than
``most`` of them; a run for which that is over its limit is refused. Else each shard has its share of the limit, in
proportion. A later attempt of a shard is made only if what its former ones cost and what it may cost itself are within
that share. So nothing has to be agreed on between workers or shards: all of it follows from the plan and from facts of
the one shard, again and again, and shares that are all kept to are a limit that is.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Protocol

import msgspec

from promptmill.config.errors import OverBudget
from promptmill.producers.contract.messages import Seal
from promptmill.producers.pricing.estimate import Estimate, build_estimate, max_cost
from promptmill.producers.pricing.prices import (
    PICODOLLARS_PER_DOLLAR,
    Prices,
    to_dollars,
    to_picodollars,
)
from promptmill.producers.pricing.tokens import TokenTotals

_MAX_JOB_DURATION = timedelta(days=5)
"""Vertex lets a job wait for three days and run for one; prices may rise meanwhile."""


class PlanCost(msgspec.Struct, frozen=True, omit_defaults=True):
    """The prices that all costs of a run are told by, its estimate, and its limit in picodollars; 0: none.

    ``most`` are the picodollars, by shard, that its first attempt cannot exceed; only where there is a limit.
    """

    prices: Prices | None = None
    estimate: Estimate | None = None
    limit: int = 0
    most: list[int] = []

    def shard_limit(self, shard: int) -> int:
        """Return the picodollars of the limit that are a shard's."""
        total = sum(self.most)
        return (
            self.limit * self.most[shard] // total
            if total
            else self.limit // max(len(self.most), 1)
        )


class ShardRows(Protocol):
    """The place of a shard in its run: its rows, and the chunks that these lie in."""

    @property
    def first_row(self) -> int:
        """The first row, from 1."""
        ...

    @property
    def requests(self) -> int:
        """How many rows there are."""
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
    """Return the limit in picodollars: the lower of what a run asks for and what its workers allow, if not 0."""
    return min((to_picodollars(usd) for usd in (max_cost_usd, worker_limit) if usd), default=0)


def plan_run_cost(
    model: str,
    seal: Seal,
    shards: Sequence[ShardRows],
    limit: int,
    find_prices: FindPrices,
    at: float,
) -> PlanCost:
    """Return what the plan of a run with ``shards`` says of money; raises OverBudget when ``limit`` cannot be promised."""
    today = datetime.fromtimestamp(at, UTC)
    prices = find_prices(model, today)
    if len(seal.tokens) < len(seal.chunks):
        if limit:
            raise OverBudget(
                "its producer did not count tokens, so no limit of costs can be promised: upgrade producers"
            )
        return PlanCost(prices)
    cost_estimate = build_estimate(
        seal.total_requests, sum(seal.tokens, TokenTotals()), model, prices, len(shards)
    )
    if not limit:
        return PlanCost(prices, cost_estimate)
    if prices is None:
        name = model.rpartition("/")[2]
        raise OverBudget(
            f"the price of {name} is not known, so no limit of costs can be promised: "
            "leave max_cost_usd away, or name a model of `promptmill models`"
        )
    later_prices = find_prices(model, today + _MAX_JOB_DURATION) or prices
    max_costs = [
        max(
            max_cost(max_shard_tokens(shard, seal), price_table)
            for price_table in (prices, later_prices)
        )
        for shard in shards
    ]
    if sum(max_costs) > limit:
        raise OverBudget(_over_budget_message(sum(max_costs), limit, cost_estimate))
    return PlanCost(prices, cost_estimate, limit, max_costs)


def max_shard_tokens(shard: ShardRows, seal: Seal) -> TokenTotals:
    """Return the tokens that a shard cannot exceed; of a chunk that is divided, no more than any of its rows could."""
    ends = list(accumulate(chunk.requests for chunk in seal.chunks))
    tokens = TokenTotals()
    for chunk_index in range(shard.first_chunk, shard.last_chunk + 1):
        requests = seal.chunks[chunk_index].requests
        first = ends[chunk_index] - requests + 1
        row_count = min(ends[chunk_index] + 1, shard.first_row + shard.requests) - max(
            first, shard.first_row
        )
        tokens += (
            seal.tokens[chunk_index]
            if row_count == requests
            else seal.tokens[chunk_index].bound_for(row_count)
        )
    return tokens


def format_usd(amount: int) -> str:
    """Return an amount of picodollars for people, never as less than it is."""
    cents = -(-amount * 10_000 // PICODOLLARS_PER_DOLLAR)
    return (
        f"${cents / 10_000:,.4f}"
        if cents < 100 * 100
        else f"${-(-amount * 100 // PICODOLLARS_PER_DOLLAR) / 100:,.2f}"
    )


def _over_budget_message(max_cost: int, limit: int, cost_estimate: Estimate) -> str:
    likely = (
        f" (about ${cost_estimate.usd:,.2f} is likely)" if cost_estimate.usd is not None else ""
    )
    return (
        f"it could cost up to {format_usd(max_cost)}{likely}, and may not cost more than ${to_dollars(limit):,.10g}: name a lower "
        "maxOutputTokens in its requests, or a higher max_cost_usd"
    )
