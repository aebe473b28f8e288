"""What the fake and the adapter do alike with tables: the contract of ``Warehouse``."""

import uuid
from collections.abc import Callable, Iterator

import msgspec
import pytest

from promptmill.config.errors import NotFound
from promptmill.config.settings import load_settings
from promptmill.config.tables import Table
from promptmill.local.services import BUCKET
from promptmill.workers.adapters.bigquery import BigQueryWarehouse, open_warehouse
from promptmill.workers.adapters.storage import open_bucket
from promptmill.workers.fakes import FakeWarehouse, MemoryBucket
from promptmill.workers.ports.google import Bucket
from promptmill.workers.ports.warehouse import BigQueryJob, BigQueryJobState, Warehouse
from promptmill.workers.sinks.bigquery import RESULT_COLUMNS
from support.bigquery_server import PROJECT, running_bigquery
from support.local_stack import LocalStack, surroundings
from support.waiting import wait_until

ROW = b'{"run":"r","key":"a","row":1,"state":"succeeded","text":"hola","usage":{"totalTokenCount":7},"later":1}\n'
FAILED = (
    b'{"run":"r","key":"b","row":2,"state":"failed","error":{"reason":"SAFETY","message":"no"},'
)
FAILED += b'"metadata":{"shop":[7]}}\n'


