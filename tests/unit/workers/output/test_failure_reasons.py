"""Every failure has a reason of the closed list."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.producers.contract.results import Error
from promptmill.workers.output import failure_reasons
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
def test_any_status_and_any_finish_has_a_reason_of_the_list_and_is_not_long(text: str) -> None:
    for error in (error_from_status(text), error_from_finish(text)):
        assert error.reason in failure_reasons.REASONS
        assert len(error.message) <= 500


def test_a_nested_status_without_end_has_a_reason_too() -> None:
    assert error_from_status("x: " + '{"error":' * 100_000).reason in failure_reasons.REASONS


@given(st.sampled_from(sorted(failure_reasons.FINISH_REASONS)))
def test_googles_own_finish_reasons_are_kept(reason: str) -> None:
    assert error_from_finish(reason) == Error(reason)


@pytest.mark.parametrize("code", range(17))
def test_a_failed_job_is_tried_again_only_for_what_may_pass(code: int) -> None:
    error = error_for_missing(Job("j", "JOB_STATE_FAILED", error_code=code, error_message="why"))

    assert error == Error("JOB_INTERRUPTED" if code in {4, 8, 10, 13, 14} else "JOB_FAILED", "why")
    assert (error.reason in failure_reasons.TRANSIENT) == (code in {4, 8, 10, 13, 14})


def test_what_may_pass_is_on_the_list() -> None:
    assert failure_reasons.TRANSIENT < failure_reasons.REASONS


def test_long_words_are_cut() -> None:
    body = msgspec.json.encode({"error": {"code": 400, "message": "x" * 9000}}).decode()

    assert len(error_from_status("x: " + body).message) == 500
