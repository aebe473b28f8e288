"""A job that does not stop is abandoned, so that its run can end. Late answers are stored."""

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
from support.fake_pipeline import RUN, FakePipeline
from support.fake_worker import FakeWorker

HOUR = 3600.0
MARK = f"given-up/{RUN}/0/1"
HARVEST = Step("harvest", RUN, (0, 1))


def cancelled(*prompts: str, **pipeline: object) -> FakeWorker:
    """A cancelled run of three rows, whose job continues for three hours."""
    worker = FakeWorker(FakePipeline(duration=3 * HOUR, **pipeline))  # type: ignore[arg-type]
    worker.pipeline.jobs.ignore_cancellations()
    worker.submit(worker.pipeline.send(prompts or ["a", "b", "c"]))
    steps.cancel.cancel(
        worker.pipeline.bucket,
        worker.pipeline.jobs,
        snapshot.load_snapshot(worker.pipeline.bucket, RUN),
    )
    return worker


@pytest.fixture
def worker() -> FakeWorker:
    return cancelled()


def sweep(worker: FakeWorker) -> list[str]:
    """Sweep, including orphaned jobs; return the findings."""
    return worker.sweep()


def abandon_jobs(worker: FakeWorker) -> None:
    """Let the run end without its job."""
    worker.pipeline.clock.now += HOUR + 1
    sweep(worker)
    worker.pipeline.drive(RUN)


def harvest(worker: FakeWorker) -> Harvested:
    """Let the job end, and its answers be stored."""
    worker.pipeline.clock.now += 2 * HOUR
    sweep(worker)
    assert HARVEST.id in worker.sent
    found = steps.harvest.harvest(
        worker.pipeline.folder().attempt(0, 1), worker.pipeline.part_bytes
    )
    assert isinstance(found, Harvested)
    return found


def late(worker: FakeWorker) -> list[str]:
    return [
        worker.pipeline.bucket.read(stored.name).decode()
        for stored in worker.pipeline.bucket.list(worker.pipeline.folder().late_folder)
    ]


def test_a_cancelled_job_is_not_abandoned_at_once(worker: FakeWorker) -> None:
    worker.pipeline.clock.now += HOUR - 10

    sweep(worker)

    assert worker.pipeline.due(RUN) == [Step("poll", RUN, (0, 1))]


def test_only_the_clock_of_the_bucket_decides_when_a_job_is_abandoned(
    worker: FakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: worker.pipeline.clock.now + 1e6)

    sweep(worker)

    assert worker.pipeline.due(RUN) == [Step("poll", RUN, (0, 1))]


def test_a_run_ends_without_a_job_that_does_not_stop_and_reports_where_late_answers_go(
    worker: FakeWorker,
) -> None:
    worker.pipeline.clock.now += HOUR + 1

    (words,) = [words for words in sweep(worker) if "abandoned" in words]
    report = worker.pipeline.drive(RUN)

    assert words == "abandoned the job of shard 0, attempt 1, which does not stop"
    assert Step("collect", RUN, (0, 1)).id in worker.sent
    assert (report.state, report.failures) == ("cancelled", {"JOB_CANCELLED": 3})
    assert (
        f"abandoned jobs: 1; their late answers will be stored in gs://fake/mill/runs/{RUN}/late/"
        in report.error
    )
    assert worker.services.open_jobs.list_jobs() == []
    assert worker.services.open_jobs.list_slots() == set()


def test_a_run_whose_deadline_has_passed_ends_without_its_job_too() -> None:
    worker = FakeWorker(FakePipeline(duration=3 * HOUR, deadline=60.0))
    worker.pipeline.jobs.ignore_cancellations()
    worker.submit(worker.pipeline.send(["a"]))
    worker.pipeline.clock.now += 61
    sweep(worker)

    abandon_jobs(worker)

    report = worker.pipeline.report(RUN)
    assert (report.state, report.failures) == ("expired", {"DEADLINE_EXCEEDED": 1})
    assert report.error.startswith("the run's deadline of 60 s passed; abandoned jobs: 1")


def test_late_answers_are_stored_and_reported_results_do_not_change(
    worker: FakeWorker,
) -> None:
    abandon_jobs(worker)
    report, before = worker.pipeline.report(RUN), worker.pipeline.results(RUN)

    assert harvest(worker).answers == 3

    assert [words.count('"text":"You said: ') for words in late(worker)] == [3]
    assert (worker.pipeline.report(RUN), worker.pipeline.results(RUN)) == (report, before)
    assert worker.pipeline.bucket.find(worker.pipeline.folder().open_marker) is None
    assert worker.pipeline.bucket.find(MARK) is None
    assert len(worker.pipeline.jobs.requests) == 1


