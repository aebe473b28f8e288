"""Counts used tokens by kind and rate, and computes their cost.

The rate of an answer depends on the size of its own request, never on a sum. Counts are
whole numbers of tokens, so those of parts and attempts add up exactly. All of them are
priced by the table in the run's plan.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeGuard

import msgspec

from promptmill.producers.pricing.cost import Cost
from promptmill.producers.pricing.prices import TOKEN_KINDS, Prices, Rate, to_dollars
from promptmill.workers.costs.plan_cost import PlanCost

USAGE_COUNTS = (
    "promptTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
    "cachedContentTokenCount",
    "toolUsePromptTokenCount",
    "totalTokenCount",
)
"""The counts in Google's usageMetadata."""
_TIER_MARK = ">"
_NO_THRESHOLD = 1 << 62
_BUFFER_SIZE = 1000
_MAX_COUNT = (1 << 31) - 1
"""The maximum of Google's counts, which are int32 (``UsageMetadata`` in its API)."""
_MAX_DIGITS = len(str(_MAX_COUNT))


class UsageMeter:
    """Adds up the usage of answers, by Google's names and by billed kind and rate.

    ``thresholds`` are numbers of input tokens above which another rate applies. Kinds at
    such a rate are named like ``input>200000``.
    """

    def __init__(self, thresholds: Sequence[int] = (0,)) -> None:
        self._thresholds = sorted((above for above in thresholds if above), reverse=True)
        self._lowest_threshold = min(self._thresholds, default=_NO_THRESHOLD)
        self._tokens, self._billed = Counter[str](), Counter[str]()
        self._plain_usage: list[tuple[int, ...]] = []

    def add_usage(self, usage: Mapping[str, object]) -> None:
        """Add the usageMetadata of one answer."""
        if not usage:
            return
        counts = [usage.get(kind, 0) for kind in USAGE_COUNTS]
        if _are_integers(counts) and self._is_plain(usage, *counts):
            self._plain_usage.append(tuple(counts))
            if len(self._plain_usage) >= _BUFFER_SIZE:
                self._sum_up()
        else:
            self._add_counts(usage, list(map(_to_count, counts)))

    def _is_plain(
        self,
        usage: Mapping[str, object],
        prompt: int,
        answer: int,
        thoughts: int,
        cached: int,
        tools: int,
        total: int,
    ) -> bool:
        """Whether an answer is text at the lowest rate, with consistent counts.

        Most are. Their counts are added in bulk, which is faster.
        """
        return (
            answer >= 0 <= thoughts
            and tools >= 0 <= cached <= prompt <= self._lowest_threshold
            and prompt + answer + thoughts + tools == total <= _MAX_COUNT
            and ("promptTokensDetails" not in usage or _is_text(usage["promptTokensDetails"]))
            and (
                "candidatesTokensDetails" not in usage or _is_text(usage["candidatesTokensDetails"])
            )
        )

    def _sum_up(self) -> None:
        if self._plain_usage:
            self._add_counts({}, list(map(sum, zip(*self._plain_usage, strict=True))), rate="")
            self._plain_usage = []

    def _add_counts(
        self, usage: Mapping[str, object], counts: Sequence[int], *, rate: str | None = None
    ) -> None:
        prompt, answer, thoughts, cached, tools, total = counts
        for kind, number in zip(USAGE_COUNTS, counts, strict=True):
            if number:
                self._tokens[kind] += number
        cached = min(cached, prompt)
        # Tokens that only the total includes are billed as output, the most expensive kind.
        answer += max(total - prompt - answer - thoughts - tools, 0)
        if rate is None:
            rate = next(
                (f"{_TIER_MARK}{above}" for above in self._thresholds if prompt > above), ""
            )
        audio = min(_modality_tokens(usage, "promptTokensDetails", "AUDIO"), prompt)
        audio_cached = min(_modality_tokens(usage, "cacheTokensDetails", "AUDIO"), cached, audio)
        audio_new = min(audio - audio_cached, prompt - cached)
        images = min(_modality_tokens(usage, "candidatesTokensDetails", "IMAGE"), answer)
        self._billed.update(
            {
                "input" + rate: prompt - cached - audio_new + tools,
                "input_audio" + rate: audio_new,
                "cached" + rate: cached - audio_cached,
                "cached_audio" + rate: audio_cached,
                "output" + rate: answer - images,
                "output_image" + rate: images,
                "thoughts" + rate: thoughts,
            }
        )

    @property
    def token_counts(self) -> dict[str, int]:
        """Tokens by the names in Google's usageMetadata."""
        self._sum_up()
        return dict(sorted(self._tokens.items()))

    @property
    def billed_tokens(self) -> dict[str, int]:
        """Tokens by kind and rate."""
        self._sum_up()
        return {kind: count for kind, count in sorted(self._billed.items()) if count}


