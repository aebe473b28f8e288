"""One suite for every kind of sink in the table.

A kind of file that polars can read needs nothing here: its harnesses follow from the table.
Any other kind has one or more harnesses in HARNESSES. A kind without one fails the suite.
"""

import errno
import io
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import msgspec
import polars
import psycopg
import pytest
from standardwebhooks.webhooks import Webhook

from promptmill.config.errors import Transient
from promptmill.config.settings import Settings
from promptmill.config.tables import Table
from promptmill.producers.contract import callbacks, sink_specs
from promptmill.producers.contract.messages import Manifest, SinkSpec
from promptmill.producers.contract.results import Error, Result
from promptmill.producers.contract.sink_kinds import SINK_KINDS, SinkKind
from promptmill.workers import bigquery_jobs
from promptmill.workers.adapters import web
from promptmill.workers.adapters.postgres import open_database
from promptmill.workers.facts.run_folder import RunFolder
from promptmill.workers.fakes import FakeCallbackBroker, FakeWarehouse, MemoryBucket
from promptmill.workers.sinks import Sink, custom
from promptmill.workers.sinks.context import Connectors, SinkContext
from promptmill.workers.sinks.opening import open_sink
from support.postgres import PostgresServer, postgres_server
from support.receiver import Receiver, receiving

RUN = "01jtest"
BUCKET = "gs://acme/mill"
BUCKET_LOCATION = "gs://acme/answers"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
TABLE = Table("acme", "reviews", "answers")
database_numbers = itertools.count()

ODD_TEXTS = [
    "good",
    "",
    "é 日本語 🙂",
    'line\nbreak\r\n\ttab "quote" \\ backslash',
    "separators \u2028\u2029\x85\x0b",
    "a NUL \0 and the text \\u0000",
    "'; DROP TABLE answers; -- </script>",
    "x" * 300_000,
]
Row = tuple[str, str]
"""The key and the text of a result, as the sink has them."""


def make_lines(*results: Result) -> bytes:
    return b"".join(msgspec.json.encode(result) + b"\n" for result in results)


PARTS = {
    "0000-1-00000": make_lines(
        Result("a", 1, "succeeded", text="one", usage={"totalTokenCount": 3}),
        Result("b", 2, "failed", attempt=3, error=Error("SAFETY", "blocked")),
    ),
    "0000-1-00001": b"",
    "0001-1-00000": make_lines(
        Result("c", 3, "succeeded", text="three", metadata={"shop": 7}, embedding=[0.5])
    ),
}
ROWS = [("a", "one"), ("b", ""), ("c", "three")]


class Crash(BaseException):
    """The worker dies."""


class Boundary:
    """The calls by which a sink changes something outside its process.

    Each call is two events: before it takes effect, and after. ``interrupt_at`` raises an
    error at one of them, once.
    """

    def __init__(self) -> None:
        self.events = 0
        self.interrupted = False
        self._event = -1
        self._error: BaseException = Crash()

    def interrupt_at(self, event: int, error: BaseException) -> None:
        self.events, self._event, self._error = 0, event, error

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: object, **options: object) -> object:
            self._record_event()
            result = function(*arguments, **options)
            self._record_event()
            return result

        return call

    def watch(self, target: object, *methods: str) -> Any:
        """Return a proxy of an object whose ``methods`` are calls of this boundary."""
        return _Watched(self, target, methods)

    def _record_event(self) -> None:
        self.events += 1
        if self.events == self._event:
            self.interrupted = True
            raise self._error


class _Watched:
    def __init__(self, boundary: Boundary, target: object, methods: tuple[str, ...]) -> None:
        self._boundary, self._target, self._methods = boundary, target, methods

    def __getattr__(self, name: str) -> object:
        value = getattr(self._target, name)
        return self._boundary.wrap(value) if name in self._methods else value


class Harness:
    """A sink of one kind, and the system that it writes to."""

    spec: SinkSpec
    outage: Exception = Transient("the system cannot be reached")
    """What a call of the boundary raises when the system cannot be reached."""
    replaces_nul = False

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self.boundary = Boundary()
        self.buckets: dict[str, MemoryBucket] = {}

    def read_rows(self) -> list[Row]:
        """Return all rows that the sink has, in order of keys."""
        raise NotImplementedError

    def make_settings(self) -> dict[str, str]:
        return {}

    def make_connectors(self) -> Connectors:
        return Connectors()

    def open_bucket(self, url: str) -> MemoryBucket:
        bucket = self.buckets.setdefault(url, MemoryBucket(url))
        watched: MemoryBucket = self.boundary.watch(bucket, "write", "delete")
        return watched

    def open(self) -> Sink:
        """Open the sink as a worker does that has just started."""
        settings = Settings.model_validate({"bucket": BUCKET, **self.make_settings()})
        context = SinkContext(settings, self.open_bucket, self.make_connectors(), RUN)
        return open_sink(self.spec, context)


