"""Errors in Google's formats.

`ApiError`: a call is rejected, with an HTTP code and a canonical status.
`JobFailed`: a job ends FAILED, with a google.rpc code.
`RowRefused`: one request of a job fails, with an HTTP code and a canonical status.
"""

from http import HTTPStatus

import msgspec

from .json_types import JsonObject

STATUS_NAMES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}

INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED, FAILED_PRECONDITION, INTERNAL = 3, 5, 7, 9, 13
"""Values of google.rpc.Code that jobs end with."""


class ApiError(Exception):
    """A call that the service rejects; `code` is the HTTP status code."""

    def __init__(self, code: int, message: str, status: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status or STATUS_NAMES.get(code, "UNKNOWN")

    def response_body(self) -> JsonObject:
        """Return the JSON body of the response."""
        return {
            "error": {
                "code": self.code,
                "message": self.message,
                "status": self.status,
                "details": [],
            }
        }


class JobFailed(Exception):
    """A job that ends FAILED; `code` is a google.rpc code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class RowRefused(Exception):
    """One request that Gemini rejects; `code` is the HTTP status code."""

    def __init__(self, code: int, message: str, status: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status or STATUS_NAMES.get(code, "UNKNOWN")

    def status_text(self) -> str:
        """Return the `status` of the output line: a phrase and the error as JSON."""
        error = {"error": {"code": self.code, "message": self.message, "status": self.status}}
        return f"{_reason_phrase(self.code)}: {msgspec.json.encode(error).decode()}"


def _reason_phrase(code: int) -> str:
    try:
        return HTTPStatus(code).phrase
    except ValueError:
        return "Error"
