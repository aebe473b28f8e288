"""Results reach a BigQuery table exactly once, whatever dies or is told twice on the way."""

from collections.abc import Callable
from itertools import permutations

import pytest

from promptmill.config.errors import ConfigurationError, Permanent, Transient
from promptmill.config.settings import Settings
from promptmill.config.tables import Table, parse_table
from promptmill.producers.contract import sink_specs
from promptmill.producers.contract.messages import Manifest
from promptmill.workers.facts.run_folder import RunFolder
from promptmill.workers.fakes import FakeWarehouse, MemoryBucket
from promptmill.workers.ports.warehouse import BigQueryJobState, Column
from promptmill.workers.sinks import allowlist
from promptmill.workers.sinks.bigquery import RESULT_COLUMNS, BigQuerySink

TABLE = Table("acme", "reviews", "sentiment")
PARTS = {
    "0000-1-00000": b'{"key":"a","row":1,"state":"succeeded","text":"line\\n{\\"key\\""}\n',
    "0000-1-00001": b"",
    "0001-1-00000": b'{"key":"b","row":2,"state":"succeeded"}\n{"key":"c","row":3,"state":"failed"}\n',
}
BUSY = BigQueryJobState(True, "backendError", "busy")


@pytest.fixture
def bucket() -> MemoryBucket:
    return MemoryBucket()


@pytest.fixture
def warehouse(bucket: MemoryBucket) -> FakeWarehouse:
    return FakeWarehouse(lambda uri: bucket.read(uri.removeprefix(f"{bucket.url}/")))


@pytest.fixture
def sink(bucket: MemoryBucket, warehouse: FakeWarehouse) -> Callable[..., BigQuerySink]:
    def opened(run: str = "run", merge: str = "", timeout: float = 0.05) -> BigQuerySink:
        RunFolder(bucket, run).manifest.create(Manifest(run, "gemini", 7.0))
        spec = sink_specs.bigquery(str(TABLE), merge=merge)  # type: ignore[arg-type]
        return BigQuerySink(warehouse, bucket, TABLE, spec, run, timeout)

    return opened


def deliver_all(sink: BigQuerySink) -> None:
    for part, lines in PARTS.items():
        sink.deliver(part, lines)


def through(sink: BigQuerySink) -> None:
    sink.check()
    deliver_all(sink)
    assert sink.finish(list(PARTS)) == "bq://acme.reviews.sentiment"


def keys(warehouse: FakeWarehouse) -> list[tuple[str, str]]:
    return sorted((str(row["run"]), str(row["key"])) for row in warehouse.tables[TABLE])


ONCE = [("run", "a"), ("run", "b"), ("run", "c")]


def test_own_columns_named_like_optional_fields_are_left_alone_unless_the_run_fills_them(
    bucket: MemoryBucket, warehouse: FakeWarehouse, sink: Callable[..., BigQuerySink]
) -> None:
    warehouse.create_table(
        TABLE,
        (Column("key", "STRING"), Column("response", "INTEGER"), Column("embedding", "STRING")),
    )
    sink().check()

    keeping = BigQuerySink(
        warehouse,
        bucket,
        TABLE,
        sink_specs.bigquery(str(TABLE)),
        "run",
        filled=frozenset({"response", "embedding"}),
    )
    with pytest.raises(
        ConfigurationError,
        match="column response is INTEGER NULLABLE, not JSON; "
        "column embedding is STRING NULLABLE, not FLOAT REPEATED",
    ):
        keeping.check()


@pytest.mark.parametrize("merge", ["", "run", "key"])
@pytest.mark.parametrize("order", list(permutations(PARTS)))
def test_every_row_is_there_once_in_whatever_order_and_however_often_parts_come(
    sink: Callable[..., BigQuerySink], warehouse: FakeWarehouse, merge: str, order: tuple[str, ...]
) -> None:
    for _ in range(2):
        one = sink(merge=merge)
        one.check()
        for part in (*order, *order):
            one.deliver(part, PARTS[part])
        for _ in range(2):
            one.finish(list(PARTS))

    assert keys(warehouse) == ONCE
    assert set(warehouse.tables) == {TABLE}


def test_no_row_is_there_before_the_run_ends_and_each_has_all_that_is_known(
    sink: Callable[..., BigQuerySink], warehouse: FakeWarehouse
) -> None:
    one = sink()
    one.check()
    deliver_all(one)
    assert warehouse.tables[TABLE] == []

    one.finish(list(PARTS))
    assert warehouse.tables[TABLE][0] == dict.fromkeys((column.name for column in RESULT_COLUMNS), None) | {
        "run": "run", "key": "a", "row": 1, "state": "succeeded", "attempt": 1, "text": 'line\n{"key"',
    }  # fmt: skip


