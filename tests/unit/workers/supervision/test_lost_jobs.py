"""A job that Vertex does not know any more: waited for, told of when that lasts, and ended by a person's word alone."""

import pytest

from promptmill.producers.contract.status import ShardStatus
from promptmill.workers.facts.records import Created
from promptmill.workers.facts.step import Step
from promptmill.workers.supervision import lost_jobs
from support.driver import RUN, Mill
from support.station import Station

PLACE = f"{RUN}/0/1"


@pytest.fixture
def station() -> Station:
    """A station that watches the job of a run with two rows, which takes a minute."""
    mill = Mill(duration=60.0)
    station = Station(mill)
    station.submit(mill.send(["a", "b"]))
    return station


def missing(station: Station, seconds: float) -> str:
    """Let Vertex not know the job for so long, with a look at the beginning, in the middle and at the end."""
    (job,) = station.services.open_jobs.list_jobs()
    station.mill.jobs.forget_job(job.name)
    for _ in range(3):
        station.look()
        station.mill.clock.now += seconds / 2
    return job.name


def test_a_job_that_vertex_does_not_know_for_a_while_is_looked_for_until_it_does(
    station: Station,
) -> None:
    name = missing(station, 600)

    assert lost_jobs.find_lost_jobs(station.services.open_jobs) == []
    assert station.status.warnings == []
    station.mill.jobs.recall_job(name)
    assert station.look().next_steps == [Step("collect", RUN, (0, 1))]
    assert station.mill.drive(RUN).state == "succeeded"


def test_a_job_that_only_the_list_knows_is_not_missing(station: Station) -> None:
    (job,) = station.services.open_jobs.list_jobs()
    station.mill.clock.now += 61
    station.mill.jobs.forget_job(job.name, listed=True)

    assert station.look().next_steps == [Step("collect", RUN, (0, 1))]


def test_a_job_that_is_missing_for_long_is_told_of_and_nothing_else_is_done(
    station: Station,
) -> None:
    name = missing(station, 3700)

    assert [job.name for job in lost_jobs.find_lost_jobs(station.services.open_jobs)] == [name]
    assert station.status.warnings == [
        "shard 0, attempt 1: Vertex does not know its job any more: see promptmill lost-jobs"
    ]
    assert f"does not know job {name} any more" in str(station.plan())
    assert station.mill.due(RUN) == [Step("poll", RUN, (0, 1))]
    assert len(station.mill.jobs.requests) == 1


def test_how_long_a_job_is_missing_is_told_by_no_workers_clock(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: station.mill.clock.now + 1e6)

    missing(station, 600)

    assert lost_jobs.find_lost_jobs(station.services.open_jobs) == []


def test_a_lost_job_that_turns_up_goes_on_and_the_warning_is_taken_back(station: Station) -> None:
    name = missing(station, 3700)
    station.mill.jobs.recall_job(name)

    station.look()

    assert lost_jobs.find_lost_jobs(station.services.open_jobs) == []
    assert station.status.warnings == []
    with pytest.raises(ValueError, match="no job at '01jtest/0/1' is lost"):
        lost_jobs.end_lost_job(station.services, station.flow, PLACE, again=True)


def test_the_rows_of_a_lost_job_fail_when_a_person_says_so(station: Station) -> None:
    missing(station, 3700)

    lost_jobs.end_lost_job(station.services, station.flow, PLACE, again=False)

    report = station.mill.drive(RUN)
    assert station.sent == [Step("collect", RUN, (0, 1)).id]
    assert (report.state, report.failures, report.jobs) == ("failed", {"JOB_LOST": 2}, 1)
    assert report.error.startswith(
        "Vertex does not know the job any more; jobs given up: 1; answers that they may yet have"
    )
    assert station.services.open_jobs.list_jobs() == []
    assert station.services.open_jobs.list_slots() == set()
    assert station.status.warnings == []


def test_the_rows_of_a_lost_job_are_tried_again_when_a_person_says_so_though_it_was_the_last_attempt(
    station: Station,
) -> None:
    missing(station, 3700)

    lost_jobs.end_lost_job(station.services, station.flow, PLACE, again=True)

    report = station.mill.drive(RUN)
    assert (report.state, report.succeeded, report.jobs) == ("succeeded", 2, 2)


def test_answers_that_a_lost_job_left_in_the_bucket_are_kept(station: Station) -> None:
    station.mill.clock.now += 61
    (job,) = station.services.open_jobs.list_jobs()
    assert station.mill.jobs.get(job.name).has_ended
    missing(station, 3700)

    lost_jobs.end_lost_job(station.services, station.flow, PLACE, again=True)

    assert station.mill.drive(RUN).state == "succeeded"
    assert len(station.mill.jobs.requests) == 1


def test_a_job_that_vertex_knows_is_not_ended_by_a_persons_word(station: Station) -> None:
    name = missing(station, 3700)
    station.mill.jobs.recall_job(name)

    with pytest.raises(ValueError, match="is lost"):
        lost_jobs.end_lost_job(station.services, station.flow, PLACE, again=True)

    assert not station.mill.folder().attempt(0, 1).ended.exists()


def test_what_a_crash_left_noted_of_a_job_that_was_ended_by_hand_is_let_go(
    station: Station,
) -> None:
    (job,) = station.services.open_jobs.list_jobs()
    missing(station, 3700)
    lost_jobs.end_lost_job(station.services, station.flow, PLACE, again=False)
    station.chain.track_job(RUN, 0, 1, Created(job.name, 0.0))

    station.sweep()

    assert station.services.open_jobs.list_jobs() == []
    assert station.services.open_jobs.list_slots() == set()


def test_a_status_without_a_warning_has_none() -> None:
    assert ShardStatus(0, "submitted").warning == ""
