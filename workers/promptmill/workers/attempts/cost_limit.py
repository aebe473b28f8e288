"""Checks that a retry fits into its shard's share of the run's cost limit.

First attempts are always allowed: see ``plan_cost``. The decision follows from stored facts,
so every worker makes the same one.
"""

import msgspec

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
from promptmill.workers.facts.records import Input
from promptmill.workers.facts.run_folder import AttemptFolder, RunFolder

_OLD_PLANNER = (
    "an old worker without support for max_cost_usd planned this run. "
    "Upgrade all workers and submit the run again"
)
_OLD_WRITER = (
    "an old worker without support for max_cost_usd wrote the input of this attempt. "
    "Upgrade all workers"
)


def refusal_reason(attempt: AttemptFolder, attempt_input: Input) -> str:
    """Return why the cost limit forbids an attempt, or "" if it does not."""
    cost_plan = attempt.run.plan.get().money
    if cost_plan is None or not cost_plan.limit or cost_plan.prices is None:
        return _OLD_PLANNER if attempt.run.manifest.get().max_cost_usd else ""
    if attempt.is_first or attempt_input.tokens is None:
        return "" if attempt.is_first else _OLD_WRITER
    remaining = cost_plan.shard_limit(attempt.shard) - _previous_cost(attempt, cost_plan.prices)
    needed = estimate.max_cost(attempt_input.tokens, cost_plan.prices)
    if needed <= remaining:
        return ""
    remaining_text = f"{format_usd(max(remaining, 0))} of the shard's share of max_cost_usd is left"
    return f"attempt {attempt.number} could cost {format_usd(needed)}, and {remaining_text}"


def has_cost_limit(run: RunFolder) -> bool:
    """Return whether a run has a cost limit."""
    plan = run.plan.find()
    return bool(plan and plan.money and plan.money.limit)


class UsageBounds:
    """Adds up the tokens that the requests of an input file may use at most."""

    def __init__(self) -> None:
        self._needs: list[RequestTokens] = []
        self._tokens = TokenTotals()

    def add_line(self, line: bytes) -> None:
        """Add one line of the input file."""
        request = _decode(line).request
        self._needs.append(count_request_tokens(msgspec.json.decode(request), len(request)))
        if len(self._needs) >= 1000:
            self._sum_up()

    @property
    def total_tokens(self) -> TokenTotals:
        """The maximum tokens of all lines together."""
        self._sum_up()
        return self._tokens

    def _sum_up(self) -> None:
        self._tokens += sum_tokens(self._needs)
        self._needs = []


class _WireLine(msgspec.Struct):
    request: msgspec.Raw


_decode = msgspec.json.Decoder(_WireLine).decode


def _previous_cost(attempt: AttemptFolder, prices: Prices) -> int:
    """Return the cost of the earlier attempts of a shard; Vertex bills no failed rows."""
    earlier = (attempt.run.attempt(attempt.shard, number) for number in range(1, attempt.number))
    return sum(usage.total_cost(folder.settled.get().counts.billed, prices) for folder in earlier)
