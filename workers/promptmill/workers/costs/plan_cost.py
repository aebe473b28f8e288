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
from promptmill.producers.pricing.estimate import Estimate, most, of_tokens
from promptmill.producers.pricing.prices import DOLLAR, Prices, dollars, picodollars
from promptmill.producers.pricing.tokens import Tokens

_UNTIL_DONE = timedelta(days=5)
"""Vertex lets a job wait for three days and run for one; prices may rise meanwhile."""


class Money(msgspec.Struct, frozen=True, omit_defaults=True):
    """The prices that all costs of a run are told by, its estimate, and its limit in picodollars; 0: none.

    ``most`` are the picodollars, by shard, that its first attempt cannot exceed; only where there is a limit.
    """

    prices: Prices | None = None
    estimate: Estimate | None = None
    limit: int = 0
    most: list[int] = []

    def share(self, shard: int) -> int:
        """Return the picodollars of the limit that are a shard's."""
        whole = sum(self.most)
        return self.limit * self.most[shard] // whole if whole else self.limit // max(len(self.most), 1)


class Rows(Protocol):
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


def limit_of(max_cost_usd: float, ours: float) -> int:
    """Return the limit in picodollars: the lower of what a run asks for and what its workers allow, if not 0."""
    return min((picodollars(usd) for usd in (max_cost_usd, ours) if usd), default=0)


def of_run(model: str, seal: Seal, shards: Sequence[Rows], limit: int, find: FindPrices, at: float) -> Money:
    """Return what the plan of a run with ``shards`` says of money; raises OverBudget when ``limit`` cannot be promised."""
    today = datetime.fromtimestamp(at, UTC)
    prices = find(model, today)
    if len(seal.tokens) < len(seal.chunks):
        if limit:
            raise OverBudget(
                "its producer did not count tokens, so no limit of costs can be promised: upgrade producers"
            )
        return Money(prices)
    guess = of_tokens(seal.requests, sum(seal.tokens, Tokens()), model, prices, len(shards))
    if not limit:
        return Money(prices, guess)
    if prices is None:
        name = model.rpartition("/")[2]
        raise OverBudget(
            f"the price of {name} is not known, so no limit of costs can be promised: "
            "leave max_cost_usd away, or name a model of `promptmill models`"
        )
    later = find(model, today + _UNTIL_DONE) or prices
    bounds = [max(most(of_shard(shard, seal), then) for then in (prices, later)) for shard in shards]
    if sum(bounds) > limit:
        raise OverBudget(_too_much(sum(bounds), limit, guess))
    return Money(prices, guess, limit, bounds)


def of_shard(shard: Rows, seal: Seal) -> Tokens:
    """Return the tokens that a shard cannot exceed; of a chunk that is divided, no more than any of its rows could."""
    ends = list(accumulate(chunk.requests for chunk in seal.chunks))
    tokens = Tokens()
    for index in range(shard.first_chunk, shard.last_chunk + 1):
        requests = seal.chunks[index].requests
        first = ends[index] - requests + 1
        rows = min(ends[index] + 1, shard.first_row + shard.requests) - max(first, shard.first_row)
        tokens += seal.tokens[index] if rows == requests else seal.tokens[index].of_some(rows)
    return tokens


def usd(amount: int) -> str:
    """Return an amount of picodollars for people, never as less than it is."""
    cents = -(-amount * 10_000 // DOLLAR)
    return f"${cents / 10_000:,.4f}" if cents < 100 * 100 else f"${-(-amount * 100 // DOLLAR) / 100:,.2f}"


def _too_much(bound: int, limit: int, guess: Estimate) -> str:
    likely = f" (about ${guess.usd:,.2f} is likely)" if guess.usd is not None else ""
    return (
        f"it could cost up to {usd(bound)}{likely}, and may not cost more than ${dollars(limit):,.10g}: name a lower "
        "maxOutputTokens in its requests, or a higher max_cost_usd"
    )
