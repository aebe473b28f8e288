"""What Vertex AI reports becomes a failure reason."""

import json

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
    is_transient,
    is_unbilled,
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
    ('{"error": {"code": 429, "message": "m"}}', Error("RESOURCE_EXHAUSTED", "m")),
    (
        'Bad Request: {"error": {"code": 400, "message": "first\n  * second", "status": "NEW"}}',
        Error("INVALID_ARGUMENT", "first\n  * second"),
    ),
    (
        'Bad Request: {"error": {"code": 400, "message": "Service agents are being provis',
        Error("INVALID_ARGUMENT", "Service agents are being provis"),
    ),
    (
        'Too Many Requests: {"error": {"co',
        Error("RESOURCE_EXHAUSTED", 'Too Many Requests: {"error": {"co'),
    ),
    ("Internal Server Error", Error("INTERNAL", "Internal Server Error")),
    ("503 Service Unavailable", Error("UNAVAILABLE", "503 Service Unavailable")),
    ("Bad Gateway: upstream", Error("UNAVAILABLE", "Bad Gateway: upstream")),
    ("Gateway Timeout", Error("DEADLINE_EXCEEDED", "Gateway Timeout")),
    ("RESOURCE_EXHAUSTED: try later", Error("RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED: try later")),
    ('x: {"error": {"code": 413, "message": "m"}}', Error("INVALID_ARGUMENT", "m")),
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


PHRASES = {
    400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    429: "Too Many Requests", 500: "Internal Server Error", 503: "Service Unavailable",
    504: "Gateway Timeout",
}  # fmt: skip
TRANSIENT_CODES = {429, 500, 503, 504}
DETAILS = [{"@type": "type.googleapis.com/google.rpc.BadRequest", "code": 999, "message": "no"}]


def test_a_code_that_is_cut_off_is_not_another_code() -> None:
    assert error_from_status('Bad Request: {"error": {"code": 4').reason == "INVALID_ARGUMENT"


@given(
    code=st.sampled_from(sorted(PHRASES)),
    message=st.text(min_size=1, max_size=60),
    details=st.sampled_from([[], DETAILS]),
    indent=st.sampled_from([None, 2]),
    share=st.floats(0, 1),
    data=st.data(),
)
def test_a_status_keeps_its_grade_however_it_is_written_or_cut(
    code: int, message: str, details: list[object], indent: int | None, share: float, data: st.DataObject
) -> None:  # fmt: skip
    body = json.dumps(
        {"error": {"code": code, "message": message, "details": details}}, indent=indent
    )
    whole = f"{PHRASES[code]}: {body}"
    cut = data.draw(
        st.sampled_from([whole, body, whole[: len(PHRASES[code]) + int(share * len(body))]])
    )

    error = error_from_status(cut)

    assert is_transient(error) == (code in TRANSIENT_CODES)
    assert error.message
    if cut in (whole, body):
        assert error.message == message


@given(st.sampled_from(sorted(FailureReason)), st.text(max_size=30))
def test_provisioning_is_transient_and_unbilled_whatever_its_code(reason: str, before: str) -> None:
    error = Error(reason, f"{before} Service agents are being provisioned (https://x)")

    assert is_transient(error)
    assert is_unbilled(error)


CAPTURED_JOB_ERRORS = [
    (1, "CANCELED", False, False),
    (3, 'Failed to import data. Please check the documentation. Invalid field name "$defs".', False, False),
    (3, "Failed to import data. Cannot store struct 'request.tools.google_search' with no fields", False, False),
    (3, 'Failed to import data. Syntax error: Expected end of input but got identifier "_vertex_row_id" at [17:5]',
     True, True),
    (3, "Failed to import data. Not found: Dataset example-tp:llm_bp_tenant_dataset_7924783555308158976 was not"
     " found in location US at [2:1]", True, True),
    (3, "Failed to import data. Not found: Dataset example:mine was not found in location US", False, False),
    (7, "Service account a@b doesn't have sufficient permission to write gs://x/predictions.jsonl.", False, False),
    (9, "Failed to get GCS bucket location for example.", False, False),
    (13, "System error. Please try this operation again.", True, False),
    (13, "INTERNAL", True, False),
    (13, "Failed to export data. Error encountered during execution. Retrying may solve the problem.", True, False),
    (3, "Not found: Dataset example-tp:llm_bp_tenant_dataset_1 was not found in location US", True, True),
    (13, "Failed to export data. Not found: Dataset example-tp:llm_bp_tenant_dataset_1 was not found", True, False),
]  # fmt: skip


@pytest.mark.parametrize(("code", "message", "transient", "unbilled"), CAPTURED_JOB_ERRORS)
def test_errors_of_jobs_that_were_observed_live_are_graded(
    code: int, message: str, transient: bool, unbilled: bool
) -> None:
    error = error_for_missing(Job("j", "JOB_STATE_FAILED", error_code=code, error_message=message))

    assert (is_transient(error), is_unbilled(error)) == (transient, unbilled)
    assert error.reason == ("JOB_INTERRUPTED" if transient else "JOB_FAILED")
