"""Answers that were cut off by MAX_TOKENS: whether more tokens may mend one, and the request that asks for them."""

from typing import NamedTuple

import msgspec

from promptmill.producers.contract.failure_reasons import FailureReason
from promptmill.producers.contract.results import Result
from promptmill.workers.facts.row_set import RowSet


class TokenLimit(NamedTuple):
    """The rows of an attempt that are sent with a limit of ``tokens``: they were cut off before."""

    rows: RowSet = RowSet()
    tokens: int = 0

    def adjust_line(self, line: bytes, row_offset: int) -> bytes:
        """Return the wire line of the row at ``row_offset`` in its shard as this attempt asks it."""
        return raise_limit(line, self.tokens) if row_offset in self.rows else line


def can_raise_limit(result: Result, line: bytes, tokens: int) -> bool:
    """Whether a result was cut off with less than ``tokens``, by its line of output.

    What the echoed request names as its limit counts, or where it names none, what was used.
    """
    if result.error is None or result.error.reason != FailureReason.MAX_TOKENS:
        return False
    used = [result.usage.get(kind) for kind in ("candidatesTokenCount", "thoughtsTokenCount")]
    return (
        _requested_limit(line) or sum(count for count in used if isinstance(count, int))
    ) < tokens


def raise_limit(line: bytes, tokens: int) -> bytes:
    """Return a wire line whose request may answer with ``tokens``; every other byte of it stays as it is."""
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
