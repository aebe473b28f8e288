"""What a run cost, beside what was expected of it."""

import msgspec

from promptmill.producers.estimate import Estimate


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
