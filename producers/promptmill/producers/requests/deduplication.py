"""Finds the requests of a run that repeat an earlier one."""

from array import array

import xxhash

from promptmill.producers.requests.encode import extract_request
from promptmill.producers.requests.request_line import RequestLine

_INITIAL_SLOTS = 1 << 12
_ZERO_SUBSTITUTE = 1
"""Replaces the hash 0, which marks a free slot."""


class HashTable:
    """64-bit hashes, numbered in the order of their first occurrence.

    The table takes 18 to 36 bytes per hash, a quarter of a dict of integers.
    """

    def __init__(self) -> None:
        self.count = 0
        self._max_count = _INITIAL_SLOTS * 2 // 3
        self._table, self._numbers = _new_table(_INITIAL_SLOTS)
        self._mask = _INITIAL_SLOTS - 1

    def assign_number(self, digest: int) -> int:
        """Return the number of a hash: the count of different hashes before it."""
        digest = digest or _ZERO_SUBSTITUTE
        table, mask = self._table, self._mask
        slot = digest & mask
        while entry := table[slot]:  # _find_slot, inlined: the call would cost 20 % per prompt
            if entry == digest:
                return self._numbers[slot]
            slot = (slot + 1) & mask
        number = self.count
        table[slot], self._numbers[slot] = digest, number
        self.count += 1
        if self.count > self._max_count:
            self._grow_table()
        return number

    def find_number(self, digest: int) -> int:
        """Return the number of a hash; -1 if it has not occurred."""
        slot = _find_slot(self._table, digest or _ZERO_SUBSTITUTE)
        return self._numbers[slot] if self._table[slot] else -1

    def _grow_table(self) -> None:
        table, numbers = _new_table(2 * len(self._table))
        for digest, number in zip(self._table, self._numbers, strict=True):
            if digest:
                slot = _find_slot(table, digest)
                table[slot], numbers[slot] = digest, number
        self._table, self._numbers, self._mask, self._max_count = (
            table,
            numbers,
            len(table) - 1,
            2 * self._max_count,
        )


def _find_slot(table: "array[int]", digest: int) -> int:
    """Return the slot of a hash, or the free slot for it."""
    mask = len(table) - 1
    slot = digest & mask
    while (entry := table[slot]) and entry != digest:
        slot = (slot + 1) & mask
    return slot


class RequestDeduplicator:
    """Marks requests that repeat an earlier one, by 64-bit hashes.

    A hash collision does no harm: workers decide by a cryptographic hash.
    """

    def __init__(self) -> None:
        self._hashes = HashTable()

    def mark_repeat(self, line: RequestLine) -> RequestLine:
        """Return the line, marked if its request repeats an earlier one."""
        return line if line.refusal or self._is_new(line.data) else line._replace(is_repeat=True)

    def _is_new(self, data: bytes) -> bool:
        """Record the request of a wire line; return False for a repeated one."""
        count_before = self._hashes.count
        return (
            self._hashes.assign_number(xxhash.xxh3_64_intdigest(extract_request(data)))
            == count_before
        )


def _new_table(slots: int) -> "tuple[array[int], array[int]]":
    return array("Q", bytes(8 * slots)), array("I", bytes(4 * slots))