@pytest.mark.parametrize(("merge", "left"), [("", 6), ("run", 6), ("key", 3)])
def test_another_run_adds_its_rows_or_replaces_those_of_the_same_key(
    sink: Callable[..., BigQuerySink], warehouse: FakeWarehouse, merge: str, left: int
) -> None:
    through(sink("earlier", merge))
    through(sink("run", merge))

    assert len(warehouse.tables[TABLE]) == left
    assert set(ONCE) <= set(keys(warehouse))


def test_a_job_that_takes_long_is_left_to_a_later_try_and_not_begun_again(
    sink: Callable[..., BigQuerySink], warehouse: FakeWarehouse
) -> None:
    warehouse.polls_until_done = 1000
    one = sink()
    one.check()
    deliver_all(one)
    for _ in range(3):
        with pytest.raises(Transient, match="still running"):
            one.finish(list(PARTS))
    warehouse.polls_until_done = 0
    one.finish(list(PARTS))

    assert len(warehouse.started_jobs) == 1
    assert keys(warehouse) == ONCE


@pytest.mark.parametrize(
    "failed",
    [
        BUSY,
        BigQueryJobState(True, "quotaExceeded"),
        BigQueryJobState(True, "invalidQuery", "aborted due to concurrent update against T"),
    ],
)
def test_a_job_that_failed_for_a_while_is_followed_by_the_next(
    sink: Callable[..., BigQuerySink], warehouse: FakeWarehouse, failed: BigQueryJobState
) -> None:
    warehouse.next_job_states = [failed, failed]
    one = sink(merge="run")
    one.check()
    deliver_all(one)
    for _ in range(2):
        with pytest.raises(Transient):
            one.finish(list(PARTS))
    one.finish(list(PARTS))

    assert keys(warehouse) == ONCE


def test_a_job_that_failed_for_good_says_so_without_showing_a_row_and_a_replay_begins_another(
    sink: Callable[..., BigQuerySink], warehouse: FakeWarehouse
) -> None:
    warehouse.next_job_states = [
        BigQueryJobState(True, "invalid", "could not convert 'the secret of a row'")
    ]
    one = sink()
    one.check()
    deliver_all(one)
    with pytest.raises(
        Permanent, match=r"invalid: see `bq show -j promptmill-run-\w+-\w+-load0-0`"
    ) as refusal:
        one.finish(list(PARTS))
    assert "secret" not in str(refusal.value)

    one.finish(list(PARTS))
    assert keys(warehouse) == ONCE


@pytest.mark.parametrize("died_after", ["load", "merge"])
def test_a_worker_that_dies_between_two_jobs_loses_and_doubles_nothing(
    sink: Callable[..., BigQuerySink],
    warehouse: FakeWarehouse,
    monkeypatch: pytest.MonkeyPatch,
    died_after: str,
) -> None:
    one = sink(merge="key")
    one.check()
    deliver_all(one)
    with monkeypatch.context() as patch:
        patch.setattr(warehouse, "start_merge" if died_after == "load" else "delete_table", _die)
        with pytest.raises(KeyboardInterrupt):
            one.finish(list(PARTS))
    sink(merge="key").finish(list(PARTS))

    assert keys(warehouse) == ONCE
    assert set(warehouse.tables) == {TABLE}


