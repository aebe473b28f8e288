"""What answers used is counted by what is paid for it, to the last token, at the rate of each answer's own size."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.producers.pricing.prices import (
    PICODOLLARS_PER_DOLLAR,
    TOKEN_KINDS,
    Prices,
    Rate,
    to_dollars,
)
from promptmill.workers.costs.plan_cost import PlanCost
from promptmill.workers.costs.usage import (
    USAGE_COUNTS,
    UsageMeter,
    cost_by_kind,
    run_cost,
    total_cost,
)


def rate(above: int, times: int) -> Rate:
    return Rate(
        above, {kind: times * (number + 1) * 1000 for number, kind in enumerate(TOKEN_KINDS)}
    )


PRICES = Prices(
    "gemini-x",
    "a table",
    "2026-11-01",
    "2026-11-24",
    [rate(0, 1), rate(1000, 2)],
    [rate(0, 2), rate(1000, 4)],
)

counts = st.integers(0, 3000)


def details(modality: str, count: int) -> list[dict[str, Any]]:
    return [{"modality": "TEXT", "tokenCount": 1}, {"modality": modality, "tokenCount": count}]


@st.composite
def usages(draw: st.DrawFn) -> dict[str, Any]:
    """usageMetadata as Vertex tells it: the total is that of its parts, cached tokens are among those of the prompt."""
    prompt, answer, thoughts, tools = (draw(counts) for _ in range(4))
    cached = draw(st.integers(0, prompt))
    told = {
        "promptTokenCount": prompt,
        "candidatesTokenCount": answer,
        "thoughtsTokenCount": thoughts,
        "toolUsePromptTokenCount": tools,
        "cachedContentTokenCount": cached,
        "totalTokenCount": prompt + answer + thoughts + tools,
        "trafficType": "ON_DEMAND",
    }
    if draw(st.booleans()):
        told["promptTokensDetails"] = details("AUDIO", draw(st.integers(0, prompt)))
        told["cacheTokensDetails"] = details("AUDIO", draw(st.integers(0, cached)))
        told["candidatesTokensDetails"] = details("IMAGE", draw(st.integers(0, answer)))
    return {name: value for name, value in told.items() if value or draw(st.booleans())}


def metered(found: list[dict[str, Any]]) -> UsageMeter:
    meter = UsageMeter(PRICES.thresholds)
    for usage in found:
        meter.add_usage(usage)
    return meter


@given(st.lists(usages(), max_size=20))
def test_every_token_is_billed_once(found: list[dict[str, Any]]) -> None:
    meter = metered(found)

    assert sum(meter.billed_tokens.values()) == sum(
        usage.get("totalTokenCount", 0) for usage in found
    )
    assert all(count > 0 for count in meter.billed_tokens.values())
    assert meter.token_counts.get("thoughtsTokenCount", 0) == sum(
        usage.get("thoughtsTokenCount", 0) for usage in found
    )


@given(st.lists(usages(), max_size=20), st.integers(0, 20))
def test_what_is_counted_apart_costs_the_same_together(
    found: list[dict[str, Any]], place: int
) -> None:
    """A part of an output, or a shard, is any place to cut."""
    apart = [metered(found[:place]).billed_tokens, metered(found[place:]).billed_tokens]

    assert sum(total_cost(billed, PRICES) for billed in apart) == total_cost(
        metered(found).billed_tokens, PRICES
    )
    assert sum(total_cost(metered([usage]).billed_tokens, PRICES) for usage in found) == total_cost(
        metered(found).billed_tokens, PRICES
    )


@given(st.lists(usages(), max_size=20))
def test_a_tier_is_of_a_request_and_never_of_a_sum(found: list[dict[str, Any]]) -> None:
    billed = metered(found).billed_tokens
    long = sum(
        usage["totalTokenCount"] for usage in found if usage.get("promptTokenCount", 0) > 1000
    )

    assert sum(count for kind, count in billed.items() if kind.endswith(">1000")) == long


@given(st.lists(usages(), max_size=20))
def test_a_report_adds_up(found: list[dict[str, Any]]) -> None:
    billed = metered(found).billed_tokens
    told = run_cost(PlanCost(PRICES), billed, over_budget=False)

    assert told.usd is not None
    assert told.usd == to_dollars(total_cost(billed, PRICES))
    assert abs(sum(told.by_kind.values()) - told.usd) < 1e-9
    assert told.online_usd == to_dollars(2 * total_cost(billed, PRICES))
    assert set(told.by_kind) <= set(TOKEN_KINDS)


def test_thinking_and_cached_tokens_stand_apart() -> None:
    usage = {
        "promptTokenCount": 100,
        "cachedContentTokenCount": 60,
        "candidatesTokenCount": 7,
        "thoughtsTokenCount": 30,
    }

    assert metered([usage]).billed_tokens == {
        "input": 40,
        "cached": 60,
        "output": 7,
        "thoughts": 30,
    }


def test_tokens_that_only_the_total_tells_are_output() -> None:
    assert metered([{"promptTokenCount": 10, "totalTokenCount": 25}]).billed_tokens == {
        "input": 10,
        "output": 15,
    }


def test_sound_and_images_have_prices_of_their_own() -> None:
    usage = {
        "promptTokenCount": 100,
        "promptTokensDetails": details("AUDIO", 80),
        "candidatesTokenCount": 1300,
        "candidatesTokensDetails": details("IMAGE", 1290),
    }

    assert metered([usage]).billed_tokens == {
        "input": 20,
        "input_audio": 80,
        "output": 10,
        "output_image": 1290,
    }


def test_what_is_not_a_count_is_not_counted() -> None:
    usage: dict[str, Any] = {
        "promptTokenCount": "-7",
        "candidatesTokenCount": -3,
        "thoughtsTokenCount": True,
        "cachedContentTokenCount": float("inf"),
        "toolUsePromptTokenCount": 10**400,
        "totalTokenCount": "1e3",
    }

    assert (
        metered([usage | {"promptTokensDetails": [None, {"modality": "AUDIO"}]}, {}]).billed_tokens
        == {}
    )


@pytest.mark.parametrize("written", [7, "7", 7.0, "007"])
def test_a_count_is_counted_however_it_is_written(written: object) -> None:
    """Google writes the counts of embeddings as strings."""
    usage = {"promptTokenCount": written, "totalTokenCount": written}

    assert metered([usage]).billed_tokens == {"input": 7}
    assert metered([usage]).token_counts == {"promptTokenCount": 7, "totalTokenCount": 7}
    sound = [{"modality": "AUDIO", "tokenCount": written}]
    assert metered([usage | {"promptTokensDetails": sound}]).billed_tokens == {"input_audio": 7}


odd_counts = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(0, 10**12), st.floats(),
    st.integers(-5, 2000).map(str), st.floats().map(str), st.text(max_size=5), st.just(10**400),
    st.integers(-5, 2000).map(float), st.lists(st.integers(), max_size=2),
)  # fmt: skip
odd_details = st.lists(
    st.none()
    | st.fixed_dictionaries({}, optional={"modality": st.sampled_from(["AUDIO", "IMAGE", "TEXT"]), "tokenCount": odd_counts}),
    max_size=3,
)  # fmt: skip
DETAILS = ("promptTokensDetails", "cacheTokensDetails", "candidatesTokensDetails")
odd_usages = st.dictionaries(st.sampled_from(USAGE_COUNTS), odd_counts).flatmap(
    lambda usage: st.dictionaries(st.sampled_from(DETAILS), odd_details | odd_counts).map(
        lambda more: usage | more
    )
)


@given(st.lists(odd_usages, max_size=8), usages())
def test_odd_counts_neither_fail_nor_hide_the_counts_of_others(
    odd: list[dict[str, Any]], sound: dict[str, Any]
) -> None:
    odd_meter, sound_meter = metered(odd), metered([sound])
    both = metered([*odd, sound])
    every_kind = {*both.billed_tokens, *both.token_counts}

    assert all(count > 0 for count in both.billed_tokens.values())
    for kind in every_kind:
        for name in ("billed_tokens", "token_counts"):
            apart = [getattr(meter, name).get(kind, 0) for meter in (odd_meter, sound_meter)]
            assert getattr(both, name).get(kind, 0) == sum(apart)
    assert max(both.billed_tokens.values(), default=0) <= 9 * 6 * 2**31
    assert msgspec.json.encode(both.billed_tokens) and total_cost(both.billed_tokens, PRICES) >= 0


@given(st.dictionaries(st.sampled_from(USAGE_COUNTS), odd_counts, min_size=1))
def test_every_valid_count_is_billed_at_least_once_and_none_twice(usage: dict[str, Any]) -> None:
    meter = metered([usage])
    told = meter.token_counts
    parts = sum(told.get(kind, 0) for kind in USAGE_COUNTS[:3]) + told.get(USAGE_COUNTS[4], 0)

    assert sum(meter.billed_tokens.values()) == max(parts, told.get("totalTokenCount", 0))


def test_without_a_price_the_tokens_are_told_and_no_amount() -> None:
    told = run_cost(None, {"input": 5}, over_budget=False)

    assert (told.usd, told.online_usd, told.by_kind, told.billed) == (None, None, {}, {"input": 5})


def test_a_cost_is_exact() -> None:
    assert cost_by_kind({"input": 3, "output>1000": 2}, PRICES.batch) == {
        "input": 3000,
        "output": 2 * 2 * (TOKEN_KINDS.index("output") + 1) * 1000,
    }
    assert to_dollars(PICODOLLARS_PER_DOLLAR) == 1.0
