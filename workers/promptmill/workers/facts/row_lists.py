"""Facts that list rows of a shard by their offsets in it: left out, reused or corrected."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from promptmill.workers.facts import records


class DeduplicatedRows(msgspec.Struct, frozen=True):
    """The row at ``places[i]`` of a shard has the answer of the row at ``firsts[i]``, which comes before it."""

    places: list[int] = []
    firsts: list[int] = []

    def __len__(self) -> int:
        """Return how many rows have another's answer."""
        return len(self.places)

    @property
    def row_bitmap(self) -> int:
        """The rows that have another's answer, as a bitmap."""
        return to_bitmap(self.places)

    def without_rows(self, rows: int) -> "DeduplicatedRows":
        """Return these without some rows."""
        if not self.places or not rows & self.row_bitmap:
            return self
        row_bytes = to_bytes(rows)
        return DeduplicatedRows(
            [row_offset for row_offset in self.places if not has_row(row_bytes, row_offset)],
            [
                first_offset
                for place, first_offset in zip(self.places, self.firsts, strict=True)
                if not has_row(row_bytes, place)
            ],
        )

    def expand_rows(self, rows: int) -> int:
        """Return a bitmap of rows, and of those that have the answer of one of them."""
        if not self.places or not rows:
            return rows
        row_bytes = to_bytes(rows)
        return rows | to_bitmap(
            [
                row_offset
                for row_offset, first_offset in zip(self.places, self.firsts, strict=True)
                if has_row(row_bytes, first_offset)
            ]
        )

    def expand_errors(self, errors: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
        """Pass errors by places on, each also for the rows that have the answer that is wrong."""
        duplicates: defaultdict[int, list[int]] = defaultdict(list)
        for row_offset, first_offset in zip(self.places, self.firsts, strict=True):
            duplicates[first_offset].append(row_offset)
        for row_offset, error in errors:
            yield row_offset, error
            yield from ((duplicate, error) for duplicate in duplicates.get(row_offset, ()))


class ReusedRows(msgspec.Struct, frozen=True, omit_defaults=True):
    """The ``count`` rows of a shard, as a packed bitmap, that have an answer of an earlier run: results in ``files``."""

    rows: bytes = b""
    count: int = 0
    files: list[str] = []

    @property
    def row_bitmap(self) -> int:
        """The rows as a bitmap."""
        return records.unpack_rows(self.rows)


class FeedbackErrors(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was wrong with answers: for the row at ``places[i]`` in its shard, ``errors[which[i]]``."""

    errors: list[str] = []
    places: list[int] = []
    which: list[int] = []

    def errors_by_row(self) -> dict[int, str]:
        """Return the error of each row; many rows have the same."""
        return {
            row_offset: self.errors[which]
            for row_offset, which in zip(self.places, self.which, strict=True)
        }


def to_bitmap(row_offsets: Sequence[int]) -> int:
    """Return the bitmap of some rows."""
    bits = bytearray(max(row_offsets, default=-8) // 8 + 1)
    for row_offset in row_offsets:
        bits[row_offset >> 3] |= 1 << (row_offset & 7)
    return int.from_bytes(bits, "little")


def to_bytes(rows: int) -> bytes:
    """Return a bitmap as bytes, for ``has_row``."""
    return rows.to_bytes((rows.bit_length() + 7) // 8, "little")


def has_row(bits: bytes, row_offset: int) -> bool:
    """Return whether a bitmap has the row at ``row_offset``."""
    return row_offset >> 3 < len(bits) and bool(bits[row_offset >> 3] >> (row_offset & 7) & 1)
