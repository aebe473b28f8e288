"""Finds the requests of a run that are the same as one before them."""

from array import array

import xxhash

from promptmill.producers.requests.encode import RequestLine, extract_request

_INITIAL_SLOTS = 1 << 12
_ZERO_SUBSTITUTE = 1
"""A slot with 0 is free."""


class HashTable:
    """64-bit hashes, numbered in the order of their first occurrence, in a table of 18 to 36 bytes each.

    A dict of numbers would take four times that.
    """

    def __init__(self) -> None:
        self.count = 0
        self._max_count = _INITIAL_SLOTS * 2 // 3
        self._table, self._numbers = _new_table(_INITIAL_SLOTS)
        self._mask = _INITIAL_SLOTS - 1

    def assign_number(self, digest: int) -> int:
        """Return how many other hashes occurred before this one first did."""
        digest = digest or _ZERO_SUBSTITUTE
        table, mask = self._table, self._mask
        slot = digest & mask
        while entry := table[slot]:  # as in _slot, whose call would cost each prompt a fifth more
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
        """Return the number of a hash that may have occurred; -1 if it has not."""
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
    """Return the slot of a hash, or the free one that it goes into."""
    mask = len(table) - 1
    slot = digest & mask
    while (entry := table[slot]) and entry != digest:
        slot = (slot + 1) & mask
    return slot


class RequestDeduplicator:
    """The requests of a run so far, as hashes.

    Two requests with one hash would only be compared by the workers in vain: these decide, by a hash that nobody can find a
    second request for.
    """

    def __init__(self) -> None:
        self._hashes = HashTable()

    def mark_repeat(self, line: RequestLine) -> RequestLine:
        """Return a line, marked when it asks what one before it asked."""
        return line if line.refusal or self._is_new(line.data) else line._replace(is_repeat=True)

    def _is_new(self, data: bytes) -> bool:
        """Note the request of a wire line; False when it was noted before."""
        count_before = self._hashes.count
        return (
            self._hashes.assign_number(xxhash.xxh3_64_intdigest(extract_request(data)))
            == count_before
        )


def _new_table(slots: int) -> "tuple[array[int], array[int]]":
    return array("Q", bytes(8 * slots)), array("I", bytes(4 * slots))
