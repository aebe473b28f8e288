"""Counts the tokens that answers used by what is paid for each kind, and what they cost.

Each answer is counted at the rate of its own size, as tiers are of a request and never of a sum. What is kept are whole
numbers of tokens by kind and rate; so parts and attempts add up exactly, whoever parsed them, and one price table, that
of the run's plan, makes money of them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from promptmill.producers.costs import Cost
from promptmill.producers.prices import KINDS, Prices, Rate, dollars
from promptmill.workers.money import Money

TOLD = (
    "promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "cachedContentTokenCount", "toolUsePromptTokenCount",
    "totalTokenCount",
)  # fmt: skip
"""Counts of Google's usageMetadata."""
_ABOVE = ">"


class Meter:
    """Adds up the usage of answers: ``tokens`` by Google's names, ``billed`` by kind and rate.

    ``thresholds`` are the input tokens above which an answer has another rate; a kind of that is named
    ``input>200000``.
    """

    def __init__(self, thresholds: Sequence[int] = (0,)) -> None:
        self._above = sorted((above for above in thresholds if above), reverse=True)
        self._tokens: Counter[str] = Counter()
        self._billed: Counter[str] = Counter()

    def add(self, usage: Mapping[str, Any]) -> None:
        """Add the usageMetadata of one answer."""
        if not usage:
            return
        prompt, answer, thoughts, cached, tools, whole = numbers = [_number(usage.get(kind)) for kind in TOLD]
        for kind, number in zip(TOLD, numbers, strict=True):
            if number:
                self._tokens[kind] += number
        cached = min(cached, prompt)
        # What only the total tells was used all the same; output is the dearest that it can have been.
        answer += max(whole - prompt - answer - thoughts - tools, 0)
        rate = next((f"{_ABOVE}{above}" for above in self._above if prompt > above), "")
        sound = min(_of(usage, "promptTokensDetails", "AUDIO"), prompt)
        sound_cached = min(_of(usage, "cacheTokensDetails", "AUDIO"), cached, sound)
        images = min(_of(usage, "candidatesTokensDetails", "IMAGE"), answer)
        sound_new = min(sound - sound_cached, prompt - cached)
        billed = self._billed
        billed["input" + rate] += prompt - cached - sound_new + tools
        billed["input_audio" + rate] += sound_new
        billed["cached" + rate] += cached - sound_cached
        billed["cached_audio" + rate] += sound_cached
        billed["output" + rate] += answer - images
        billed["output_image" + rate] += images
        billed["thoughts" + rate] += thoughts

    @property
    def tokens(self) -> dict[str, int]:
        """Tokens by Google's names of their counts."""
        return dict(sorted(self._tokens.items()))

    @property
    def billed(self) -> dict[str, int]:
        """Tokens by kind and rate."""
        return {kind: count for kind, count in sorted(self._billed.items()) if count}


def cost(billed: Mapping[str, int], rates: Sequence[Rate]) -> dict[str, int]:
    """Return picodollars by kind for tokens by kind and rate; the kinds are those of ``prices.KINDS``."""
    of = {rate.above: rate for rate in rates}
    costs: Counter[str] = Counter()
    for name, count in billed.items():
        kind, _, above = name.partition(_ABOVE)
        costs[kind] += of[int(above or 0)].cost({kind: count})
    return dict(costs)


def spent(billed: Mapping[str, int], prices: Prices) -> int:
    """Return the picodollars that tokens by kind and rate cost in batch jobs."""
    return sum(cost(billed, prices.batch).values())


def cost_of(money: Money | None, billed: Mapping[str, int], *, over_budget: bool) -> Cost:
    """Return what a run cost that used tokens by kind and rate, for its report."""
    money = money or Money()
    told = msgspec.structs.replace(expected(money), billed=dict(billed), over_budget=over_budget)
    prices = money.prices
    if prices is None:
        return told
    by_kind = cost(billed, prices.batch)
    return msgspec.structs.replace(
        told,
        usd=dollars(sum(by_kind.values())),
        online_usd=dollars(sum(cost(billed, prices.online).values())),
        by_kind={kind: dollars(by_kind[kind]) for kind in KINDS if by_kind.get(kind)},
    )


def expected(money: Money) -> Cost:
    """Return what is known of the cost of a run that goes on."""
    told = Cost(estimate=money.estimate, limit_usd=dollars(money.limit) if money.limit else None)
    if money.prices is None:
        return told
    table, checked, on = money.prices.table, money.prices.checked, money.prices.on
    return msgspec.structs.replace(told, table=table, checked=checked, on=on)


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _of(usage: Mapping[str, Any], details: str, modality: str) -> int:
    """Return the tokens of one modality in a list of ``{"modality": …, "tokenCount": …}``."""
    found = usage.get(details)
    if not isinstance(found, list):
        return 0
    return sum(
        _number(one.get("tokenCount")) for one in found if isinstance(one, dict) and one.get("modality") == modality
    )
