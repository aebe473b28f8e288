"""What a run cost, beside what was expected of it."""

from math import floor, log10

import msgspec

from promptmill.producers.pricing.estimate import Estimate


class Cost(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a run cost, in USD, by the usageMetadata of its answers in all attempts, failed ones too.

    ``usd`` is None while the run goes on, and where the price is not known; ``online_usd`` is what the same tokens cost
    without batch jobs. ``by_kind`` has USD by kind of token, thinking and cached tokens apart; ``billed`` has the
    tokens, a dearer rate of long requests apart (``input>200000``). The prices are those of the day ``on`` from
    ``table``, last compared with Google's on ``checked``. ``limit_usd`` is what the run may cost; ``over_budget`` says
    that requests of it were not made for that. Prices of other things, such as searches, are not in it.
    """

    usd: float | None = None
    online_usd: float | None = None
    by_kind: dict[str, float] = {}
    billed: dict[str, int] = {}
    estimate: Estimate | None = None
    limit_usd: float | None = None
    over_budget: bool = False
    table: str = ""
    checked: str = ""
    on: str = ""

    def __str__(self) -> str:
        """Return the cost in words, beside what was expected: "unknown" where it is not known, or not yet."""
        expected = f"{_describe_estimate(self.estimate)} expected" if self.estimate else ""
        online = f"online {format_usd(self.online_usd)}" if self.online_usd else ""
        details = ", ".join(filter(None, (expected, online)))
        limit = f"; it may cost {format_usd(self.limit_usd)}" if self.limit_usd else ""
        return format_usd(self.usd) + (f" ({details})" if details else "") + limit


def format_usd(usd: float | None) -> str:
    """Return an amount of USD for people: to the cent, or a small one to its first three digits; None is unknown."""
    if usd is None:
        return "unknown"
    if usd >= 1 or usd <= 0:
        return f"${usd:,.2f}"
    return f"${usd:.{max(2 - floor(log10(usd)), 2)}f}"


def _describe_estimate(estimate: Estimate) -> str:
    if estimate.usd is None:
        return "an unknown amount is"
    return f"about {format_usd(estimate.usd)}, at most {format_usd(estimate.usd_most)}"
