"""What a run may use and cost, from the tokens that its requests may use; nothing is spent, and Google is not asked."""

import re
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from promptmill.producers.contract.messages import ChunkSize
from promptmill.producers.pricing.prices import Prices, Rate, dollars
from promptmill.producers.pricing.tokens import ANSWER, BYTES_PER_TOKEN, INPUT_MOST, Tokens

METHOD = (
    f"input: a token for every {BYTES_PER_TOKEN} bytes of text, at most one a byte; "
    f"output: {ANSWER} tokens a request, at most its maxOutputTokens, or what the model can"
)
_GENERATION = re.compile(r"gemini-(\d+)")
_IMAGE, _SECOND = 1120, 102
"""Tokens of an image and of a second of video since Gemini 3: 70 for the frame and 32 for the sound
(ai.google.dev/gemini-api/docs/media-resolution)."""
_OLDER_IMAGE, _OLDER_SECOND = 258, 300
"""… and before."""


class Range(NamedTuple):
    """Picodollars: no answer at all, what is likely, what it cannot exceed; and the likely one without batch jobs."""

    least: int
    likely: int
    most: int
    online: int


class Estimate(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a run may use and cost; amounts in USD, None where no price is known.

    ``usd_least`` is for the input alone, ``usd_most`` cannot be exceeded: with all requests answered once, by the
    prices of today. ``open`` requests have media of unknown length, or a tool that reads more: the estimate lacks that,
    and ``usd_most`` has all that the model can read. ``refused`` requests will not be sent.
    """

    requests: int
    refused: int
    input_tokens: int
    input_tokens_most: int
    output_tokens: int
    output_tokens_most: int
    usd: float | None = None
    usd_least: float | None = None
    usd_most: float | None = None
    online_usd: float | None = None
    open: int = 0
    jobs: int = 0
    method: str = METHOD


def estimate(
    chunks: Iterable[tuple[ChunkSize, Tokens]], model: str, prices: Prices | None, max_requests: int, max_bytes: int
) -> Estimate:
    """Return the estimate of a run by the size and the tokens of its ``chunks``, which are seen once."""
    jobs, requests, tokens = Jobs(max_requests, max_bytes), 0, Tokens()
    for size, of_chunk in chunks:
        jobs.add(size)
        requests += size.requests
        tokens += of_chunk
    return of_tokens(requests, tokens, model, prices, jobs.count)


def of_tokens(requests: int, tokens: Tokens, model: str, prices: Prices | None, jobs: int) -> Estimate:
    """Return the estimate of a run by what its requests may use together."""
    cost = cost_range(tokens, prices) if prices else None
    return Estimate(
        requests=requests,
        refused=requests - tokens.sent,
        input_tokens=_input(tokens, model),
        input_tokens_most=tokens.most + tokens.open * INPUT_MOST,
        output_tokens=tokens.answers,
        output_tokens_most=tokens.output_most,
        usd=cost and dollars(cost.likely),
        usd_least=cost and dollars(cost.least),
        usd_most=cost and dollars(cost.most),
        online_usd=cost and dollars(cost.online),
        open=tokens.open,
        jobs=jobs,
    )


def cost_range(tokens: Tokens, prices: Prices) -> Range:
    """Return what requests may cost together, each answered once."""
    likely = _input(tokens, prices.model), tokens.answers
    average = likely[0] // max(tokens.sent, 1)
    rate = _rate(prices.batch, average)
    return Range(
        least=rate.cost({"input": likely[0]}),
        likely=rate.cost({"input": likely[0], "output": likely[1]}),
        most=most(tokens, prices),
        online=_rate(prices.online, average).cost({"input": likely[0], "output": likely[1]}),
    )


def most(tokens: Tokens, prices: Prices) -> int:
    """Return the picodollars that requests cannot exceed together, each answered once.

    All count at the rate of the largest, and what is not named at the dearest kind.
    """
    rate = _rate(prices.batch, INPUT_MOST if tokens.open else tokens.largest)
    of = rate.per_token
    media = tokens.open * INPUT_MOST * max(of["input"], of["input_audio"])
    text = tokens.most * max(of["input"], of["cached"])
    return text + media + tokens.output_most * max(of["output"], of["output_image"])


class Jobs:
    """Counts the jobs that a run of chunks makes, as the workers divide it."""

    def __init__(self, max_requests: int, max_bytes: int) -> None:
        self.count = 0
        self._most = max_requests, max_bytes
        self._requests = self._size = 0

    def add(self, chunk: ChunkSize) -> None:
        """Take the next chunk."""
        most, max_bytes = self._most
        for start in range(0, chunk.requests, most):
            requests = min(most, chunk.requests - start)
            size = -(-chunk.size * requests // chunk.requests)
            if not self.count or self._requests + requests > most or self._size + size > max_bytes:
                self.count, self._requests, self._size = self.count + 1, 0, 0
            self._requests, self._size = self._requests + requests, self._size + size


def _rate(rates: list[Rate], size: int) -> Rate:
    """Return the rate of a request with so many input tokens."""
    return next(rate for rate in reversed(rates) if size > rate.above or not rate.above)


def _input(tokens: Tokens, model: str) -> int:
    found = _GENERATION.search(model)
    old = found is not None and int(found[1]) < 3
    image, second = (_OLDER_IMAGE, _OLDER_SECOND) if old else (_IMAGE, _SECOND)
    return -(-tokens.text // BYTES_PER_TOKEN) + tokens.images * image + tokens.seconds * second