class JsonlBucket(Harness):
    spec = sink_specs.jsonl(BUCKET_LOCATION)

    def read_rows(self) -> list[Row]:
        bucket = self.buckets[self.spec.url]
        names = [stored.name for stored in bucket.list("")]
        return sorted(row for name in names for row in self.read_file(bucket.read(name)))

    def read_file(self, data: bytes) -> Iterable[Row]:
        return read_lines(data)


class JsonlFile(Harness):
    outage = OSError(errno.ENOSPC, "No space left on device")

    def __init__(self, request: pytest.FixtureRequest) -> None:
        super().__init__(request)
        folders: pytest.TempPathFactory = request.getfixturevalue("tmp_path_factory")
        self.folder = folders.mktemp("sinks")
        self.path = self.folder / "out" / "answers"
        self.spec = self.make_spec()
        patch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
        for owner, name in ((os, "fsync"), (Path, "replace"), (Path, "rename"), (shutil, "rmtree")):
            patch.setattr(owner, name, self.boundary.wrap(getattr(owner, name)))

    def make_spec(self) -> SinkSpec:
        return sink_specs.jsonl(self.path)

    def make_settings(self) -> dict[str, str]:
        return {"sinks": str(self.folder)}

    def read_rows(self) -> list[Row]:
        return list(self.read_file(self.path.read_bytes())) if self.path.exists() else []

    def read_file(self, data: bytes) -> Iterable[Row]:
        return read_lines(data)


class TableBucket(JsonlBucket):
    """A folder of tables. ``kind`` names their format as polars does, such as ``csv``."""

    kind: str

    def __init__(self, request: pytest.FixtureRequest) -> None:
        super().__init__(request)
        self.spec = SinkSpec(self.kind, BUCKET_LOCATION)

    def read_file(self, data: bytes) -> Iterable[Row]:
        return read_table(self.kind, data)


class TableFile(JsonlFile):
    """One table on a disk, in the format ``kind``."""

    kind: str

    def make_spec(self) -> SinkSpec:
        return SinkSpec(self.kind, str(self.path))

    def read_file(self, data: bytes) -> Iterable[Row]:
        return read_table(self.kind, data)


class Postgres(Harness):
    spec = sink_specs.postgres("warehouse", table="answers")
    replaces_nul = True

    def __init__(self, request: pytest.FixtureRequest) -> None:
        super().__init__(request)
        server: PostgresServer = request.getfixturevalue("server")
        self.url = server.database(f"sinks_{next(database_numbers)}")

    def make_settings(self) -> dict[str, str]:
        return {"named_sinks": json.dumps({"warehouse": self.url})}

    def make_connectors(self) -> Connectors:
        calls = ("create_table", "begin", "copy_rows", "upsert_rows", "commit")
        return Connectors(lambda *server: self.boundary.watch(open_database(*server), *calls))

    def read_rows(self) -> list[Row]:
        with psycopg.connect(self.url) as connection:
            found = connection.execute("SELECT key, text FROM answers ORDER BY key").fetchall()
            return [(key, text or "") for key, text in found]


class BigQuery(Harness):
    merge: Literal["", "run", "key"] = ""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        super().__init__(request)
        patch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
        patch.setattr(bigquery_jobs, "_POLL_SECONDS", 0.001)
        self.spec = sink_specs.bigquery(str(TABLE), merge=self.merge)
        own = self.buckets[BUCKET] = MemoryBucket(BUCKET)
        RunFolder(own, RUN).manifest.create(Manifest(RUN, "gemini", 7.0))
        self.warehouse = FakeWarehouse(lambda uri: own.read(uri.removeprefix(f"{BUCKET}/")))

    def make_settings(self) -> dict[str, str]:
        return {"sinks": "bq://acme"}

    def make_connectors(self) -> Connectors:
        calls = ("create_table", "start_load", "start_merge", "delete_table")
        return Connectors(open_warehouse=lambda: self.boundary.watch(self.warehouse, *calls))

    def read_rows(self) -> list[Row]:
        rows = self.warehouse.tables.get(TABLE, [])
        return sorted((str(row["key"]), str(row["text"] or "")) for row in rows)


