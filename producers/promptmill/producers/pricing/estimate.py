"""Estimates the tokens and the cost of a run, without a call to Google."""

import re
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from promptmill.producers.models.model_table import THOUGHT_TOKENS, find_embedding_model
from promptmill.producers.pricing.prices import Prices, Rate, to_dollars
from promptmill.producers.pricing.tokens import (
    BYTES_PER_TOKEN,
    ESTIMATED_OUTPUT_TOKENS,
    MAX_INPUT_TOKENS,
    ChunkSize,
    TokenTotals,
)

_LEVELS = ", ".join(f"{level} {count}" for level, count in THOUGHT_TOKENS.items())
METHOD = (
    f"input: one token per {BYTES_PER_TOKEN} bytes of text, at most one per byte; "
    f"output: {ESTIMATED_OUTPUT_TOKENS} tokens per request and its thoughts, at most "
    f"maxOutputTokens or the model's limit; thoughts by thinking level ({_LEVELS}), a rough "
    "assumption from a few short prompts to Gemini 3.6 and 3.7 Flash"
)
EMBEDDING_METHOD = (
    f"input: one token per {BYTES_PER_TOKEN} bytes of text, at most one per byte or the "
    "model's limit; an embedding has no output tokens"
)
_MODEL_GENERATION = re.compile(r"gemini-(\d+)")
_IMAGE_TOKENS, _VIDEO_SECOND_TOKENS = 1120, 102
"""Tokens of an image and of a second of video since Gemini 3.

A second has 70 for the frame and 32 for the sound
(ai.google.dev/gemini-api/docs/media-resolution).
"""
_OLDER_IMAGE_TOKENS, _OLDER_VIDEO_SECOND_TOKENS = 258, 300
"""Tokens of an image and of a second of video before Gemini 3."""


class CostRange(NamedTuple):
    """Costs in picodollars.

    ``least`` is the input alone, ``likely`` the estimate, ``most`` the upper bound.
    ``online`` is the estimate outside batch jobs.
    """

    least: int
    likely: int
    most: int
    online: int


class Estimate(msgspec.Struct, frozen=True, omit_defaults=True):
    """The estimated tokens and cost of a run. Amounts are in USD, or None without a
    price.
    """

    requests: int
    """Number of requests, including invalid rows."""
    refused: int
    """Number of invalid rows. They are not sent."""
    input_tokens: int
    """Estimated input tokens."""
    input_tokens_most: int
    """Upper bound of input tokens."""
    output_tokens: int
    """Estimated output tokens, thoughts included."""
    output_tokens_most: int
    """Upper bound of output tokens."""
    usd: float | None = None
    """Estimated cost."""
    usd_least: float | None = None
    """Cost of the estimated input alone."""
    usd_most: float | None = None
    """Upper bound of the cost, each request answered once.

    A price increase while a job may still run counts.
    """
    online_usd: float | None = None
    """Estimated cost of the same requests outside batch jobs."""
    open: int = 0
    """Number of requests with media of unknown length, or a tool that adds input.

    The estimate leaves that input out. The upper bounds assume the model's maximum.
    """
    jobs: int = 0
    """Number of batch jobs."""
    method: str = METHOD
    """How tokens are estimated, as a text for users."""
    thought_tokens: int = 0
    """Estimated thought tokens, by model and thinking level."""
    location: str = ""
    """Location whose prices apply. Empty without a price."""


def estimate_run(
    chunks: Iterable[tuple[ChunkSize, TokenTotals]],
    model: str,
    prices: Prices | None,
    max_requests: int,
    max_bytes: int,
    later_prices: Prices | None = None,
) -> Estimate:
    """Return the estimate of a run from the sizes and tokens of its ``chunks``.

    ``later_prices`` are those at the last possible end of its jobs.
    """
    jobs, requests, tokens = JobCounter(max_requests, max_bytes), 0, TokenTotals()
    for size, chunk_tokens in chunks:
        jobs.add_chunk(size)
        requests += size.requests
        tokens += chunk_tokens
    return build_estimate(requests, tokens, model, prices, jobs.count, later_prices)


