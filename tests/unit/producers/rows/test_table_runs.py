"""A table with requests in it becomes prompts: keys, other columns, and what is wrong with it."""

from typing import Any

import pytest

from promptmill.config.errors import ConfigurationError
from promptmill.config.tables import parse_dataset
from promptmill.producers.rows.table_runs import build_prompts, split_output

REQUEST = {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}


def one(row: dict[str, Any], key: str = "id", metadata: list[str] | None = None) -> dict[str, Any]:
    (prompt,) = build_prompts([row], key, metadata)
    return prompt


def test_a_row_has_its_key_its_request_and_the_other_columns_that_have_a_value() -> None:
    row = {"id": 7, "request": REQUEST, "shop": "a", "note": None, "day": "2026-11-24"}

    assert one(row) == {
        "key": "7",
        "request": REQUEST,
        "metadata": {"shop": "a", "day": "2026-11-24"},
    }
    assert one(row, metadata=["shop"])["metadata"] == {"shop": "a"}
    assert "metadata" not in one(row, metadata=[])


def test_a_request_may_be_text() -> None:
    text = '{"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}'

    assert one({"id": "a", "request": text}) == {"key": "a", "request": REQUEST}
    assert one({"id": "a", "request": "no JSON"})["request"] == "no JSON"


@pytest.mark.parametrize(
    ("row", "metadata", "missing"),
    [
        ({"id": 1}, None, "request"),
        ({"request": REQUEST}, None, "id"),
        ({"id": 1, "request": REQUEST}, ["shop"], "shop"),
    ],
)
def test_a_column_that_is_missing_is_named(
    row: dict[str, Any], metadata: list[str] | None, missing: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"no column '{missing}'"):
        one(row, metadata=metadata)


def test_the_output_is_a_dataset_or_a_table_in_it() -> None:
    assert split_output("bq://acme.answers") == ("acme.answers", "")
    assert split_output("acme.answers/") == ("acme.answers", "")
    assert split_output("bq://acme.answers.greetings") == ("acme.answers", "acme.answers.greetings")


@pytest.mark.parametrize("name", ["acme", "bq://", "acme.a-b", "acme.a.b`c", "gs://acme/answers"])
def test_what_is_no_dataset_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"use project\.dataset"):
        split_output(name)
    with pytest.raises(ConfigurationError):
        parse_dataset(name)
