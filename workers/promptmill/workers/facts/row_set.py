"""Sets of rows of one shard, stored as bitmaps."""

from collections.abc import Iterable, Iterator
from functools import reduce
from operator import or_
from typing import final

import zstandard


class DamagedRowSet(ValueError):
    """The data is not a packed row set."""


@final
class RowSet:
    """An immutable set of rows, each given by its offset in the shard.

    Bit ``i`` of ``bitmap`` is the row at offset ``i``. Raises ValueError if ``bitmap`` is
    negative. The operators ``|``, ``&``, ``-`` and ``==`` work as in ``frozenset``. There
    are no others. ``in`` takes constant time: its first use caches the bitmap as bytes.
    """

    __slots__ = ("_bitmap", "_bytes")

    def __init__(self, bitmap: int = 0) -> None:
        if bitmap < 0:
            raise ValueError("the bitmap of a row set is negative; pass at least 0")
        self._bitmap = bitmap
        self._bytes: bytes | None = None

    @classmethod
    def first(cls, count: int) -> "RowSet":
        """Return the first ``count`` rows of a shard."""
        return cls((1 << count) - 1)

    @classmethod
    def of(cls, rows: Iterable[int]) -> "RowSet":
        """Return the set of ``rows``, in any order. Raises ValueError for negative numbers."""
        offsets = list(rows)
        if not offsets:
            return cls()
        if (lowest := min(offsets)) < 0:
            raise ValueError(f"row offset {lowest} is negative; offsets start at 0")
        bits = bytearray((max(offsets) >> 3) + 1)
        for offset in offsets:
            bits[offset >> 3] |= 1 << (offset & 7)
        return cls(int.from_bytes(bits, "little"))

    @classmethod
    def union(cls, row_sets: Iterable["RowSet"]) -> "RowSet":
        """Return the rows that are in any of the sets."""
        return reduce(or_, row_sets, cls())

    @classmethod
    def unpack(cls, data: bytes) -> "RowSet":
        """Return the set from what ``pack`` returned. Raises DamagedRowSet for other data."""
        if not data:
            return cls()
        try:
            bitmap = zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise DamagedRowSet(
                f"{len(data)} bytes are not a packed row set ({error}); restore the stored object"
            ) from None
        return cls(int.from_bytes(bitmap, "little"))

    def pack(self) -> bytes:
        """Return the little-endian bitmap, compressed with zstd; b"" for an empty set."""
        return zstandard.compress(self.to_bytes()) if self._bitmap else b""

    def to_bytes(self) -> bytes:
        """Return the little-endian bitmap, without trailing zeros."""
        if self._bytes is None:
            size = (self._bitmap.bit_length() + 7) // 8
            self._bytes = self._bitmap.to_bytes(size, "little")
        return self._bytes

    def __contains__(self, row: int) -> bool:
        data = self._bytes if self._bytes is not None else self.to_bytes()
        byte = row >> 3
        return 0 <= byte < len(data) and data[byte] >> (row & 7) & 1 == 1

    def __len__(self) -> int:
        return self._bitmap.bit_count()

    def __bool__(self) -> bool:
        return self._bitmap != 0

    def __iter__(self) -> Iterator[int]:
        for byte, bits in enumerate(self.to_bytes()):
            if bits:
                yield from (byte * 8 + bit for bit in range(8) if bits >> bit & 1)

    def __or__(self, other: "RowSet") -> "RowSet":
        return RowSet(self._bitmap | other._bitmap)

    def __and__(self, other: "RowSet") -> "RowSet":
        return RowSet(self._bitmap & other._bitmap)

    def __sub__(self, other: "RowSet") -> "RowSet":
        return RowSet(self._bitmap & ~other._bitmap)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RowSet) and self._bitmap == other._bitmap

    def __hash__(self) -> int:
        return hash(self._bitmap)

    def __repr__(self) -> str:
        return f"RowSet.of({list(self)})"


@final
class RowSetBuilder:
    """Builds a ``RowSet`` row by row, without a copy of the bitmap for each row."""

    __slots__ = ("_bits",)

    def __init__(self, rows: RowSet | None = None) -> None:
        self._bits = bytearray(rows.to_bytes() if rows else b"")

    def add(self, row: int) -> None:
        """Add the row at offset ``row``, which must not be negative.

        This is not checked, because parsing adds every row of a shard.
        """
        byte = row >> 3
        if byte >= len(self._bits):
            self._bits.extend(bytes(byte + 1 - len(self._bits)))
        self._bits[byte] |= 1 << (row & 7)

    def __contains__(self, row: int) -> bool:
        byte = row >> 3
        return 0 <= byte < len(self._bits) and self._bits[byte] >> (row & 7) & 1 == 1

    def build(self) -> RowSet:
        """Return the set of the rows added so far."""
        return RowSet(int.from_bytes(self._bits, "little"))
