"""Sends identical requests of an attempt only once.

Duplicates are left out of the attempt's input and get the answer of the first such row.
Requests are compared as this attempt would send them, after adjustments. So an attempt
does not depend on the duplicates of earlier ones.
"""

import hashlib
import struct
from array import array
from collections.abc import Iterable, Iterator
from tempfile import SpooledTemporaryFile

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
"""Length of the hash of a request."""
_decode = msgspec.json.Decoder(Result).decode
_encode = msgspec.json.Encoder().encode


def load_deduplicated(attempt: AttemptFolder, plan: Plan) -> DeduplicatedRows:
    """Return the deduplicated rows of an attempt, once its input is written."""
    if not plan.deduplicated or not attempt.input.get().deduplicated:
        return DeduplicatedRows()
    return attempt.deduplicated.get()


class RequestIndex:
    """Finds the first row with a given request. Uses 30 to 48 bytes per different request.

    Only the lower half of a hash is indexed. A request whose lower half collides with
    that of another request is not deduplicated.
    """

    def __init__(self) -> None:
        self._hashes = HashTable()
        self._highs = array("Q")
        self._firsts = array("I")

    def __len__(self) -> int:
        """Return the number of different requests."""
        return len(self._firsts)

    def add_request(self, line: bytes, row_offset: int) -> int:
        """Add the request of the row at ``row_offset``.

        Returns the offset of the first row with the same request, or -1 after a collision.
        """
        ((low, high),) = split_digests(request_digest(line))
        hash_number = self._hashes.assign_number(low)
        if hash_number == len(self):
            self._highs.append(high)
            self._firsts.append(row_offset)
        return self._firsts[hash_number] if self._highs[hash_number] == high else -1

    def find_row(self, low: int, high: int) -> int:
        """Return the offset of the first row whose request has this hash, or -1."""
        hash_number = self._hashes.find_number(low)
        is_found = hash_number >= 0 and self._highs[hash_number] == high
        return self._firsts[hash_number] if is_found else -1


class Deduplicator:
    """Finds duplicate requests among the lines of an input file."""

    def __init__(self) -> None:
        self._requests = RequestIndex()
        self.deduplicated = DeduplicatedRows([], [])

    def is_duplicate(self, line: bytes, row_offset: int) -> bool:
        """Add the row at ``row_offset``. Returns whether an earlier row has the same request."""
        first_offset = self._requests.add_request(line, row_offset)
        if first_offset in (row_offset, -1):
            return False
        self.deduplicated.rows.append(row_offset)
        self.deduplicated.firsts.append(first_offset)
        return True


def request_digest(line: bytes) -> bytes:
    """Return a cryptographic hash of a line's request. A collision would mix up answers."""
    return hashlib.blake2b(extract_request(line), digest_size=DIGEST_BYTES).digest()


def split_digests(digests: bytes) -> Iterator[tuple[int, int]]:
    """Yield each hash as two numbers, the lower half first."""
    return _DIGEST_STRUCT.iter_unpack(digests)


class AnswerStore:
    """Stores the results that duplicates share, on disk if there are many.

    Uses 8 bytes of memory per row.
    """

    def __init__(self, deduplicated: DeduplicatedRows, first_row: int) -> None:
        self._deduplicated = deduplicated
        self._wanted = RowSet.of(deduplicated.firsts)
        self._first_row = first_row
        self._file = SpooledTemporaryFile[bytes](_MAX_MEMORY_BYTES)
        self._size = 0
        self._starts = array("Q", bytes(8 * (max(deduplicated.firsts, default=-1) + 1)))
        self._last: tuple[int, Result | None] = -1, None

    def __enter__(self) -> "AnswerStore":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add_results(self, results: Iterable[Result]) -> None:
        """Store the results that a duplicate needs."""
        for result in results:
            row_offset = result.row - self._first_row
            if row_offset in self._wanted:
                self._starts[row_offset] = self._size + 1  # 0 means no answer
                self._size += self._file.write(_encode(result) + b"\n")

    def results_for(self, lines: Iterable[RequestLine]) -> Iterator[Result]:
        """Yield a result for each duplicate among the lines of a shard that has an answer."""
        row_pairs = zip(self._deduplicated.rows, self._deduplicated.firsts, strict=True)
        row_offset, first_offset = next(row_pairs, _NO_MORE)
        for line in lines:
            if line.row - self._first_row != row_offset:
                continue
            if answer := self._find_answer(first_offset):
                yield _copy_answer(answer, line)
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


def _copy_answer(answer: Result, line: RequestLine) -> Result:
    """Return an answer as that of a duplicate, without usage: it is billed only once."""
    wire = _decode_wire(line.data)
    key = split_wire_key(wire.key) or WireKey("", line.row, str(line.row))
    metadata = None if wire.metadata is None else msgspec.json.decode(wire.metadata)
    return msgspec.structs.replace(answer, key=key.key, row=line.row, metadata=metadata, usage={})
