"""A job that is to stop and does not is given up, so that its run can end; what it answers after all is kept."""

import msgspec
import pytest

from promptmill.config import names
from promptmill.workers import steps
from promptmill.workers.facts import snapshot
from promptmill.workers.facts.records import Harvested
from promptmill.workers.facts.step import Step
from promptmill.workers.fakes import Script
from promptmill.workers.fakes.output import make_response
from promptmill.workers.supervision import lost_jobs
from support.driver import RUN, Mill
from support.station import Station

HOUR = 3600.0
MARK = f"given-up/{RUN}/0/1"
HARVEST = Step("harvest", RUN, (0, 1))


def cancelled(*prompts: str, **mill: object) -> Station:
    """A run of three rows that was cancelled, whose job goes on for three hours all the same."""
    station = Station(Mill(duration=3 * HOUR, **mill))  # type: ignore[arg-type]
    station.mill.jobs.ignore_cancellations()
    station.submit(station.mill.send(prompts or ["a", "b", "c"]))
    steps.cancel.cancel(
        station.mill.bucket, station.mill.jobs, snapshot.load_snapshot(station.mill.bucket, RUN)
    )
    return station


@pytest.fixture
def station() -> Station:
    return cancelled()


def sweep(station: Station) -> list[str]:
    """Let a sweep that looks for strays come by; returns what it found."""
    return station.sweep()


def give_up(station: Station) -> None:
    """Let the run end without its job."""
    station.mill.clock.now += HOUR + 1
    sweep(station)
    station.mill.drive(RUN)


def harvest(station: Station) -> Harvested:
    """Let the job end, and its answers be kept."""
    station.mill.clock.now += 2 * HOUR
    sweep(station)
    assert HARVEST.id in station.sent
    found = steps.harvest.harvest(station.mill.folder().attempt(0, 1), station.mill.part_bytes)
    assert isinstance(found, Harvested)
    return found


def late(station: Station) -> list[str]:
    return [
        station.mill.bucket.read(stored.name).decode()
        for stored in station.mill.bucket.list(station.mill.folder().late_folder)
    ]


def test_a_job_has_time_to_stop(station: Station) -> None:
    station.mill.clock.now += HOUR - 10

    sweep(station)

    assert station.mill.due(RUN) == [Step("poll", RUN, (0, 1))]


def test_only_the_clock_of_the_bucket_says_that_it_had_its_time(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: station.mill.clock.now + 1e6)

    sweep(station)

    assert station.mill.due(RUN) == [Step("poll", RUN, (0, 1))]


def test_a_run_ends_without_a_job_that_does_not_stop_and_says_where_its_answers_would_come_to_be(
    station: Station,
) -> None:
    station.mill.clock.now += HOUR + 1

    (words,) = [words for words in sweep(station) if "abandoned" in words]
    report = station.mill.drive(RUN)

    assert words == "abandoned the job of shard 0, attempt 1, which does not stop"
    assert Step("collect", RUN, (0, 1)).id in station.sent
    assert (report.state, report.failures) == ("cancelled", {"JOB_CANCELLED": 3})
    assert (
        f"jobs given up: 1; answers that they may yet have come to gs://fake/mill/runs/{RUN}/late/"
        in report.error
    )
    assert station.services.open_jobs.list_jobs() == []
    assert station.services.open_jobs.list_slots() == set()


def test_a_run_whose_deadline_has_passed_ends_without_its_job_too() -> None:
    station = Station(Mill(duration=3 * HOUR, deadline=60.0))
    station.mill.jobs.ignore_cancellations()
    station.submit(station.mill.send(["a"]))
    station.mill.clock.now += 61
    sweep(station)

    give_up(station)

    report = station.mill.report(RUN)
    assert (report.state, report.failures) == ("expired", {"DEADLINE_EXCEEDED": 1})
    assert report.error.startswith("the run's deadline of 60 s passed; jobs given up: 1")


def test_what_the_job_answers_after_all_is_kept_and_nothing_that_was_told_changes(
    station: Station,
) -> None:
    give_up(station)
    report, before = station.mill.report(RUN), station.mill.results(RUN)

    assert harvest(station).answers == 3

    assert [words.count('"text":"You said: ') for words in late(station)] == [3]
    assert (station.mill.report(RUN), station.mill.results(RUN)) == (report, before)
    assert station.mill.bucket.find(station.mill.folder().open_marker) is None
    assert station.mill.bucket.find(MARK) is None
    assert len(station.mill.jobs.requests) == 1


