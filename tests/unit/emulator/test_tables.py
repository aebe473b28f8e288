"""A job that reads a table and writes one: the same answers, and a table's own reasons to fail."""

import json
from collections.abc import Iterator
from typing import IO, Any

import pytest

from promptmill.emulator.errors import JobFailed
from promptmill.emulator.execution import JobExecutor
from promptmill.emulator.importer import ImportLimits
from promptmill.emulator.responders import EchoResponder
from promptmill.emulator.tables import _check_columns
from unit.emulator.stand import Stand, row

IN, OUT = "bq://acme.shop.requests", "bq://acme.shop.answers"
ON_TABLES = {
    "inputConfig": {"instancesFormat": "bigquery", "bigquerySource": {"inputUri": IN}},
    "outputConfig": {"predictionsFormat": "bigquery", "bigqueryDestination": {"outputUri": OUT}},
}


class MemoryTables:
    """Tables in memory, of one dataset."""

    def __init__(self) -> None:
        self.held: dict[str, list[dict[str, Any]]] = {IN: []}

    def has_dataset(self, uri: str) -> bool:
        return uri.startswith("bq://acme.shop.")

    def read_rows(self, uri: str) -> Iterator[bytes]:
        return (json.dumps(line).encode() + b"\n" for line in self.held[uri])

    def append_rows(self, source: str, uri: str, lines: IO[bytes]) -> None:
        lines.seek(0)
        self.held.setdefault(uri, []).extend(map(json.loads, lines))


@pytest.fixture
def tables() -> MemoryTables:
    return MemoryTables()


@pytest.fixture
def stand(tables: MemoryTables) -> Stand:
    stand = Stand()
    execution = JobExecutor(
        stand.storage, EchoResponder(), stand.clock, ImportLimits(requests=5), tables
    )
    object.__setattr__(stand.service, "executor", execution)
    return stand


def test_each_row_is_answered_beside_its_other_columns_which_stay_what_they_are(
    stand: Stand, tables: MemoryTables
) -> None:
    tables.held[IN] = [row(f"k{number}") | {"sku": "007"} for number in range(3)]
    job = stand.look(stand.create("projects/p/locations/us", **ON_TABLES), at=3600)

    assert job["state"] == "JOB_STATE_SUCCEEDED"
    assert job["outputInfo"] == {
        "bigqueryOutputDataset": "bq://acme.shop",
        "bigqueryOutputTable": "answers",
    }
    assert {line["key"]: line["sku"] for line in tables.held[OUT]} == dict.fromkeys(
        ("k0", "k1", "k2"), "007"
    )
    assert all(line["response"]["candidates"] and line["status"] == "" for line in tables.held[OUT])


def test_a_request_may_have_what_no_file_may(stand: Stand, tables: MemoryTables) -> None:
    tables.held[IN] = [
        row("k1") | {"request": row("k1")["request"] | {"tools": [{"googleSearch": {}}]}}
    ]

    assert (
        stand.look(stand.create("projects/p/locations/us", **ON_TABLES), at=3600)["state"]
        == "JOB_STATE_SUCCEEDED"
    )


@pytest.mark.parametrize("rows", [0, 6])
def test_a_table_without_rows_or_with_too_many_fails_the_job(
    stand: Stand, tables: MemoryTables, rows: int
) -> None:
    tables.held[IN] = [row(f"k{number}") for number in range(rows)]
    job = stand.look(stand.create("projects/p/locations/us", **ON_TABLES), at=3600)

    assert job["state"] == "JOB_STATE_FAILED"
    assert "Failed to import data" in job["error"]["message"]


def test_a_dataset_that_is_not_there_fails_the_job(stand: Stand) -> None:
    elsewhere = {
        "inputConfig": {
            "instancesFormat": "bigquery",
            "bigquerySource": {"inputUri": "bq://acme.no.t"},
        }
    }
    job = stand.look(stand.create("projects/p/locations/us", **ON_TABLES | elsewhere), at=3600)

    assert job["state"] == "JOB_STATE_FAILED"
    assert "Dataset of bq://acme.no.t" in job["error"]["message"]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ([("key", "STRING")], "needs a column `request`"),
        ([("request", "RECORD")], "needs a column `request`"),
        ([("request", "JSON"), ("Status", "STRING")], "reserved"),
        ([("request", "STRING"), ("response", "JSON")], "reserved"),
    ],
)
def test_a_table_of_other_columns_is_refused(columns: list[tuple[str, str]], words: str) -> None:
    with pytest.raises(JobFailed, match=words):
        _check_columns(columns)
