"""Decides which part of an attempt's output answers which row, by bitmaps; pure.

A row may be answered in several parts, or in none. The first success counts, else the first failure, in the order of
parts. Rows all of whose failures may pass are put off to the next attempt, unless this was the last.
"""

from collections.abc import Iterable
from functools import reduce
from operator import or_
from typing import NamedTuple


class PartRows(NamedTuple):
    """Bitmaps of the rows that one part answers: succeeded, failed, and of those the ones a second try can mend."""

    succeeded: int
    failed: int
    transient: int


class DroppedRows(NamedTuple):
    """Bitmaps of one part's rows that are to be passed over, and how many of them are duplicates."""

    succeeded: int
    failed: int
    duplicates: int


class Resolution(NamedTuple):
    """What each part is to drop, the rows with a final answer, and the rows to be tried again."""

    drops: list[DroppedRows]
    answered: int
    retried: int


def resolve_rows(parts: list[PartRows], is_last: bool) -> Resolution:
    """Decide which part answers which row; at the ``is_last`` attempt no row is tried again."""
    succeeded = union_rows(part.succeeded for part in parts)
    permanent = union_rows(part.failed & ~part.transient for part in parts)
    retried = (
        0 if is_last else union_rows(part.transient for part in parts) & ~succeeded & ~permanent
    )
    drop_succeeded, answered = _repeated_rows((part.succeeded for part in parts), 0)
    drop_failed, seen = _repeated_rows((part.failed for part in parts), answered)
    drops = [
        DroppedRows(
            repeated_successes,
            repeated_failures | part.failed & retried,
            repeated_successes.bit_count() + repeated_failures.bit_count(),
        )
        for part, repeated_successes, repeated_failures in zip(
            parts, drop_succeeded, drop_failed, strict=True
        )
    ]
    return Resolution(drops, seen & ~retried, retried)


def union_rows(bitmaps: Iterable[int]) -> int:
    """Return the rows that are in any of the bitmaps."""
    return reduce(or_, bitmaps, 0)


def _repeated_rows(bitmaps: Iterable[int], seen: int) -> tuple[list[int], int]:
    """For each bitmap the rows that were seen before it, and the rows seen in all."""
    repeated = []
    for bitmap in bitmaps:
        repeated.append(bitmap & seen)
        seen |= bitmap
    return repeated, seen
