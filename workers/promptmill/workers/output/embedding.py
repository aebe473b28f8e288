"""Checks the vector of an embedding without decoding it: its bytes go into the result."""

import msgspec

from promptmill.workers.output.lenient_json import decode_lenient
from promptmill.workers.output.odd_lines import describe_type

VALUES_PLACE = "response.embedding.values"
_DIGIT_BYTES = b"0123456789+-. \t\r\n"
_MAX_NUMBER_BYTES = 40
_decode_numbers = msgspec.json.Decoder(list[float]).decode


class _EchoedConfig(msgspec.Struct):
    output_dimensionality: int | None = None
    outputDimensionality: int | None = None  # noqa: N815


class _EchoedRequest(msgspec.Struct):
    embed_content_config: _EchoedConfig | None = None
    embedContentConfig: _EchoedConfig | None = None  # noqa: N815


_decode_request = msgspec.json.Decoder(_EchoedRequest).decode


def find_vector_problem(values: bytes, request: bytes) -> str:
    """Return what is wrong with a JSON value that should be the vector of ``request``, or "".

    A vector is a list of finite numbers. The request may name their count.
    """
    length, expected = _count_numbers(values), _read_length(request)
    if not length:
        return _describe_values(values)
    if expected and length != expected:
        return f"{VALUES_PLACE} has {length:,} numbers, not {expected:,}"
    return ""


def _count_numbers(values: bytes) -> int:
    """Return how many numbers valid JSON has that is a flat list of finite ones; 0 for others.

    What is left of it without digits decides. This takes a tenth of the time of decoding.
    Only huge numbers, which may be infinite, are decoded.
    """
    marks = values.translate(None, _DIGIT_BYTES)
    commas = marks.translate(None, b"eE")
    length = len(commas) - 1
    if commas != b"[%s]" % (b"," * (length - 1)) or not values[1:-1].strip():
        return 0
    exponents = len(marks) - len(commas)
    is_small = not exponents or values.count(b"e-") == exponents
    if is_small and len(values) <= _MAX_NUMBER_BYTES * length:
        return length
    return length if _are_finite(values) else 0


def _are_finite(values: bytes) -> bool:
    try:
        return bool(_decode_numbers(values))
    except msgspec.DecodeError:
        return False


def _describe_values(values: bytes) -> str:
    if not values:
        return f"{VALUES_PLACE} is missing"
    decoded = decode_lenient(values)
    if not isinstance(decoded, list):
        return f"{VALUES_PLACE} is {describe_type(decoded)}, not a list of numbers"
    for index, value in enumerate(decoded):
        if type(value) not in (int, float):
            return f"{VALUES_PLACE}[{index}] is {describe_type(value)}, not a number"
    return f"{VALUES_PLACE} is {'out of range' if decoded else 'empty'}"


def _read_length(request: bytes) -> int:
    """Return the length of the vector that an echoed request asks for; 0 if it names none."""
    try:
        echo = _decode_request(request)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return 0
    config = echo.embed_content_config or echo.embedContentConfig or _EchoedConfig()
    return config.output_dimensionality or config.outputDimensionality or 0


def find_token_count(value: object, depth: int = 0) -> int:
    """Return the number of tokens in the statistics of an answer, or 0.

    Google's other methods for embeddings have a ``statistics.tokenCount``.
    """
    if not isinstance(value, dict) or depth > 2:
        return 0
    for name in ("tokenCount", "token_count"):
        count = str(value.get(name) or "").removesuffix(".0")
        if count.isascii() and count.isdigit() and len(count) < 16:
            return int(count)
    nested = (value.get(name) for name in ("statistics", "embedding"))
    return next(filter(None, (find_token_count(each, depth + 1) for each in nested)), 0)