class BigQueryMergedByRun(BigQuery):
    merge = "run"


class BigQueryMergedByKey(BigQuery):
    merge = "key"


class WebhookServer(Harness):
    spec = sink_specs.webhook("crm")

    def __init__(self, request: pytest.FixtureRequest) -> None:
        super().__init__(request)
        self.receiver: Receiver = request.getfixturevalue("receiver")
        self.receiver.got.clear()

    def make_settings(self) -> dict[str, str]:
        return {"named_sinks": json.dumps({"crm": {"url": self.receiver.url, "secret": SECRET}})}

    def make_connectors(self) -> Connectors:
        return Connectors(open_web=lambda: self.boundary.watch(web.open_web(), "post"))

    def read_rows(self) -> list[Row]:
        """A receiver knows a message by its id; the same id has the same body."""
        messages = {
            (headers["webhook-id"], body): Webhook(SECRET).verify(body, headers)
            for headers, body in self.receiver.got
        }
        assert len({message_id for message_id, _ in messages}) == len(messages)
        return sorted(
            to_row(result) for message in messages.values() for result in message["results"]
        )


class CeleryCallback(Harness):
    spec = callbacks.build_result_sinks({"task": "shop.store"})[0]

    def __init__(self, request: pytest.FixtureRequest) -> None:
        super().__init__(request)
        self.broker = FakeCallbackBroker()

    def make_connectors(self) -> Connectors:
        return Connectors(open_callback_broker=lambda: self.boundary.watch(self.broker, "send"))

    def read_rows(self) -> list[Row]:
        """A task knows a slice by its own id; the same id has the same results."""
        slices = {task.task_id: task.args[0] for task in self.broker.sent}
        assert all(slices[task.task_id] == task.args[0] for task in self.broker.sent)
        return sorted(to_row(result) for results in slices.values() for result in results)


class CustomClass(Harness):
    spec = sink_specs.custom("shop")
    outage = ConnectionRefusedError("away")

    def __init__(self, request: pytest.FixtureRequest) -> None:
        super().__init__(request)
        self.parts: dict[str, bytes] = {}
        entry_point = SimpleNamespace(load=lambda: self.make_target())
        patch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
        patch.setattr(custom, "entry_points", lambda **_: [entry_point])

    def make_target(self) -> Callable[..., object]:
        store = self.boundary.wrap(self.parts.__setitem__)

        class Store:
            def __init__(self, run: str) -> None: ...

            def deliver(self, part: str, lines: bytes) -> None:
                store(part, lines)

        return Store

    def read_rows(self) -> list[Row]:
        return sorted(row for lines in self.parts.values() for row in read_lines(lines))


class CustomFunction(CustomClass):
    def make_target(self) -> Callable[..., object]:
        store = self.boundary.wrap(self.parts.__setitem__)

        def store_results(run: str, part: str, results: Iterable[Result]) -> None:
            store(part, make_lines(*results))

        return store_results


HARNESSES: dict[str, list[type[Harness]]] = {
    "jsonl": [JsonlBucket],
    "file": [JsonlFile],
    "postgres": [Postgres],
    "bigquery": [BigQuery, BigQueryMergedByRun, BigQueryMergedByKey],
    "webhook": [WebhookServer],
    "celery": [CeleryCallback],
    "custom": [CustomClass, CustomFunction],
}


def to_row(result: dict[str, Any]) -> Row:
    return result["key"], result.get("text") or ""


def read_lines(data: bytes) -> Iterator[Row]:
    return (to_row(json.loads(line)) for line in data.split(b"\n") if line)


def read_table(kind: str, data: bytes) -> Iterator[Row]:
    """Yield the rows of a table. Without data there are none: not every format has a header."""
    options = {"infer_schema": False} if kind == "csv" else {}
    read = getattr(polars, f"read_{kind}")
    return map(to_row, read(io.BytesIO(data), **options).to_dicts() if data else ())


def list_harnesses(kind: SinkKind) -> Sequence[type[Harness] | None]:
    """Return the harnesses of a kind: those in HARNESSES, those of a file, or else None."""
    if kind.name in HARNESSES:
        return HARNESSES[kind.name]
    if not hasattr(polars, f"read_{kind.name}"):
        return [None]
    locations = {TableBucket: BUCKET_LOCATION, TableFile: "/answers"}
    return [
        type(harness.__name__, (harness,), {"kind": kind.name})
        for harness, location in locations.items()
        if kind.is_local_file(SinkSpec(kind.name, location)) == (harness is TableFile)
    ]


