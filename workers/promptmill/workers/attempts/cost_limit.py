"""Whether a later attempt of a shard is within the shard's share of what its run may cost."""

import msgspec

from promptmill.config import names
from promptmill.config.errors import NotFound
from promptmill.producers.contract.messages import Manifest
from promptmill.producers.pricing import estimate
from promptmill.producers.pricing.prices import Prices
from promptmill.producers.pricing.tokens import Need, Tokens, of_request, total
from promptmill.workers.costs import usage
from promptmill.workers.costs.plan_cost import usd
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Input, Plan, Settled
from promptmill.workers.ports.google import Bucket

REASON = "OVER_BUDGET"


def refusal(bucket: Bucket, run: str, index: int, attempt: int, made: Input) -> str:
    """Return why an attempt with this input is not to be made; "" when it is, as first ones always are: see ``money``.

    Everything that it is told by is written once, so it is the same whoever asks, and however often.
    """
    money = records.get(bucket, names.plan(run), Plan).money
    if money is None or not money.limit or money.prices is None:
        asked = records.get(bucket, names.manifest(run), Manifest).max_cost_usd
        return (
            "a worker that does not know of max_cost_usd planned it: upgrade all workers, send it again"
            if asked
            else ""
        )
    if attempt == 1:
        return ""
    if made.tokens is None:
        return "a worker that does not know of max_cost_usd wrote its input: upgrade all workers"
    left = money.share(index) - _spent(bucket, run, index, attempt, money.prices)
    needed = estimate.most(made.tokens, money.prices)
    if needed <= left:
        return ""
    share = f"{usd(max(left, 0))} of the shard's share of max_cost_usd is left"
    return f"attempt {attempt} could cost {usd(needed)}, and {share}"


def is_limited(bucket: Bucket, run: str) -> bool:
    """Whether a run has a limit of costs."""
    try:
        money = records.get(bucket, names.plan(run), Plan).money
    except NotFound:
        return False
    return bool(money and money.limit)


class Bounds:
    """Counts what the lines of an input file may use."""

    def __init__(self) -> None:
        self._needs: list[Need] = []
        self._tokens = Tokens()

    def add(self, line: bytes) -> None:
        """Add a wire line."""
        request = _decode(line).request
        self._needs.append(of_request(msgspec.json.decode(request), len(request)))
        if len(self._needs) >= 1000:
            self._sum_up()

    @property
    def tokens(self) -> Tokens:
        """What all lines may use together."""
        self._sum_up()
        return self._tokens

    def _sum_up(self) -> None:
        self._tokens += total(self._needs)
        self._needs = []


class _Line(msgspec.Struct):
    request: msgspec.Raw


_decode = msgspec.json.Decoder(_Line).decode


def _spent(bucket: Bucket, run: str, index: int, attempt: int, prices: Prices) -> int:
    """Return what the attempts of a shard before this one cost; rows that came to nothing are not billed."""
    before = (records.get(bucket, names.shard(run, index, n) + "settled.json", Settled) for n in range(1, attempt))
    return sum(usage.spent(settled.counts.billed, prices) for settled in before)