@pytest.fixture(scope="session")
def bigquery_url(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    storage = stack.environment["STORAGE_EMULATOR_HOST"]
    with running_bigquery(tmp_path_factory.mktemp("bigquery"), storage) as url:
        yield url


@pytest.fixture(params=["fake", "real"])
def warehouse(request: pytest.FixtureRequest) -> Iterator[Warehouse]:
    if request.param == "fake":
        bucket: MemoryBucket = request.getfixturevalue("files")
        yield FakeWarehouse(
            lambda uri: bucket.read(uri.removeprefix(f"{bucket.url}/")),
            write=lambda uri, data: bucket.write(uri.removeprefix(f"{bucket.url}/"), data),
        )
        return
    url = request.getfixturevalue("bigquery_url")
    with surroundings({"BIGQUERY_EMULATOR_HOST": url}):
        real = open_warehouse(load_settings(project=PROJECT, bigquery_emulator_host=url))
    real._client.create_dataset("reviews", exists_ok=True)
    yield real
    real._client.close()


@pytest.fixture
def files(request: pytest.FixtureRequest) -> Iterator[Bucket]:
    """Where loads read from."""
    if request.node.callspec.params["warehouse"] == "fake":
        yield MemoryBucket()
        return
    where: LocalStack = request.getfixturevalue("stack")
    with surroundings({"STORAGE_EMULATOR_HOST": where.environment["STORAGE_EMULATOR_HOST"]}):
        bucket = open_bucket(f"gs://{BUCKET}/{uuid.uuid4().hex}", "p")
    yield bucket
    bucket._client.close()


@pytest.fixture
def table(warehouse: Warehouse) -> Table:
    made = Table(PROJECT, "reviews", f"t{uuid.uuid4().hex}")
    warehouse.create_table(made, RESULT_COLUMNS)
    return made


@pytest.fixture
def put(files: Bucket) -> Callable[[str, bytes], str]:
    def write(name: str, data: bytes) -> str:
        files.write(name, data)
        return f"{files.url}/{name}"

    return write


def job(table: Table, name: str = "j") -> BigQueryJob:
    return BigQueryJob(f"{name}-{table.name}", table)


def through(warehouse: Warehouse, job: BigQueryJob) -> BigQueryJobState:
    """How a job ends."""
    wait_until(lambda: (state := warehouse.get_job_state(job)) is not None and state.done, job.id)
    state = warehouse.get_job_state(job)
    assert state is not None
    return state


def rows(warehouse: Warehouse, table: Table) -> dict[tuple[str, str], dict[str, object]]:
    found = list(warehouse.stream_rows(table))
    told = {(str(row["run"]), str(row["key"])): row for row in found}
    assert len(told) == len(found)
    return told


def test_a_table_is_made_once_and_has_the_columns_it_was_made_with(
    warehouse: Warehouse, table: Table
) -> None:
    warehouse.create_table(table, RESULT_COLUMNS[:1])

    assert [column._replace(fields=()) for column in warehouse.get_columns(table) or []] == [
        column._replace(fields=()) for column in RESULT_COLUMNS
    ]
    assert warehouse.get_columns(table._replace(name="none")) is None


def test_nothing_can_be_done_in_a_dataset_that_is_not_there(warehouse: Warehouse) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        warehouse.check_job_access(Table(PROJECT, "nowhere", "t"))


def test_jobs_may_be_run_and_rows_be_written(warehouse: Warehouse, table: Table) -> None:
    warehouse.check_job_access(table)
    wanted = ["bigquery.tables.get", "bigquery.tables.updateData"]

    assert warehouse.test_permissions(table, wanted) == set(wanted)


def test_files_are_loaded_and_what_has_no_column_is_left_out(
    warehouse: Warehouse, table: Table, put: Callable[[str, bytes], str]
) -> None:
    load = job(table)
    assert warehouse.get_job_state(load) is None
    warehouse.start_load(load, [put("one.jsonl", ROW), put("two.jsonl", FAILED)])

    assert through(warehouse, load) == BigQueryJobState(True)
    found = rows(warehouse, table)
    assert found["r", "a"]["usage"] == {"totalTokenCount": 7}
    assert found["r", "a"]["error"] is None
    assert found["r", "b"]["error"] == {"reason": "SAFETY", "message": "no"}
    assert found["r", "b"]["metadata"] == {"shop": [7]}
    assert found["r", "b"]["row"] == 2
    assert "later" not in found["r", "a"]


def test_the_same_job_again_changes_nothing(
    warehouse: Warehouse, table: Table, put: Callable[[str, bytes], str]
) -> None:
    uri = put("one.jsonl", ROW)
    for _ in range(3):
        warehouse.start_load(job(table), [uri])
        through(warehouse, job(table))

    assert len(rows(warehouse, table)) == 1


def test_a_job_whose_file_is_missing_fails_and_appends_nothing(
    warehouse: Warehouse, table: Table, put: Callable[[str, bytes], str]
) -> None:
    one = put("one.jsonl", ROW)
    warehouse.start_load(job(table), [one, one.replace("one", "none")])

    assert through(warehouse, job(table)).reason
    assert rows(warehouse, table) == {}


def test_a_table_is_extracted_into_files_of_json_once(
    warehouse: Warehouse, table: Table, put: Callable[[str, bytes], str], files: Bucket
) -> None:
    warehouse.start_load(job(table), [put("rows.jsonl", ROW + FAILED)])
    through(warehouse, job(table))
    for _ in range(2):
        warehouse.start_extract(job(table, "out"), f"{files.url}/out/predictions-*.jsonl")
        assert through(warehouse, job(table, "out")) == BigQueryJobState(True)

    (stored,) = files.list("out/")
    lines = [msgspec.json.decode(line) for line in files.read(stored.name).splitlines()]
    assert sorted(line["key"] for line in lines) == ["a", "b"]
    assert {"shop": [7]} in [line["metadata"] for line in lines]


def with_a_newer_one(warehouse: Warehouse, table: Table, put: Callable[[str, bytes], str]) -> Table:
    """Load an answer of an earlier run into the table, and those of a later one into another, which is returned."""
    source = table._replace(name=f"s{table.name}")
    warehouse.create_table(source, RESULT_COLUMNS, expiration_days=1)
    warehouse.start_load(job(table), [put("old.jsonl", ROW.replace(b'"r"', b'"earlier"'))])
    warehouse.start_load(job(source), [put("new.jsonl", ROW + FAILED)])
    through(warehouse, job(table))
    through(warehouse, job(source))
    return source


def test_a_merge_replaces_equal_rows_and_adds_the_others(
    warehouse: Warehouse, table: Table, put: Callable[[str, bytes], str]
) -> None:
    source = with_a_newer_one(warehouse, table, put)

    warehouse.start_merge(job(table, "by-run"), source, ("run", "key"))
    assert through(warehouse, job(table, "by-run")) == BigQueryJobState(True)
    assert set(rows(warehouse, table)) == {("earlier", "a"), ("r", "a"), ("r", "b")}


def test_a_merge_by_key_leaves_the_newest_answer(
    warehouse: Warehouse, table: Table, put: Callable[[str, bytes], str]
) -> None:
    source = with_a_newer_one(warehouse, table, put)

    for _ in range(2):
        warehouse.start_merge(job(table, "by-key"), source, ("key",))
        assert through(warehouse, job(table, "by-key")) == BigQueryJobState(True)
    assert set(rows(warehouse, table)) == {("r", "a"), ("r", "b")}


def test_a_table_that_was_dropped_is_gone(warehouse: Warehouse, table: Table) -> None:
    for _ in range(2):
        warehouse.delete_table(table)

    assert warehouse.get_columns(table) is None


def test_the_adapter_streams_the_rows_of_a_query(bigquery_url: str) -> None:
    with surroundings({"BIGQUERY_EMULATOR_HOST": bigquery_url}):
        real: BigQueryWarehouse = open_warehouse(
            load_settings(project=PROJECT, bigquery_emulator_host=bigquery_url)
        )
    found = list(
        real.stream_rows(
            "SELECT n, DATE '2026-11-24' AS day, NUMERIC '1.5' AS price, [STRUCT(n AS x)] AS many "
            "FROM UNNEST(GENERATE_ARRAY(1, 12000)) AS n"
        )
    )
    real._client.close()

    assert len(found) == 12000
    assert {"n": 7, "day": "2026-11-24", "price": "1.5", "many": [{"x": 7}]} in found