def deliver_parts(sink: Sink, parts: Iterable[str] = PARTS) -> None:
    for part in parts:
        sink.deliver(part, PARTS[part])


def run_steps(harness: Harness) -> None:
    """Do what the steps of a run do. A step that crashes is done again by another worker."""
    names = list(PARTS)
    steps: list[Callable[[Sink], object]] = [
        lambda sink: sink.check(),
        *(partial(lambda name, sink: deliver_parts(sink, [name]), name) for name in names),
        lambda sink: sink.finish(names),
    ]
    for step in steps:
        try:
            step(harness.open())
        except Crash:
            step(harness.open())


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture(
    params=[
        pytest.param(
            (name, make_harness), id=f"{name}-{make_harness.__name__}" if make_harness else name
        )
        for name, kind in SINK_KINDS.items()
        for make_harness in list_harnesses(kind)
    ]
)
def harness(request: pytest.FixtureRequest) -> Harness:
    kind, make_harness = request.param
    if make_harness is None:
        pytest.fail(f"the sink kind {kind!r} has no harness in HARNESSES")
    harness: Harness = make_harness(request)
    assert harness.spec.kind == kind
    return harness


def test_no_row_is_there_before_the_first_part(harness: Harness) -> None:
    for _ in range(2):
        harness.open().check()

    assert harness.read_rows() == []


def test_parts_delivered_twice_are_there_once(harness: Harness) -> None:
    harness.open().check()
    for _ in range(2):
        deliver_parts(harness.open())
    locations = {harness.open().finish(list(PARTS)) for _ in range(2)}

    assert harness.read_rows() == ROWS
    assert len(locations) == 1
    assert locations != {""}


def test_parts_come_in_any_order(harness: Harness, request: pytest.FixtureRequest) -> None:
    for order in itertools.permutations(PARTS):
        harness = type(harness)(request)
        harness.open().check()
        deliver_parts(harness.open(), order)
        harness.open().finish(list(PARTS))

        assert harness.read_rows() == ROWS, order


def test_parts_come_concurrently(harness: Harness) -> None:
    harness.open().check()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda part: deliver_parts(harness.open(), [part]), [*PARTS, *PARTS]))
    harness.open().finish(list(PARTS))

    assert harness.read_rows() == ROWS


def test_a_crash_at_any_call_loses_and_repeats_no_row(
    harness: Harness, request: pytest.FixtureRequest
) -> None:
    run_steps(harness)
    assert harness.read_rows() == ROWS
    assert harness.boundary.events

    for event in range(1, harness.boundary.events + 1):
        crashing = type(harness)(request)
        crashing.boundary.interrupt_at(event, Crash())
        run_steps(crashing)
        assert crashing.boundary.interrupted
        assert crashing.read_rows() == ROWS, f"after a crash at event {event}"


def test_an_outage_is_transient_and_loses_no_row(harness: Harness) -> None:
    harness.open().check()
    harness.boundary.interrupt_at(1, harness.outage)
    with pytest.raises(Transient):
        deliver_parts(harness.open())

    deliver_parts(harness.open())
    harness.open().finish(list(PARTS))
    assert harness.read_rows() == ROWS


def test_a_run_may_have_only_empty_parts(harness: Harness) -> None:
    sink = harness.open()
    sink.check()
    sink.deliver("0000-1-00000", b"")

    assert sink.finish(["0000-1-00000"])
    assert harness.read_rows() == []


def test_texts_and_keys_arrive_unchanged(harness: Harness) -> None:
    results = [
        Result(f"{row}: {text[:20]}".replace("\0", ""), row, "succeeded", text=text)
        for row, text in enumerate(ODD_TEXTS, 1)
    ]
    sink = harness.open()
    sink.check()
    sink.deliver("0000-1-00000", make_lines(*results))
    sink.finish(["0000-1-00000"])

    nul = "\ufffd" if harness.replaces_nul else "\0"
    assert harness.read_rows() == [
        (result.key, result.text.replace("\0", nul)) for result in results
    ]


def test_every_harness_is_of_a_kind_in_the_table() -> None:
    assert set(HARNESSES) <= set(SINK_KINDS)
