"""Retries answers that were cut off with MAX_TOKENS, with a higher token limit."""

from typing import NamedTuple

import msgspec

from promptmill.producers.contract.failure_reasons import FailureReason
from promptmill.producers.contract.results import Result
from promptmill.workers.facts.row_set import RowSet


class TokenLimit(NamedTuple):
    """The rows that are sent with a limit of ``tokens``, because they were cut off before."""

    rows: RowSet = RowSet()
    tokens: int = 0

    def adjust_line(self, line: bytes, row_offset: int) -> bytes:
        """Return the line of the row at ``row_offset``, with the higher limit if it applies."""
        return raise_limit(line, self.tokens) if row_offset in self.rows else line


def can_raise_limit(result: Result, line: bytes, tokens: int) -> bool:
    """Whether a result was cut off at a limit below ``tokens``, given its line of output.

    The limit is that of the echoed request. Without one, it is the number of used tokens.
    """
    if result.error is None or result.error.reason != FailureReason.MAX_TOKENS:
        return False
    used = [result.usage.get(kind) for kind in ("candidatesTokenCount", "thoughtsTokenCount")]
    return (
        _requested_limit(line) or sum(count for count in used if isinstance(count, int))
    ) < tokens


def raise_limit(line: bytes, tokens: int) -> bytes:
    """Return a line whose request has the limit ``tokens``. All other bytes stay the same."""
    wire = _fields(line)
    request = _fields(wire["request"])
    config_key = "generation_config" if "generation_config" in request else "generationConfig"
    config = _fields(request.get(config_key, b"{}"))
    config["max_output_tokens" if "max_output_tokens" in config else "maxOutputTokens"] = (
        msgspec.Raw(b"%d" % tokens)
    )
    request[config_key] = msgspec.Raw(_encode(config))
    return _encode(wire | {"request": request})


class _Config(msgspec.Struct):
    maxOutputTokens: int | None = None  # noqa: N815
    max_output_tokens: int | None = None


class _Request(msgspec.Struct):
    generationConfig: _Config | None = None  # noqa: N815
    generation_config: _Config | None = None


class _WireLine(msgspec.Struct):
    request: _Request | None = None


_decode_line = msgspec.json.Decoder(_WireLine, strict=False).decode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def _requested_limit(line: bytes) -> int:
    try:
        request = _decode_line(line).request or _Request()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0
    config = request.generationConfig or request.generation_config or _Config()
    return config.maxOutputTokens or config.max_output_tokens or 0
