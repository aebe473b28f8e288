"""Snapshots, facts, and the collection of output from the bucket."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.producers.contract.messages import ChunkSize, Manifest, Seal
from promptmill.workers.facts import records, snapshot
from promptmill.workers.facts.fact import Fact, encode_fact
from promptmill.workers.facts.records import (
    Counts,
    Input,
    Parsed,
    PartRange,
    Parts,
    Plan,
    Settled,
    ShardPlan,
)
from promptmill.workers.facts.run_folder import RunFolder
from promptmill.workers.facts.snapshot import AttemptFacts, RunSnapshot
from promptmill.workers.facts.step import Step, Wait
from promptmill.workers.fakes import MemoryBucket
from promptmill.workers.ports.google import Job
from promptmill.workers.steps import collect
from support.fake_pipeline import RUN, FakePipeline
from support.fake_worker import FakeWorker

EMPTY = Parsed(Counts(), b"", b"", b"", 0, [], 0.0)


@given(
    st.integers(0, 9_999),
    st.integers(1, 99),
    st.integers(0, 99_999),
    st.integers(0, 99),
    st.integers(0, 99_999),
)
def test_a_snapshot_has_every_fact(
    shard: int, attempt: int, part: int, sink: int, chunk: int
) -> None:
    assert_seen(shard, attempt, part, sink, chunk)


def test_a_snapshot_has_shards_beyond_the_ten_thousandth() -> None:
    assert_seen(10_000, 1, 0, 0, 0)


def assert_seen(shard: int, attempt: int, part: int, sink: int, chunk: int) -> None:
    bucket = MemoryBucket()
    folder = RunFolder(bucket, "r").attempt(shard, attempt)
    for fact in (folder.input, folder.job, folder.ended):
        bucket.create(fact.name, b"{}")
    folder.parts.create(Parts([PartRange("o", 1, 0, 1)] * 3, 0.0))
    folder.parsed(part).create(EMPTY)
    folder.settled.create(Settled([], Counts(), 0, 0.0, retried=1))
    bucket.create(folder.delivered(sink, part).name, b"{}")
    bucket.create(folder.run.chunk(chunk), b"")
    for name in (
        "input.jsonl",
        "output/x/predictions.jsonl",
        "results/00000.jsonl",
        "clock",
        "intent.json",
    ):
        bucket.create(folder.path + name, b"")

    known = snapshot.load_snapshot(bucket, "r")

    whole = AttemptFacts(
        True, True, True, range(3), {part}, 0, delivered={(sink, part)}, has_retries=True
    )
    assert known == RunSnapshot("r", chunks={chunk}, attempts={(shard, attempt): whole})


def test_a_snapshot_has_only_facts_of_its_run() -> None:
    bucket = MemoryBucket()
    manifest = Manifest("r", "m", 1.0)
    RunFolder(bucket, "r").manifest.create(manifest)
    RunFolder(bucket, "r").seal.create(Seal([ChunkSize(1, 1)] * 4))
    RunFolder(bucket, "r").plan.create(Plan([ShardPlan(1, 1, 0, 0)], 0.0))
    bucket.create(RunFolder(bucket, "r").aborted.name, b"{}")
    bucket.create(RunFolder(bucket, "r2").report.name, b"{}")
    bucket.create(RunFolder(bucket, "r2").chunk(0), b"")

    known = snapshot.load_snapshot(bucket, "r")

    assert (known.manifest, known.sealed, known.aborted, known.reported, known.chunks) == (
        manifest,
        4,
        True,
        False,
        set(),
    )


class CountingBucket(MemoryBucket):
    """Remembers the names that were read."""

    def __init__(self) -> None:
        super().__init__()
        self.names_read: list[str] = []

    def read(self, name: str) -> bytes:
        self.names_read.append(name)
        return super().read(name)


def test_a_reader_reads_each_generation_of_a_fact_once() -> None:
    pipeline, bucket = FakePipeline(), CountingBucket()
    pipeline.bucket = bucket
    services = FakeWorker(pipeline).services
    folder = "runs/r/shards/0000/1/"
    written = {
        "runs/r/plan.json": Plan([ShardPlan(1, 1, 0, 0)], 0.0),
        "runs/r/run.json": Manifest("r", "m", 1.0),
        "runs/r/seal.json": Seal([ChunkSize(1, 1)]),
        folder + "parts.json": Parts([PartRange("o", 1, 0, 1)] * 3, 0.0),
        folder + "settled.json": Settled([], Counts(), 0, 0.0, retried=1),
    }
    for name, fact in written.items():
        Fact(bucket, name, type(fact)).create(fact)

    first, again = (services.load_snapshot("r") for _ in range(2))

    assert first == again == snapshot.load_snapshot(bucket, "r")
    assert first.attempts == {(0, 1): AttemptFacts(parts=range(3), files=0, has_retries=True)}
    assert bucket.names_read == 2 * list(written), (
        "once by the services, and once by whoever has no memory"
    )

    bucket.write(folder + "parts.json", encode_fact(Parts([], 0.0)))

    assert services.load_snapshot("r").attempts[0, 1].parts == range(0)


def test_a_reader_forgets_the_least_recently_used_facts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(snapshot.SnapshotReader, "_MAX_ATTEMPTS", 2)
    bucket = CountingBucket()
    settled = [RunFolder(bucket, run).attempt(0, 1).settled for run in "abc"]
    for fact in settled:
        fact.create(Settled([], Counts(), 0, 0.0))
    reader = snapshot.SnapshotReader(bucket)

    for run in "abacab":
        snapshot.load_snapshot(bucket, run, reader)

    a, b, c = (fact.name for fact in settled)
    assert bucket.names_read == [a, b, c, b]


def test_of_two_concurrent_writers_the_first_decides() -> None:
    bucket = MemoryBucket()

    def make_too_late() -> Plan:
        Fact(bucket, "plan", Plan).create(Plan([], 1.0))
        return Plan([], 2.0)

    assert Fact(bucket, "plan", Plan).get_or_create(make_too_late).at == 1.0
    assert Fact(bucket, "plan", Plan).get_or_create(lambda: Plan([], 3.0)).at == 1.0
    assert Fact(bucket, "another", Plan).get_or_create(lambda: Plan([], 3.0)).at == 3.0


def test_an_existing_fact_does_not_change() -> None:
    bucket = MemoryBucket()

    assert Fact(bucket, "plan", Plan).create(Plan([], 1.0))
    assert not Fact(bucket, "plan", Plan).create(Plan([], 2.0))
    assert Fact(bucket, "plan", Plan).get().at == 1.0


def ended(state: str = "JOB_STATE_SUCCEEDED") -> FakePipeline:
    """Return a pipeline with a run whose job has ended without output."""
    pipeline = FakePipeline()
    run = pipeline.send(["a"])
    for step in (
        Step("plan", run),
        *(Step(task, run, (0, 1)) for task in ("shard", "submit", "poll")),
    ):
        pipeline.do(step)
    for stored in list(pipeline.bucket.list(OUTPUT)):
        pipeline.bucket.delete(stored.name)
    ended = pipeline.folder(run).attempt(0, 1).ended
    job = ended.get().job
    told = records.Ended(type(job)(job.name, state), records.current_time())
    pipeline.bucket.write(ended.name, encode_fact(told))
    return pipeline


OUTPUT = f"runs/{RUN}/shards/0000/1/output/"


def found(pipeline: FakePipeline) -> Parts | Wait:
    return collect.collect(pipeline.folder().attempt(0, 1), 1000)


def test_collect_waits_for_late_output() -> None:
    pipeline = ended()
    assert isinstance(found(pipeline), Wait)

    pipeline.bucket.write(OUTPUT + "prediction-model-1/predictions.jsonl", b"{}\n")

    parts = found(pipeline)
    assert isinstance(parts, Parts)
    assert [part.name for part in parts.parts] == [OUTPUT + "prediction-model-1/predictions.jsonl"]


def test_collect_waits_for_final_output_despite_early_parts() -> None:
    pipeline = ended()
    pipeline.bucket.write(
        OUTPUT + "prediction-model-1/incremental_predictions/predictions.jsonl", b"{}\n"
    )

    assert isinstance(found(pipeline), Wait)


def test_a_failed_job_may_have_no_output() -> None:
    parts = found(ended("JOB_STATE_FAILED"))

    assert isinstance(parts, Parts)
    assert parts.parts == []


def test_incremental_output_counts_only_without_final_output() -> None:
    pipeline = ended("JOB_STATE_EXPIRED")
    early = OUTPUT + "prediction-model-1/incremental_predictions/predictions.jsonl"
    pipeline.bucket.write(early, b"{}\n")
    pipeline.bucket.write(OUTPUT + "prediction-model-1/errors.jsonl", b"{}\n")

    parts = found(pipeline)

    assert isinstance(parts, Parts)
    assert [part.name for part in parts.parts] == [early]


@pytest.mark.parametrize("name", ["predictions_000{}.jsonl", "predictions.jsonl-0000{}-of-00002"])
def test_only_final_output_is_collected(name: str) -> None:
    pipeline = ended()
    files = [OUTPUT + "prediction-model-1/" + name.format(n) for n in (1, 2)]
    for file in (*files, OUTPUT + "prediction-model-1/incremental_predictions/predictions.jsonl"):
        pipeline.bucket.write(file, b"{}\n")
    assert isinstance(found(pipeline), Wait), (
        "where there are several files, one more may be on its way"
    )

    pipeline.clock.now += 6.0

    parts = found(pipeline)
    assert isinstance(parts, Parts)
    assert [part.name for part in parts.parts] == files


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ({"state": "JOB_STATE_EXPIRED", "successful_count": 1}, 300),
        ({"state": "JOB_STATE_CANCELLED", "start_time": 5.0}, 20),
        ({"state": "JOB_STATE_FAILED", "start_time": 5.0, "error_code": 13}, 20),
        ({"state": "JOB_STATE_FAILED", "start_time": 5.0, "error_code": 3}, 0),
        ({"state": "JOB_STATE_CANCELLED", "start_time": 5.0, "successful_count": 0}, 0),
        ({"state": "JOB_STATE_CANCELLED"}, 0),
    ],
    ids=[
        "has answers",
        "stopped",
        "broke down",
        "import refused",
        "says that there are none",
        "never began",
    ],
)
def test_collect_waits_for_output_of_stopped_jobs(told: dict[str, Any], seconds: float) -> None:
    pipeline = ended()
    pipeline.bucket.write(
        pipeline.folder().attempt(0, 1).ended.name,
        encode_fact(records.Ended(Job("job", **told), records.current_time())),
    )
    if seconds:
        pipeline.clock.now += seconds - 1.0
        assert isinstance(found(pipeline), Wait)
        pipeline.clock.now += 2.0

    assert isinstance(found(pipeline), Parts)


def test_the_output_is_divided_once() -> None:
    pipeline = ended()
    pipeline.bucket.write(OUTPUT + "prediction-model-1/predictions.jsonl", b"{}\n" * 100)
    parts = found(pipeline)

    assert collect.collect(pipeline.folder().attempt(0, 1), 10) == parts


@pytest.mark.parametrize(
    ("fact", "stored"),
    [
        (Plan([], 1.0), b'{"shards":[],"at":1.0}'),
        (Plan([], 1.0, deduplicated=3), b'{"shards":[],"at":1.0,"copies":3}'),
        (
            Input(4, 2, 3, 1.0, deduplicated=5),
            b'{"requests":4,"size":2,"refused":3,"at":1.0,"copies":5}',
        ),
        (
            records.Ended(Job("job", "S"), 1.0, retry=True),
            b'{"job":%b,"at":1.0,"again":true}' % encode_fact(Job("job", "S")),
        ),
        (
            Parsed(Counts(), b"a", b"b", b"c", 0, [], 1.0),
            b'{"counts":%b,"succeeded":"YQ==","failed":"Yg==","passing":"Yw==","unkeyed":0,'
            b'"unreadable_at":[],"at":1.0,"cut_off":"","invalid":"","unbilled":""}'
            % encode_fact(Counts()),
        ),
        (
            Settled([], Counts(), 1, 1.0, b"a", 2, b"b", b"c", 3, 4),
            b'{"files":[],"counts":%b,"requests":1,"at":1.0,"again":"YQ==","retried":2,'
            b'"raised":"Yg==","repaired":"Yw==","copies":3,"reused":4,"delay":null,"unbilled_attempts":0}'
            % encode_fact(Counts()),
        ),
    ],
)
def test_the_stored_form_keeps_its_field_names(fact: msgspec.Struct, stored: bytes) -> None:
    assert encode_fact(fact) == stored
    assert msgspec.json.decode(stored, type=type(fact)) == fact
