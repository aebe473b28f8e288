"""What a run may use and cost, before anything is sent."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.config.errors import ConfigurationError
from promptmill.producers import Promptmill
from promptmill.producers.contract.messages import ChunkSize
from promptmill.producers.pricing.estimate import estimate_cost_range, estimate_run
from promptmill.producers.pricing.prices import Prices, find_prices
from promptmill.producers.pricing.tokens import (
    ESTIMATED_OUTPUT_TOKENS,
    MAX_INPUT_TOKENS,
    MAX_OUTPUT_TOKENS,
    RequestTokens,
    TokenTotals,
    count_request_tokens,
    sum_tokens,
)
from promptmill.producers.requests.chunks import measure_chunks
from promptmill.producers.requests.encode import encode_lines
from promptmill.workers.steps.plan import divide_chunks
from support.chunking import cut


def priced(model: str) -> Prices:
    found = find_prices(model, datetime(2026, 11, 24, tzinfo=UTC))
    assert found
    return found


NAMES = (
    "systemInstruction", "generationConfig", "tools", "parts", "text", "maxOutputTokens", "candidateCount", "mimeType",
    "fileData", "startOffset", "endOffset", "fps", "data",
)  # fmt: skip
PRICES, PRO = priced("gemini-3.8-flash"), priced("gemini-2.5-pro")

needs = st.lists(
    st.builds(
        RequestTokens,
        text=st.integers(0, 400_000),
        most=st.integers(0, MAX_INPUT_TOKENS),
        images=st.integers(0, 3),
        seconds=st.integers(0, 60),
        answer=st.integers(0, MAX_OUTPUT_TOKENS),
        open=st.booleans(),
    ),
    max_size=30,
)


def request(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": list(parts)}], **more}


def need(*parts: dict[str, Any], **more: Any) -> RequestTokens:
    asked = request(*parts, **more)
    return count_request_tokens(asked, len(msgspec.json.encode(asked)))


def test_text_counts_by_bytes_and_never_as_more_tokens_than_bytes() -> None:
    found = need(
        {"text": "hola"}, {"text": "señal"}, systemInstruction={"parts": [{"text": "be brief"}]}
    )

    assert found.text == 4 + 6 + 8
    assert found.most >= found.text
    assert (found.images, found.seconds, found.open, found.answer) == (0, 0, False, 0)


@given(st.text(max_size=200).filter(str.strip), st.integers(1, 9999))
def test_a_text_needs_the_same_however_it_is_wrapped(text: str, row: int) -> None:
    plain, wrapped = encode_lines("01jtest", [text, {"prompt": text}], 1 << 20)

    if not plain.refusal:
        assert plain.tokens.text >= len(text.encode())
        assert wrapped.tokens.text == len(text.encode()) <= plain.tokens.most <= wrapped.tokens.most


def test_the_response_schema_of_a_run_is_a_part_of_what_each_request_may_use() -> None:
    schema = b'{"type":"STRING"}'
    (plain, wrapped), (_, bare) = (
        encode_lines("01jtest", ["a", {"prompt": "a"}], 1 << 20, sent) for sent in (schema, b"")
    )

    assert plain.tokens.text == wrapped.tokens.text == 1
    assert (
        len(schema)
        < plain.tokens.most
        <= wrapped.tokens.most
        == bare.tokens.most + plain.tokens.most - 1
    )


def test_what_a_request_allows_for_its_answer_counts_for_every_candidate() -> None:
    assert need({"text": "a"}, generationConfig={"maxOutputTokens": 100}).answer == 100
    assert (
        need(
            {"text": "a"}, generation_config={"max_output_tokens": 100, "candidate_count": 3}
        ).answer
        == 300
    )


def test_an_image_is_not_text_and_a_video_whose_length_is_told_is_not_open() -> None:
    picture = need({"inlineData": {"mimeType": "image/png", "data": "A" * 100_000}})
    clip = {"fileUri": "gs://a/b.mp4", "mimeType": "video/mp4"}
    cut_clip = need(
        {"fileData": clip, "videoMetadata": {"startOffset": "2s", "endOffset": "11.5s"}}
    )

    assert (picture.text, picture.images, picture.open) == (0, 1, False) and picture.most < 10_000
    assert (cut_clip.seconds, cut_clip.open) == (10, False)
    assert need({"fileData": clip}).open
    assert need({"fileData": clip, "videoMetadata": {"endOffset": "9s", "fps": 24}}).open


@pytest.mark.parametrize("tool", [{"googleSearch": {}}, {"codeExecution": {}}, {"urlContext": {}}])
def test_a_tool_that_reads_more_makes_the_input_open(tool: dict[str, Any]) -> None:
    assert need({"text": "a"}, tools=[tool]).open
    assert not need({"text": "a"}, tools=[{"functionDeclarations": [{"name": "f"}]}]).open


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(NAMES), json_values, max_size=5), json_values)
def test_whatever_is_in_a_request_is_counted_without_a_fault(
    more: dict[str, Any], part: Any
) -> None:
    """Lint looks at contents; what is elsewhere may be anything."""
    asked = more | {
        "contents": [{"parts": [{"text": "a"}, {"inlineData": part, "videoMetadata": part}]}]
    }

    assert count_request_tokens(asked, 100).most >= 0


def test_an_estimate_names_its_method_and_its_range() -> None:
    prompts = ["x" * 400] * 999 + [{"prompt": "y" * 400, "key": "limited"}] + [" "]
    made = estimate_run(
        measure_chunks(encode_lines("r", prompts, 1 << 20), 1 << 16),
        PRICES.model,
        PRICES,
        100,
        10**9,
    )

    assert (made.requests, made.refused) == (1001, 1)
    assert (made.input_tokens, made.output_tokens) == (100_000, 1000 * ESTIMATED_OUTPUT_TOKENS)
    assert made.output_tokens_most == 1000 * MAX_OUTPUT_TOKENS
    assert (made.usd_least, made.usd, made.online_usd) == (
        0.0375,
        0.0375 + 0.48,
        2 * (0.0375 + 0.48),
    )
    assert "4 bytes" in made.method and str(ESTIMATED_OUTPUT_TOKENS) in made.method


def test_an_unknown_price_is_none_and_not_nothing() -> None:
    made = estimate_run(
        measure_chunks(encode_lines("r", ["a"], 1 << 20), 1 << 16), "gemini-fake", None, 100, 10**9
    )

    assert (made.usd, made.usd_least, made.usd_most, made.online_usd) == (None, None, None, None)
    assert made.input_tokens == 1


def test_the_estimate_of_a_mill_sends_nothing() -> None:
    mill = Promptmill(broker_url="redis://127.0.0.1:1", bucket="gs://b", max_requests_per_job=2)

    assert mill.estimate(["a", "b", "c"], model="gemini-3.8-flash").jobs == 2


@pytest.mark.parametrize("limit", [0, -1, float("nan")])
def test_a_limit_that_is_none_is_refused(limit: float) -> None:
    with pytest.raises(ConfigurationError, match="max_cost_usd"):
        Promptmill(bucket="gs://b").submit(["a"], model="gemini-3.8-flash", max_cost_usd=limit)


@given(needs, needs)
def test_tokens_add_up_however_requests_are_grouped(
    some: list[RequestTokens], others: list[RequestTokens]
) -> None:
    assert sum_tokens(some) + sum_tokens(others) == sum_tokens(some + others)


@given(needs, st.integers(0, 40), st.randoms())
def test_no_choice_of_requests_exceeds_what_is_said_of_so_many(
    found: list[RequestTokens], count: int, random: Any
) -> None:
    chosen = sum_tokens(random.sample(found, min(count, len(found))))
    bound = sum_tokens(found).bound_for(count)

    assert (chosen.most, chosen.max_output_tokens, chosen.open) <= (
        bound.most,
        bound.max_output_tokens,
        bound.open,
    )
    assert (
        chosen.most <= bound.most
        and chosen.max_output_tokens <= bound.max_output_tokens
        and chosen.open <= bound.open
    )


@given(needs, st.sampled_from([PRICES, PRO]), st.integers(1, 3))
def test_what_cannot_be_exceeded_is_not_exceeded(
    found: list[RequestTokens], prices: Any, share: int
) -> None:
    """Each request reads and writes as much as it can, by the rate of its own size."""
    worst = 0
    for one in found:
        read = (MAX_INPUT_TOKENS if one.open else one.most) // share
        rate = next(rate for rate in reversed(prices.batch) if read > rate.above or not rate.above)
        worst += rate.calculate_cost(
            {"input": read, "output": (one.answer or MAX_OUTPUT_TOKENS) // share}
        )

    assert worst <= estimate_cost_range(sum_tokens(found), prices).most


@given(needs)
def test_a_range_is_in_order(found: list[RequestTokens]) -> None:
    assert (
        0
        <= (made := estimate_cost_range(sum_tokens(found), PRICES)).least
        <= made.likely
        <= made.online
    )


chunk_sizes = st.lists(
    st.builds(ChunkSize, st.integers(1, 300), st.integers(1, 1000)), min_size=1, max_size=40
)


@given(chunk_sizes, st.integers(1, 200), st.integers(1000, 5000))
def test_an_estimate_has_as_many_jobs_as_the_workers_make(
    chunks: list[ChunkSize], max_requests: int, max_bytes: int
) -> None:
    made = estimate_run(
        [(chunk, TokenTotals()) for chunk in chunks], "gemini-fake", None, max_requests, max_bytes
    )

    assert made.jobs == len(divide_chunks(chunks, max_requests, max_bytes))


@given(st.lists(st.text(max_size=50), max_size=60), st.integers(10, 400))
def test_what_is_measured_is_what_is_cut(prompts: list[str], max_bytes: int) -> None:
    def lines() -> Iterator[Any]:
        return encode_lines("01jtest", prompts, 1 << 20)

    made = [
        (ChunkSize(chunk.requests, chunk.size), chunk.tokens) for chunk in cut(lines(), max_bytes)
    ]

    assert made == list(measure_chunks(lines(), max_bytes))
