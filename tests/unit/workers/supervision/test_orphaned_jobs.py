"""Jobs of a mill that no fact tells of: what is still at work is stopped, and what was paid for in vain is told of."""

import pytest

from promptmill.workers.facts import records
from promptmill.workers.facts.fact import encode_fact
from promptmill.workers.facts.records import Created
from support.driver import Mill
from support.station import Station


@pytest.fixture
def station() -> Station:
    """A station that watches the job of a run with two rows, which takes a minute."""
    mill = Mill(duration=60.0)
    station = Station(mill)
    station.submit(mill.send(["a", "b"]))
    return station


def found(station: Station, *, dry_run: bool = False) -> list[str]:
    """What a sweep for strays says of the run."""
    return station.plan() if dry_run else station.sweep()


def twin(station: Station) -> str:
    """Create another job for the same attempt."""
    return station.mill.jobs.create(station.mill.jobs.requests[0]).name


def test_a_duplicate_at_work_is_stopped_and_the_job_itself_is_not(station: Station) -> None:
    (job,) = station.services.open_jobs.list_jobs()
    other = twin(station)

    assert f"would cancel {other}, a duplicate of {job.name}" in found(station, dry_run=True)
    assert not station.mill.jobs.get(other).has_ended
    assert f"cancelled {other}, a duplicate of {job.name}" in found(station)
    assert station.mill.jobs.get(other).state == "JOB_STATE_CANCELLED"
    assert not station.mill.jobs.get(job.name).has_ended


def test_a_duplicate_that_has_ended_is_told_of_as_it_is_paid_for(station: Station) -> None:
    (job,) = station.services.open_jobs.list_jobs()
    other = twin(station)
    station.mill.clock.now += 61

    assert f"{other}, a duplicate of {job.name}, has ended and is billed" in found(station)


def test_a_job_that_turns_up_after_its_creation_was_given_up_is_stopped(station: Station) -> None:
    (job,) = station.services.open_jobs.list_jobs()
    fact = station.mill.folder().attempt(0, 1).job
    station.mill.bucket.write(
        fact.name, encode_fact(Created("", records.current_time(), "the run was cancelled"))
    )

    assert f"cancelled {job.name}, which no run waits for" in found(station)
    assert station.mill.jobs.get(job.name).state == "JOB_STATE_CANCELLED"
