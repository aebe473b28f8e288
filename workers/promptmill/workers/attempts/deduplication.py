"""Rows of an attempt that ask what another of its rows asks: they are left out of its input, and have that one's answer.

What counts is the request as this attempt would send it. So rows that were asked together and parted, however that came
about, are told apart again, and no attempt needs to know how another saw them.
"""

import hashlib
import struct
from array import array
from collections.abc import Iterable, Iterator
from tempfile import SpooledTemporaryFile
from typing import Any

import msgspec

from promptmill.producers.contract.results import Result
from promptmill.producers.requests.deduplication import HashTable
from promptmill.producers.requests.encode import WireKey, extract_request, split_wire_key
from promptmill.workers.facts.records import Plan
from promptmill.workers.facts.request_lines import RequestLine
from promptmill.workers.facts.row_lists import DeduplicatedRows
from promptmill.workers.facts.row_set import RowSet
from promptmill.workers.facts.run_folder import AttemptFolder

_MAX_MEMORY_BYTES = 1 << 20
_NO_MORE = (-1, -1)
_DIGEST_STRUCT = struct.Struct("<QQ")
DIGEST_BYTES = _DIGEST_STRUCT.size
"""The length of the hash of what a line asks."""
_decode = msgspec.json.Decoder(Result).decode
_encode = msgspec.json.Encoder().encode


def load_deduplicated(attempt: AttemptFolder, plan: Plan) -> DeduplicatedRows:
    """Return the deduplicated rows of an attempt whose input is written.

    Nothing is read for a run without any.
    """
    if not plan.copies or not attempt.input.get().copies:
        return DeduplicatedRows()
    return attempt.deduplicated.get()


class RequestIndex:
    """What some rows ask, as hashes, and the place of the first row that asks each; holds 30 to 48 bytes for each.

    One of whose hash only half is that of another is held to be equal to none.
    """

    def __init__(self) -> None:
        self._hashes = HashTable()
        self._highs = array("Q")
        self._firsts = array("I")

    def __len__(self) -> int:
        """Return how many different things are asked."""
        return len(self._firsts)

    def add_request(self, line: bytes, row_offset: int) -> int:
        """Note the line of the row at ``row_offset``; returns the place of the first row that asks the same, -1 if unknown."""
        ((low, high),) = split_digests(request_digest(line))
        hash_number = self._hashes.assign_number(low)
        if hash_number == len(self):
            self._highs.append(high)
            self._firsts.append(row_offset)
        return self._firsts[hash_number] if self._highs[hash_number] == high else -1

    def find_row(self, low: int, high: int) -> int:
        """Return the place of the first row that asks what has this hash; -1 if none does."""
        hash_number = self._hashes.find_number(low)
        return (
            self._firsts[hash_number]
            if hash_number >= 0 and self._highs[hash_number] == high
            else -1
        )


class Deduplicator:
    """Finds the copies among the lines of an input file."""

    def __init__(self) -> None:
        self._requests = RequestIndex()
        self.deduplicated = DeduplicatedRows([], [])

    def is_duplicate(self, line: bytes, row_offset: int) -> bool:
        """Note the line of the row at ``row_offset``; whether one before it asks the same."""
        first_offset = self._requests.add_request(line, row_offset)
        if first_offset in (row_offset, -1):
            return False
        self.deduplicated.places.append(row_offset)
        self.deduplicated.firsts.append(first_offset)
        return True


def request_digest(line: bytes) -> bytes:
    """Hash what a line asks, by which nobody can make another: an answer to the wrong row is worse than none."""
    return hashlib.blake2b(extract_request(line), digest_size=DIGEST_BYTES).digest()


def split_digests(digests: bytes) -> Iterator[tuple[int, int]]:
    """Return each of some hashes as two numbers."""
    return _DIGEST_STRUCT.iter_unpack(digests)


class AnswerStore:
    """The results that copies have, on disk where they are many, and where they are there: 8 bytes for a row."""

    def __init__(self, deduplicated: DeduplicatedRows, first_row: int) -> None:
        self._deduplicated = deduplicated
        self._wanted = RowSet.of(deduplicated.firsts)
        self._first_row = first_row
        self._file: Any = SpooledTemporaryFile(_MAX_MEMORY_BYTES)  # noqa: SIM115 - closed by __exit__
        self._starts = array("Q", bytes(8 * (max(deduplicated.firsts, default=-1) + 1)))
        self._last: tuple[int, Result | None] = -1, None

    def __enter__(self) -> "AnswerStore":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add_results(self, results: Iterable[Result]) -> None:
        """Keep those of some results that a copy has."""
        for result in results:
            row_offset = result.row - self._first_row
            if row_offset in self._wanted:
                self._starts[row_offset] = self._file.tell() + 1  # 0 is where there is none
                self._file.write(_encode(result) + b"\n")

    def results_for(self, lines: Iterable[RequestLine]) -> Iterator[Result]:
        """Yield the results of the copies among the wire lines of a shard, in order, as far as there is an answer for them.

        What a copy used is nothing: its answer is paid for once.
        """
        row_pairs = zip(self._deduplicated.places, self._deduplicated.firsts, strict=True)
        row_offset, first_offset = next(row_pairs, _NO_MORE)
        for line in lines:
            if line.row - self._first_row != row_offset:
                continue
            if answer := self._find_answer(first_offset):
                wire = _decode_wire(line.data)
                key = split_wire_key(wire.key) or WireKey("", line.row, str(line.row))
                metadata = None if wire.metadata is None else msgspec.json.decode(wire.metadata)
                yield msgspec.structs.replace(
                    answer, key=key.key, row=line.row, metadata=metadata, usage={}
                )
            row_offset, first_offset = next(row_pairs, _NO_MORE)

    def _find_answer(self, row_offset: int) -> Result | None:
        if self._last[0] != row_offset:
            self._last = row_offset, self._read_answer(self._starts[row_offset])
        return self._last[1]

    def _read_answer(self, start: int) -> Result | None:
        if not start:
            return None
        self._file.seek(start - 1)
        return _decode(self._file.readline())


class _WireLine(msgspec.Struct):
    key: str
    metadata: str | None = None


_decode_wire = msgspec.json.Decoder(_WireLine).decode
