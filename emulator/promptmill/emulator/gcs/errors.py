"""Errors in Cloud Storage's format."""

from ..json_types import JsonObject

_REASONS = {
    304: "notModified",
    400: "invalid",
    404: "notFound",
    409: "conflict",
    410: "gone",
    412: "conditionNotMet",
    416: "requestedRangeNotSatisfiable",
    501: "notImplemented",
    503: "backendError",
}


class RequestRefused(Exception):
    """A call that Cloud Storage rejects; `code` is the HTTP status code."""

    def __init__(self, code: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.headers = headers or {}

    def response_body(self) -> JsonObject:
        """Return the JSON body of the response."""
        reason = _REASONS.get(self.code, "internalError")
        detail = {"message": self.message, "domain": "global", "reason": reason}
        return {"error": {"code": self.code, "message": self.message, "errors": [detail]}}
