"""Finds the row that an answer without a key belongs to, by the request that Vertex echoes beside it."""

import hashlib
import re
from collections import defaultdict, deque
from collections.abc import Iterable

import msgspec

from promptmill.producers.contract.results import Result
from promptmill.producers.requests.encode import WireKey, split_wire_key

_SNAKE = re.compile(r"_([a-z])")
_order = msgspec.json.Encoder(order="deterministic").encode


class _Wire(msgspec.Struct):
    key: str = ""
    metadata: str | None = None
    request: object = None


_decode = msgspec.json.Decoder(_Wire).decode


def request_hash(line: bytes) -> str:
    """Return the hash of a line's request, the same however Vertex orders, names or pads its fields; "" without one.

    The echo may have nulls added and ``system_instruction`` turned into ``systemInstruction`` (Google's own samples).
    """
    try:
        request = msgspec.json.decode(line).get("request")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, AttributeError):
        return ""
    return hashlib.sha256(_order(_plain(request))).hexdigest() if request else ""


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {_SNAKE.sub(_capital, name): _plain(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _capital(found: re.Match[str]) -> str:
    return found[1].upper()


class Unkeyed(msgspec.Struct, omit_defaults=True):
    """An answer that came back without a key: the hash of its request, and its result, which lacks what the key tells.

    ``cut_off``: more tokens may mend it. ``invalid``: hearing what was wrong may.
    """

    hash: str
    result: Result
    cut_off: bool = False
    invalid: bool = False

    def of_row(self, key: WireKey, metadata: str | None) -> Result:
        """Return the result of the row that it was found to answer."""
        told = None if metadata is None else msgspec.json.decode(metadata)
        return msgspec.structs.replace(self.result, key=key.key, row=key.row, metadata=told)


decode_unkeyed = msgspec.json.Decoder(Unkeyed).decode
"""Reads an answer without a key as ``parse`` wrote it."""


class Rows:
    """The rows of a shard that have no answer yet, by the hash of their request.

    Holds about 200 bytes a row; needed only when Vertex does not echo keys.
    """

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._waiting: dict[str, deque[tuple[WireKey, str | None]]] = defaultdict(deque)
        for line in lines:
            wire = _decode(line)
            if key := split_wire_key(wire.key):
                self._waiting[request_hash(line)].append((key, wire.metadata))

    def take(self, digest: str) -> tuple[WireKey, str | None] | None:
        """Return the first row (and its metadata) with this request that was not taken yet, or None."""
        waiting = self._waiting.get(digest)
        return waiting.popleft() if waiting else None
