"""Counts the tokens that answers used by what is paid for each kind, and what they cost.

Each answer is counted at the rate of its own size, as tiers are of a request and never of a sum. What is kept are whole
numbers of tokens by kind and rate; so parts and attempts add up exactly, whoever parsed them, and one price table, that
of the run's plan, makes money of them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from promptmill.producers.pricing.cost import Cost
from promptmill.producers.pricing.prices import KINDS, Prices, Rate, dollars
from promptmill.workers.costs.plan_cost import Money

TOLD = (
    "promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "cachedContentTokenCount", "toolUsePromptTokenCount",
    "totalTokenCount",
)  # fmt: skip
"""Counts of Google's usageMetadata."""
_ABOVE = ">"
_ENDLESS = 1 << 62
_AT_ONCE = 1000


class Meter:
    """Adds up the usage of answers: ``tokens`` by Google's names, ``billed`` by kind and rate.

    ``thresholds`` are the input tokens above which an answer has another rate; a kind of that is named
    ``input>200000``.
    """

    def __init__(self, thresholds: Sequence[int] = (0,)) -> None:
        self._above = sorted((above for above in thresholds if above), reverse=True)
        self._short = min(self._above, default=_ENDLESS)
        self._tokens: Counter[str] = Counter()
        self._billed: Counter[str] = Counter()
        self._plain: list[tuple[int, ...]] = []

    def add(self, usage: Mapping[str, Any]) -> None:
        """Add the usageMetadata of one answer."""
        if not usage:
            return
        numbers = [usage.get(kind, 0) for kind in TOLD]
        if self._is_plain(usage, *numbers):
            self._plain.append(tuple(numbers))
            if len(self._plain) >= _AT_ONCE:
                self._sum_up()
        else:
            self._add_any(usage, *map(_number, numbers))

    def _is_plain(
        self, usage: Mapping[str, Any], prompt: Any, answer: Any, thoughts: Any, cached: Any, tools: Any, whole: Any
    ) -> bool:
        """Whether an answer is as most are: of text, short, its counts in order. Sums of such need no look at each."""
        return (
            type(prompt) is type(answer) is type(thoughts) is type(cached) is type(tools) is type(whole) is int
            and answer >= 0 <= thoughts
            and tools >= 0 <= cached <= prompt <= self._short
            and prompt + answer + thoughts + tools == whole
            and ("promptTokensDetails" not in usage or _is_text(usage["promptTokensDetails"]))
            and ("candidatesTokensDetails" not in usage or _is_text(usage["candidatesTokensDetails"]))
        )

    def _sum_up(self) -> None:
        if self._plain:
            self._add_any({}, *map(sum, zip(*self._plain, strict=True)), rate="")
            self._plain = []

    def _add_any(
        self,
        usage: Mapping[str, Any],
        prompt: int,
        answer: int,
        thoughts: int,
        cached: int,
        tools: int,
        whole: int,
        *,
        rate: str | None = None,
    ) -> None:
        for kind, number in zip(TOLD, (prompt, answer, thoughts, cached, tools, whole), strict=True):
            if number:
                self._tokens[kind] += number
        cached = min(cached, prompt)
        # What only the total tells was used all the same; output is the dearest that it can have been.
        answer += max(whole - prompt - answer - thoughts - tools, 0)
        if rate is None:
            rate = next((f"{_ABOVE}{above}" for above in self._above if prompt > above), "")
        sound = min(_of(usage, "promptTokensDetails", "AUDIO"), prompt)
        sound_cached = min(_of(usage, "cacheTokensDetails", "AUDIO"), cached, sound)
        sound_new = min(sound - sound_cached, prompt - cached)
        images = min(_of(usage, "candidatesTokensDetails", "IMAGE"), answer)
        self._billed.update(
            {
                "input" + rate: prompt - cached - sound_new + tools,
                "input_audio" + rate: sound_new,
                "cached" + rate: cached - sound_cached,
                "cached_audio" + rate: sound_cached,
                "output" + rate: answer - images,
                "output_image" + rate: images,
                "thoughts" + rate: thoughts,
            }
        )

    @property
    def tokens(self) -> dict[str, int]:
        """Tokens by Google's names of their counts."""
        self._sum_up()
        return dict(sorted(self._tokens.items()))

    @property
    def billed(self) -> dict[str, int]:
        """Tokens by kind and rate."""
        self._sum_up()
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


def _is_text(details: object) -> bool:
    return isinstance(details, list) and all(isinstance(one, dict) and one.get("modality") == "TEXT" for one in details)


def _of(usage: Mapping[str, Any], details: str, modality: str) -> int:
    """Return the tokens of one modality in a list of ``{"modality": …, "tokenCount": …}``."""
    found = usage.get(details)
    if not isinstance(found, list):
        return 0
    return sum(
        _number(one.get("tokenCount")) for one in found if isinstance(one, dict) and one.get("modality") == modality
    )
