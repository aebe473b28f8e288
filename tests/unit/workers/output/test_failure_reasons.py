"""What Vertex AI reports becomes a failure reason."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.producers.contract.failure_reasons import TRANSIENT, FailureReason
from promptmill.producers.contract.results import Error
from promptmill.workers.output.failure_reasons import (
    error_for_missing,
    error_from_finish,
    error_from_status,
)
from promptmill.workers.ports.google import Job

STATUSES = [
    (
        'Bad Request: {"error": {"code": 400, "message": "m", "status": "INVALID_ARGUMENT"}}',
        Error("INVALID_ARGUMENT", "m"),
    ),
    (
        'Too Many Requests: {"error": {"code": 429, "message": "m"}}',
        Error("RESOURCE_EXHAUSTED", "m"),
    ),
    ('x: {"error": {"code": "503", "message": "m"}}', Error("UNAVAILABLE", "m")),
    ('x: {"error": {"code": 500, "message": "m", "status": "NEW_WORD"}}', Error("INTERNAL", "m")),
    ('x: {"error": {"code": 599, "message": "m"}}', Error("UNKNOWN", "m")),
    ("Deadline Exceeded", Error("DEADLINE_EXCEEDED", "Deadline Exceeded")),
    ("Not Found: no such file", Error("NOT_FOUND", "Not Found: no such file")),
    ("something else", Error("UNKNOWN", "something else")),
    ('x: {"error": "text"}', Error("UNKNOWN", 'x: {"error": "text"}')),
]


@pytest.mark.parametrize(("status", "error"), STATUSES)
def test_the_status_of_a_row_becomes_a_reason(status: str, error: Error) -> None:
    assert error_from_status(status) == error


@given(st.text(max_size=40) | st.builds(lambda value: f"x: {value}", st.text(max_size=30)))
def test_any_status_or_finish_has_a_known_reason_and_a_short_message(text: str) -> None:
    for error in (error_from_status(text), error_from_finish(text)):
        assert error.reason in set(FailureReason)
        assert len(error.message) <= 500


def test_a_deeply_nested_status_has_a_reason() -> None:
    assert error_from_status("x: " + '{"error":' * 100_000).reason in set(FailureReason)


@given(st.sampled_from(sorted(FailureReason)))
def test_known_finish_reasons_are_kept(reason: str) -> None:
    assert error_from_finish(reason) == Error(reason)


@pytest.mark.parametrize("code", range(17))
def test_a_failed_job_is_retried_only_for_a_transient_code(code: int) -> None:
    error = error_for_missing(Job("j", "JOB_STATE_FAILED", error_code=code, error_message="why"))

    assert error.reason == ("JOB_INTERRUPTED" if code in {4, 8, 10, 13, 14} else "JOB_FAILED")
    assert error.message.startswith("why")
    assert ("promptmill retry" in error.message) == (code in {7, 9})
    assert (error.reason in TRANSIENT) == (code in {4, 8, 10, 13, 14})


def test_long_messages_are_cut() -> None:
    body = msgspec.json.encode({"error": {"code": 400, "message": "x" * 9000}}).decode()

    assert len(error_from_status("x: " + body).message) == 500
