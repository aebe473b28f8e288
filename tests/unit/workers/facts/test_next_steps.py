"""The next steps of a run follow from its facts alone."""

import itertools
import random
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptmill.config.errors import Permanent, Transient
from promptmill.producers.contract.messages import Manifest, SinkSpec
from promptmill.producers.contract.results import Result
from promptmill.workers.facts.next_steps import missing_chunks, next_steps
from promptmill.workers.facts.records import Plan, ShardPlan
from promptmill.workers.facts.snapshot import AttemptFacts, RunSnapshot
from promptmill.workers.facts.step import Step
from promptmill.workers.fakes import Script
from support.fake_pipeline import RUN, Clock, FakePipeline

MANIFEST = Manifest("r", "m", 0.0, sinks=[SinkSpec("jsonl", "gs://a"), SinkSpec("jsonl", "gs://b")])
PLAN = Plan([ShardPlan(1, 5, 0, 0), ShardPlan(6, 5, 1, 1)], 0.0)
DONE = AttemptFacts(True, True, True, range(0), set(), 0)


def facts(**known: object) -> RunSnapshot:
    return RunSnapshot("r", **({"manifest": MANIFEST, "sealed": 2, "chunks": {0, 1}} | known))  # type: ignore[arg-type]


def first_shard(attempts: dict[int, AttemptFacts]) -> RunSnapshot:
    """Return a run whose second shard is done and whose first has these attempts."""
    shards = {(1, 1): DONE} | {(0, attempt): shard for attempt, shard in attempts.items()}
    return facts(plan=PLAN, attempts=shards)


