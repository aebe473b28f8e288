"""A retry waits while Google is at fault, and unbilled failures use up no attempt."""

import re
from dataclasses import replace
from itertools import pairwise

import pytest

from promptmill.workers import steps
from promptmill.workers.attempts.retry_rules import DelayLimits
from promptmill.workers.coordination import progress
from promptmill.workers.facts import snapshot
from promptmill.workers.facts.records import RetryDelay
from promptmill.workers.facts.step import Step, Wait
from promptmill.workers.fakes import Script
from support.fake_pipeline import RUN, FakePipeline
from support.fake_worker import FakeWorker

PROVISIONING = (
    'Bad Request: {"error": {"code": 400, "message": "Service agents are being provisioned '
    "(https://cloud.google.com/vertex-ai/docs/general/access-control#service-agents). Service "
    "agents are needed to read the Cloud Storage file provided. So please try again in a few "
    'minutes.", "status": "FAILED_PRECONDITION"}}'
)
QUOTA = 'Too Many Requests: {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}}'
ALL_ROWS = Script(statuses={0: PROVISIONING, 1: PROVISIONING, 2: PROVISIONING})
TABLE_FAULTS = [
    "Failed to import data. Not found: Dataset example-tp:llm_bp_tenant_dataset_7924783555308158976"
    " was not found in location US at [2:1]",
    'Failed to import data. Syntax error: Expected end of input but got identifier "_vertex_row_id"'
    " at [17:5]",
]
INTERRUPTED = Script(
    state="JOB_STATE_FAILED",
    error_code=13,
    error_message="System error. Please try this operation again.",
)
PROMPTS = ["a", "b", "c"]
SUBMIT_2 = Step("submit", RUN, (0, 2))


def run(*scripts: Script, max_attempts: int = 1, prompts: list[str] = PROMPTS) -> FakePipeline:
    """Run to the end; the first jobs follow the scripts, the others answer every row."""
    pipeline = start(*scripts, max_attempts=max_attempts, prompts=prompts)
    pipeline.drive(RUN)
    return pipeline


def start(*scripts: Script, max_attempts: int = 1, prompts: list[str] = PROMPTS) -> FakePipeline:
    pipeline = FakePipeline(max_attempts=max_attempts)
    pipeline.jobs.script_next(*scripts)
    pipeline.send(prompts)
    return pipeline


def outcomes(pipeline: FakePipeline) -> list[str]:
    return [
        result.error.reason if result.error else result.text for result in pipeline.results(RUN)
    ]


def creation_gaps(pipeline: FakePipeline) -> list[float]:
    """Return the seconds from the end of each job to the creation of the next."""
    jobs = sorted(pipeline.jobs.list(""), key=lambda job: job.create_time)
    return [later.create_time - job.end_time for job, later in pairwise(jobs)]


def until_submit(pipeline: FakePipeline) -> None:
    while pipeline.due(RUN) != [SUBMIT_2]:
        for step in pipeline.due(RUN):
            pipeline.do(step)
        pipeline.clock.now += 1.0


def test_rows_are_sent_again_minutes_later_while_service_agents_are_provisioned() -> None:
    pipeline = run(ALL_ROWS)

    assert outcomes(pipeline) == ["You said: a", "You said: b", "You said: c"]
    assert len(pipeline.jobs.requests) == 2
    assert min(creation_gaps(pipeline)) >= 300


def test_provisioning_ends_in_a_failure_after_an_hour() -> None:
    pipeline = run(*[ALL_ROWS] * 50)

    assert outcomes(pipeline) == ["FAILED_PRECONDITION"] * 3
    assert len(pipeline.jobs.requests) in range(11, 14)
    assert "provisioned" in pipeline.results(RUN)[0].error.message  # type: ignore[union-attr]


def test_provisioning_leaves_all_attempts_to_billed_failures() -> None:
    quota = Script(statuses=dict.fromkeys(range(3), QUOTA))

    pipeline = run(ALL_ROWS, ALL_ROWS, quota, quota, max_attempts=2)

    assert outcomes(pipeline) == ["RESOURCE_EXHAUSTED"] * 3
    assert len(pipeline.jobs.requests) == 4


def test_a_billed_failure_beside_provisioning_is_not_sent_again_after_the_last_attempt() -> None:
    pipeline = run(Script(statuses={0: QUOTA, 1: PROVISIONING}))

    assert outcomes(pipeline) == ["RESOURCE_EXHAUSTED", "You said: b", "You said: c"]
    assert [result.attempt for result in pipeline.results(RUN)] == [1, 2, 1]