def test_keeping_late_answers_twice_changes_nothing(station: Station) -> None:
    give_up(station)
    first, kept = harvest(station), late(station)

    again = steps.harvest.harvest(station.mill.folder().attempt(0, 1), station.mill.part_bytes)

    assert (again, late(station)) == (first, kept)


def test_only_answers_that_the_results_lack_are_late_ones_each_once() -> None:
    station = cancelled(
        script=Script(duplicated=frozenset({1}), statuses={2: "Bad Request: {}"}), part_bytes=60
    )
    export(station, {"contents": [{"role": "user", "parts": [{"text": "a"}]}]})
    give_up(station)
    assert [result.text for result in station.mill.results(RUN) if result.succeeded] == ["early"]

    assert harvest(station).answers == 1

    assert ["You said: b" in words for words in late(station) if words] == [True]


def test_late_answers_without_keys_are_joined_by_what_was_asked() -> None:
    station = cancelled(script=Script(unkeyed=frozenset({0, 2}), missing=frozenset({1})))
    give_up(station)

    assert harvest(station).answers == 2

    assert [(one["key"], one["row"]) for one in rows(late(station))] == [("1", 1), ("3", 3)]


def test_a_late_answer_is_that_of_all_rows_that_asked_the_same() -> None:
    station = cancelled(
        "a", "b", "a", "a", script=Script(missing=frozenset({1}), unkeyed=frozenset({0}))
    )
    give_up(station)

    assert harvest(station).answers == 3
    kept = [msgspec.json.decode(line) for file in late(station) for line in file.splitlines()]
    assert [(row["key"], row["text"], "usage" in row) for row in kept] == [
        ("1", "You said: a", True),
        ("3", "You said: a", False),
        ("4", "You said: a", False),
    ]


def test_late_answers_of_a_run_with_a_response_schema_are_parsed_and_those_that_do_not_fit_are_none() -> (
    None
):
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    station = cancelled(response_schema=schema)
    said = {"a": '{"n": 1}', "b": '{"n": "two"}', "c": "three"}
    station.mill.jobs._answer = lambda request: said[request["contents"][0]["parts"][0]["text"]]
    give_up(station)

    assert harvest(station).answers == 1

    assert [(one["key"], one["parsed"]) for one in rows(late(station))] == [("1", {"n": 1})]


def rows(files: list[str]) -> list[dict[str, object]]:
    return [msgspec.json.decode(line) for words in files for line in words.splitlines()]


def export(station: Station, request: object) -> None:
    """Let the job export its first row while it runs."""
    line = {
        "key": f"{names.tag(RUN)}-1-1",
        "status": "",
        "request": request,
        "response": make_response("early"),
    }
    folder = f"runs/{RUN}/shards/0000/1/output/prediction-model-1/incremental_predictions/"
    station.mill.bucket.write(folder + "predictions.jsonl", msgspec.json.encode(line) + b"\n")


def test_a_job_that_goes_on_is_asked_to_stop_again(station: Station) -> None:
    give_up(station)
    station.mill.jobs.ignore_cancellations(False)

    sweep(station)

    (job,) = station.mill.jobs.list("")
    assert job.state == "JOB_STATE_CANCELLED"


def test_a_job_that_came_to_its_own_end_in_the_meantime_is_not_looked_after(
    station: Station,
) -> None:
    station.mill.bucket.create(MARK, b"")
    station.mill.clock.now += 3 * HOUR + 1
    station.mill.drive(RUN)

    sweep(station)

    assert station.mill.bucket.find(MARK) is None
    assert HARVEST.id not in station.sent


def test_after_a_week_nothing_is_expected_of_a_job_any_more(station: Station) -> None:
    give_up(station)
    (job,) = station.mill.jobs.list("")
    station.mill.jobs.forget_job(job.name)

    sweep(station)
    assert station.mill.bucket.find(MARK) is not None
    station.mill.clock.now += 8 * 24 * HOUR
    sweep(station)

    assert station.mill.bucket.find(MARK) is None


def test_a_lost_job_that_turns_up_after_its_rows_have_failed_has_its_answers_kept() -> None:
    station = Station(Mill(duration=3 * HOUR))
    station.submit(station.mill.send(["a"]))
    (job,) = station.services.open_jobs.list_jobs()
    station.mill.jobs.forget_job(job.name)
    for _ in range(2):
        station.look()
        station.mill.clock.now += HOUR + 1
    station.look()
    lost_jobs.end_lost_job(station.services, station.flow, f"{RUN}/0/1", again=False)
    station.mill.drive(RUN)
    station.mill.jobs.recall_job(job.name)

    assert harvest(station).answers == 1
