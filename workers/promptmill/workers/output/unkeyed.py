"""Matches answers without a key to rows, by the request that Vertex echoes.

Vertex does not echo keys for every model and format.
"""

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
    """Return a hash of a line's request, or "" if it has none.

    Ignores the order of fields, their spelling and nulls. In Google's samples, the echo
    has added nulls, and ``systemInstruction`` in place of ``system_instruction``.
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
    """An answer without a key: the hash of its request, and its result without key and row.

    ``cut_off``: a retry with a higher token limit may succeed. ``invalid``: a retry with
    feedback on the schema error may.
    """

    hash: str
    result: Result
    cut_off: bool = False
    invalid: bool = False

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
        self._unmatched: dict[str, deque[tuple[WireKey, str | None]]] = defaultdict(deque)
        for line in lines:
            wire = _decode(line)
            if key := split_wire_key(wire.key):
                self._unmatched[request_hash(line)].append((key, wire.metadata))

    def pop_match(self, digest: str) -> tuple[WireKey, str | None] | None:
        """Remove and return the next row with this request, as its key and metadata.

        Returns None if no row is left.
        """
        candidates = self._unmatched.get(digest)
        return candidates.popleft() if candidates else None
