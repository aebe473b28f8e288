"""The cost of a run, with its estimate."""

from math import floor, log10

import msgspec

from promptmill.producers.pricing.estimate import Estimate


class Cost(msgspec.Struct, frozen=True, omit_defaults=True):
    """The cost of a run in USD, from the usageMetadata of all answers and attempts.

    Charges that do not depend on tokens, such as searches, are not included.
    """

    usd: float | None = None
    """The cost. None while the run is in progress, and without a known price."""
    online_usd: float | None = None
    """The cost of the same tokens outside batch jobs."""
    by_kind: dict[str, float] = {}
    """USD by kind of token. A higher rate for long requests is a separate kind, such as
    ``input>200000``.
    """
    billed: dict[str, int] = {}
    """Number of tokens by kind, as in ``by_kind``."""
    estimate: Estimate | None = None
    """The estimate of the first attempts, made when the run was divided into shards."""
    limit_usd: float | None = None
    """The cost limit, or None."""
    over_budget: bool = False
    """Whether the limit stopped requests."""
    table: str = ""
    """Name and version of the price table."""
    checked: str = ""
    """Day of the table's last comparison with Google's prices, as an ISO date."""
    on: str = ""
    """Day of the prices, as an ISO date."""
    location: str = ""
    """Location of the jobs, whose prices apply. Empty in reports of older workers."""

    def __str__(self) -> str:
        """Return the cost and its estimate as text, "unknown" without a price."""
        expected = _describe_estimate(self.estimate) if self.estimate else ""
        online = f"online {format_usd(self.online_usd)}" if self.online_usd else ""
        details = ", ".join(filter(None, (expected, online)))
        limit = f"; limit {format_usd(self.limit_usd)}" if self.limit_usd else ""
        return format_usd(self.usd) + (f" ({details})" if details else "") + limit


def format_usd(usd: float | None) -> str:
    """Return an amount of USD as text, to the cent or to three significant digits.

    None is "unknown".
    """
    if usd is None:
        return "unknown"
    if usd >= 1 or usd <= 0:
        return f"${usd:,.2f}"
    return f"${usd:.{max(2 - floor(log10(usd)), 2)}f}"


def _describe_estimate(estimate: Estimate) -> str:
    if estimate.usd is None:
        return "no price for this model"
    return f"estimated {format_usd(estimate.usd)}, at most {format_usd(estimate.usd_most)}"
