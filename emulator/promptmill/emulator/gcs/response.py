"""HTTP responses of the storage emulator."""

import msgspec
from starlette.types import Message, Send

_JSON_TYPE = {"Content-Type": "application/json; charset=UTF-8"}
_BODYLESS_STATUSES = (204, 304)
"""Statuses whose responses have neither a body nor a Content-Length."""


class GcsResponse:
    """A response with its whole body."""

    def __init__(
        self, body: bytes = b"", status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        self.body, self.status = body, status
        self.headers = headers or {}

    async def send(self, send: Send) -> None:
        """Send the response."""
        length = None if self.status in _BODYLESS_STATUSES else len(self.body)
        await send(response_start(self.status, self.headers, length))
        await send({"type": "http.response.body", "body": self.body})


def json_response(
    content: object, status: int = 200, headers: dict[str, str] | None = None
) -> GcsResponse:
    """Return a response with Google's JSON content type."""
    return GcsResponse(msgspec.json.encode(content), status, _JSON_TYPE | (headers or {}))


def response_start(status: int, headers: dict[str, str], length: int | None) -> Message:
    """Return the ASGI message that starts a response; `length` None means no body."""
    encoded = [
        (name.lower().encode(), value.encode("latin-1", "replace"))
        for name, value in headers.items()
    ]
    if length is not None:
        encoded.append((b"content-length", b"%d" % length))
    return {"type": "http.response.start", "status": status, "headers": encoded}
