"""Finds the row that an answer without a key belongs to, by the request that Vertex echoes beside it."""

import hashlib
import re
from collections import defaultdict, deque
from collections.abc import Iterable

import msgspec

from promptmill.producers.contract.results import Result
from promptmill.producers.requests.encode import WireKey, split_wire_key

_SNAKE = re.compile(r"_([a-z])")
_encode_ordered = msgspec.json.Encoder(order="deterministic").encode


class _WireLine(msgspec.Struct):
    key: str = ""
    metadata: str | None = None
    request: object = None


_decode = msgspec.json.Decoder(_WireLine).decode


def request_hash(line: bytes) -> str:
    """Return the hash of a line's request, the same however Vertex orders, names or pads its fields; "" without one.

    The echo may have nulls added and ``system_instruction`` turned into ``systemInstruction`` (Google's own samples).
    """
    try:
        request = msgspec.json.decode(line).get("request")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, AttributeError):
        return ""
    return hashlib.sha256(_encode_ordered(_normalize_value(request))).hexdigest() if request else ""


def _normalize_value(value: object) -> object:
    if isinstance(value, dict):
        return {
            _SNAKE.sub(_to_upper, name): _normalize_value(item)
            for name, item in value.items()
            if item is not None
        }
    if isinstance(value, list):
        return [_normalize_value(item) for item in value]
    return value


def _to_upper(match: re.Match[str]) -> str:
    return match[1].upper()


class UnkeyedResult(msgspec.Struct, omit_defaults=True):
    """An answer that came back without a key: the hash of its request, and its result, which lacks what the key tells.

    ``cut_off``: more tokens may mend it. ``invalid``: hearing what was wrong may.
    """

    hash: str
    result: Result
    cut_off: bool = False
    invalid: bool = False

    def with_key(self, key: WireKey, metadata: str | None) -> Result:
        """Return the result of the row that it was found to answer."""
        decoded = None if metadata is None else msgspec.json.decode(metadata)
        return msgspec.structs.replace(self.result, key=key.key, row=key.row, metadata=decoded)


decode_unkeyed = msgspec.json.Decoder(UnkeyedResult).decode
"""Reads an answer without a key as ``parse`` wrote it."""


class UnmatchedRows:
    """The rows of a shard that have no answer yet, by the hash of their request.

    Holds about 200 bytes a row; needed only when Vertex does not echo keys.
    """

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._unmatched: dict[str, deque[tuple[WireKey, str | None]]] = defaultdict(deque)
        for line in lines:
            wire = _decode(line)
            if key := split_wire_key(wire.key):
                self._unmatched[request_hash(line)].append((key, wire.metadata))

    def pop_match(self, digest: str) -> tuple[WireKey, str | None] | None:
        """Return the first row (and its metadata) with this request that was not taken yet, or None."""
        candidates = self._unmatched.get(digest)
        return candidates.popleft() if candidates else None
