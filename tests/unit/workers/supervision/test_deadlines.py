"""A run ends with the results that it has once its deadline passed by the bucket's clock."""

import pytest

from promptmill.producers.contract.results import Error
from promptmill.workers import steps
from promptmill.workers.facts import snapshot
from promptmill.workers.facts.step import Step
from promptmill.workers.fakes import Script
from support.fake_pipeline import RUN, FakePipeline
from support.fake_worker import FakeWorker

HOUR = 3600.0


@pytest.fixture
def worker() -> FakeWorker:
    """A run of two jobs that take two hours, with a deadline of one hour."""
    pipeline = FakePipeline(
        deadline=HOUR, duration=2 * HOUR, max_requests=2, chunk_bytes=10, max_attempts=3
    )
    worker = FakeWorker(pipeline)
    worker.submit(pipeline.send(["a", "b", "c"]))
    return worker


def sweep(worker: FakeWorker) -> list[str]:
    return worker.sweep()


def cancel(worker: FakeWorker) -> None:
    """Cancel the run as the task `cancel` does."""
    steps.cancel.cancel(
        worker.pipeline.bucket,
        worker.pipeline.jobs,
        snapshot.load_snapshot(worker.pipeline.bucket, RUN),
    )


def test_a_run_goes_on_until_its_deadline_has_passed(worker: FakeWorker) -> None:
    worker.pipeline.clock.now += HOUR - 10

    sweep(worker)

    assert worker.pipeline.folder().cancelled.find() is None
    assert worker.status.state == "queued"


def test_a_run_past_its_deadline_is_cancelled_and_its_rows_say_why(worker: FakeWorker) -> None:
    worker.pipeline.clock.now += HOUR + 1

    assert "ended the run: its deadline has passed" in sweep(worker)
    assert f"{RUN}.cancel" in worker.sent
    assert (worker.status.state, worker.status.error) == (
        "cancelling",
        "the run's deadline passed",
    )
    cancel(worker)
    assert len(worker.look().next_steps) == 2
    report = worker.pipeline.drive(RUN)

    assert (report.state, report.failures, report.jobs) == ("expired", {"DEADLINE_EXCEEDED": 3}, 2)
    assert report.error == "the run's deadline of 60 min 00 s passed"
    assert worker.pipeline.results(RUN)[0].error == Error(
        "DEADLINE_EXCEEDED", "the run's deadline passed"
    )


def test_what_vertex_finished_before_the_deadline_is_delivered_and_nothing_more_is_submitted() -> (
    None
):
    pipeline = FakePipeline(deadline=HOUR, max_requests=1, chunk_bytes=10, max_attempts=3)
    run = pipeline.send(["a", "b"])
    pipeline.do(Step("plan", run))
    for step in (Step("shard", run, (0, 1)), Step("submit", run, (0, 1))):
        pipeline.do(step)
    steps.cancel.expire_run(pipeline.folder(run))

    report = pipeline.drive(run)

    assert (report.state, report.succeeded, report.failures) == (
        "expired",
        1,
        {"DEADLINE_EXCEEDED": 1},
    )
    assert report.jobs == 1


def test_rows_that_wait_for_a_retry_fail_at_the_deadline_too() -> None:
    pipeline = FakePipeline(deadline=HOUR, max_attempts=3, script=Script(missing=frozenset({0})))
    run = pipeline.send(["a", "b"])
    for step in (Step("plan", run), Step("shard", run, (0, 1)), Step("submit", run, (0, 1))):
        pipeline.do(step)
    steps.cancel.expire_run(pipeline.folder(run))

    report = pipeline.drive(run)

    assert (report.state, report.failures, report.jobs) == ("expired", {"MISSING_ROW": 1}, 1)


def test_a_deadline_that_costs_no_row_changes_nothing() -> None:
    pipeline = FakePipeline(deadline=HOUR)
    run = pipeline.send(["a", ""])
    for step in (Step("plan", run), Step("shard", run, (0, 1)), Step("submit", run, (0, 1))):
        pipeline.do(step)
    steps.cancel.expire_run(pipeline.folder(run))

    report = pipeline.drive(run)

    assert (report.state, report.failures) == ("partially_succeeded", {"INVALID_REQUEST": 1})


def test_a_run_that_is_incomplete_at_its_deadline_ends_as_expired() -> None:
    pipeline = FakePipeline(deadline=HOUR, chunk_bytes=10)
    worker = FakeWorker(pipeline)
    first, *_ = pipeline.messages(["a", "b"])
    steps.ingest.ingest(pipeline.bucket, first)
    pipeline.clock.now += HOUR + 1

    sweep(worker)
    cancel(worker)

    report = pipeline.drive(RUN)
    assert f"{RUN}.cancel" in worker.sent
    assert (report.state, report.error) == (
        "expired",
        "the run's deadline passed before it was submitted",
    )
    assert pipeline.folder().aborted.get().state == "expired"


def test_a_run_that_was_cancelled_before_its_deadline_stays_cancelled(
    worker: FakeWorker,
) -> None:
    cancel(worker)
    worker.pipeline.clock.now += HOUR + 1

    sweep(worker)

    report = worker.pipeline.drive(RUN)
    assert (report.state, report.failures) == ("cancelled", {"JOB_CANCELLED": 3})


def test_only_the_clock_of_the_bucket_decides_whether_a_deadline_has_passed(
    worker: FakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: worker.pipeline.clock.now + 1e6)

    sweep(worker)

    assert worker.pipeline.folder().cancelled.find() is None


def test_a_dry_run_only_reports_that_a_deadline_has_passed(worker: FakeWorker) -> None:
    worker.pipeline.clock.now += HOUR + 1
    before = list(worker.pipeline.bucket.list(""))

    found = worker.plan()

    assert "would end the run: its deadline has passed" in found
    assert list(worker.pipeline.bucket.list("")) == before
    assert worker.pipeline.folder().cancelled.find() is None
