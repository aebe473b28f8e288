"""A run that is past its deadline ends with what it has, by the bucket's clock."""

import pytest

from promptmill.producers.contract.results import Error
from promptmill.workers import steps
from promptmill.workers.facts import snapshot
from promptmill.workers.facts.step import Step
from promptmill.workers.fakes import Script
from support.driver import RUN, Mill
from support.station import Station

HOUR = 3600.0


@pytest.fixture
def station() -> Station:
    """A run of two jobs, which take two hours and have one."""
    mill = Mill(deadline=HOUR, duration=2 * HOUR, max_requests=2, chunk_bytes=10, max_attempts=3)
    station = Station(mill)
    station.submit(mill.send(["a", "b", "c"]))
    return station


def sweep(station: Station) -> list[str]:
    return station.sweep()


def cancel(station: Station) -> None:
    """Do as the task `cancel` does."""
    steps.cancel.cancel(
        station.mill.bucket, station.mill.jobs, snapshot.load_snapshot(station.mill.bucket, RUN)
    )


def test_a_run_goes_on_until_its_deadline_has_passed(station: Station) -> None:
    station.mill.clock.now += HOUR - 10

    sweep(station)

    assert station.mill.folder().cancelled.find() is None
    assert station.status.state == "queued"


def test_a_run_past_its_deadline_is_cancelled_and_its_rows_say_why(station: Station) -> None:
    station.mill.clock.now += HOUR + 1

    assert "ended the run: its deadline has passed" in sweep(station)
    assert f"{RUN}.cancel" in station.sent
    assert (station.status.state, station.status.error) == (
        "cancelling",
        "the run's deadline passed",
    )
    cancel(station)
    assert len(station.look().next_steps) == 2
    report = station.mill.drive(RUN)

    assert (report.state, report.failures, report.jobs) == ("expired", {"DEADLINE_EXCEEDED": 3}, 2)
    assert report.error == "the run's deadline of 60 min 00 s passed"
    assert station.mill.results(RUN)[0].error == Error(
        "DEADLINE_EXCEEDED", "the run's deadline passed"
    )


def test_what_vertex_finished_before_the_deadline_is_delivered_and_nothing_more_is_submitted() -> (
    None
):
    mill = Mill(deadline=HOUR, max_requests=1, chunk_bytes=10, max_attempts=3)
    run = mill.send(["a", "b"])
    mill.do(Step("plan", run))
    for step in (Step("shard", run, (0, 1)), Step("submit", run, (0, 1))):
        mill.do(step)
    steps.cancel.expire_run(mill.folder(run))

    report = mill.drive(run)

    assert (report.state, report.succeeded, report.failures) == (
        "expired",
        1,
        {"DEADLINE_EXCEEDED": 1},
    )
    assert report.jobs == 1


def test_rows_that_would_have_been_tried_again_are_lost_to_the_deadline_too() -> None:
    mill = Mill(deadline=HOUR, max_attempts=3, script=Script(missing=frozenset({0})))
    run = mill.send(["a", "b"])
    for step in (Step("plan", run), Step("shard", run, (0, 1)), Step("submit", run, (0, 1))):
        mill.do(step)
    steps.cancel.expire_run(mill.folder(run))

    report = mill.drive(run)

    assert (report.state, report.failures, report.jobs) == ("expired", {"MISSING_ROW": 1}, 1)


def test_a_deadline_that_costs_no_row_changes_nothing() -> None:
    mill = Mill(deadline=HOUR)
    run = mill.send(["a", ""])
    for step in (Step("plan", run), Step("shard", run, (0, 1)), Step("submit", run, (0, 1))):
        mill.do(step)
    steps.cancel.expire_run(mill.folder(run))

    report = mill.drive(run)

    assert (report.state, report.failures) == ("partially_succeeded", {"INVALID_REQUEST": 1})


def test_a_run_that_is_not_whole_by_its_deadline_ends_as_expired() -> None:
    mill = Mill(deadline=HOUR, chunk_bytes=10)
    station = Station(mill)
    first, *_ = mill.messages(["a", "b"])
    steps.ingest.ingest(mill.bucket, first)
    mill.clock.now += HOUR + 1

    sweep(station)
    cancel(station)

    report = mill.drive(RUN)
    assert f"{RUN}.cancel" in station.sent
    assert (report.state, report.error) == (
        "expired",
        "the run's deadline passed before it was submitted",
    )
    assert mill.folder().aborted.get().state == "expired"


def test_a_run_that_somebody_cancelled_before_its_deadline_stays_cancelled(
    station: Station,
) -> None:
    cancel(station)
    station.mill.clock.now += HOUR + 1

    sweep(station)

    report = station.mill.drive(RUN)
    assert (report.state, report.failures) == ("cancelled", {"JOB_CANCELLED": 3})


def test_only_the_clock_of_the_bucket_says_that_a_deadline_has_passed(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: station.mill.clock.now + 1e6)

    sweep(station)

    assert station.mill.folder().cancelled.find() is None


def test_a_dry_run_only_says_that_a_deadline_has_passed(station: Station) -> None:
    station.mill.clock.now += HOUR + 1

    found = station.plan()

    assert "would end the run: its deadline has passed" in found
    assert station.mill.folder().cancelled.find() is None
