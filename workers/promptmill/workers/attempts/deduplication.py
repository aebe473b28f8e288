"""Rows of an attempt that ask what another of its rows asks: they are left out of its input, and have that one's answer.

What counts is the request as this attempt would send it. So rows that were asked together and parted, however that came
about, are told apart again, and no attempt needs to know how another saw them.
"""

import hashlib
import struct
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from tempfile import SpooledTemporaryFile
from typing import Any

import msgspec

from promptmill.config import names
from promptmill.producers.contract.results import Result
from promptmill.producers.requests.deduplication import Hashes
from promptmill.producers.requests.encode import WireKey, request_of, split_wire_key
from promptmill.workers.facts import records
from promptmill.workers.facts.records import Input, Plan
from promptmill.workers.facts.request_lines import RowLine
from promptmill.workers.ports.google import Bucket

_IN_MEMORY = 1 << 20
_NO_MORE = (-1, -1)
_HALVES = struct.Struct("<QQ")
DIGEST_BYTES = _HALVES.size
"""The length of the hash of what a line asks."""
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
        return bitmap(self.places)

    def without(self, rows: int) -> "Copies":
        """Return these without some rows."""
        if not self.places or not rows & self.rows:
            return self
        bits = _bits(rows)
        return Copies(
            [place for place in self.places if not _has(bits, place)],
            [first for place, first in zip(self.places, self.firsts, strict=True) if not _has(bits, place)],
        )

    def along(self, rows: int) -> int:
        """Return a bitmap of rows, and of those that have the answer of one of them."""
        if not self.places or not rows:
            return rows
        bits = _bits(rows)
        return rows | bitmap([p for p, first in zip(self.places, self.firsts, strict=True) if _has(bits, first)])

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
    if not records.get(bucket, folder + "input.json", Input).copies:
        return Copies()
    return records.get(bucket, names.copies(run, index, attempt), Copies)


class Asked:
    """What some rows ask, as hashes, and the place of the first row that asks each; holds 30 to 48 bytes for each.

    One of whose hash only half is that of another is held to be equal to none.
    """

    def __init__(self) -> None:
        self._hashes = Hashes()
        self._highs = array("Q")
        self._firsts = array("I")

    def __len__(self) -> int:
        """Return how many different things are asked."""
        return len(self._firsts)

    def note(self, line: bytes, place: int) -> int:
        """Note the line of the row at ``place``; returns the place of the first row that asks the same, -1 if unknown."""
        ((low, high),) = halves(digest_of(line))
        number = self._hashes.number(low)
        if number == len(self):
            self._highs.append(high)
            self._firsts.append(place)
        return self._firsts[number] if self._highs[number] == high else -1

    def find(self, low: int, high: int) -> int:
        """Return the place of the first row that asks what has this hash; -1 if none does."""
        number = self._hashes.find(low)
        return self._firsts[number] if number >= 0 and self._highs[number] == high else -1


class Finder:
    """Finds the copies among the lines of an input file."""

    def __init__(self) -> None:
        self._asked = Asked()
        self.found = Copies([], [])

    def is_copy(self, line: bytes, place: int) -> bool:
        """Note the line of the row at ``place``; whether one before it asks the same."""
        first = self._asked.note(line, place)
        if first in (place, -1):
            return False
        self.found.places.append(place)
        self.found.firsts.append(first)
        return True


def digest_of(line: bytes) -> bytes:
    """Hash what a line asks, by which nobody can make another: an answer to the wrong row is worse than none."""
    return hashlib.blake2b(request_of(line), digest_size=DIGEST_BYTES).digest()


def halves(digests: bytes) -> Iterator[tuple[int, int]]:
    """Return each of some hashes as two numbers."""
    return _HALVES.iter_unpack(digests)


class Answers:
    """The results that copies have, on disk where they are many, and where they are there: 8 bytes for a row."""

    def __init__(self, copies: Copies, first_row: int) -> None:
        self._copies = copies
        self._wanted = _bits(bitmap(copies.firsts))
        self._first_row = first_row
        self._file: Any = SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed by __exit__
        self._starts = array("Q", bytes(8 * 8 * len(self._wanted)))
        self._last: tuple[int, Result | None] = -1, None

    def __enter__(self) -> "Answers":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def keep(self, results: Iterable[Result]) -> None:
        """Keep those of some results that a copy has."""
        for result in results:
            place = result.row - self._first_row
            if _has(self._wanted, place):
                self._starts[place] = self._file.tell() + 1  # 0 is where there is none
                self._file.write(_encode(result) + b"\n")

    def of(self, lines: Iterable[RowLine]) -> Iterator[Result]:
        """Yield the results of the copies among the wire lines of a shard, in order, as far as there is an answer for them.

        What a copy used is nothing: its answer is paid for once.
        """
        wanted = zip(self._copies.places, self._copies.firsts, strict=True)
        place, first = next(wanted, _NO_MORE)
        for line in lines:
            if line.row - self._first_row != place:
                continue
            if answer := self._answer(first):
                wire = _decode_wire(line.data)
                key = split_wire_key(wire.key) or WireKey("", line.row, str(line.row))
                metadata = None if wire.metadata is None else msgspec.json.decode(wire.metadata)
                yield msgspec.structs.replace(answer, key=key.key, row=line.row, metadata=metadata, usage={})
            place, first = next(wanted, _NO_MORE)

    def _answer(self, place: int) -> Result | None:
        if self._last[0] != place:
            self._last = place, self._read(self._starts[place])
        return self._last[1]

    def _read(self, start: int) -> Result | None:
        if not start:
            return None
        self._file.seek(start - 1)
        return _decode(self._file.readline())


class _Wire(msgspec.Struct):
    key: str
    metadata: str | None = None


_decode_wire = msgspec.json.Decoder(_Wire).decode


def bitmap(places: Sequence[int]) -> int:
    """Return places as a bitmap."""
    bits = bytearray(max(places, default=-8) // 8 + 1)
    for place in places:
        bits[place >> 3] |= 1 << (place & 7)
    return int.from_bytes(bits, "little")


def _bits(rows: int) -> bytes:
    return rows.to_bytes((rows.bit_length() + 7) // 8, "little")


def _has(bits: bytes, place: int) -> bool:
    return place >> 3 < len(bits) and bool(bits[place >> 3] >> (place & 7) & 1)
