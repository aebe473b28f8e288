"""Facts that list rows of a shard by offset: duplicates, reused rows and schema errors."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

import msgspec

from promptmill.workers.facts.row_set import RowSet


class DeduplicatedRows(msgspec.Struct, frozen=True):
    """Rows omitted from the input because an earlier row has the same request.

    The row at offset ``rows[i]`` gets the answer of the row at offset ``firsts[i]``.
    """

    rows: list[int] = msgspec.field(default_factory=list, name="places")
    firsts: list[int] = []

    def __len__(self) -> int:
        """Return the number of omitted rows."""
        return len(self.rows)

    @property
    def row_set(self) -> RowSet:
        """The omitted rows."""
        return RowSet.of(self.rows)

    def without_rows(self, rows: RowSet) -> "DeduplicatedRows":
        """Return a list without ``rows``."""
        if not self.rows or not rows & self.row_set:
            return self
        kept = [pair for pair in self._pairs() if pair[0] not in rows]
        return DeduplicatedRows([row for row, _ in kept], [first for _, first in kept])

    def expand_rows(self, rows: RowSet) -> RowSet:
        """Return ``rows`` and all duplicates of these."""
        if not self.rows or not rows:
            return rows
        return rows | RowSet.of(row for row, first in self._pairs() if first in rows)

    def expand_errors(self, errors: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
        """Yield each row and error, and the same error for the row's duplicates."""
        duplicates: defaultdict[int, list[int]] = defaultdict(list)
        for row, first in self._pairs():
            duplicates[first].append(row)
        for row, error in errors:
            yield row, error
            yield from ((duplicate, error) for duplicate in duplicates.get(row, ()))

    def _pairs(self) -> Iterator[tuple[int, int]]:
        return zip(self.rows, self.firsts, strict=True)


class ReusedRows(msgspec.Struct, frozen=True, omit_defaults=True):
    """The packed set of ``count`` rows that an earlier run answered, and the result files."""

    rows: bytes = b""
    count: int = 0
    files: list[str] = []

    @property
    def row_set(self) -> RowSet:
        """The rows, unpacked."""
        return RowSet.unpack(self.rows)


class FeedbackErrors(msgspec.Struct, frozen=True, omit_defaults=True):
    """Schema errors of answers: the row at offset ``rows[i]`` has ``errors[which[i]]``."""

    errors: list[str] = []
    rows: list[int] = msgspec.field(default_factory=list, name="places")
    which: list[int] = []

    def errors_by_row(self) -> dict[int, str]:
        """Return the error of each row, by the row's offset."""
        return {row: self.errors[which] for row, which in zip(self.rows, self.which, strict=True)}
