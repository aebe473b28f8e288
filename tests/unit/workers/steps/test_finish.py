"""The report of a run, and its open marker after the end."""

from pathlib import Path

import pytest

from faults.simulation.celery_app import shared
from promptmill.producers.contract.messages import Signature, SinkSpec
from promptmill.workers import steps
from promptmill.workers.facts.fact import encode_fact
from promptmill.workers.facts.records import Counts, Delivered
from promptmill.workers.facts.step import Step
from promptmill.workers.fakes import Script
from promptmill.workers.sinks import Sink
from promptmill.workers.steps.finish import final_state, finish
from support.fake_pipeline import RUN, FakePipeline
from support.fake_worker import FakeWorker


def no_sink(_spec: SinkSpec, _run: str) -> Sink:
    raise AssertionError("no sink is to be opened")


def test_the_stages_of_a_report_add_up_to_its_total() -> None:
    pipeline = FakePipeline(
        max_requests=2, chunk_bytes=10, max_attempts=2, script=Script(missing=frozenset({1}))
    )
    report = pipeline.drive(pipeline.send(["a", "b", "c", "d", "e"]))

    stages = {stage: seconds for stage, seconds in report.seconds.items() if stage != "total"}
    assert sum(stages.values()) == pytest.approx(report.seconds["total"], abs=0.001 * len(stages))
    assert all(seconds >= 0 for seconds in stages.values())
    assert {
        "ingest",
        "shard",
        "submit",
        "vertex",
        "poll",
        "collect",
        "parse",
        "deliver",
        "finish",
    } <= set(stages)
    assert report.overhead_seconds >= 0


def test_a_report_counts_the_tokens_of_every_billed_answer() -> None:
    pipeline = FakePipeline(script=Script(duplicated=frozenset({0})), part_bytes=100)

    report = pipeline.drive(pipeline.send(["a", "b"]))

    tokens = [result.usage["totalTokenCount"] for result in pipeline.results(RUN)]
    assert report.tokens["totalTokenCount"] >= sum(tokens)


def test_a_report_is_written_once_and_a_repeat_still_closes_the_run() -> None:
    pipeline = FakePipeline()
    report = pipeline.drive(pipeline.send(["a"]))
    pipeline.bucket.create(f"open/{RUN}", b"")

    assert finish(pipeline.folder(), no_sink, []) == report
    assert pipeline.bucket.find(f"open/{RUN}") is None


@pytest.mark.parametrize("late", [0, 1])
def test_delivery_ends_with_the_last_file_in_the_last_sink(late: int, tmp_path: Path) -> None:
    pipeline = FakePipeline(max_requests=1)
    sinks = [SinkSpec("file", str(tmp_path / name)) for name in ("one", "two")]
    run = pipeline.send(["a", "b"], sinks=sinks)
    while (due := pipeline.due(run))[0].task != "finish":
        for step in due:
            pipeline.do(step)
    delivered = pipeline.folder(run).attempt(late, 1).delivered(sink=1, part=0)
    at = delivered.get().at
    pipeline.bucket.write(delivered.name, encode_fact(Delivered(at + 100.0)))

    report = pipeline.drive(run)

    assert report.seconds["deliver"] == pytest.approx(100.0, abs=5.0)


def test_an_aborted_run_is_reported_with_the_reason() -> None:
    pipeline = FakePipeline()
    (message, *_) = pipeline.messages(["a", "b"])
    steps.ingest.ingest(pipeline.bucket, message)
    steps.ingest.abort_run(pipeline.folder(), "the producer gave up", "cancelled")

    report = pipeline.drive(RUN)

    assert (report.state, report.error, report.requests, report.jobs) == (
        "cancelled",
        "the producer gave up",
        0,
        0,
    )


STATES = [
    (Counts(succeeded=2), {"JOB_STATE_SUCCEEDED"}, "succeeded"),
    (Counts(succeeded=1, failed=1), {"JOB_STATE_SUCCEEDED"}, "partially_succeeded"),
    (Counts(failed=2), {"JOB_STATE_SUCCEEDED"}, "failed"),
    (Counts(failed=2), {"JOB_STATE_EXPIRED"}, "expired"),
    (Counts(failed=2), {"JOB_STATE_CANCELLED"}, "cancelled"),
    (Counts(failed=2), {"JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED"}, "failed"),
    (Counts(succeeded=1, failed=1), {"JOB_STATE_EXPIRED"}, "partially_succeeded"),
]


@pytest.mark.parametrize(("counts", "jobs", "state"), STATES)
def test_the_state_of_a_run_follows_from_its_counts_and_jobs(
    counts: Counts, jobs: set[str], state: str
) -> None:
    assert final_state(counts, jobs) == state


def test_a_late_message_leaves_a_run_with_unsent_callbacks_open() -> None:
    pipeline = FakePipeline(link=[[Signature("shop.tasks.done")]])
    messages = pipeline.messages(["a"])
    pipeline.send(["a"])
    while pipeline.bucket.find(f"runs/{RUN}/report.json") is None:
        for step in pipeline.due(RUN):
            pipeline.do(step)

    for message in messages:
        steps.ingest.ingest(pipeline.bucket, message)

    assert [step.task for step in pipeline.due(RUN)] == ["callback"]
    assert pipeline.bucket.find(f"open/{RUN}") is not None


def test_an_early_finish_reports_nothing_while_rows_await_a_retry() -> None:
    pipeline = FakePipeline(max_attempts=2, script=Script(missing=frozenset({1}), seed=None))
    run = pipeline.send(["a", "b"])
    while (due := pipeline.due(run)) != [Step("shard", run, (0, 2))]:
        for step in due:
            pipeline.do(step)
    worker, tasks = FakeWorker(pipeline), shared()
    tasks.bind(lambda: worker.services, worker.send_task, lambda _: 0)

    assert tasks.run("promptmill.finish", [run], f"{run}.finish", 0) is None

    assert pipeline.bucket.find(f"runs/{run}/report.json") is None
    assert pipeline.drive(run).requests == 2
