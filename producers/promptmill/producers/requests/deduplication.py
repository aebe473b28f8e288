"""Finds the requests of a run that are the same as one before them."""

from array import array

import xxhash

from promptmill.producers.requests.encode import Line, request_of

_SLOTS = 1 << 12
_FOR_ZERO = 1
"""A slot with 0 is free."""


class Hashes:
    """64-bit hashes, numbered in the order of their first occurrence, in a table of 18 to 36 bytes each.

    A dict of numbers would take four times that.
    """

    def __init__(self) -> None:
        self.count = 0
        self._most = _SLOTS * 2 // 3
        self._table, self._numbers = _empty(_SLOTS)
        self._mask = _SLOTS - 1

    def number(self, digest: int) -> int:
        """Return how many other hashes occurred before this one first did."""
        digest = digest or _FOR_ZERO
        table, mask = self._table, self._mask
        slot = digest & mask
        while held := table[slot]:  # as in _slot, whose call would cost each prompt a fifth more
            if held == digest:
                return self._numbers[slot]
            slot = (slot + 1) & mask
        number = self.count
        table[slot], self._numbers[slot] = digest, number
        self.count += 1
        if self.count > self._most:
            self._grow()
        return number

    def find(self, digest: int) -> int:
        """Return the number of a hash that may have occurred; -1 if it has not."""
        slot = _slot(self._table, digest or _FOR_ZERO)
        return self._numbers[slot] if self._table[slot] else -1

    def _grow(self) -> None:
        table, numbers = _empty(2 * len(self._table))
        for digest, number in zip(self._table, self._numbers, strict=True):
            if digest:
                slot = _slot(table, digest)
                table[slot], numbers[slot] = digest, number
        self._table, self._numbers, self._mask, self._most = table, numbers, len(table) - 1, 2 * self._most


def _slot(table: "array[int]", digest: int) -> int:
    """Return the slot of a hash, or the free one that it goes into."""
    mask = len(table) - 1
    slot = digest & mask
    while (held := table[slot]) and held != digest:
        slot = (slot + 1) & mask
    return slot


class Requests:
    """The requests of a run so far, as hashes.

    Two requests with one hash would only be compared by the workers in vain: these decide, by a hash that nobody can find a
    second request for.
    """

    def __init__(self) -> None:
        self._hashes = Hashes()

    def mark(self, line: Line) -> Line:
        """Return a line, marked when it asks what one before it asked."""
        return line if line.refusal or self._is_new(line.data) else line._replace(is_copy=True)

    def _is_new(self, data: bytes) -> bool:
        """Note the request of a wire line; False when it was noted before."""
        known = self._hashes.count
        return self._hashes.number(xxhash.xxh3_64_intdigest(request_of(data))) == known


def _empty(slots: int) -> "tuple[array[int], array[int]]":
    return array("Q", bytes(8 * slots)), array("I", bytes(4 * slots))