AGAIN = AttemptFacts(True, True, True, range(0), set(), 0, has_retries=True)
TABLE: list[tuple[str, RunSnapshot, list[tuple[str, tuple[int, ...]]]]] = [
    ("nothing is known", RunSnapshot("r"), []),
    ("no seal yet", facts(sealed=None), []),
    ("a chunk is missing", facts(chunks={1}), []),
    ("all chunks are there", facts(), [("plan", ())]),
    ("aborted", facts(aborted=True), [("finish", ())]),
    ("aborted before anything came", RunSnapshot("r", aborted=True), []),
    ("planned", facts(plan=PLAN), [("shard", (0, 1)), ("shard", (1, 1))]),
    ("input written", first_shard({1: AttemptFacts(True)}), [("submit", (0, 1))]),
    ("job created", first_shard({1: AttemptFacts(True, True)}), [("poll", (0, 1))]),
    ("job ended", first_shard({1: AttemptFacts(True, True, True)}), [("collect", (0, 1))]),
    ("output replaced", first_shard({1: AttemptFacts(True, True, True, range(2, 4), {0, 1, 2})}), [("parse", (0, 1, 3))]),
    ("a part parsed", first_shard({1: AttemptFacts(True, True, True, range(3), {1})}),
     [("parse", (0, 1, 0)), ("parse", (0, 1, 2))]),
    ("all parts parsed", first_shard({1: AttemptFacts(True, True, True, range(2), {0, 1})}), [("settle", (0, 1))]),
    ("no part at all", first_shard({1: AttemptFacts(True, True, True, range(0))}), [("settle", (0, 1))]),
    ("in one sink", first_shard({1: AttemptFacts(True, True, True, range(1), {0}, 1, delivered={(0, 0)})}),
     [("deliver", (0, 1, 0, 1))]),
    ("rows put off", first_shard({1: AGAIN}), [("shard", (0, 2))]),
    ("second attempt under way", first_shard({1: AGAIN, 2: AttemptFacts(True)}), [("submit", (0, 2))]),
    ("first attempt not delivered", first_shard({1: AttemptFacts(True, True, True, range(0), set(), 1, True, {(0, 0)})}),
     [("deliver", (0, 1, 0, 1)), ("shard", (0, 2))]),
    ("all delivered", first_shard({1: AGAIN, 2: DONE}), [("finish", ())]),
    ("reported, but not closed", facts(plan=PLAN, attempts={(0, 1): DONE}, reported=True), [("finish", ())]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("known", "steps"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_the_facts_of_a_run_say_what_is_due(
    known: RunSnapshot, steps: list[tuple[str, tuple[int, ...]]]
) -> None:
    assert next_steps(known) == [Step(task, "r", place) for task, place in steps]


def test_chunks_that_the_seal_counts_but_the_bucket_lacks_are_missing() -> None:
    assert missing_chunks(facts(sealed=4, chunks={1, 3})) == [0, 2]
    assert missing_chunks(facts(sealed=None)) == []


def test_a_step_has_a_stable_readable_id() -> None:
    assert Step("parse", "01jd", (3, 1, 7)).id == "01jd.s003.a1.p00007.parse"
    assert Step("deliver", "01jd", (0, 1, 2, 1)).id == "01jd.s000.a1.p00002.k01.deliver"
    assert Step("finish", "01jd").id == "01jd.finish"


PROMPTS = st.lists(
    st.one_of(
        st.text(max_size=40), st.sampled_from(["same", "", "same"]), st.just({"contents": []})
    ).map(lambda prompt: prompt if isinstance(prompt, str) else {"request": prompt}),
    min_size=1,
    max_size=25,
)
ROWS = st.frozensets(st.integers(0, 6))
SCRIPTS = st.builds(
    Script,
    state=st.sampled_from(
        [f"JOB_STATE_{s}" for s in ("SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "EXPIRED")]
    ),
    missing=ROWS,
    duplicated=ROWS,
    unkeyed=ROWS,
    statuses=st.dictionaries(
        st.integers(0, 6), st.just('Too Many Requests: {"error": {"code": 429}}'), max_size=3
    ),
    strange=st.lists(st.sampled_from([b'{"key":"r0-1-1"}', b"{", b"\xff", b"[]"]), max_size=3).map(
        tuple
    ),
    files=st.integers(1, 3),
    seed=st.integers(0, 5),
    truncated=st.booleans(),
)
MILLS = st.builds(
    FakePipeline, script=SCRIPTS, max_requests=st.integers(1, 9), part_bytes=st.sampled_from([64, 400, 5000]),
    chunk_bytes=st.sampled_from([100, 1000]), max_attempts=st.integers(1, 3), clock=st.builds(Clock),
)  # fmt: skip


@settings(max_examples=250)
@given(
    pipeline=MILLS,
    prompts=PROMPTS,
    seed=st.integers(0, 1000),
    troubles=st.lists(st.sampled_from("lot"), max_size=3),
)
def test_steps_in_any_order_late_or_twice_lead_to_a_correct_report(
    pipeline: FakePipeline, prompts: list[object], seed: int, troubles: list[str]
) -> None:
    order = random.Random(seed)
    for trouble in troubles:
        make_trouble(pipeline, trouble)
    run = pipeline.send(prompts, sinks=[SinkSpec("jsonl", "gs://sink")], order=order)  # type: ignore[arg-type]

    report = pipeline.drive(run, order)

    results = pipeline.results(run)
    assert [result.row for result in results] == list(range(1, len(prompts) + 1))
    assert (report.requests, report.unaccounted) == (len(prompts), 0)
    assert report.succeeded == sum(result.succeeded for result in results)
    assert (
        report.failed
        == sum(not result.succeeded for result in results)
        == sum(report.failures.values())
    )
    assert delivered(pipeline) == results
    assert len(pipeline.jobs.requests) == report.jobs
    assert not [pair for pair in neighbours(pipeline) if pair[1].startswith(pair[0] + "/")]


def make_trouble(pipeline: FakePipeline, kind: str) -> None:
    if kind == "l":
        pipeline.jobs.lose_next_response()
    else:
        pipeline.jobs.refuse_next(Transient("429") if kind == "t" else Permanent("400"))


def delivered(pipeline: FakePipeline) -> list[Result]:
    files = [pipeline.bucket.read(stored.name) for stored in pipeline.bucket.list(f"sink-{RUN}/")]
    found = [msgspec.json.decode(line, type=Result) for data in files for line in data.splitlines()]
    return sorted(found, key=lambda result: result.row)


def neighbours(pipeline: FakePipeline) -> list[tuple[str, str]]:
    names = [stored.name for stored in pipeline.bucket.list("")]
    return list(itertools.pairwise(names))


def test_rows_with_transient_failures_are_retried_in_a_job_of_their_own() -> None:
    pipeline = FakePipeline(script=Script(missing=frozenset({1}), seed=None), max_attempts=3)

    run = pipeline.send(["a", "b", "c", "d"])
    report = pipeline.drive(run)

    assert (report.state, report.succeeded, report.jobs) == ("succeeded", 4, 2)
    assert [result.attempt for result in pipeline.results(run)] == [1, 2, 1, 1]


def test_a_redelivery_after_the_end_changes_nothing() -> None:
    pipeline = FakePipeline(chunk_bytes=100)
    prompts = ["a", "b", "c"]
    report = pipeline.drive(pipeline.send(prompts))

    run = pipeline.send(prompts)

    assert pipeline.bucket.find(f"open/{run}") is None
    assert pipeline.report(run) == report


def test_a_run_can_be_delivered_to_a_local_file(tmp_path: Path) -> None:
    pipeline = FakePipeline(max_requests=3, chunk_bytes=100)
    file = tmp_path / "out.jsonl"

    pipeline.drive(pipeline.send(["a", "b", "c", "d", "e"], sinks=[SinkSpec("file", str(file))]))

    lines = file.read_bytes().splitlines()
    assert sorted(msgspec.json.decode(line, type=Result).text for line in lines) == [
        f"You said: {x}" for x in "abcde"
    ]


def test_a_run_without_any_accepted_job_fails_with_the_reason() -> None:
    pipeline = FakePipeline()
    pipeline.jobs.refuse_next(Permanent("Vertex: 403 no permission"))

    report = pipeline.drive(pipeline.send(["a", "b"]))

    assert (report.state, report.failed, report.failures, report.jobs) == (
        "failed",
        2,
        {"JOB_FAILED": 2},
        0,
    )
    assert report.error == "Vertex: 403 no permission"


def test_a_shard_without_valid_requests_creates_no_job() -> None:
    pipeline = FakePipeline(max_requests=1, chunk_bytes=10)

    report = pipeline.drive(pipeline.send(["", "fine"]))

    assert (report.state, report.succeeded, report.failures) == (
        "partially_succeeded",
        1,
        {"INVALID_REQUEST": 1},
    )
    assert report.jobs == 1


def test_changed_limits_keep_an_existing_plan() -> None:
    pipeline = FakePipeline(max_requests=2, chunk_bytes=10)
    run = pipeline.send(["a", "b", "c", "d"])
    pipeline.do(Step("plan", run))
    other = replace(pipeline, max_requests=4)
    other.bucket, other.jobs = pipeline.bucket, pipeline.jobs

    assert other.drive(run).jobs == 2
