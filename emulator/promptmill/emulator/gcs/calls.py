"""One HTTP request and its answer, between ASGI and the calls of the API."""

import re
from typing import Any, Self
from urllib.parse import parse_qsl, unquote

import msgspec
from starlette.types import Receive, Scope, Send

from .errors import Refused

_PATH = re.compile(r"(?:/(upload|download))?/storage/v1/b(?:/([^/]+)(?:/(o)(?:/(.+))?)?)?/?")
_XML_PATH = re.compile(r"/(?!storage/|upload/|download/)([^/]+)/(.+)")
"""The path of an object in the XML API, by which DuckDB reads, and through it BigQuery's stand-in."""
_BARE = (204, 304)
"""What has no body, nor the length of one."""


class HungUp(Exception):
    """The caller is gone."""


class Body:
    """A request's body, in pieces; whoever iterates again goes on where the last one stopped."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._more = True

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """Raises HungUp."""
        while self._more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise HungUp
            self._more = message.get("more_body", False)
            if piece := message.get("body"):
                return bytes(piece)
        raise StopAsyncIteration


class Call:
    """A request; `target` says what it is about: `buckets`, `bucket`, `objects`, `object`, with `upload` or so before."""

    def __init__(self, scope: Scope, body: Body) -> None:
        """Raises Refused 404 for a path that is none of Cloud Storage's."""
        path = scope["raw_path"].decode("latin-1")
        if match := _PATH.fullmatch(path):
            family, bucket, objects, name = match.groups()
        elif match := _XML_PATH.fullmatch(path):
            family, bucket, objects, name = "xml", match[1], "o", match[2]
        else:
            raise Refused(404, f"Not found: {path}")
        kind = "object" if name else "objects" if objects else "bucket" if bucket else "buckets"
        self.method = str(scope["method"])
        self.target = f"{family} {kind}" if family else kind
        self.bucket = unquote(bucket or "")
        self.name = unquote(name or "")
        self.query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        self.headers: list[tuple[bytes, bytes]] = scope["headers"]
        self.body = body

    @property
    def base(self) -> str:
        """The URL at which the caller reaches this server."""
        return f"http://{self.header(b'host')}"

    def header(self, name: bytes) -> str | None:
        """The value of a header, which is named in lower case."""
        return next((value.decode("latin-1") for known, value in self.headers if known == name), None)

    async def json(self) -> dict[str, Any]:
        """The body as a JSON object; {} without a body. Raises Refused 400."""
        return decoded(b"".join([piece async for piece in self.body]))


def decoded(body: bytes) -> dict[str, Any]:
    """A JSON object; {} for nothing at all. Raises Refused 400."""
    try:
        return msgspec.json.decode(body, type=dict[str, Any]) if body.strip() else {}
    except msgspec.MsgspecError as error:
        raise Refused(400, f"Parse error: {error}") from None


class Answer:
    """An answer with a whole body."""

    def __init__(self, body: bytes = b"", status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.body = body
        self.status = status
        self.headers = headers or {}

    async def send(self, send: Send) -> None:
        """Send it."""
        await send(started(self.status, self.headers, None if self.status in _BARE else len(self.body)))
        await send({"type": "http.response.body", "body": self.body})


def to_json(answer: Any, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    """An answer as Google's servers send it."""
    content_type = {"Content-Type": "application/json; charset=UTF-8"}
    return Answer(msgspec.json.encode(answer), status, content_type | (headers or {}))


def started(status: int, headers: dict[str, str], length: int | None) -> dict[str, Any]:
    """The message with which an answer of so many bytes begins; None where it may have no body."""
    encoded = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
    if length is not None:
        encoded.append((b"content-length", b"%d" % length))
    return {"type": "http.response.start", "status": status, "headers": encoded}
