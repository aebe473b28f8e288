"""Translates what Vertex AI reports into a ``FailureReason``."""

import re
from http import HTTPStatus

import msgspec

from promptmill.producers.contract.failure_reasons import TRANSIENT, FailureReason
from promptmill.producers.contract.results import Error
from promptmill.workers.ports.google import Job

_TRANSIENT_CODES = frozenset({4, 8, 10, 13, 14})
"""google.rpc codes of a failed job that are transient.

They are deadline, quota, aborted, internal ("Please try this operation again") and
unavailable. Code 3 (the importer refused the file) and codes 7 and 9 (no access to the
bucket) are permanent, except for faults of Google's own tables.
"""
_PROVISIONING = re.compile("service agents are being provisioned", re.IGNORECASE)
"""Status of every row with a file in the first job of a new project.

It passes after a few minutes (observed live: GoogleCloudPlatform/generative-ai, issue 1308).
"""
_TABLE_FAULT = re.compile(r'-tp:llm_bp_tenant_dataset_|"_vertex_row_id"')
"""A missing dataset of Google's tenant project, or its own column in a syntax error.

The importer reports them as code 3, as if the input were wrong (observed live:
googleapis/python-aiplatform, issues 4110 and 4112).
"""
_IMPORT_PHRASES = ("Failed to import", "Not found: Dataset")
"""How the message of a fault before any row begins. "Failed to export" comes after the rows."""
_ACCESS_CODES = frozenset({7, 9})
_ACCESS_ADVICE = (
    "no row is sent again automatically, because it may be billed again: give the service "
    "account access to the bucket, then run `promptmill retry`"
)

_REASON_BY_HTTP_CODE = {
    400: FailureReason.INVALID_ARGUMENT,
    401: FailureReason.UNAUTHENTICATED,
    403: FailureReason.PERMISSION_DENIED,
    404: FailureReason.NOT_FOUND,
    408: FailureReason.DEADLINE_EXCEEDED,
    409: FailureReason.ABORTED,
    412: FailureReason.FAILED_PRECONDITION,
    429: FailureReason.RESOURCE_EXHAUSTED,
    499: FailureReason.CANCELLED,
    500: FailureReason.INTERNAL,
    501: FailureReason.NOT_IMPLEMENTED,
    502: FailureReason.UNAVAILABLE,
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
_REASON_BY_PHRASE = {
    re.sub(r"\W+", "_", status.phrase).upper(): _REASON_BY_HTTP_CODE[status]
    for status in HTTPStatus
    if status in _REASON_BY_HTTP_CODE
}
"""Reasons by HTTP's own phrases, such as ``TOO_MANY_REQUESTS``."""
_MAX_MESSAGE = 500


class _ErrorBody(msgspec.Struct):
    code: int = 0
    message: str = ""
    status: str = ""


class _Envelope(msgspec.Struct):
    error: _ErrorBody


_HTTP_CODE = re.compile(r"\b[45]\d\d\b", re.ASCII)
_FRAGMENTS = (
    re.compile(r'"code"\s*:\s*"?(\d{1,6})(?=\D)', re.ASCII),
    re.compile(r'"status"\s*:\s*"(\w{1,50})"', re.ASCII),
    re.compile(r'"message"\s*:\s*"((?:[^"\\]|\\.)*)', re.DOTALL),
)
"""The code, status and message in the JSON of an error. A code that is cut off does not count."""
_decode = msgspec.json.Decoder(_Envelope, strict=False).decode


def error_from_status(status: str) -> Error:
    """Return the error for the ``status`` of a line of output.

    A status is ``Bad Request: {"error": {"code": 400, …}}``, or a phrase alone. Its JSON may
    be cut off, and its message may have several lines.
    """
    start = status.find("{") if "{" in status else len(status)
    body = status[start:]
    error = _decode_body(body) or _find_fragments(body)
    default = _reason_for_code(error.code) or _reason_for_phrase(status[:start])
    return Error(_find_reason(error.status, default), (error.message or status)[:_MAX_MESSAGE])


def _decode_body(body: str) -> _ErrorBody | None:
    try:
        return _decode(body).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _find_fragments(body: str) -> _ErrorBody:
    """Return what can be read of the JSON of an error that is not valid JSON."""
    code, status, message = (pattern.search(body) for pattern in _FRAGMENTS)
    return _ErrorBody(
        code=int(code[1]) if code else 0,
        message=message[1] if message else "",
        status=status[1] if status else "",
    )


def _reason_for_code(code: int) -> FailureReason | None:
    if reason := _REASON_BY_CODE.get(code):
        return reason
    return FailureReason.INVALID_ARGUMENT if 400 <= code < 500 else None


def _reason_for_phrase(phrase: str) -> FailureReason:
    """Return the reason for text such as ``Too Many Requests: `` or ``503 Unavailable``."""
    phrase = phrase.partition(":")[0]
    number = _HTTP_CODE.search(phrase)
    if number and (reason := _reason_for_code(int(number[0]))):
        return reason
    name = re.sub(r"\W+", "_", phrase).strip("_").upper()
    return _REASON_BY_PHRASE.get(name) or _find_reason(name, FailureReason.UNKNOWN)


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
    message = job.error_message[:_MAX_MESSAGE]
    if reason == FailureReason.JOB_FAILED and job.error_code in _ACCESS_CODES:
        return Error(reason, f"{message.rstrip('.')}; {_ACCESS_ADVICE}")
    return Error(reason, message)


def is_transient(error: Error) -> bool:
    """Whether another attempt may succeed."""
    return error.reason in TRANSIENT or is_unbilled(error)


def is_unbilled(error: Error) -> bool:
    """Whether Google failed before the model was asked, so that nothing is billed."""
    is_table_fault = _TABLE_FAULT.search(error.message) is not None
    return _PROVISIONING.search(error.message) is not None or (
        is_table_fault and error.message.startswith(_IMPORT_PHRASES)
    )


def is_interrupted(job: Job) -> bool:
    """Whether an error at Google stopped the job."""
    is_fault = job.error_code in _TRANSIENT_CODES or is_unbilled(Error("", job.error_message))
    return job.state == "JOB_STATE_FAILED" and is_fault


def _reason_for_job(job: Job) -> FailureReason:
    if is_interrupted(job):
        return FailureReason.JOB_INTERRUPTED
    return _REASON_BY_JOB_STATE.get(job.state, FailureReason.MISSING_ROW)


def _find_reason(name: str, default: FailureReason) -> FailureReason:
    return FailureReason.__members__.get(name, default)
