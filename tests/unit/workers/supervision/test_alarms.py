"""People are told of what takes too long, or is not known: once for each job and state."""

from typing import Any

import msgspec
import pytest

from promptmill.cli import run_views
from promptmill.cli.output import stdout_console
from promptmill.workers import steps
from promptmill.workers.fakes import FakeJobs
from promptmill.workers.ports.google import Job
from support.driver import RUN, Mill
from support.station import Station

HOUR = 3600.0
QUEUED, PENDING, RUNNING = "JOB_STATE_QUEUED", "JOB_STATE_PENDING", "JOB_STATE_RUNNING"


class Stuck(FakeJobs):
    """Jobs that are in a state for ever."""

    state = QUEUED
    started = 0.0

    def _refresh_job(self, name: str) -> Job:
        job, _ = self._jobs[name]
        return msgspec.structs.replace(job, state=self.state, start_time=self.started)


@pytest.fixture
def station() -> Station:
    """A station that watches a job that comes to no end."""
    mill = Mill()
    mill.jobs = Stuck(mill.bucket, clock=mill.clock)
    station = Station(mill)
    station.submit(mill.send(["a"]))
    return station


def after(station: Station, state: str, seconds: float) -> list[str]:
    """What people are told when the job was in this state for so long."""
    stuck: Any = station.mill.jobs
    if state == RUNNING != stuck.state:
        stuck.started = station.mill.clock.now
    stuck.state = state
    station.look()
    station.mill.clock.now += seconds
    station.look()
    return station.status.warnings


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
def test_people_are_told_of_a_job_that_takes_too_long_and_not_before(
    station: Station, state: str, seconds: float, words: str
) -> None:
    assert after(station, state, seconds - 1) == []

    assert after(station, state, 2) == [f"shard 0, attempt 1: {words}"]


@pytest.mark.parametrize("state", ["JOB_STATE_PAUSED", "JOB_STATE_99"])
def test_people_are_told_at_once_of_a_state_that_nobody_knows(station: Station, state: str) -> None:
    assert after(station, state, 0) == [
        f"shard 0, attempt 1: its job is in the unknown state {state}; polling continues"
    ]


def test_people_are_told_once_for_each_job_and_state(station: Station) -> None:
    for _ in range(5):
        after(station, QUEUED, 80 * HOUR)
    after(station, RUNNING, HOUR)

    assert station.services.alarm_counts.load_counts() == {QUEUED: 1}
    for _ in range(5):
        after(station, "JOB_STATE_PAUSED", 1)
    assert station.services.alarm_counts.load_counts() == {QUEUED: 1, "JOB_STATE_PAUSED": 1}


def test_a_warning_is_taken_back_when_the_job_goes_on(station: Station) -> None:
    after(station, QUEUED, 80 * HOUR)

    assert after(station, RUNNING, 1) == []


def test_a_wiped_redis_does_not_make_a_job_young_again(station: Station) -> None:
    after(station, QUEUED, 71 * HOUR)
    (job,) = station.services.open_jobs.list_jobs()
    station.services.open_jobs.add_job(job._replace(state="", since=0.0))

    assert len(after(station, QUEUED, 2 * HOUR)) == 1


def test_how_long_a_job_takes_is_told_by_no_workers_clock(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: station.mill.clock.now + 1e6)

    assert after(station, QUEUED, HOUR) == []


def test_describe_shows_what_people_are_told(
    station: Station, capsys: pytest.CaptureFixture[str]
) -> None:
    after(station, QUEUED, 80 * HOUR)

    stdout_console().print(run_views.render_status(station.status))

    assert (
        "warning      shard 0, attempt 1: its job has waited in Vertex's queue"
        in capsys.readouterr().out
    )
    assert run_views.status_record(station.status)["warnings"] == station.status.warnings


def unsealed() -> Station:
    """A run of which half was sent."""
    mill = Mill(chunk_bytes=10)
    station = Station(mill)
    first, *_ = mill.messages(["a", "b"])
    steps.ingest.ingest(mill.bucket, first)
    station.services.index.open_run(first.run)
    return station


def sweep(station: Station, *, thorough: bool) -> list[str]:
    return station.sweep(thorough=thorough)


def test_people_are_told_of_a_run_that_waits_for_its_rest() -> None:
    station = unsealed()
    station.mill.clock.now += HOUR - 10
    assert sweep(station, thorough=True) == []
    assert station.status.warnings == []
    station.mill.clock.now += 20

    found = sweep(station, thorough=True)

    words = "it was not sent in full within 60 min 00 s: send it again with its idempotency key, or cancel it"
    assert found == station.status.warnings == [words]
    assert station.services.alarm_counts.load_counts() == {"open": 1}


def test_a_run_that_waits_is_told_of_once_and_whenever_a_person_asks() -> None:
    station = unsealed()
    for _ in range(3):
        station.mill.clock.now += HOUR
        assert sweep(station, thorough=False) == []

    assert len(sweep(station, thorough=True)) == 1
    assert station.services.alarm_counts.load_counts() == {"open": 1}


def test_a_run_whose_rest_came_is_no_longer_told_of() -> None:
    station = unsealed()
    station.mill.clock.now += 2 * HOUR
    sweep(station, thorough=True)
    for message in station.mill.messages(["a", "b"]):
        steps.ingest.ingest(station.mill.bucket, message)
    station.services.index.record_seal(RUN, 2, 2)

    assert station.status.warnings == []
    assert not any("was not sent" in words for words in sweep(station, thorough=True))
