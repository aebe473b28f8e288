"""Users are warned of jobs that take too long or are unknown, once per job and state."""

from typing import Any

import msgspec
import pytest

from promptmill.cli import run_views
from promptmill.cli.output import stdout_console
from promptmill.workers import steps
from promptmill.workers.fakes import FakeJobs
from promptmill.workers.ports.google import Job
from support.fake_pipeline import RUN, FakePipeline
from support.fake_worker import FakeWorker

HOUR = 3600.0
QUEUED, PENDING, RUNNING = "JOB_STATE_QUEUED", "JOB_STATE_PENDING", "JOB_STATE_RUNNING"


class Stuck(FakeJobs):
    """Jobs that stay in one state."""

    state = QUEUED
    started = 0.0

    def _refresh_job(self, name: str) -> Job:
        job, _ = self._jobs[name]
        return msgspec.structs.replace(job, state=self.state, start_time=self.started)


@pytest.fixture
def worker() -> FakeWorker:
    """A worker that polls a job that does not end."""
    pipeline = FakePipeline()
    pipeline.jobs = Stuck(pipeline.bucket, clock=pipeline.clock)
    worker = FakeWorker(pipeline)
    worker.submit(pipeline.send(["a"]))
    return worker


def after(worker: FakeWorker, state: str, seconds: float) -> list[str]:
    """The warnings after the job was in this state for so long."""
    stuck: Any = worker.pipeline.jobs
    if state == RUNNING != stuck.state:
        stuck.started = worker.pipeline.clock.now
    stuck.state = state
    worker.look()
    worker.pipeline.clock.now += seconds
    worker.look()
    return worker.status.warnings


TOO_LONG = [
    (QUEUED, 72 * HOUR, "its job has waited in Vertex's queue for more than 3.0 days"),
    (PENDING, 72 * HOUR, "its job has waited in Vertex's queue for more than 3.0 days"),
    (RUNNING, 24 * HOUR, "its job has run for more than 24 h 00 min"),
    (
        "JOB_STATE_CANCELLING",
        600,
        "its job is being cancelled for more than 10 min 00 s",
    ),
]


@pytest.mark.parametrize(("state", "seconds", "words"), TOO_LONG)
def test_users_are_warned_of_a_job_that_takes_too_long_and_not_before(
    worker: FakeWorker, state: str, seconds: float, words: str
) -> None:
    assert after(worker, state, seconds - 1) == []

    assert after(worker, state, 2) == [f"shard 0, attempt 1: {words}"]


@pytest.mark.parametrize("state", ["JOB_STATE_PAUSED", "JOB_STATE_99"])
def test_an_unknown_job_state_is_reported_at_once(worker: FakeWorker, state: str) -> None:
    assert after(worker, state, 0) == [
        f"shard 0, attempt 1: its job is in the unknown state {state}; polling continues"
    ]


def test_users_are_warned_once_per_job_and_state(worker: FakeWorker) -> None:
    for _ in range(5):
        after(worker, QUEUED, 80 * HOUR)
    after(worker, RUNNING, HOUR)

    assert worker.services.alarm_counts.load_counts() == {QUEUED: 1}
    for _ in range(5):
        after(worker, "JOB_STATE_PAUSED", 1)
    assert worker.services.alarm_counts.load_counts() == {QUEUED: 1, "JOB_STATE_PAUSED": 1}


def test_a_warning_is_removed_when_the_job_changes_its_state(worker: FakeWorker) -> None:
    after(worker, QUEUED, 80 * HOUR)

    assert after(worker, RUNNING, 1) == []


def test_a_wiped_redis_does_not_reset_the_age_of_a_job(worker: FakeWorker) -> None:
    after(worker, QUEUED, 71 * HOUR)
    (job,) = worker.services.open_jobs.list_jobs()
    worker.services.open_jobs.add_job(job._replace(state="", since=0.0))

    assert len(after(worker, QUEUED, 2 * HOUR)) == 1


def test_no_clock_of_a_worker_decides_how_long_a_job_takes(
    worker: FakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: worker.pipeline.clock.now + 1e6)

    assert after(worker, QUEUED, HOUR) == []


def test_describe_shows_warnings(worker: FakeWorker, capsys: pytest.CaptureFixture[str]) -> None:
    after(worker, QUEUED, 80 * HOUR)

    stdout_console().print(run_views.render_status(worker.status))

    assert (
        "warning      shard 0, attempt 1: its job has waited in Vertex's queue"
        in capsys.readouterr().out
    )
    assert run_views.status_record(worker.status)["warnings"] == worker.status.warnings


def unsealed() -> FakeWorker:
    """A run of which half the chunks were sent."""
    pipeline = FakePipeline(chunk_bytes=10)
    worker = FakeWorker(pipeline)
    first, *_ = pipeline.messages(["a", "b"])
    steps.ingest.ingest(pipeline.bucket, first)
    worker.services.index.open_run(first.run)
    return worker


def sweep(worker: FakeWorker, *, thorough: bool) -> list[str]:
    return worker.sweep(thorough=thorough)


def test_users_are_warned_of_an_incomplete_run() -> None:
    worker = unsealed()
    worker.pipeline.clock.now += HOUR - 10
    assert sweep(worker, thorough=True) == []
    assert worker.status.warnings == []
    worker.pipeline.clock.now += 20

    found = sweep(worker, thorough=True)

    words = "it was not sent in full within 60 min 00 s: send it again with its idempotency key, or cancel it"
    assert found == worker.status.warnings == [words]
    assert worker.services.alarm_counts.load_counts() == {"open": 1}


def test_an_incomplete_run_is_reported_once_by_beat_and_always_by_the_command() -> None:
    worker = unsealed()
    for _ in range(3):
        worker.pipeline.clock.now += HOUR
        assert sweep(worker, thorough=False) == []

    assert len(sweep(worker, thorough=True)) == 1
    assert worker.services.alarm_counts.load_counts() == {"open": 1}


def test_a_completed_run_is_no_longer_reported_as_incomplete() -> None:
    worker = unsealed()
    worker.pipeline.clock.now += 2 * HOUR
    sweep(worker, thorough=True)
    for message in worker.pipeline.messages(["a", "b"]):
        steps.ingest.ingest(worker.pipeline.bucket, message)
    worker.services.index.record_seal(RUN, 2, 2)

    assert worker.status.warnings == []
    assert not any("was not sent" in words for words in sweep(worker, thorough=True))
