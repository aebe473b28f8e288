"""A job that Vertex no longer knows is polled, then reported; only operators end it."""

import pytest

from promptmill.producers.contract.status import ShardStatus
from promptmill.workers.facts.records import Created
from promptmill.workers.facts.step import Step
from promptmill.workers.supervision import lost_jobs
from support.fake_pipeline import RUN, FakePipeline
from support.fake_worker import FakeWorker

ATTEMPT_PATH = f"{RUN}/0/1"


@pytest.fixture
def worker() -> FakeWorker:
    """A worker that polls the job of a run with two rows, which takes a minute."""
    pipeline = FakePipeline(duration=60.0)
    worker = FakeWorker(pipeline)
    worker.submit(pipeline.send(["a", "b"]))
    return worker


def missing(worker: FakeWorker, seconds: float) -> str:
    """Hide the job from Vertex for so long; poll at the start, halfway and at the end."""
    (job,) = worker.services.open_jobs.list_jobs()
    worker.pipeline.jobs.forget_job(job.name)
    for _ in range(3):
        worker.look()
        worker.pipeline.clock.now += seconds / 2
    return job.name


def test_a_job_that_is_missing_for_a_while_is_polled_until_it_returns(
    worker: FakeWorker,
) -> None:
    name = missing(worker, 600)

    assert lost_jobs.find_lost_jobs(worker.services.open_jobs) == []
    assert worker.status.warnings == []
    worker.pipeline.jobs.recall_job(name)
    assert worker.look().next_steps == [Step("collect", RUN, (0, 1))]
    assert worker.pipeline.drive(RUN).state == "succeeded"


def test_a_job_that_only_the_list_knows_is_not_missing(worker: FakeWorker) -> None:
    (job,) = worker.services.open_jobs.list_jobs()
    worker.pipeline.clock.now += 61
    worker.pipeline.jobs.forget_job(job.name, listed=True)

    assert worker.look().next_steps == [Step("collect", RUN, (0, 1))]


def test_a_job_that_is_missing_for_long_is_reported_and_nothing_else_is_done(
    worker: FakeWorker,
) -> None:
    name = missing(worker, 3700)

    assert [job.name for job in lost_jobs.find_lost_jobs(worker.services.open_jobs)] == [name]
    assert worker.status.warnings == [
        "shard 0, attempt 1: Vertex no longer has its job; see promptmill lost-jobs"
    ]
    assert f"no longer has job {name}" in str(worker.plan())
    assert worker.pipeline.due(RUN) == [Step("poll", RUN, (0, 1))]
    assert len(worker.pipeline.jobs.requests) == 1


def test_no_clock_of_a_worker_decides_how_long_a_job_is_missing(
    worker: FakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: worker.pipeline.clock.now + 1e6)

    missing(worker, 600)

    assert lost_jobs.find_lost_jobs(worker.services.open_jobs) == []


def test_a_lost_job_that_turns_up_continues_and_its_warning_is_removed(worker: FakeWorker) -> None:
    name = missing(worker, 3700)
    worker.pipeline.jobs.recall_job(name)

    worker.look()

    assert lost_jobs.find_lost_jobs(worker.services.open_jobs) == []
    assert worker.status.warnings == []
    with pytest.raises(
        ValueError,
        match="no job at '01jtest/0/1' is lost; list lost jobs with promptmill lost-jobs",
    ):
        lost_jobs.end_lost_job(worker.services, worker.flow, ATTEMPT_PATH, retry=True)


def test_the_rows_of_a_lost_job_fail_when_an_operator_ends_it(worker: FakeWorker) -> None:
    missing(worker, 3700)

    lost_jobs.end_lost_job(worker.services, worker.flow, ATTEMPT_PATH, retry=False)

    report = worker.pipeline.drive(RUN)
    assert worker.sent == [Step("collect", RUN, (0, 1)).id]
    assert (report.state, report.failures, report.jobs) == ("failed", {"JOB_LOST": 2}, 1)
    assert report.error.startswith(
        "Vertex no longer has the job; abandoned jobs: 1; their late answers will be stored"
    )
    assert worker.services.open_jobs.list_jobs() == []
    assert worker.services.open_jobs.list_slots() == set()
    assert worker.status.warnings == []


def test_an_operator_may_retry_the_rows_of_a_lost_job_after_the_last_attempt(
    worker: FakeWorker,
) -> None:
    missing(worker, 3700)

    lost_jobs.end_lost_job(worker.services, worker.flow, ATTEMPT_PATH, retry=True)

    report = worker.pipeline.drive(RUN)
    assert (report.state, report.succeeded, report.jobs) == ("succeeded", 2, 2)


def test_answers_that_a_lost_job_left_in_the_bucket_are_collected(worker: FakeWorker) -> None:
    worker.pipeline.clock.now += 61
    (job,) = worker.services.open_jobs.list_jobs()
    assert worker.pipeline.jobs.get(job.name).has_ended
    missing(worker, 3700)

    lost_jobs.end_lost_job(worker.services, worker.flow, ATTEMPT_PATH, retry=True)

    assert worker.pipeline.drive(RUN).state == "succeeded"
    assert len(worker.pipeline.jobs.requests) == 1


def test_an_operator_cannot_end_a_job_that_vertex_knows(worker: FakeWorker) -> None:
    name = missing(worker, 3700)
    worker.pipeline.jobs.recall_job(name)

    with pytest.raises(ValueError, match="is lost; list lost jobs with promptmill lost-jobs"):
        lost_jobs.end_lost_job(worker.services, worker.flow, ATTEMPT_PATH, retry=True)

    assert not worker.pipeline.folder().attempt(0, 1).ended.exists()


def test_reservations_that_a_crash_left_of_an_ended_lost_job_are_released(
    worker: FakeWorker,
) -> None:
    (job,) = worker.services.open_jobs.list_jobs()
    missing(worker, 3700)
    lost_jobs.end_lost_job(worker.services, worker.flow, ATTEMPT_PATH, retry=False)
    worker.chain.track_job(RUN, 0, 1, Created(job.name, 0.0))

    worker.sweep()

    assert worker.services.open_jobs.list_jobs() == []
    assert worker.services.open_jobs.list_slots() == set()


def test_a_status_without_a_warning_has_none() -> None:
    assert ShardStatus(0, "submitted").warning == ""
