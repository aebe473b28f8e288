"""A ``RowSet`` behaves like a frozenset of row offsets."""

from contextlib import suppress

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from promptmill.workers.facts.row_set import DamagedRowSet, RowSet, RowSetBuilder

ROWS = st.frozensets(st.integers(0, 40) | st.integers(0, 5000))


@given(ROWS, ROWS)
def test_operators_are_those_of_frozenset(left: frozenset[int], right: frozenset[int]) -> None:
    ours, other = RowSet.of(left), RowSet.of(right)

    assert set(ours | other) == left | right
    assert set(ours & other) == left & right
    assert set(ours - other) == left - right
    assert set(RowSet.union([ours, other, RowSet()])) == left | right
    assert (ours == other) == (left == right)
    assert (set(ours), set(other)) == (set(left), set(right))


@given(ROWS)
def test_a_row_set_counts_contains_and_lists_rows_in_order(rows: frozenset[int]) -> None:
    ours = RowSet.of(rows)

    assert (list(ours), len(ours), bool(ours)) == (sorted(rows), len(rows), bool(rows))
    assert {row for row in range(-10, 5010) if row in ours} == rows


@given(ROWS)
def test_equal_sets_have_equal_hashes_and_reprs(rows: frozenset[int]) -> None:
    ours = RowSet.of(rows)

    assert hash(ours) == hash(RowSet.of(sorted(rows, reverse=True)))
    assert eval(repr(ours)) == ours  # noqa: S307
    assert ours != rows


@given(ROWS)
def test_packing_keeps_the_rows_and_the_stored_form(rows: frozenset[int]) -> None:
    packed = RowSet.of(rows).pack()

    assert RowSet.unpack(packed) == RowSet.of(rows)
    bitmap = sum(1 << row for row in rows)
    stored = bitmap.to_bytes((bitmap.bit_length() + 7) // 8, "little")
    assert packed == (zstandard.compress(stored) if rows else b"")


@given(ROWS, st.lists(st.integers(0, 5000)))
def test_a_builder_does_not_change_its_first_set(rows: frozenset[int], added: list[int]) -> None:
    start = RowSet.of(rows)
    builder = RowSetBuilder(start)
    for row in added:
        builder.add(row)

    assert set(builder.build()) == rows | set(added)
    assert {row for row in range(5010) if row in builder} == rows | set(added)
    assert not [row for row in range(-5010, 0) if row in builder]
    assert start == RowSet.of(rows)


@given(ROWS, st.lists(st.integers(-5000, -1), min_size=1))
def test_negative_rows_are_refused(rows: frozenset[int], negative: list[int]) -> None:
    with pytest.raises(ValueError, match=f"row offset {min(negative)} is negative"):
        RowSet.of([*rows, *negative])
    with pytest.raises(ValueError, match="bitmap of a row set is negative"):
        RowSet(negative[0])


@given(ROWS.filter(bool), st.binary(min_size=1))
def test_trailing_bytes_and_truncated_sets_are_refused(rows: frozenset[int], tail: bytes) -> None:
    packed = RowSet.of(rows).pack()

    for damaged in (packed + tail, packed + packed, packed[:-1]):
        with pytest.raises(DamagedRowSet, match="are not a packed row set"):
            RowSet.unpack(damaged)


@given(st.binary())
def test_unpacking_other_data_raises_no_other_error(data: bytes) -> None:
    with suppress(DamagedRowSet):
        RowSet.unpack(data)


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 1000])
def test_the_first_rows_of_a_shard(count: int) -> None:
    assert list(RowSet.first(count)) == list(range(count))
    assert count not in RowSet.first(count)
