"""Results as a table."""

from promptmill.cli.output import Record
from promptmill.cli.results import shorten_records

USAGE = {"promptTokenCount": 1000, "totalTokenCount": 1234}


def test_a_table_has_totals_and_lengths_and_no_empty_columns() -> None:
    records: list[Record] = [
        {"key": "a", "parsed": None, "usage": USAGE, "response": {}, "embedding": [0.5] * 768},
        {"key": "b", "parsed": None, "usage": {}, "response": {}, "embedding": []},
    ]

    assert shorten_records(records) == [
        {"key": "a", "usage": "1,234 tokens", "embedding": "768 numbers"},
        {"key": "b", "usage": "", "embedding": ""},
    ]
    assert shorten_records([]) == []
