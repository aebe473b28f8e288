"""A job that Vertex does not know any more: waited for, told of when that lasts, and ended by a person's word alone."""

import pytest

from promptmill.producers.contract.status import ShardStatus
from promptmill.workers.facts.records import Created
from promptmill.workers.facts.step import Step
from promptmill.workers.supervision import lost_jobs
from support.fake_pipeline import RUN, FakePipeline
from support.fake_worker import FakeWorker

PLACE = f"{RUN}/0/1"


@pytest.fixture
def worker() -> FakeWorker:
    """A worker that polls the job of a run with two rows, which takes a minute."""
    pipeline = FakePipeline(duration=60.0)
    worker = FakeWorker(pipeline)
    worker.submit(pipeline.send(["a", "b"]))
    return worker


def missing(worker: FakeWorker, seconds: float) -> str:
    """Let Vertex not know the job for so long, with a look at the beginning, in the middle and at the end."""
    (job,) = worker.services.open_jobs.list_jobs()
    worker.pipeline.jobs.forget_job(job.name)
    for _ in range(3):
        worker.look()
        worker.pipeline.clock.now += seconds / 2
    return job.name


def test_a_job_that_vertex_does_not_know_for_a_while_is_looked_for_until_it_does(
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


def test_a_job_that_is_missing_for_long_is_told_of_and_nothing_else_is_done(
    worker: FakeWorker,
) -> None:
    name = missing(worker, 3700)

    assert [job.name for job in lost_jobs.find_lost_jobs(worker.services.open_jobs)] == [name]
    assert worker.status.warnings == [
        "shard 0, attempt 1: Vertex does not know its job any more: see promptmill lost-jobs"
    ]
    assert f"does not know job {name} any more" in str(worker.plan())
    assert worker.pipeline.due(RUN) == [Step("poll", RUN, (0, 1))]
    assert len(worker.pipeline.jobs.requests) == 1


def test_how_long_a_job_is_missing_is_told_by_no_workers_clock(
    worker: FakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: worker.pipeline.clock.now + 1e6)

    missing(worker, 600)

    assert lost_jobs.find_lost_jobs(worker.services.open_jobs) == []


def test_a_lost_job_that_turns_up_goes_on_and_the_warning_is_taken_back(worker: FakeWorker) -> None:
    name = missing(worker, 3700)
    worker.pipeline.jobs.recall_job(name)

    worker.look()

    assert lost_jobs.find_lost_jobs(worker.services.open_jobs) == []
    assert worker.status.warnings == []
    with pytest.raises(ValueError, match="no job at '01jtest/0/1' is lost"):
        lost_jobs.end_lost_job(worker.services, worker.flow, PLACE, again=True)


def test_the_rows_of_a_lost_job_fail_when_a_person_says_so(worker: FakeWorker) -> None:
    missing(worker, 3700)

    lost_jobs.end_lost_job(worker.services, worker.flow, PLACE, again=False)

    report = worker.pipeline.drive(RUN)
    assert worker.sent == [Step("collect", RUN, (0, 1)).id]
    assert (report.state, report.failures, report.jobs) == ("failed", {"JOB_LOST": 2}, 1)
    assert report.error.startswith(
        "Vertex does not know the job any more; abandoned jobs: 1; their late answers will be stored"
    )
    assert worker.services.open_jobs.list_jobs() == []
    assert worker.services.open_jobs.list_slots() == set()
    assert worker.status.warnings == []


def test_the_rows_of_a_lost_job_are_tried_again_when_a_person_says_so_though_it_was_the_last_attempt(
    worker: FakeWorker,
) -> None:
    missing(worker, 3700)

    lost_jobs.end_lost_job(worker.services, worker.flow, PLACE, again=True)

    report = worker.pipeline.drive(RUN)
    assert (report.state, report.succeeded, report.jobs) == ("succeeded", 2, 2)


def test_answers_that_a_lost_job_left_in_the_bucket_are_kept(worker: FakeWorker) -> None:
    worker.pipeline.clock.now += 61
    (job,) = worker.services.open_jobs.list_jobs()
    assert worker.pipeline.jobs.get(job.name).has_ended
    missing(worker, 3700)

    lost_jobs.end_lost_job(worker.services, worker.flow, PLACE, again=True)

    assert worker.pipeline.drive(RUN).state == "succeeded"
    assert len(worker.pipeline.jobs.requests) == 1


def test_a_job_that_vertex_knows_is_not_ended_by_a_persons_word(worker: FakeWorker) -> None:
    name = missing(worker, 3700)
    worker.pipeline.jobs.recall_job(name)

    with pytest.raises(ValueError, match="is lost"):
        lost_jobs.end_lost_job(worker.services, worker.flow, PLACE, again=True)

    assert not worker.pipeline.folder().attempt(0, 1).ended.exists()


def test_what_a_crash_left_noted_of_a_job_that_was_ended_by_hand_is_let_go(
    worker: FakeWorker,
) -> None:
    (job,) = worker.services.open_jobs.list_jobs()
    missing(worker, 3700)
    lost_jobs.end_lost_job(worker.services, worker.flow, PLACE, again=False)
    worker.chain.track_job(RUN, 0, 1, Created(job.name, 0.0))

    worker.sweep()

    assert worker.services.open_jobs.list_jobs() == []
    assert worker.services.open_jobs.list_slots() == set()


def test_a_status_without_a_warning_has_none() -> None:
    assert ShardStatus(0, "submitted").warning == ""
