"""A BigQuery sink has each row once, even if workers die while they load rows."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from faults.crashing import Crash
from faults.invariants import observe, violations
from faults.worker_group import WorkerGroups
from promptmill.config.settings import load_settings
from promptmill.config.tables import Table
from promptmill.producers import Result, Run
from promptmill.producers.contract import sink_specs
from promptmill.workers.adapters.bigquery import BigQueryWarehouse, open_warehouse
from support.bigquery_server import PROJECT, running_bigquery
from support.local_stack import LocalStack, read_results, running, surroundings
from support.proxy import HttpProxy
from support.waiting import PATIENCE

DEATHS = [
    Crash("create_table table", "after"),
    Crash("deliver bigquery", "after"),
    Crash("start_load table", "before"),
    Crash("start_load table", "after"),
    Crash("start_merge table", "before"),
    Crash("start_merge table", "after"),
    Crash("delete_table table", "after"),
    Crash("finish bigquery", "after"),
]


@pytest.fixture(scope="module")
def bigquery(servers: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run the BigQuery emulator with a dataset."""
    storage = servers.environment["STORAGE_EMULATOR_HOST"]
    with running_bigquery(tmp_path_factory.mktemp("bigquery"), storage) as url:
        yield url


@pytest.fixture(scope="module")
def warehouse(bigquery: str) -> Iterator[BigQueryWarehouse]:
    with surroundings({"BIGQUERY_EMULATOR_HOST": bigquery}):
        found = open_warehouse(load_settings(project=PROJECT, bigquery_emulator_host=bigquery))
    found._client.create_dataset("reviews", exists_ok=True)
    yield found
    found._client.close()


def new_table() -> Table:
    return Table(PROJECT, "reviews", f"t{uuid.uuid4().hex}")


def rows_of(warehouse: BigQueryWarehouse, table: Table) -> list[Result]:
    """Return the rows as results. A repeated column, such as an embedding, is empty, never NULL."""
    rows = [
        {name: value for name, value in row.items() if value not in (None, [])}
        for row in warehouse.stream_rows(table)
    ]
    return [msgspec.convert(row, Result) for row in rows]


def breaches(
    warehouse: BigQueryWarehouse, table: Table, run: Run, servers: LocalStack
) -> list[str]:
    found = {"the table": rows_of(warehouse, table)}
    return violations(observe(run, map(str, range(1, 11)), servers.jobs, found))


def test_a_worker_may_die_around_every_step_of_a_load_and_each_row_is_there_once(
    groups: WorkerGroups, servers: LocalStack, bigquery: str, warehouse: BigQueryWarehouse
) -> None:
    def die(place: int) -> list[str]:
        table = new_table()
        with groups.create_group(
            f"bigquery-{place}", {"BIGQUERY_EMULATOR_HOST": bigquery}
        ) as group:
            doomed = group.work(DEATHS[place])
            run = group.submit(sinks=[sink_specs.bigquery(str(table), merge="run")])
            doomed.join(PATIENCE)
            assert not doomed.is_alive(), f"{DEATHS[place]} never came"
            group.work()
            group.wait(run)
            return [
                f"{DEATHS[place]}: {breach}" for breach in breaches(warehouse, table, run, servers)
            ]

    assert [breach for found in groups.sweep(die, range(len(DEATHS))) for breach in found] == []


TABLES_DIE = [
    Crash("create_table table", "after"),
    Crash("start_load table", "before"),
    Crash("start_load table", "after"),
    Crash("create job", "after"),
    Crash("start_extract table", "before"),
    Crash("start_extract table", "after"),
]


@pytest.mark.slow
def test_a_worker_may_die_around_every_table_of_a_job_and_nothing_is_lost_or_paid_for_twice(
    groups: WorkerGroups,
    servers: LocalStack,
    bigquery: str,
    warehouse: BigQueryWarehouse,
    tmp_path: Path,
) -> None:
    known = {"BIGQUERY_EMULATOR_HOST": bigquery, "GOOGLE_CLOUD_LOCATION": "us"}
    where = servers.environment | known

    def die(place: int, vertex: LocalStack) -> list[str]:
        crash, endpoint = TABLES_DIE[place], vertex.environment["PROMPTMILL_VERTEX_ENDPOINT"]
        with groups.create_group(
            f"tables-{place}", known | {"PROMPTMILL_VERTEX_ENDPOINT": endpoint}
        ) as group:
            doomed = group.work(crash)
            run = group.submit(tables="acme.reviews")
            doomed.join(PATIENCE)
            assert not doomed.is_alive(), f"{crash} never came"
            group.work()
            group.wait(run)
            found = {"the file": read_results(group.answers)}
            seen = observe(run, map(str, range(1, 11)), vertex.jobs, found)
            return [f"{crash}: {breach}" for breach in violations(seen)]

    with running(tmp_path, ("emulator",), latency=0.3, settings=where) as vertex:
        died = groups.sweep(lambda place: die(place, vertex), range(len(TABLES_DIE)))
        assert [breach for found in died for breach in found] == []


def test_answers_that_are_lost_and_calls_that_fail_leave_each_row_once(
    groups: WorkerGroups, servers: LocalStack, bigquery: str, warehouse: BigQueryWarehouse
) -> None:
    table = new_table()
    with (
        HttpProxy(bigquery) as proxy,
        groups.create_group("bigquery-lost", {"BIGQUERY_EMULATOR_HOST": proxy.url}) as group,
    ):
        jobs = "/bigquery/v2/projects/[^/]+/jobs.*"
        proxy.fail("POST", jobs, status=503)
        group.work()
        run = group.submit(sinks=[sink_specs.bigquery(str(table))])
        proxy.drop_answer("POST", jobs, times=2)
        proxy.refuse("POST", jobs)
        proxy.replace_answer("POST", jobs, status=503)
        proxy.fail("GET", jobs, status=500)
        group.wait(run)

        assert len([call for call in proxy.calls if call.fault]) == 6
        assert breaches(warehouse, table, run, servers) == []