def test_storing_late_answers_twice_changes_nothing(worker: FakeWorker) -> None:
    abandon_jobs(worker)
    first, kept = harvest(worker), late(worker)

    again = steps.harvest.harvest(
        worker.pipeline.folder().attempt(0, 1), worker.pipeline.part_bytes
    )

    assert (again, late(worker)) == (first, kept)


def test_each_late_answer_that_the_results_lack_is_stored_once() -> None:
    worker = cancelled(
        script=Script(duplicated=frozenset({1}), statuses={2: "Bad Request: {}"}), part_bytes=60
    )
    export(worker, {"contents": [{"role": "user", "parts": [{"text": "a"}]}]})
    abandon_jobs(worker)
    assert [result.text for result in worker.pipeline.results(RUN) if result.succeeded] == ["early"]

    assert harvest(worker).answers == 1

    assert ["You said: b" in words for words in late(worker) if words] == [True]


def test_late_answers_without_keys_are_matched_by_their_requests() -> None:
    worker = cancelled(script=Script(unkeyed=frozenset({0, 2}), missing=frozenset({1})))
    abandon_jobs(worker)

    assert harvest(worker).answers == 2

    assert [(one["key"], one["row"]) for one in rows(late(worker))] == [("1", 1), ("3", 3)]


def test_a_late_answer_counts_for_every_identical_request() -> None:
    worker = cancelled(
        "a", "b", "a", "a", script=Script(missing=frozenset({1}), unkeyed=frozenset({0}))
    )
    abandon_jobs(worker)

    assert harvest(worker).answers == 3
    kept = [msgspec.json.decode(line) for file in late(worker) for line in file.splitlines()]
    assert [(row["key"], row["text"], "usage" in row) for row in kept] == [
        ("1", "You said: a", True),
        ("3", "You said: a", False),
        ("4", "You said: a", False),
    ]


def test_late_answers_are_parsed_by_the_response_schema_and_invalid_ones_are_omitted() -> None:
    schema = {"type": "object", "properties": {"count": {"type": "integer"}}}
    worker = cancelled(response_schema=schema)
    said = {"a": '{"count": 1}', "b": '{"count": "two"}', "c": "three"}
    worker.pipeline.jobs._answer = lambda request: said[request["contents"][0]["parts"][0]["text"]]
    abandon_jobs(worker)

    assert harvest(worker).answers == 1

    assert [(one["key"], one["parsed"]) for one in rows(late(worker))] == [("1", {"count": 1})]


def rows(files: list[str]) -> list[dict[str, object]]:
    return [msgspec.json.decode(line) for words in files for line in words.splitlines()]


def export(worker: FakeWorker, request: object) -> None:
    """Let the job export its first row while it runs."""
    line = {
        "key": f"{names.tag(RUN)}-1-1",
        "status": "",
        "request": request,
        "response": make_response("early"),
    }
    folder = f"runs/{RUN}/shards/0000/1/output/prediction-model-1/incremental_predictions/"
    worker.pipeline.bucket.write(folder + "predictions.jsonl", msgspec.json.encode(line) + b"\n")


def test_an_abandoned_job_that_still_runs_is_cancelled_again(worker: FakeWorker) -> None:
    abandon_jobs(worker)
    worker.pipeline.jobs.ignore_cancellations(False)

    sweep(worker)

    (job,) = worker.pipeline.jobs.list("")
    assert job.state == "JOB_STATE_CANCELLED"


def test_a_job_that_ended_before_it_was_abandoned_is_not_checked(
    worker: FakeWorker,
) -> None:
    worker.pipeline.bucket.create(MARK, b"")
    worker.pipeline.clock.now += 3 * HOUR + 1
    worker.pipeline.drive(RUN)

    sweep(worker)

    assert worker.pipeline.bucket.find(MARK) is None
    assert HARVEST.id not in worker.sent


def test_an_abandoned_job_is_checked_for_a_week(worker: FakeWorker) -> None:
    abandon_jobs(worker)
    (job,) = worker.pipeline.jobs.list("")
    worker.pipeline.jobs.forget_job(job.name)

    sweep(worker)
    assert worker.pipeline.bucket.find(MARK) is not None
    worker.pipeline.clock.now += 8 * 24 * HOUR
    sweep(worker)

    assert worker.pipeline.bucket.find(MARK) is None


def test_answers_of_a_lost_job_that_turns_up_after_its_rows_failed_are_stored() -> None:
    worker = FakeWorker(FakePipeline(duration=3 * HOUR))
    worker.submit(worker.pipeline.send(["a"]))
    (job,) = worker.services.open_jobs.list_jobs()
    worker.pipeline.jobs.forget_job(job.name)
    for _ in range(2):
        worker.look()
        worker.pipeline.clock.now += HOUR + 1
    worker.look()
    lost_jobs.end_lost_job(worker.services, worker.flow, f"{RUN}/0/1", retry=False)
    worker.pipeline.drive(RUN)
    worker.pipeline.jobs.recall_job(job.name)

    assert harvest(worker).answers == 1
