"""Finds the requests of a run that are the same as one before them."""

from array import array
from collections.abc import Iterable, Iterator

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
        self._count = 0

    def watch(self, lines: Iterable[Line]) -> Iterator[Line]:
        """Pass ``lines`` through, marking those that ask what one before them asked."""
        for line in lines:
            if line.refusal or self._is_new(xxhash.xxh3_64_intdigest(request_of(line.data)) or 1):
                yield line
            else:
                yield line._replace(is_copy=True)

    def _is_new(self, digest: int) -> bool:
        """Note a hash, which is not 0; False when it was noted before."""
        table, mask = self._table, self._mask
        slot = digest & mask
        while held := table[slot]:
            if held == digest:
                return False
            slot = (slot + 1) & mask
        table[slot] = digest
        self._count += 1
        if 3 * self._count > 2 * mask:
            self._grow()
        return True

    def _grow(self) -> None:
        table, mask = _empty(2 * len(self._table)), 2 * len(self._table) - 1
        for digest in filter(None, self._table):
            slot = digest & mask
            while table[slot]:
                slot = (slot + 1) & mask
            table[slot] = digest
        self._table, self._mask = table, mask


def _empty(slots: int) -> "array[int]":
    return array("Q", bytes(8 * slots))
