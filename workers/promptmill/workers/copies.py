"""Rows of an attempt that ask what another of its rows asks: they are left out of its input, and have that one's answer.

What counts is the request as this attempt would send it. So rows that were asked together and parted, however that came
about, are told apart again, and no attempt needs to know how another saw them.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Any

import msgspec

from promptmill.config import names
from promptmill.producers.requests import WireKey, request_of, split_wire_key
from promptmill.producers.results import Result
from promptmill.workers import facts
from promptmill.workers.facts import Input, Plan
from promptmill.workers.ports import Bucket

if TYPE_CHECKING:
    from promptmill.workers.steps.shard import RowLine

_IN_MEMORY = 8 << 20
_decode = msgspec.json.Decoder(Result).decode
_encode = msgspec.json.Encoder().encode


class Copies(msgspec.Struct, frozen=True):
    """The row at ``places[i]`` of a shard has the answer of the row at ``firsts[i]``, which comes before it."""

    places: list[int] = []
    firsts: list[int] = []

    def __len__(self) -> int:
        """Return how many rows have another's answer."""
        return len(self.places)

    @property
    def rows(self) -> int:
        """The rows that have another's answer, as a bitmap."""
        return _bitmap(self.places)

    def without(self, rows: int) -> "Copies":
        """Return these without some rows."""
        if not self.places or not rows & self.rows:
            return self
        bits = _bits(rows)
        kept = [(place, first) for place, first in zip(self.places, self.firsts, strict=True) if not _has(bits, place)]
        return Copies([place for place, _ in kept], [first for _, first in kept])

    def along(self, rows: int) -> int:
        """Return a bitmap of rows, and of those that have the answer of one of them."""
        if not self.places or not rows:
            return rows
        bits = _bits(rows)
        return rows | _bitmap([p for p, first in zip(self.places, self.firsts, strict=True) if _has(bits, first)])

    def told(self, errors: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
        """Pass errors by places on, each also for the rows that have the answer that is wrong."""
        others: defaultdict[int, list[int]] = defaultdict(list)
        for place, first in zip(self.places, self.firsts, strict=True):
            others[first].append(place)
        for place, error in errors:
            yield place, error
            yield from ((other, error) for other in others.get(place, ()))


def load(bucket: Bucket, run: str, index: int, attempt: int, plan: Plan) -> Copies:
    """Return the copies of an attempt whose input is written; nothing is read for a run without any."""
    if not plan.copies:
        return Copies()
    folder = names.shard(run, index, attempt)
    if not facts.get(bucket, folder + "input.json", Input).copies:
        return Copies()
    return facts.get(bucket, names.copies(run, index, attempt), Copies)


class Finder:
    """Finds the copies among the lines of an input file; holds about 150 bytes a row."""

    def __init__(self) -> None:
        self._first: dict[bytes, int] = {}
        self.found = Copies([], [])

    def is_copy(self, line: bytes, place: int) -> bool:
        """Note the line of the row at ``place``; whether one before it asks the same."""
        # An answer to the wrong row is worse than none: so a hash for which nobody can make a second request.
        digest = hashlib.blake2b(request_of(line), digest_size=16).digest()
        first = self._first.setdefault(digest, place)
        if first == place:
            return False
        self.found.places.append(place)
        self.found.firsts.append(first)
        return True


class Answers:
    """The results that copies have, on disk where they are many, by the places of their rows."""

    def __init__(self, copies: Copies, first_row: int) -> None:
        self._firsts = dict(zip(copies.places, copies.firsts, strict=True))
        self._wanted = frozenset(copies.firsts)
        self._first_row = first_row
        self._file: Any = SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed by __exit__
        self._at: dict[int, tuple[int, int]] = {}
        self._last: tuple[int, Result | None] = -1, None

    def __enter__(self) -> "Answers":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def keep(self, results: Iterable[Result]) -> None:
        """Keep those of some results that a copy has."""
        for result in results:
            place = result.row - self._first_row
            if place in self._wanted:
                data = _encode(result)
                self._at[place] = self._file.tell(), len(data)
                self._file.write(data)

    def of(self, lines: "Iterable[RowLine]") -> Iterator[Result]:
        """Yield the results of the copies among the wire lines of a shard, as far as there is an answer for them.

        What a copy used is nothing: its answer is paid for once.
        """
        for line in lines:
            first = self._firsts.get(line.row - self._first_row)
            if first is not None and first in self._at:
                wire = _decode_wire(line.data)
                key = split_wire_key(wire.key) or WireKey("", line.row, str(line.row))
                metadata = None if wire.metadata is None else msgspec.json.decode(wire.metadata)
                yield msgspec.structs.replace(
                    self._answer(first), key=key.key, row=line.row, metadata=metadata, usage={}
                )

    def _answer(self, place: int) -> Result:
        if self._last[0] != place or self._last[1] is None:
            start, size = self._at[place]
            self._file.seek(start)
            self._last = place, _decode(self._file.read(size))
        answer = self._last[1]
        assert answer is not None  # noqa: S101
        return answer


class _Wire(msgspec.Struct):
    key: str
    metadata: str | None = None


_decode_wire = msgspec.json.Decoder(_Wire).decode


def _bitmap(places: list[int]) -> int:
    bits = bytearray(max(places, default=-8) // 8 + 1)
    for place in places:
        bits[place >> 3] |= 1 << (place & 7)
    return int.from_bytes(bits, "little")


def _bits(rows: int) -> bytes:
    return rows.to_bytes((rows.bit_length() + 7) // 8, "little")


def _has(bits: bytes, place: int) -> bool:
    return place >> 3 < len(bits) and bool(bits[place >> 3] >> (place & 7) & 1)
