"""Jobs with tables: input is loaded and output extracted once, despite repeats and crashes."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from promptmill.config import names
from promptmill.config.errors import ConfigurationError, Transient
from promptmill.config.settings import Settings
from promptmill.config.tables import Table, parse_table
from promptmill.producers.contract.messages import Manifest
from promptmill.workers import steps
from promptmill.workers.cli_support.bigquery_rows import read_from
from promptmill.workers.facts import records
from promptmill.workers.facts.fact import encode_fact
from promptmill.workers.facts.records import Ended
from promptmill.workers.fakes import FakeWarehouse
from promptmill.workers.ports.google import Job
from promptmill.workers.ports.warehouse import BigQueryJobState, Column
from promptmill.workers.sinks import allowlist
from promptmill.workers.steps import tables
from support.fake_pipeline import FakePipeline

PLACE = (0, 1)


@pytest.fixture
def pipeline() -> FakePipeline:
    return FakePipeline()


@pytest.fixture
def warehouse(pipeline: FakePipeline) -> FakeWarehouse:
    def inside(uri: str) -> str:
        return uri.removeprefix(f"{pipeline.bucket.url}/")

    return FakeWarehouse(
        lambda uri: pipeline.bucket.read(inside(uri)),
        write=lambda uri, data: pipeline.bucket.write(inside(uri), data),
    )


@pytest.fixture
def run(pipeline: FakePipeline) -> str:
    """Return a run with tables whose first shard is due for submit."""
    run = pipeline.send(["one", "two", {"prompt": ""}])
    manifest = pipeline.folder(run).manifest.get()
    on_tables = msgspec.structs.replace(manifest, tables="acme.reviews", v=2)
    pipeline.bucket.write(pipeline.folder(run).manifest.name, encode_fact(on_tables))
    for task in ("plan", "shard"):
        (step,) = pipeline.due(run)
        assert step.task == task
        pipeline.do(step)
    return run


def manifest(pipeline: FakePipeline, run: str) -> Manifest:
    return pipeline.folder(run).manifest.get()


def test_the_input_is_loaded_once_before_the_job_is_created(
    pipeline: FakePipeline, warehouse: FakeWarehouse, run: str
) -> None:
    for _ in range(3):
        tables.load_input(warehouse, pipeline.folder(run).attempt(*PLACE))
    source, _ = tables.job_uris(pipeline.folder(run).attempt(*PLACE), manifest(pipeline, run))

    rows: list[dict[str, Any]] = warehouse.tables[parse_table(source)]
    assert [row["request"]["contents"][0]["parts"][0]["text"] for row in rows] == ["one", "two"]
    assert all(row["key"].startswith(names.tag(run)) for row in rows)


def test_a_slow_or_failing_load_delays_the_job(
    pipeline: FakePipeline, warehouse: FakeWarehouse, run: str
) -> None:
    warehouse.next_job_states = [BigQueryJobState(True, "backendError")]
    with pytest.raises(Transient):
        tables.load_input(warehouse, pipeline.folder(run).attempt(*PLACE))
    tables.load_input(warehouse, pipeline.folder(run).attempt(*PLACE))

    assert [len(rows) for rows in warehouse.tables.values()] == [2]


def test_an_output_table_is_extracted_once_and_collected(
    pipeline: FakePipeline, warehouse: FakeWarehouse, run: str
) -> None:
    (step,) = pipeline.due(run)
    pipeline.do(step)
    folder = pipeline.folder(run).attempt(*PLACE)
    destination = parse_table(tables.job_uris(folder, manifest(pipeline, run))[1])
    job = Job("j", "JOB_STATE_SUCCEEDED", output_directory=destination.url, successful_count=1)
    folder.ended.create(Ended(job, records.current_time()))
    tables.extract_output(warehouse, folder, folder.ended)
    assert warehouse.started_jobs == []

    warehouse.create_table(
        destination, [*tables.INPUT_COLUMNS, Column("response", "JSON"), Column("status", "STRING")]
    )
    warehouse.tables[destination] = [
        {"key": f"{names.tag(run)}-1-1", "status": "", "response": {"candidates": []}}
    ]
    for _ in range(3):
        tables.extract_output(warehouse, folder, folder.ended)
    pipeline.clock.now += 60
    found = steps.collect.collect(folder, 1 << 20)

    assert isinstance(found, records.Parts)
    assert [piece.name for piece in found.parts] == [
        folder.output_folder + "predictions-000000000000.jsonl"
    ]


def test_every_attempt_has_its_own_tables(pipeline: FakePipeline, run: str) -> None:
    told = manifest(pipeline, run)
    places = [(index, attempt) for index in range(2) for attempt in (1, 2)]
    found = [
        uri
        for place in places
        for uri in tables.job_uris(pipeline.folder(told.run).attempt(*place), told)
    ]

    assert len(set(found)) == len(found)
    assert all(parse_table(uri)[:2] == ("acme", "reviews") for uri in found)


def test_a_missing_dataset_is_reported_before_anything_is_billed(
    pipeline: FakePipeline, warehouse: FakeWarehouse, run: str
) -> None:
    tables.check_dataset(warehouse, manifest(pipeline, run))
    warehouse._datasets.clear()

    with pytest.raises(
        ConfigurationError, match=r"tables acme\.reviews: dataset acme\.reviews does not exist"
    ):
        tables.check_dataset(warehouse, manifest(pipeline, run))


def test_runs_have_tables_only_where_the_workers_allow_it() -> None:
    allowlist.check_dataset(Settings(sinks="bq://acme.reviews"), "acme.reviews")
    with pytest.raises(ConfigurationError, match="PROMPTMILL_SINKS"):
        allowlist.check_dataset(Settings(sinks="bq://acme.other"), "acme.reviews")


def test_rows_are_read_only_from_a_table_or_a_query(
    warehouse: FakeWarehouse,
) -> None:
    table = Table("acme", "reviews", "t")
    warehouse.create_table(table, [Column("id", "INTEGER")])
    warehouse.tables[table] = [{"id": 1}]
    asked: list[object] = []

    class Asked(FakeWarehouse):
        def stream_rows(self, source: Table | str) -> Iterator[dict[str, object]]:
            asked.append(source)
            return iter(())

    assert list(read_from(warehouse, "bq://acme.reviews.t")) == [{"id": 1}]
    other = Asked(lambda _: b"")
    list(read_from(other, "with t as (select 1) select * from t"))
    list(read_from(other, "bq://acme.reviews.t", "id"))
    assert asked == [
        "with t as (select 1) select * from t",
        "SELECT * FROM `acme.reviews.t` ORDER BY `id`",
    ]
    for source, order in (
        ("DROP TABLE t", ""),
        ("acme.reviews.t", ""),
        ("SELECT 1", "id"),
        ("bq://a.b.c", "id`"),
    ):
        with pytest.raises(ConfigurationError):
            read_from(other, source, order)
