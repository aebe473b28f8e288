"""Whatever Vertex's output looks like, every key of a run has exactly one final state, in the sink and in the report."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field

from promptmill.producers import Promptmill, Report, Result
from promptmill.producers.contract import sink_specs
from support.local_stack import LocalStack, done, keys, once, read_results

REQUESTS = 300


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        ("files", {"count": 3}),
        ("duplicated", {"count": 20, "where": "same"}),
        ("duplicated", {"count": 20, "where": "other"}),
        ("unknown", {"count": 5}),
        ("keyless", {}),
        ("incremental", {}),
        ("late", {"seconds": 1}),
    ],
)
def test_answers_in_any_order_file_and_number_are_each_taken_once(
    stack: LocalStack, mill: Promptmill, answers: Path, fault: str, rule: dict[str, Any]
) -> None:
    stack.fault("output", fault, **rule)

    report = translated(mill, answers)

    assert (report.state, report.succeeded, report.failed) == ("succeeded", REQUESTS, 0)
    assert report.duplicates == (20 if fault == "duplicated" else 0)
    assert report.unknown == (5 if fault == "unknown" else 0)


def test_answers_without_keys_that_echo_the_request_with_nulls_find_their_rows(
    stack: LocalStack, mill: Promptmill, answers: Path
) -> None:
    stack.fault("output", "keyless", share=0.5)
    stack.fault("output", "nulls")

    report = translated(mill, answers)

    assert report.succeeded == REQUESTS
    assert all(f"sentence {result.key} ends" in result.text for result in read_results(answers))


def test_a_missing_row_ends_as_a_failure_that_says_so(
    stack: LocalStack, mill: Promptmill, answers: Path
) -> None:
    stack.fault("output", "missing", count=7)

    report = translated(mill, answers)

    assert (report.state, report.succeeded, report.failures) == (
        "partially_succeeded",
        293,
        {"MISSING_ROW": 7},
    )
    assert reasons(read_results(answers)) == {"MISSING_ROW": 7}


@pytest.mark.parametrize(
    ("fault", "rule", "lost"), [("truncated", {}, 1), ("invalid", {"count": 3}, 3)]
)
def test_only_the_row_of_an_unreadable_line_fails(
    stack: LocalStack, mill: Promptmill, answers: Path, fault: str, rule: dict[str, Any], lost: int
) -> None:
    stack.fault("output", fault, **rule)

    report = translated(mill, answers)

    assert (report.succeeded, report.unreadable, report.failures) == (
        REQUESTS - lost,
        lost,
        {"UNREADABLE_RESPONSE": lost},
    )


@pytest.mark.parametrize(
    ("fault", "rule", "reason"),
    [
        ("error", {"code": 400}, "INVALID_ARGUMENT"),
        ("error", {"code": 429}, "RESOURCE_EXHAUSTED"),
        ("blocked", {"reason": "PROHIBITED_CONTENT"}, "PROHIBITED_CONTENT"),
        ("finish", {"reason": "SAFETY"}, "SAFETY"),
        ("finish", {"reason": "MAX_TOKENS"}, "MAX_TOKENS"),
        ("no-candidates", {}, "EMPTY_RESPONSE"),
    ],
)
def test_a_row_that_vertex_refused_has_the_reason(
    stack: LocalStack,
    mill: Promptmill,
    answers: Path,
    fault: str,
    rule: dict[str, Any],
    reason: str,
) -> None:
    stack.fault("output", fault, count=4, **rule)

    report = translated(mill, answers)

    assert (report.succeeded, report.failures) == (REQUESTS - 4, {reason: 4})
    cut_off = [result for result in read_results(answers) if result.error]
    assert all(bool(result.text) == (reason == "MAX_TOKENS") for result in cut_off)


def test_all_disturbances_at_once_leave_every_key_with_one_state(
    stack: LocalStack, mill: Promptmill, answers: Path
) -> None:
    stack.fault("output", "files", count=3)
    stack.fault("output", "duplicated", count=30, where="other", seed=1)
    stack.fault("output", "missing", count=10, seed=2)
    stack.fault("output", "unknown", count=5, seed=3)
    stack.fault("output", "keyless", count=40, seed=4)
    stack.fault("output", "error", count=15, code=500, seed=5)
    stack.fault("output", "truncated")

    report = translated(mill, answers)

    assert report.unknown >= 5  # the second copy of an answer without a key is nobody's either
    assert report.failures["INTERNAL"] in range(
        5, 16
    )  # a row that lost its line is missing, not failed
    assert report.succeeded + report.failed == REQUESTS


@pytest.mark.parametrize(
    ("end", "rule", "state", "reason"),
    [
        ("FAILED", {"code": 7}, "failed", "JOB_FAILED"),
        ("FAILED", {"code": 13}, "failed", "JOB_INTERRUPTED"),
        ("EXPIRED", {}, "expired", "JOB_EXPIRED"),
        ("CANCELLED", {"share": 0}, "cancelled", "JOB_CANCELLED"),
        ("EXPIRED", {"share": 0.4}, "partially_succeeded", "JOB_EXPIRED"),
        ("CANCELLED", {"share": 0.5}, "partially_succeeded", "JOB_CANCELLED"),
        ("PARTIALLY_SUCCEEDED", {"share": 0.6}, "partially_succeeded", "MISSING_ROW"),
    ],
)
def test_a_job_that_does_not_succeed_ends_its_run_with_the_rows_that_were_finished(
    stack: LocalStack,
    mill: Promptmill,
    answers: Path,
    end: str,
    rule: dict[str, Any],
    state: str,
    reason: str,
) -> None:
    stack.fault("job", end, **rule)

    report = translated(mill, answers)

    finished = round(REQUESTS * rule.get("share", 0))
    assert (report.state, report.succeeded, report.failures) == (
        state,
        finished,
        {reason: REQUESTS - finished},
    )
    assert [shard.job_state for shard in mill.get(report.run).status.shards] == [f"JOB_STATE_{end}"]


def test_rows_with_transient_failures_succeed_in_a_follow_up_job(
    stack: LocalStack, mill: Promptmill, answers: Path
) -> None:
    stack.fault("output", "missing", count=7)
    stack.fault("output", "error", count=9, code=503, seed=1)
    stack.fault("output", "duplicated", count=20, where="other", seed=2)

    report = translated(mill, answers, max_attempts=3, jobs=2)

    again = [job["requests"] for job in stack.jobs(report.run) if job["labels"]["attempt"] == "2"]
    assert (report.state, report.succeeded) == ("succeeded", REQUESTS)
    assert Counter(result.attempt for result in read_results(answers)) == {
        1: REQUESTS - again[0],
        2: again[0],
    }
    assert again[0] in range(9, 17)  # the two faults may have met in a row


def test_an_interrupted_job_is_retried(stack: LocalStack, mill: Promptmill, answers: Path) -> None:
    stack.fault("job", "FAILED", code=13)

    assert translated(mill, answers, max_attempts=3, jobs=2).succeeded == REQUESTS


PROVISIONING = {
    "code": 400,
    "message": "Service agents are being provisioned",
    "reason": "FAILED_PRECONDITION",
}


@pytest.mark.parametrize(
    ("on", "fault", "rule"),
    [("output", "error", PROVISIONING), ("job", "dataset", {})],
    ids=["provisioning", "dataset"],
)
def test_a_fault_before_the_model_is_asked_is_retried_even_at_the_last_attempt(
    stack: LocalStack, mill: Promptmill, answers: Path, on: str, fault: str, rule: dict[str, Any]
) -> None:
    stack.fault(on, fault, times=2, **rule)

    assert translated(mill, answers, max_attempts=1, jobs=3).succeeded == REQUESTS


@pytest.mark.parametrize("where", ["same", "other"])
def test_only_rows_that_a_failed_export_did_not_write_are_sent_again(
    stack: LocalStack, mill: Promptmill, answers: Path, where: str
) -> None:
    stack.fault("job", "export", share=0.4, where=where)

    report = translated(mill, answers, max_attempts=2, jobs=2)

    written = round(0.4 * REQUESTS)
    again = [job["requests"] for job in stack.jobs(report.run) if job["labels"]["attempt"] == "2"]
    assert (report.succeeded, again) == (REQUESTS, [REQUESTS - written])


def test_rows_that_fail_again_and_again_end_as_failures_after_the_last_attempt(
    stack: LocalStack, mill: Promptmill, answers: Path
) -> None:
    stack.fault("output", "error", times=3, share=0.05, code=429)

    report = translated(mill, answers, max_attempts=3, jobs=3)

    assert list(report.failures) == ["RESOURCE_EXHAUSTED"]
    assert {result.attempt for result in read_results(answers) if result.error} == {3}


def test_rows_that_would_fail_again_are_not_paid_for_again(
    stack: LocalStack, mill: Promptmill, answers: Path
) -> None:
    stack.fault("output", "error", count=2, code=400)
    stack.fault("output", "finish", count=2, reason="MAX_TOKENS", seed=1)

    report = translated(mill, answers, max_attempts=3, jobs=1)

    assert set(report.failures) == {"INVALID_ARGUMENT", "MAX_TOKENS"}


def test_truncated_answers_are_retried_with_more_tokens_if_the_run_allows_it(
    stack: LocalStack, mill: Promptmill, answers: Path
) -> None:
    stack.fault("output", "finish", count=5, reason="MAX_TOKENS")
    stack.fault("output", "keyless", count=40, times=2, seed=1)

    report = translated(mill, answers, max_attempts=3, jobs=2, retry_max_tokens=4096)

    again = [job["requests"] for job in stack.jobs(report.run) if job["labels"]["attempt"] == "2"]
    assert (report.state, again) == ("succeeded", [5])
    assert Counter(result.attempt for result in read_results(answers)) == {1: REQUESTS - 5, 2: 5}


@pytest.mark.parametrize(
    ("end", "share", "jobs", "state"),
    [
        ("EXPIRED", 0.4, 2, "succeeded"),
        ("PARTIALLY_SUCCEEDED", 0.6, 2, "succeeded"),
        ("CANCELLED", 0.5, 1, "partially_succeeded"),
    ],
)
def test_finished_rows_are_kept_and_the_others_are_retried_unless_the_job_was_cancelled(
    stack: LocalStack,
    mill: Promptmill,
    answers: Path,
    end: str,
    share: float,
    jobs: int,
    state: str,
) -> None:
    stack.fault("job", end, share=share)

    report = translated(mill, answers, max_attempts=3, jobs=jobs)

    finished = round(REQUESTS * share)
    assert (report.state, report.succeeded) == (state, REQUESTS if jobs == 2 else finished)
    billed = {job["labels"]["attempt"]: job["requests"] for job in stack.jobs(report.run)}
    assert billed == {"1": finished} | ({"2": REQUESTS - finished} if jobs == 2 else {})


class Sentence(BaseModel):
    words: str
    length: int = Field(ge=0)


def test_answers_that_do_not_fit_the_schema_are_asked_for_once_more_with_what_was_wrong(
    stack: LocalStack, mill: Promptmill, answers: Path
) -> None:
    stack.fault("output", "off-schema", count=9)
    stack.fault("output", "keyless", share=0.5, times=2)

    report = translated(
        mill, answers, 2, jobs=2, response_schema=Sentence, retry_schema_invalid=True
    )

    assert report.succeeded == REQUESTS
    assert [Sentence.model_validate(result.parsed) for result in read_results(answers)]
    assert all(
        isinstance(result.parsed, Sentence) for result in mill.get(report.run).results(as_=Sentence)
    )
    billed = {job["labels"]["attempt"]: job["requests"] for job in stack.jobs(report.run)}
    assert billed == {"1": REQUESTS, "2": 9}


def test_answers_that_do_not_fit_the_schema_fail_and_keep_their_text(
    stack: LocalStack, mill: Promptmill, answers: Path
) -> None:
    stack.fault("output", "off-schema", count=9)

    report = translated(mill, answers, max_attempts=3, response_schema=Sentence)

    assert report.failures == {"SCHEMA_INVALID": 9}
    failed = [result for result in read_results(answers) if result.error]
    assert {result.text for result in failed} == {'{"words":7,"length":"off schema"}'}
    assert {result.error and result.error.message for result in failed} == {
        '/words: the value is not of type "string"; /length: the value is not of type "integer"'
    }


def translated(
    mill: Promptmill, answers: Path, max_attempts: int = 1, jobs: int = 1, **options: Any
) -> Report:
    """Do a run of REQUESTS requests; each key is in the sink exactly once, as the report says."""
    run = mill.submit(
        (f"Translate to Spanish: sentence {number} ends" for number in range(1, REQUESTS + 1)),
        sinks=[sink_specs.jsonl(answers)],
        max_attempts=max_attempts,
        **options,
    )
    status, report, results = done(run), run.report(), read_results(answers)
    assert keys(results) == once(range(1, REQUESTS + 1))
    assert reasons(results) == report.failures
    assert (report.requests, report.unaccounted, report.jobs) == (REQUESTS, 0, jobs)
    assert (status.state, status.succeeded, status.failed) == (
        report.state,
        report.succeeded,
        report.failed,
    )
    return report


def reasons(results: list[Result]) -> dict[str, int]:
    """How many failures there are of each reason."""
    return Counter(result.error.reason for result in results if result.error)