def build_estimate(
    requests: int,
    tokens: TokenTotals,
    model: str,
    prices: Prices | None,
    jobs: int,
    later_prices: Prices | None = None,
) -> Estimate:
    """Return the estimate of a run from the token totals of its requests."""
    tokens = _fit_model(tokens, model)
    cost = estimate_cost_range(tokens, prices, later_prices) if prices else None
    return Estimate(
        requests=requests,
        refused=requests - tokens.sent,
        input_tokens=_input_tokens(tokens, model),
        input_tokens_most=tokens.most + tokens.open * MAX_INPUT_TOKENS,
        output_tokens=tokens.answers,
        output_tokens_most=tokens.max_output_tokens,
        usd=cost and to_dollars(cost.likely),
        usd_least=cost and to_dollars(cost.least),
        usd_most=cost and to_dollars(cost.most),
        online_usd=cost and to_dollars(cost.online),
        open=tokens.open,
        jobs=jobs,
        method=EMBEDDING_METHOD if find_embedding_model(model) else METHOD,
        thought_tokens=tokens.thoughts,
        location=prices.location if prices else "",
    )


def _fit_model(tokens: TokenTotals, model: str) -> TokenTotals:
    """Return the token totals without output tokens for a model that makes embeddings."""
    if not find_embedding_model(model):
        return tokens
    return msgspec.structs.replace(tokens, answers=0, named=0, longest=0, unnamed=0, thoughts=0)


def estimate_cost_range(
    tokens: TokenTotals, prices: Prices, later_prices: Prices | None = None
) -> CostRange:
    """Return the cost range of requests, each answered once."""
    likely = _input_tokens(tokens, prices.model), tokens.answers
    average = likely[0] // max(tokens.sent, 1)
    rate = _find_rate(prices.batch, average)
    return CostRange(
        least=rate.calculate_cost({"input": likely[0]}),
        likely=rate.calculate_cost({"input": likely[0], "output": likely[1]}),
        most=max(max_cost(tokens, known) for known in (prices, later_prices or prices)),
        online=_find_rate(prices.online, average).calculate_cost(
            {"input": likely[0], "output": likely[1]}
        ),
    )


def max_cost(tokens: TokenTotals, prices: Prices) -> int:
    """Return the upper bound of the cost in picodollars, each request answered once.

    All requests count at the rate of the largest one. Unknown tokens count as the most
    expensive kind.
    """
    rate = _find_rate(prices.batch, MAX_INPUT_TOKENS if tokens.open else tokens.largest)
    per_token = rate.per_token
    unknown = tokens.open * MAX_INPUT_TOKENS * rate.highest_input_price
    known = tokens.most * _max_input_price(tokens, rate)
    output = tokens.max_output_tokens * max(per_token["output"], per_token["output_image"])
    return known + unknown + output


def _max_input_price(tokens: TokenTotals, rate: Rate) -> int:
    """Return the price of the most expensive kind of the counted input.

    A video may have sound. Only embeddings have prices of their own for images.
    """
    if tokens.seconds:
        return rate.highest_input_price
    kinds = ("input", "cached", "input_image") if tokens.images else ("input", "cached")
    return max(rate.calculate_cost({kind: 1}) for kind in kinds)


class JobCounter:
    """Counts the jobs of a run, as the workers divide its chunks."""

    def __init__(self, max_requests: int, max_bytes: int) -> None:
        self.count = 0
        self._limits = max_requests, max_bytes
        self._requests = self._size = 0

    def add_chunk(self, chunk: ChunkSize) -> None:
        """Add the next chunk."""
        max_requests, max_bytes = self._limits
        for start in range(0, chunk.requests, max_requests):
            requests = min(max_requests, chunk.requests - start)
            size = -(-chunk.size * requests // chunk.requests)
            if (
                not self.count
                or self._requests + requests > max_requests
                or self._size + size > max_bytes
            ):
                self.count, self._requests, self._size = self.count + 1, 0, 0
            self._requests, self._size = self._requests + requests, self._size + size


def _find_rate(rates: list[Rate], size: int) -> Rate:
    """Return the rate of a request with ``size`` input tokens."""
    return next(rate for rate in reversed(rates) if size > rate.above or not rate.above)


def _input_tokens(tokens: TokenTotals, model: str) -> int:
    match = _MODEL_GENERATION.search(model)
    is_older = match is not None and int(match[1]) < 3
    image, second = (
        (_OLDER_IMAGE_TOKENS, _OLDER_VIDEO_SECOND_TOKENS)
        if is_older
        else (_IMAGE_TOKENS, _VIDEO_SECOND_TOKENS)
    )
    return -(-tokens.text // BYTES_PER_TOKEN) + tokens.images * image + tokens.seconds * second