def cost_by_kind(billed: Mapping[str, int], rates: Sequence[Rate]) -> dict[str, int]:
    """Return the cost of tokens in picodollars, by kind.

    The kinds are those of ``prices.TOKEN_KINDS``.
    """
    rate_by_threshold = {rate.above: rate for rate in rates}
    costs: Counter[str] = Counter()
    for name, count in billed.items():
        kind, _, above = name.partition(_TIER_MARK)
        costs[kind] += rate_by_threshold[int(above or 0)].calculate_cost({kind: count})
    return dict(costs)


def total_cost(billed: Mapping[str, int], prices: Prices) -> int:
    """Return the cost of tokens in batch jobs, in picodollars."""
    return sum(cost_by_kind(billed, prices.batch).values())


def run_cost(cost_plan: PlanCost | None, billed: Mapping[str, int], *, over_budget: bool) -> Cost:
    """Return the cost of a run for its report. ``billed`` has its tokens by kind and rate."""
    cost_plan = cost_plan or PlanCost()
    expected = expected_cost(cost_plan)
    report_cost = msgspec.structs.replace(expected, billed=dict(billed), over_budget=over_budget)
    if cost_plan.prices is None:
        return report_cost
    by_kind = cost_by_kind(billed, cost_plan.prices.batch)
    return msgspec.structs.replace(
        report_cost,
        usd=to_dollars(sum(by_kind.values())),
        online_usd=to_dollars(sum(cost_by_kind(billed, cost_plan.prices.online).values())),
        by_kind={kind: to_dollars(by_kind[kind]) for kind in TOKEN_KINDS if by_kind.get(kind)},
    )


def expected_cost(cost_plan: PlanCost) -> Cost:
    """Return the expected cost of a run that has not ended: its estimate and limit."""
    report_cost = Cost(
        estimate=cost_plan.estimate,
        limit_usd=to_dollars(cost_plan.limit) if cost_plan.limit else None,
    )
    if cost_plan.prices is None:
        return report_cost
    prices = cost_plan.prices
    return msgspec.structs.replace(
        report_cost,
        table=prices.table,
        checked=prices.checked,
        on=prices.on,
        location=prices.location,
    )


def _are_integers(counts: list[object]) -> TypeGuard[list[int]]:
    """Whether no count is missing, a boolean or a float."""
    return set(map(type, counts)) == {int}


def _to_count(value: object) -> int:
    """Return a number of tokens; 0 for a value that is certainly not one.

    Google writes some counts as strings (its page on batch embeddings, 2026-09). The
    importer of BigQuery may have made a float of a number.
    """
    if isinstance(value, str):
        is_number = value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS
        value = int(value) if is_number else 0
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return int(value) if 0 < value <= _MAX_COUNT and value == int(value) else 0


def _is_text(details: object) -> bool:
    return isinstance(details, list) and all(
        isinstance(item, dict) and item.get("modality") == "TEXT" for item in details
    )


def _modality_tokens(usage: Mapping[str, object], details: str, modality: str) -> int:
    """Return the tokens of one modality in a list of ``{"modality": …, "tokenCount": …}``."""
    items = usage.get(details)
    if not isinstance(items, list):
        return 0
    return sum(
        _to_count(item.get("tokenCount"))
        for item in items
        if isinstance(item, dict) and item.get("modality") == modality
    )
