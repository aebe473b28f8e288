"""Results as rows of columns, for sinks that have such; what is JSON in a result stays the bytes that it is."""

import re
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import msgspec

from promptmill.producers.contract.results import Error

Form = Literal["text", "number", "json", "truth"]
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
"""A NUL in JSON: an escape whose backslash is not itself escaped."""
_REPLACEMENT = "�".encode()


class Row(msgspec.Struct, frozen=True):
    """A result, as far as it is columns; see ``promptmill.producers.Result``."""

    key: str
    row: int
    state: str
    text: str = ""
    parsed: msgspec.Raw = msgspec.Raw()
    finish_reason: str = ""
    usage: msgspec.Raw = msgspec.Raw()
    attempt: int = 1
    model_version: str = ""
    metadata: msgspec.Raw = msgspec.Raw()
    content: msgspec.Raw = msgspec.Raw()
    error: Error | None = None


class Field(NamedTuple):
    """A column that every sink with columns may have: its name, its form, and how a row fills it."""

    name: str
    form: Form
    fill: Callable[[Row], Any]


def _json(raw: msgspec.Raw) -> str | None:
    return bytes(raw).decode() if raw and bytes(raw) != b"null" else None


FIELDS = (
    Field("key", "text", lambda row: row.key),
    Field("row", "number", lambda row: row.row),
    Field("state", "text", lambda row: row.state),
    Field("text", "text", lambda row: row.text or None),
    Field("parsed", "json", lambda row: _json(row.parsed)),
    Field("finish_reason", "text", lambda row: row.finish_reason or None),
    Field("error_reason", "text", lambda row: row.error.reason if row.error else None),
    Field("error_message", "text", lambda row: row.error.message if row.error else None),
    Field("usage", "json", lambda row: _json(row.usage)),
    Field("metadata", "json", lambda row: _json(row.metadata)),
    Field("content", "json", lambda row: _json(row.content)),
    Field("attempt", "number", lambda row: row.attempt),
    Field("model_version", "text", lambda row: row.model_version or None),
)
_decode = msgspec.json.Decoder(Row).decode
_properties = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Line(NamedTuple):
    """A line of a part, what it holds, and whether a NUL in it was replaced."""

    line: bytes
    row: Row
    had_nul: bool


def rows(lines: bytes, *, nul: bool = True) -> Iterator[Line]:
    """Yield the lines of a part, without any NUL unless the sink can keep one."""
    for line in lines.split(b"\n")[:-1]:
        fit = line if nul else without_nul(line)
        yield Line(fit, _decode(fit), fit is not line)


def without_nul(line: bytes) -> bytes:
    """Replace every NUL in a line of JSON by U+FFFD, the replacement character."""
    if b"\\u0000" not in line:
        return line
    fit, replaced = _NUL.subn(rb"\1" + _REPLACEMENT, line)
    return fit if replaced else line


def properties(row: Row) -> dict[str, msgspec.Raw]:
    """Return the top-level properties of a parsed answer, as JSON; none when it is no object."""
    data = bytes(row.parsed)
    return _properties(data) if data[:1] == b"{" else {}


def plain(value: msgspec.Raw) -> str | None:
    """Return a property as a column takes it that is not of JSON: a text bare, everything else as it is in JSON."""
    data = bytes(value)
    if data == b"null":
        return None
    return msgspec.json.decode(data, type=str) if data[:1] == b'"' else data.decode()


def listed(value: msgspec.Raw) -> list[str | None] | str | None:
    """Return a property as a column of arrays takes it."""
    if bytes(value)[:1] != b"[":
        return plain(value)
    return [plain(item) for item in msgspec.json.decode(value, type=list[msgspec.Raw])]
