"""One HTTP request to the storage emulator."""

import re
from typing import Self
from urllib.parse import parse_qsl, unquote

import msgspec
from starlette.types import Receive, Scope

from ..json_types import JsonObject
from .errors import RequestRefused

_PATH = re.compile(r"(?:/(upload|download))?/storage/v1/b(?:/([^/]+)(?:/(o)(?:/(.+))?)?)?/?")
_XML_PATH = re.compile(r"/(?!storage/|upload/|download/)([^/]+)/(.+)")
"""The path of an object in the XML API, which DuckDB and the BigQuery emulator use."""


class ClientDisconnected(Exception):
    """The client closed the connection."""


class RequestBody:
    """The body of a request, in chunks. A second iteration continues the first."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._has_more = True

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """Raises ClientDisconnected."""
        while self._has_more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnected
            self._has_more = message.get("more_body", False)
            if chunk := message.get("body"):
                return bytes(chunk)
        raise StopAsyncIteration


def _split_path(path: str) -> tuple[str | None, ...]:
    """Return the target's family, the bucket, "o" if objects are meant, and the name."""
    if match := _PATH.fullmatch(path):
        return match.groups()
    if match := _XML_PATH.fullmatch(path):
        return "xml", match[1], "o", match[2]
    raise RequestRefused(404, f"Not found: {path}")


class GcsRequest:
    """A request to `target`.

    Targets are `buckets`, `bucket`, `objects` and `object`, optionally after `upload`,
    `download` or `xml`.
    """

    def __init__(self, scope: Scope, body: RequestBody) -> None:
        """Raises RequestRefused 404 for an unknown path."""
        family, bucket, objects, name = _split_path(scope["raw_path"].decode("latin-1"))
        kind = "object" if name else "objects" if objects else "bucket" if bucket else "buckets"
        self.method = str(scope["method"])
        self.target = f"{family} {kind}" if family else kind
        self.bucket = unquote(bucket or "")
        self.name = unquote(name or "")
        self.query = dict(
            parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        )
        self.headers: list[tuple[bytes, bytes]] = scope["headers"]
        self.body = body

    @property
    def base_url(self) -> str:
        """The URL at which the client reaches this server."""
        return f"http://{self.get_header(b'host')}"

    def get_header(self, name: bytes) -> str | None:
        """Return the value of a header, by its lower-case name."""
        values = (value for header_name, value in self.headers if header_name == name)
        value = next(values, None)
        return None if value is None else value.decode("latin-1")

    async def read_json(self) -> JsonObject:
        """Return the body as JSON; {} without a body. Raises RequestRefused 400."""
        return decode_json_object(b"".join([chunk async for chunk in self.body]))


def decode_json_object(body: bytes) -> JsonObject:
    """Decode a JSON object; {} for an empty body. Raises RequestRefused 400."""
    try:
        return msgspec.json.decode(body, type=JsonObject) if body.strip() else {}
    except msgspec.MsgspecError as error:
        raise RequestRefused(400, f"Parse error: {error}") from None
