"""Why a request has no answer: one closed list, and how Vertex's words are brought onto it."""

import re

import msgspec

from promptmill.producers.contract.results import Error
from promptmill.workers.ports.google import Job

FINISH_REASONS = frozenset(
    {
        "MAX_TOKENS", "SAFETY", "RECITATION", "LANGUAGE", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII",
        "MALFORMED_FUNCTION_CALL", "MODEL_ARMOR", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION",
        "IMAGE_OTHER", "NO_IMAGE", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "JAILBREAK",
    }
)  # fmt: skip
"""Google's finish and block reasons, other than STOP (``FinishReason``, ``BlockedReason`` of the Gemini API)."""

STATUS_REASONS = frozenset(
    {
        "INVALID_ARGUMENT", "FAILED_PRECONDITION", "OUT_OF_RANGE", "UNAUTHENTICATED", "PERMISSION_DENIED", "NOT_FOUND",
        "ABORTED", "ALREADY_EXISTS", "RESOURCE_EXHAUSTED", "CANCELLED", "DATA_LOSS", "UNKNOWN", "INTERNAL",
        "NOT_IMPLEMENTED", "UNAVAILABLE", "DEADLINE_EXCEEDED",
    }
)  # fmt: skip
"""Names of google.rpc.Code."""

OWN_REASONS = frozenset(
    {
        "INVALID_REQUEST",
        "MISSING_ROW",
        "EMPTY_RESPONSE",
        "UNREADABLE_RESPONSE",
        "SCHEMA_INVALID",
        "JOB_FAILED",
        "JOB_INTERRUPTED",
        "JOB_EXPIRED",
        "JOB_CANCELLED",
        "JOB_LOST",
        "OVER_BUDGET",
    }
)
"""What Vertex has no word for."""

REASONS = FINISH_REASONS | STATUS_REASONS | OWN_REASONS

TRANSIENT = frozenset(
    {
        "RESOURCE_EXHAUSTED", "UNAVAILABLE", "INTERNAL", "DEADLINE_EXCEEDED", "ABORTED", "UNKNOWN", "MISSING_ROW",
        "EMPTY_RESPONSE", "JOB_EXPIRED", "JOB_INTERRUPTED",
    }
)  # fmt: skip
"""What a second try can mend. A blocked, invalid or cut off answer would come out the same."""

_TRANSIENT_CODES = frozenset({4, 8, 10, 13, 14})
"""google.rpc codes of a failed job that may pass: deadline, quota, aborted, internal ("Please try this operation again"),
unavailable. Not 3 (the importer refused the file), 7 and 9 (no access to the bucket)."""

_STATUS_BY_HTTP_CODE = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 409: "ABORTED",
    429: "RESOURCE_EXHAUSTED", 499: "CANCELLED", 500: "INTERNAL", 501: "NOT_IMPLEMENTED", 503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}  # fmt: skip
_REASON_BY_JOB_STATE = {
    "JOB_STATE_FAILED": "JOB_FAILED",
    "JOB_STATE_EXPIRED": "JOB_EXPIRED",
    "JOB_STATE_CANCELLED": "JOB_CANCELLED",
}
_MAX_MESSAGE = 500


class _ErrorBody(msgspec.Struct):
    code: int = 0
    message: str = ""
    status: str = ""


class _Envelope(msgspec.Struct):
    error: _ErrorBody


_decode = msgspec.json.Decoder(_Envelope, strict=False).decode


def error_from_status(status: str) -> Error:
    """Return the error that a row's ``status`` tells: ``Bad Request: {"error": {"code": 400, …}}``, or just words."""
    phrase, _, body = status.partition(": ")
    try:
        error = _decode(body).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Error(
            _normalize_reason(re.sub(r"\W+", "_", phrase).upper(), "UNKNOWN"), status[:_MAX_MESSAGE]
        )
    reason = (
        error.status
        if error.status in STATUS_REASONS
        else _STATUS_BY_HTTP_CODE.get(error.code, "UNKNOWN")
    )
    return Error(reason, error.message[:_MAX_MESSAGE])


def error_from_finish(reason: str) -> Error:
    """Return the error of an answer that ended for ``reason``, or a prompt that was blocked for it."""
    normalized = _normalize_reason(reason, "OTHER")
    return Error(normalized, "" if normalized == reason else f"Vertex said {reason[:100]}")


def error_for_missing(job: Job, reason: str = "") -> Error:
    """Return the error of a row that the output of ``job`` lacks; its state tells the reason where none is given."""
    is_transient = job.state == "JOB_STATE_FAILED" and job.error_code in _TRANSIENT_CODES
    reason = reason or (
        "JOB_INTERRUPTED" if is_transient else _REASON_BY_JOB_STATE.get(job.state, "")
    )
    if not reason:
        return Error("MISSING_ROW", "the job's output has no row for this request")
    return Error(reason, job.error_message[:_MAX_MESSAGE])


def _normalize_reason(reason: str, default: str) -> str:
    return reason if reason in REASONS else default
