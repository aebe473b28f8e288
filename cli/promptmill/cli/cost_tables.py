"""Costs and estimates as tables. An unknown amount is shown as unknown, never as 0."""

from collections.abc import Iterator
from datetime import UTC, datetime

from promptmill.cli.output import Record
from promptmill.producers.pricing.cost import Cost, format_usd
from promptmill.producers.pricing.estimate import Estimate


def estimate_rows(estimate: Estimate) -> list[Record]:
    """Return an estimate as rows of a table."""
    input_limit = f"at most {estimate.input_tokens_most:,}"
    output_limit = f"at most {estimate.output_tokens_most:,}"
    price_range = f"{format_usd(estimate.usd_least)} to {format_usd(estimate.usd_most)}"
    rows = [
        ("requests", f"{estimate.requests - estimate.refused:,}", "valid"),
        ("jobs", f"{estimate.jobs:,}", ""),
        ("input tokens", f"{estimate.input_tokens:,}", input_limit),
        ("output tokens", f"{estimate.output_tokens:,}", output_limit),
        *_thought_rows(estimate),
        ("price", format_usd(estimate.usd), price_range),
        ("online", format_usd(estimate.online_usd), "without batch jobs"),
    ]
    return [{"what": quantity, "estimate": value, "range": note} for quantity, value, note in rows]


def _thought_rows(estimate: Estimate) -> list[tuple[str, str, str]]:
    if not estimate.thought_tokens:
        return []
    return [("thoughts", f"{estimate.thought_tokens:,}", "of the output tokens")]


def cost_rows(cost: Cost) -> list[Record]:
    """Return the cost of a run and its estimate as rows of a table."""
    rows = [*_token_rows(cost), *_price_rows(cost)]
    return [{"what": what, "estimate": planned, "actual": actual} for what, planned, actual in rows]


def _token_rows(cost: Cost) -> Iterator[tuple[str, str, str]]:
    estimate = cost.estimate
    billed_input = f"{_count_tokens(cost, 'input', 'cached'):,}"
    billed_output = f"{_count_tokens(cost, 'output', 'thoughts'):,}"
    yield "input tokens", f"{estimate.input_tokens:,}" if estimate else "", billed_input
    yield "output tokens", f"{estimate.output_tokens:,}" if estimate else "", billed_output


def _price_rows(cost: Cost) -> Iterator[tuple[str, str, str]]:
    estimate = cost.estimate
    for kind, usd in cost.by_kind.items():
        yield f"price of {kind} tokens", "", format_usd(usd)
    yield "price", format_usd(estimate.usd) if estimate else "", format_usd(cost.usd)
    online = format_usd(estimate.online_usd) if estimate else ""
    yield "online", online, format_usd(cost.online_usd)


def _count_tokens(cost: Cost, *kinds: str) -> int:
    return sum(count for kind, count in cost.billed.items() if kind.startswith(kinds))


def describe_price_age(checked: str, table: str, location: str = "") -> str:
    """Return a sentence about the age of prices, and the location of the jobs if known."""
    if not checked:
        return "the price is unknown"
    days = (datetime.now(UTC).date() - datetime.fromisoformat(checked).date()).days
    place = f" for jobs in {location}" if location else ""
    return f"prices of {table}{place}, checked against Google's on {checked}, {days:,} days ago"


__all__ = ["cost_rows", "describe_price_age", "estimate_rows", "format_usd"]
