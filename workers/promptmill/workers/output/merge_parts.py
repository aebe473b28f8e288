"""Decides which part of an attempt's output answers which row. Pure functions.

A row may be answered in several parts, or in none. The first success counts, else the
first failure, in the order of parts. A row whose failures are all retryable is retried in
the next attempt.
"""

from collections.abc import Iterable
from typing import NamedTuple

from promptmill.workers.facts.row_set import RowSet


class PartRows(NamedTuple):
    """The rows that one part answers; ``retryable`` are the failed ones that may be retried."""

    succeeded: RowSet
    failed: RowSet
    retryable: RowSet


class DroppedRows(NamedTuple):
    """The rows of one part that do not count, and how many of them are duplicates."""

    succeeded: RowSet
    failed: RowSet
    duplicates: int


class Resolution(NamedTuple):
    """The rows that each part drops, those with a final answer, and those to retry."""

    drops: list[DroppedRows]
    answered: RowSet
    retried: RowSet


def resolve_rows(parts: list[PartRows]) -> Resolution:
    """Decide which part answers which row."""
    succeeded = RowSet.union(part.succeeded for part in parts)
    permanent = RowSet.union(part.failed - part.retryable for part in parts)
    retryable = RowSet.union(part.retryable for part in parts)
    retried = retryable - succeeded - permanent
    drop_succeeded, answered = _repeated_rows((part.succeeded for part in parts), RowSet())
    drop_failed, seen = _repeated_rows((part.failed for part in parts), answered)
    drops = [
        DroppedRows(
            repeated_successes,
            repeated_failures | part.failed & retried,
            len(repeated_successes) + len(repeated_failures),
        )
        for part, repeated_successes, repeated_failures in zip(
            parts, drop_succeeded, drop_failed, strict=True
        )
    ]
    return Resolution(drops, seen - retried, retried)


def _repeated_rows(row_sets: Iterable[RowSet], seen: RowSet) -> tuple[list[RowSet], RowSet]:
    """Return the rows of each set that were seen before it, and all rows seen."""
    repeated = []
    for rows in row_sets:
        repeated.append(rows & seen)
        seen |= rows
    return repeated, seen
