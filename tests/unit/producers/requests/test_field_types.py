"""What only two rows together show: fields of several types, and too many fields."""

from collections import OrderedDict
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.emulator.columns import Columns
from promptmill.producers.requests import request_validation
from promptmill.producers.requests.encode import encode_lines
from promptmill.producers.requests.field_types import MAX_FIELDS, FieldTypes


class Answer(StrEnum):
    YES = "yes"


NAMES = st.sampled_from(["a", "b", "type"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.text("xy", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


def request(value: Any) -> dict[str, Any]:
    return {"contents": [{"parts": [{"text": "hi"}]}], "generationConfig": {"x": value}}


@given(st.lists(VALUES, max_size=8))
def test_what_is_let_through_is_what_an_importer_of_one_type_a_field_takes(
    values: list[Any],
) -> None:
    columns = Columns()
    kinds = FieldTypes()

    for row, value in enumerate(values, 1):
        if (
            not request_validation.check_request(request(value))
            and not kinds.admit_request(row, request(value)).refusal
        ):
            columns.add_row({"request": request(value)})


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (
            "STRING",
            ["STRING", "NULL"],
            "request.generationConfig.x is a list here and text in row 1",
        ),
        ({"a": 1}, [{"a": 1}], "is a list here and an object in row 1"),
        ({"a": 1}, {"a": "one"}, "request.generationConfig.x.a is text here and a number in row 1"),
        ([1], ["one"], "request.generationConfig.x[] is text here and a number in row 1"),
        (True, 1, "is a number here and true or false in row 1"),
        ("one", [1, "one"], "x[] is both text and a number"),
        ("one", [{"a": 1}, {"a": [1]}], "x[].a is both a list and a number"),
        (OrderedDict(a=1), {"a": Answer.YES}, "x.a is text here and a number in row 1"),
        ((1, 2), "one", "x is text here and a list in row 1"),
    ],
)
def test_a_field_of_another_type_than_before_is_refused_and_the_other_row_named(
    first: Any, second: Any, told: str
) -> None:
    kinds = FieldTypes()

    assert kinds.admit_request(1, request(first)).refusal == ""
    assert told in kinds.admit_request(2, request(second)).refusal
    assert kinds.admit_request(3, request(first)).refusal == ""


@pytest.mark.parametrize(
    ("first", "second"), [(1, 2.5), (None, "a"), ({"a": 1}, {"b": "c"}), ([], ["a"])]
)
def test_what_one_type_can_hold_is_let_through(first: Any, second: Any) -> None:
    kinds = FieldTypes()

    assert not kinds.admit_request(1, request(first)).refusal
    assert not kinds.admit_request(2, request(second)).refusal


@pytest.mark.parametrize(("first", "second"), [(None, ["a"]), (["a"], None), (None, [])])
def test_null_in_place_of_a_list_is_refused_with_the_cure(first: Any, second: Any) -> None:
    kinds = FieldTypes()

    assert not kinds.admit_request(1, request(first)).refusal
    assert (
        "request.generationConfig.x is null in one row and a list in another; leave null fields out"
        in kinds.admit_request(2, request(second)).refusal
    )
    assert not kinds.admit_request(3, request(first)).refusal


def test_null_and_a_list_in_one_row_are_refused() -> None:
    items = [{"a": None}, {"a": ["b"]}]

    assert "x[].a is null in one row" in FieldTypes().admit_request(1, request(items)).refusal


def test_a_row_that_is_refused_leaves_no_trace() -> None:
    kinds = FieldTypes()
    kinds.admit_request(1, request({"a": 1}))

    assert kinds.admit_request(2, request({"a": "one", "b": "text"})).refusal
    assert not kinds.admit_request(3, request({"a": 1, "b": 2})).refusal


def test_more_fields_than_a_table_has_columns_are_refused() -> None:
    kinds = FieldTypes()
    refusals = [
        kinds.admit_request(row, request({f"f{row}": 1})).refusal
        for row in range(1, MAX_FIELDS + 2)
    ]

    assert refusals[MAX_FIELDS // 2] == ""
    assert "more than 10,000 different fields" in refusals[-1]


def test_the_odd_row_of_a_run_is_set_apart() -> None:
    rows = [
        {"key": str(row), "request": request(value)}
        for row, value in enumerate(["a", "b", ["c"], "d"], 1)
    ]

    assert [line.key for line in encode_lines("01jtest", rows, 10_000) if line.refusal] == ["3"]
