"""Translates what Vertex AI reports into a ``FailureReason``."""

import re

import msgspec

from promptmill.producers.contract.failure_reasons import FailureReason
from promptmill.producers.contract.results import Error
from promptmill.workers.ports.google import Job

_TRANSIENT_CODES = frozenset({4, 8, 10, 13, 14})
"""google.rpc codes of a failed job that are transient.

They are deadline, quota, aborted, internal ("Please try this operation again") and
unavailable. Code 3 (the importer refused the file) and codes 7 and 9 (no access to the
bucket) are permanent.
"""

_REASON_BY_HTTP_CODE = {
    400: FailureReason.INVALID_ARGUMENT,
    401: FailureReason.UNAUTHENTICATED,
    403: FailureReason.PERMISSION_DENIED,
    404: FailureReason.NOT_FOUND,
    409: FailureReason.ABORTED,
    429: FailureReason.RESOURCE_EXHAUSTED,
    499: FailureReason.CANCELLED,
    500: FailureReason.INTERNAL,
    501: FailureReason.NOT_IMPLEMENTED,
    503: FailureReason.UNAVAILABLE,
    504: FailureReason.DEADLINE_EXCEEDED,
}
_REASON_BY_RPC_CODE = {
    1: FailureReason.CANCELLED,
    2: FailureReason.UNKNOWN,
    3: FailureReason.INVALID_ARGUMENT,
    4: FailureReason.DEADLINE_EXCEEDED,
    5: FailureReason.NOT_FOUND,
    6: FailureReason.ALREADY_EXISTS,
    7: FailureReason.PERMISSION_DENIED,
    8: FailureReason.RESOURCE_EXHAUSTED,
    9: FailureReason.FAILED_PRECONDITION,
    10: FailureReason.ABORTED,
    11: FailureReason.OUT_OF_RANGE,
    12: FailureReason.NOT_IMPLEMENTED,
    13: FailureReason.INTERNAL,
    14: FailureReason.UNAVAILABLE,
    15: FailureReason.DATA_LOSS,
    16: FailureReason.UNAUTHENTICATED,
}
"""Reasons by google.rpc code, which a google.rpc.Status has in place of an HTTP code."""
_REASON_BY_CODE = _REASON_BY_HTTP_CODE | _REASON_BY_RPC_CODE
_REASON_BY_JOB_STATE = {
    "JOB_STATE_FAILED": FailureReason.JOB_FAILED,
    "JOB_STATE_EXPIRED": FailureReason.JOB_EXPIRED,
    "JOB_STATE_CANCELLED": FailureReason.JOB_CANCELLED,
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
    """Return the error for the ``status`` of a line of output.

    A status is ``Bad Request: {"error": {"code": 400, …}}``, or a phrase alone.
    """
    phrase, _, body = status.partition(": ")
    try:
        error = _decode(body).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        name = re.sub(r"\W+", "_", phrase).upper()
        return Error(_find_reason(name, FailureReason.UNKNOWN), status[:_MAX_MESSAGE])
    default = _REASON_BY_CODE.get(error.code, FailureReason.UNKNOWN)
    return Error(_find_reason(error.status, default), error.message[:_MAX_MESSAGE])


def error_from_finish(finish_reason: str) -> Error:
    """Return the error for Google's finish or block reason."""
    reason = _find_reason(finish_reason, FailureReason.OTHER)
    message = "" if reason == finish_reason else f"Vertex reported {finish_reason[:100]}"
    return Error(reason, message)


def error_for_missing(job: Job, reason: str = "") -> Error:
    """Return the error of a row that the output of ``job`` lacks.

    Without a ``reason``, the state of the job determines it.
    """
    reason = reason or _reason_for_job(job)
    if reason == FailureReason.MISSING_ROW:
        return Error(reason, "the job's output has no row for this request")
    return Error(reason, job.error_message[:_MAX_MESSAGE])


def _reason_for_job(job: Job) -> FailureReason:
    if job.state == "JOB_STATE_FAILED" and job.error_code in _TRANSIENT_CODES:
        return FailureReason.JOB_INTERRUPTED
    return _REASON_BY_JOB_STATE.get(job.state, FailureReason.MISSING_ROW)


def _find_reason(name: str, default: FailureReason) -> FailureReason:
    return FailureReason.__members__.get(name, default)
