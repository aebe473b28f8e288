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
    passing: int


class Drop(NamedTuple):
    """Bitmaps of one part's rows that are to be passed over, and how many of them are duplicates."""

    succeeded: int
    failed: int
    duplicates: int


class Resolution(NamedTuple):
    """What each part is to drop, the rows with a final answer, and the rows to be tried again."""

    drops: list[Drop]
    answered: int
    again: int


def resolve(parts: list[PartRows], last: bool) -> Resolution:
    """Decide which part answers which row; at the ``last`` attempt no row is tried again."""
    succeeded = union(part.succeeded for part in parts)
    lasting = union(part.failed & ~part.passing for part in parts)
    again = 0 if last else union(part.passing for part in parts) & ~succeeded & ~lasting
    drop_succeeded, answered = _all_but_first((part.succeeded for part in parts), 0)
    drop_failed, seen = _all_but_first((part.failed for part in parts), answered)
    drops = [
        Drop(s, f | part.failed & again, s.bit_count() + f.bit_count())
        for part, s, f in zip(parts, drop_succeeded, drop_failed, strict=True)
    ]
    return Resolution(drops, seen & ~again, again)


def union(bitmaps: Iterable[int]) -> int:
    """Return the rows that are in any of the bitmaps."""
    return reduce(or_, bitmaps, 0)


def _all_but_first(bitmaps: Iterable[int], seen: int) -> tuple[list[int], int]:
    """For each bitmap the rows that were seen before it, and the rows seen in all."""
    repeated = []
    for bitmap in bitmaps:
        repeated.append(bitmap & seen)
        seen |= bitmap
    return repeated, seen
