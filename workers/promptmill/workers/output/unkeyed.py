"""Matches answers without a key to rows, by the request that Vertex echoes.

Vertex does not echo keys for every model and format.
"""

import hashlib
import math
import re
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from promptmill.producers.contract.results import Result
from promptmill.producers.requests.encode import WireKey, split_wire_key

_LISTS = frozenset(
    {
        "contents",
        "parts",
        "tools",
        "functionDeclarations",
        "function_declarations",
        "safetySettings",
        "safety_settings",
    }
)
"""Repeated fields of a request, for which Vertex accepts a single object too."""
_BOOLEANS = {"true": True, "t": True, "yes": True, "y": True} | dict.fromkeys(
    ("false", "f", "no", "n"), False
)
_LONGEST_BOOLEAN = 5
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_LAST_CHARACTERS = frozenset("0123456789.")
"""The last characters of numbers."""
_INT64 = 1 << 63
_MAX_DIGITS = 40
_SNAKE = re.compile(r"_([a-z])")
_encode_ordered = msgspec.json.Encoder(order="deterministic").encode


class _WireLine(msgspec.Struct):
    key: str = ""
    metadata: str | None = None
    request: object = None


_decode = msgspec.json.Decoder(_WireLine).decode


class RequestHash(NamedTuple):
    """The hash of a request, and one that distinguishes texts from numbers.

    ``exact`` is empty if no text may become a number or boolean.
    """

    hash: str = ""
    exact: str = ""


def hash_request(line: bytes) -> RequestHash:
    """Return the hash of a line's request, which is empty if it has none.

    Ignores the order of fields, their spelling and nulls. In Google's samples, the echo
    has added nulls, and ``systemInstruction`` in place of ``system_instruction``. The
    importer turns 1.0 into 1, and strings into numbers and booleans (observed live,
    2026-10), so these are equal too. It keeps texts if one value of the field is surely text:
    then only the ``exact`` hash distinguishes "yes" and "y".
    """
    try:
        request = _decode_exactly(line).get("request")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, AttributeError):
        return RequestHash()
    if not request:
        return RequestHash()
    converter = _TextConverter()
    digest = _hash_value(_normalize_value(request, converter.convert_text))
    if not converter.has_converted:
        return RequestHash(digest)
    return RequestHash(digest, _hash_value(_normalize_value(request, str)))


def _hash_value(value: object) -> str:
    return hashlib.sha256(_encode_ordered(value)).hexdigest()


class _TextConverter:
    has_converted = False

    def convert_text(self, text: str) -> object:
        """Return the number or boolean that the importer may read in a text, else the text."""
        value = _normalize_text(text)
        if value is not text:
            self.has_converted = True
        return value


def _normalize_value(value: object, convert: Callable[[str], object]) -> object:
    """Normalize a value; ``convert`` applies to texts that may be numbers or booleans."""
    if isinstance(value, str):
        may_convert = len(value) <= _LONGEST_BOOLEAN or value[-1] in _LAST_CHARACTERS
        return convert(value) if may_convert else value
    if isinstance(value, dict):
        return {
            _SNAKE.sub(_to_upper, name) if "_" in name else name: _normalize_value(
                [item] if name in _LISTS and isinstance(item, dict) else item, convert
            )
            for name, item in value.items()
            if item is not None
        }
    if isinstance(value, list):
        return [_normalize_value(item, convert) for item in value]
    return value


def _to_upper(match: re.Match[str]) -> str:
    return match[1].upper()


def _normalize_text(text: str) -> object:
    """Return the number or boolean that the importer may read in a text, else the text."""
    if len(text) <= _LONGEST_BOOLEAN and (boolean := _BOOLEANS.get(text.lower())) is not None:
        return boolean
    if not _NUMBER.fullmatch(text):
        return text
    number = float(text)
    is_exact = abs(number) < _INT64 and len(text) < _MAX_DIGITS and text.lstrip("+-").isdecimal()
    return int(text) if is_exact else _normalize_float(text)


def _normalize_float(text: str) -> object:
    """Return a float, or the integer that is equal to it. A number out of range stays text."""
    number = float(text)
    if not math.isfinite(number):
        return text
    return int(number) if number.is_integer() else number


_decode_exactly = msgspec.json.Decoder(float_hook=_normalize_float).decode


class UnkeyedResult(msgspec.Struct, omit_defaults=True):
    """An answer without a key: the hash of its request, and its result without key and row.

    ``cut_off``: a retry with a higher token limit may succeed. ``invalid``: a retry with
    feedback on the schema error may. ``exact``: see ``RequestHash``.
    """

    hash: str
    result: Result
    cut_off: bool = False
    invalid: bool = False
    exact: str = ""

    def with_key(self, key: WireKey, metadata: str | None) -> Result:
        """Return the result, assigned to the row with this key."""
        decoded = None if metadata is None else msgspec.json.decode(metadata)
        return msgspec.structs.replace(self.result, key=key.key, row=key.row, metadata=decoded)


decode_unkeyed = msgspec.json.Decoder(UnkeyedResult).decode
"""Decodes an answer without a key, as the step ``parse`` stored it."""


class UnmatchedRows:
    """The rows of a shard that have no answer yet, by the hash of their request.

    Uses about 200 bytes per row. Only needed if Vertex does not echo keys.
    """

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._unmatched: dict[str, deque[_UnmatchedRow]] = defaultdict(deque)
        for line in lines:
            wire = _decode(line)
            if key := split_wire_key(wire.key):
                digest, exact = hash_request(line)
                self._unmatched[digest].append(_UnmatchedRow(exact, key, wire.metadata))

    def pop_match(self, unkeyed: UnkeyedResult) -> tuple[WireKey, str | None] | None:
        """Remove and return the next row with this request, as its key and metadata.

        Prefers a row with the same texts. Returns None if no row is left.
        """
        rows = self._unmatched.get(unkeyed.hash)
        if not rows:
            return None
        index = next((index for index, row in enumerate(rows) if row.exact == unkeyed.exact), 0)
        row = rows[index]
        del rows[index]
        return row.key, row.metadata


class _UnmatchedRow(NamedTuple):
    exact: str
    key: WireKey
    metadata: str | None
