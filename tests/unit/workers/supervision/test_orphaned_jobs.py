"""Orphaned jobs are cancelled while they run, and reported once they are billed."""

import pytest

from promptmill.workers.facts import records
from promptmill.workers.facts.fact import encode_fact
from promptmill.workers.facts.records import Created
from support.fake_pipeline import FakePipeline
from support.fake_worker import FakeWorker


@pytest.fixture
def worker() -> FakeWorker:
    """A worker that polls the job of a run with two rows, which takes a minute."""
    pipeline = FakePipeline(duration=60.0)
    worker = FakeWorker(pipeline)
    worker.submit(pipeline.send(["a", "b"]))
    return worker


def found(worker: FakeWorker, *, dry_run: bool = False) -> list[str]:
    """The findings of a sweep for orphaned jobs."""
    return worker.plan() if dry_run else worker.sweep()


def create_duplicate(worker: FakeWorker) -> str:
    """Create another job for the same attempt."""
    return worker.pipeline.jobs.create(worker.pipeline.jobs.requests[0]).name


def test_a_running_duplicate_is_cancelled_and_the_recorded_job_is_not(worker: FakeWorker) -> None:
    (job,) = worker.services.open_jobs.list_jobs()
    other = create_duplicate(worker)

    assert f"would cancel {other}, a duplicate of {job.name}" in found(worker, dry_run=True)
    assert not worker.pipeline.jobs.get(other).has_ended
    assert f"cancelled {other}, a duplicate of {job.name}" in found(worker)
    assert worker.pipeline.jobs.get(other).state == "JOB_STATE_CANCELLED"
    assert not worker.pipeline.jobs.get(job.name).has_ended


def test_a_duplicate_that_has_ended_is_reported_because_it_is_billed(worker: FakeWorker) -> None:
    (job,) = worker.services.open_jobs.list_jobs()
    other = create_duplicate(worker)
    worker.pipeline.clock.now += 61

    assert f"{other}, a duplicate of {job.name}, has ended and is billed" in found(worker)


def test_a_job_that_turns_up_after_its_creation_was_abandoned_is_cancelled(
    worker: FakeWorker,
) -> None:
    (job,) = worker.services.open_jobs.list_jobs()
    fact = worker.pipeline.folder().attempt(0, 1).job
    worker.pipeline.bucket.write(
        fact.name, encode_fact(Created("", records.current_time(), "the run was cancelled"))
    )

    assert f"cancelled {job.name}, which no run waits for" in found(worker)
    assert worker.pipeline.jobs.get(job.name).state == "JOB_STATE_CANCELLED"
