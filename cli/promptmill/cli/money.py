"""Amounts of money for people: what is not known is said to be unknown, and nothing is rounded to nothing."""

from datetime import UTC, datetime

from promptmill.cli.output import Record
from promptmill.producers.pricing.cost import Cost, amount
from promptmill.producers.pricing.estimate import Estimate


def of_estimate(estimate: Estimate) -> list[Record]:
    """Return an estimate as rows for people."""
    rows = [
        ("requests", f"{estimate.requests - estimate.refused:,}", "that can be sent"),
        ("jobs", f"{estimate.jobs:,}", ""),
        ("input tokens", f"{estimate.input_tokens:,}", f"at most {estimate.input_tokens_most:,}"),
        ("output tokens", f"{estimate.output_tokens:,}", f"at most {estimate.output_tokens_most:,}"),
        ("price", amount(estimate.usd), f"{amount(estimate.usd_least)} to {amount(estimate.usd_most)}"),
        ("online", amount(estimate.online_usd), "without batch jobs"),
    ]
    return [{"what": what, "estimate": value, "range": note} for what, value, note in rows]


def of_cost(cost: Cost) -> list[Record]:
    """Return what a run cost beside what was expected, as rows for people."""
    guess = cost.estimate
    rows: list[Record] = [
        {
            "what": "input tokens",
            "estimate": f"{guess.input_tokens:,}" if guess else "",
            "actual": f"{_tokens(cost, 'input', 'cached'):,}",
        },
        {
            "what": "output tokens",
            "estimate": f"{guess.output_tokens:,}" if guess else "",
            "actual": f"{_tokens(cost, 'output', 'thoughts'):,}",
        },
        *(
            {"what": f"price of {kind} tokens", "estimate": "", "actual": amount(usd)}
            for kind, usd in cost.by_kind.items()
        ),
        {"what": "price", "estimate": amount(guess.usd) if guess else "", "actual": amount(cost.usd)},
        {"what": "online", "estimate": amount(guess.online_usd) if guess else "", "actual": amount(cost.online_usd)},
    ]
    return rows


def _tokens(cost: Cost, *kinds: str) -> int:
    return sum(count for kind, count in cost.billed.items() if kind.startswith(kinds))


def age(checked: str, table: str) -> str:
    """Return how old prices are, in words."""
    if not checked:
        return "the price is not known"
    days = (datetime.now(UTC).date() - datetime.fromisoformat(checked).date()).days
    return f"prices of {table}, compared with Google's on {checked}, {days:,} days ago"


__all__ = ["age", "amount", "of_cost", "of_estimate"]
