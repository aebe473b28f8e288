"""Finds the requests of a run that are the same as one before them."""

from array import array

import xxhash

from promptmill.producers.requests import Line, request_of

_SLOTS = 1 << 12


class Requests:
    """The requests of a run so far, as 64-bit hashes in a table of 12 to 24 bytes each.

    A set of numbers would take six times that. Two requests with one hash would only be compared by the workers in vain:
    these decide, by a hash that nobody can find a second request for.
    """

    def __init__(self) -> None:
        self._table = _empty(_SLOTS)
        self._mask = _SLOTS - 1
        self._most = _SLOTS * 2 // 3
        self._count = 0

    def mark(self, line: Line) -> Line:
        """Return a line, marked when it asks what one before it asked."""
        return line if line.refusal or self._is_new(line.data) else line._replace(is_copy=True)

    def _is_new(self, data: bytes) -> bool:
        """Note the request of a wire line; False when it was noted before."""
        digest = xxhash.xxh3_64_intdigest(request_of(data)) or 1  # 0 is a slot that is free
        table, mask = self._table, self._mask
        slot = digest & mask
        while held := table[slot]:
            if held == digest:
                return False
            slot = (slot + 1) & mask
        table[slot] = digest
        self._count += 1
        if self._count > self._most:
            self._grow()
        return True

    def _grow(self) -> None:
        table, mask = _empty(2 * len(self._table)), 2 * len(self._table) - 1
        for digest in filter(None, self._table):
            slot = digest & mask
            while table[slot]:
                slot = (slot + 1) & mask
            table[slot] = digest
        self._table, self._mask, self._most = table, mask, 2 * self._most


def _empty(slots: int) -> "array[int]":
    return array("Q", bytes(8 * slots))