def _die(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("other", ["another mill", "a run that was deleted and sent again"])
def test_the_same_id_in_another_mill_or_at_another_time_is_another_run(
    bucket: MemoryBucket, warehouse: FakeWarehouse, sink: Callable[..., BigQuerySink], other: str
) -> None:
    through(sink())
    elsewhere = MemoryBucket("gs://fake/other") if other == "another mill" else bucket
    elsewhere.delete(RunFolder(elsewhere, "run").manifest.name)
    RunFolder(elsewhere, "run").manifest.create(Manifest("run", "gemini", 8.0))
    warehouse._read = lambda uri: elsewhere.read(uri.removeprefix(f"{elsewhere.url}/"))

    through(BigQuerySink(warehouse, elsewhere, TABLE, sink_specs.bigquery(str(TABLE)), "run", 0.05))
    assert len(warehouse.tables[TABLE]) == 6


def test_a_run_of_very_many_parts_is_loaded_by_several_jobs(
    sink: Callable[..., BigQuerySink], warehouse: FakeWarehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptmill.workers.sinks.bigquery.MAX_SOURCE_URIS", 2)
    through(sink())

    assert len(warehouse.started_jobs) == 2
    assert keys(warehouse) == ONCE


def test_a_dataset_that_is_missing_or_a_permission_is_told_before_anything_is_paid_for(
    sink: Callable[..., BigQuerySink], warehouse: FakeWarehouse
) -> None:
    warehouse.denied_permissions = {"bigquery.tables.updateData"}
    with pytest.raises(ConfigurationError, match=r"bigquery\.tables\.updateData is missing"):
        sink().check()
    warehouse._datasets.clear()
    with pytest.raises(ConfigurationError, match=r"dataset acme\.reviews does not exist"):
        sink().check()


KEY, RUN = Column("Key", "STRING"), Column("run", "STRING")


@pytest.mark.parametrize(
    ("columns", "merge", "words"),
    [
        ([RUN], "", "column key is missing"),
        ([KEY], "run", "column run is missing"),
        ([KEY, Column("shop", "INTEGER", "REQUIRED")], "", "column shop is REQUIRED"),
        ([KEY, Column("text", "STRING", "REQUIRED")], "", "column text is REQUIRED"),
        ([KEY, Column("text", "INTEGER")], "", "column text is INTEGER NULLABLE, not STRING"),
        ([KEY, Column("usage", "STRING")], "", "column usage is STRING NULLABLE, not JSON"),
        ([KEY, Column("text", "STRING", "REPEATED")], "", "column text is STRING REPEATED"),
    ],
)
def test_a_table_whose_columns_do_not_fit_is_refused_before_anything_is_paid_for(
    sink: Callable[..., BigQuerySink],
    warehouse: FakeWarehouse,
    columns: list[Column],
    merge: str,
    words: str,
) -> None:
    warehouse.create_table(TABLE, columns)

    with pytest.raises(ConfigurationError, match=words):
        sink(merge=merge).check()


def test_a_table_may_have_fewer_columns_and_others_that_take_null(
    sink: Callable[..., BigQuerySink], warehouse: FakeWarehouse
) -> None:
    warehouse.create_table(
        TABLE, [KEY._replace(name="key"), Column("text", "STRING"), Column("reviewed_by", "STRING")]
    )
    through(sink())

    assert warehouse.tables[TABLE][2] == {"key": "c", "text": None, "reviewed_by": None}


@pytest.mark.parametrize(
    "name",
    [
        "reviews.sentiment", "acme.reviews", "acme.reviews.a.b", "acme.reviews.t`; DROP", "acme.re-views.t", "", "bq://",
        "acme.reviews.t\n", "ACME.reviews.t",
    ],
)  # fmt: skip
def test_what_is_no_name_of_a_table_is_refused_by_producers_and_workers(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"project\.dataset\.table"):
        sink_specs.bigquery(name)


@pytest.mark.parametrize(
    "name", ["acme.reviews.t", "bq://acme.reviews.t", "example.com:acme.reviews.t-2_x"]
)
def test_a_name_of_a_table_may_have_its_scheme_before_it(name: str) -> None:
    assert parse_table(name).url == f"bq://{name.removeprefix('bq://')}"
    assert parse_table(parse_table(name).url) == parse_table(name)


@pytest.mark.parametrize(
    "places", ["bq://", "bq://acme", "bq://acme.reviews", "gs://x, bq://acme.reviews.sentiment/"]
)
def test_a_table_of_a_place_that_is_named_is_allowed(places: str) -> None:
    assert allowlist.resolve_table(Settings(sinks=places), sink_specs.bigquery(str(TABLE))) == TABLE


@pytest.mark.parametrize(
    "places", ["", "gs://", "bq://acm", "bq://acme.review", "bq://acme.reviews.sentiment2", "/"]
)
def test_no_other_table_is_allowed(places: str) -> None:
    with pytest.raises(ConfigurationError, match="PROMPTMILL_SINKS"):
        allowlist.resolve_table(Settings(sinks=places), sink_specs.bigquery(str(TABLE)))


def test_merge_is_by_run_or_by_key() -> None:
    assert sink_specs.bigquery(str(TABLE), merge=True) == sink_specs.bigquery(
        str(TABLE), merge="run"
    )
    with pytest.raises(ConfigurationError, match="merge must be 'run' or 'key'"):
        sink_specs.bigquery(str(TABLE), merge="row")  # type: ignore[arg-type]