def test_an_answer_without_a_key_that_was_not_billed_is_sent_again() -> None:
    pipeline = run(replace(ALL_ROWS, unkeyed=frozenset(range(3))))

    assert outcomes(pipeline) == ["You said: a", "You said: b", "You said: c"]
    assert min(creation_gaps(pipeline)) >= 300


def test_duplicates_of_an_unbilled_row_wait_with_it() -> None:
    pipeline = run(Script(statuses={0: PROVISIONING}), prompts=["a", "a", "a"])

    assert outcomes(pipeline) == ["You said: a"] * 3


@pytest.mark.parametrize("message", TABLE_FAULTS)
def test_a_fault_of_googles_own_tables_is_retried_later(message: str) -> None:
    fault = Script(state="JOB_STATE_FAILED", error_code=3, error_message=message)

    pipeline = run(fault, fault)

    assert outcomes(pipeline) == ["You said: a", "You said: b", "You said: c"]
    assert min(creation_gaps(pipeline)) >= 300


def test_the_delay_doubles_with_each_interrupted_job() -> None:
    pipeline = run(*[INTERRUPTED] * 3, max_attempts=4)

    assert outcomes(pipeline) == ["You said: a", "You said: b", "You said: c"]
    assert [gap // 300 for gap in creation_gaps(pipeline)] == [1, 2, 4]


def test_an_interrupted_job_uses_up_an_attempt() -> None:
    pipeline = run(*[INTERRUPTED] * 5, max_attempts=2)

    assert outcomes(pipeline) == ["JOB_INTERRUPTED"] * 3
    assert len(pipeline.jobs.requests) == 2


def test_rows_with_passing_failures_are_sent_again_at_once() -> None:
    pipeline = run(Script(statuses={0: QUOTA}), max_attempts=2)

    assert max(creation_gaps(pipeline)) < 30


def test_a_restart_does_not_shorten_the_delay() -> None:
    pipeline = start(ALL_ROWS)
    until_submit(pipeline)
    pipeline.clock.now += 200

    waited = steps.submit.submit(
        pipeline.folder().attempt(0, 2), pipeline.jobs, owner="new", visibility_seconds=9
    )

    assert isinstance(waited, Wait)
    assert waited.seconds == pytest.approx(100, abs=5)
    assert len(pipeline.jobs.requests) == 1


def test_a_cancelled_run_does_not_wait() -> None:
    pipeline = start(ALL_ROWS)
    until_submit(pipeline)
    pipeline.bucket.create(pipeline.folder().cancelled.name, b'{"at":0}')
    before = pipeline.clock.now

    pipeline.drive(RUN)

    assert outcomes(pipeline) == ["JOB_CANCELLED"] * 3
    assert pipeline.clock.now - before < 60
    assert len(pipeline.jobs.requests) == 1


def test_the_fact_says_why_and_how_long() -> None:
    pipeline = start(ALL_ROWS)
    until_submit(pipeline)

    settled = pipeline.folder().attempt(0, 1).settled.get()

    assert settled.delay == RetryDelay(
        300.0,
        "Google is provisioning service agents",
        1,
        settled.delay.since if settled.delay else 0,
    )
    assert settled.unbilled_attempts == 1


def test_the_time_limit_counts_from_the_first_unbilled_attempt() -> None:
    pipeline = start(ALL_ROWS)
    until_submit(pipeline)
    pipeline.clock.now += 4000
    pipeline.jobs.script = ALL_ROWS

    pipeline.drive(RUN)

    assert outcomes(pipeline) == ["FAILED_PRECONDITION"] * 3
    assert len(pipeline.jobs.requests) == 2


def test_the_delays_are_settings() -> None:
    assert DelayLimits() == (300.0, 3600.0)


def test_sweeps_create_the_job_of_a_retry_when_its_delay_is_over() -> None:
    pipeline = start(ALL_ROWS)
    until_submit(pipeline)
    worker = FakeWorker(pipeline)

    worker.sweep(thorough=False)
    assert worker.sent == []
    assert worker.plan() == []

    pipeline.clock.now += 301

    worker.sweep()
    assert worker.sent == [SUBMIT_2.id]


def test_the_status_says_until_when_and_why_a_retry_waits() -> None:
    pipeline = start(ALL_ROWS)
    until_submit(pipeline)
    worker = FakeWorker(pipeline)

    worker.sweep()

    (warning,) = worker.status.warnings
    assert re.fullmatch(
        r"shard 0, attempt 2: its job is created at \d\d:\d\d UTC: "
        "Google is provisioning service agents",
        warning,
    )
    pipeline.drive(RUN)
    restored = FakeWorker(pipeline)
    progress.restore_run(
        restored.services.index, pipeline.bucket, snapshot.load_snapshot(pipeline.bucket, RUN)
    )
    assert restored.status.warnings == []
