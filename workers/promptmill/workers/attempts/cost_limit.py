"""Whether a later attempt of a shard is within the shard's share of what its run may cost."""

import msgspec

from promptmill.config import names
from promptmill.config.errors import NotFound
from promptmill.producers.contract.messages import Manifest
from promptmill.producers.pricing import estimate
from promptmill.producers.pricing.prices import Prices
from promptmill.producers.pricing.tokens import (
    RequestTokens,
    TokenTotals,
    count_request_tokens,
    sum_tokens,
)
from promptmill.workers.costs import usage
from promptmill.workers.costs.plan_cost import format_usd
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Input, Plan, Settled
from promptmill.workers.ports.google import Bucket


def refusal_reason(bucket: Bucket, run: str, shard: int, attempt: int, attempt_input: Input) -> str:
    """Return why an attempt with this input is not to be made; "" when it is, as first ones always are: see ``cost_plan``.

    Everything that it is told by is written once, so it is the same whoever asks, and however often.
    """
    cost_plan = records.get_fact(bucket, names.plan(run), Plan).money
    if cost_plan is None or not cost_plan.limit or cost_plan.prices is None:
        requested_limit = records.get_fact(bucket, names.manifest(run), Manifest).max_cost_usd
        return (
            "a worker that does not know of max_cost_usd planned it: upgrade all workers, send it again"
            if requested_limit
            else ""
        )
    if attempt == 1:
        return ""
    if attempt_input.tokens is None:
        return "a worker that does not know of max_cost_usd wrote its input: upgrade all workers"
    remaining = cost_plan.shard_limit(shard) - _previous_cost(
        bucket, run, shard, attempt, cost_plan.prices
    )
    needed = estimate.max_cost(attempt_input.tokens, cost_plan.prices)
    if needed <= remaining:
        return ""
    remaining_text = f"{format_usd(max(remaining, 0))} of the shard's share of max_cost_usd is left"
    return f"attempt {attempt} could cost {format_usd(needed)}, and {remaining_text}"


def has_cost_limit(bucket: Bucket, run: str) -> bool:
    """Whether a run has a limit of costs."""
    try:
        cost_plan = records.get_fact(bucket, names.plan(run), Plan).money
    except NotFound:
        return False
    return bool(cost_plan and cost_plan.limit)


class UsageBounds:
    """Counts what the lines of an input file may use."""

    def __init__(self) -> None:
        self._needs: list[RequestTokens] = []
        self._tokens = TokenTotals()

    def add_line(self, line: bytes) -> None:
        """Add a wire line."""
        request = _decode(line).request
        self._needs.append(count_request_tokens(msgspec.json.decode(request), len(request)))
        if len(self._needs) >= 1000:
            self._sum_up()

    @property
    def total_tokens(self) -> TokenTotals:
        """What all lines may use together."""
        self._sum_up()
        return self._tokens

    def _sum_up(self) -> None:
        self._tokens += sum_tokens(self._needs)
        self._needs = []


class _WireLine(msgspec.Struct):
    request: msgspec.Raw


_decode = msgspec.json.Decoder(_WireLine).decode


def _previous_cost(bucket: Bucket, run: str, shard: int, attempt: int, prices: Prices) -> int:
    """Return what the attempts of a shard before this one cost; rows that came to nothing are not billed."""
    previous = (
        records.get_fact(bucket, names.shard(run, shard, number) + "settled.json", Settled)
        for number in range(1, attempt)
    )
    return sum(usage.total_cost(settled.counts.billed, prices) for settled in previous)
