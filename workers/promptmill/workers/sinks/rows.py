"""Results as rows with columns. JSON values keep their bytes."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

import msgspec

from promptmill.producers.contract.results import Error

ColumnType = Literal["text", "number", "json", "truth", "numbers"]
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
"""A NUL in JSON: an escape whose backslash is not itself escaped."""
_REPLACEMENT_CHARACTER = "�".encode()


class ResultRow(msgspec.Struct, frozen=True):
    """The fields of a result that become columns; see ``promptmill.producers.Result``."""

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
    response: msgspec.Raw = msgspec.Raw()
    embedding: msgspec.Raw = msgspec.Raw()


class ResultField(NamedTuple):
    """A column that every sink may have: its name, type, and value for a row."""

    name: str
    column_type: ColumnType
    get_value: Callable[[ResultRow], object]


def _json_text(raw: msgspec.Raw) -> str | None:
    return bytes(raw).decode() if raw and bytes(raw) != b"null" else None


RESULT_FIELDS = (
    ResultField("key", "text", lambda row: row.key),
    ResultField("row", "number", lambda row: row.row),
    ResultField("state", "text", lambda row: row.state),
    ResultField("text", "text", lambda row: row.text or None),
    ResultField("parsed", "json", lambda row: _json_text(row.parsed)),
    ResultField("finish_reason", "text", lambda row: row.finish_reason or None),
    ResultField("error_reason", "text", lambda row: row.error.reason if row.error else None),
    ResultField("error_message", "text", lambda row: row.error.message if row.error else None),
    ResultField("usage", "json", lambda row: _json_text(row.usage)),
    ResultField("metadata", "json", lambda row: _json_text(row.metadata)),
    ResultField("content", "json", lambda row: _json_text(row.content)),
    ResultField("attempt", "number", lambda row: row.attempt),
    ResultField("model_version", "text", lambda row: row.model_version or None),
    ResultField("response", "json", lambda row: _json_text(row.response)),
    ResultField("embedding", "numbers", lambda row: _json_text(row.embedding)),
)
OPTIONAL_FIELDS = frozenset({"response", "embedding"})
"""Fields that only some runs fill. A user's table may have own columns of these names."""
_decode_row = msgspec.json.Decoder(ResultRow).decode
_decode_properties = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class ResultLine(NamedTuple):
    """A line of a part, its row, and whether a NUL in it was replaced."""

    line: bytes
    row: ResultRow
    had_nul: bool


def parse_lines(lines: bytes, *, keep_nul: bool = True) -> Iterator[ResultLine]:
    """Yield the lines of a part. Without ``keep_nul``, every NUL is replaced."""
    for line in lines.split(b"\n")[:-1]:
        clean_line = line if keep_nul else replace_nul(line)
        yield ResultLine(clean_line, _decode_row(clean_line), clean_line is not line)


def replace_nul(line: bytes) -> bytes:
    """Replace every NUL in a JSON line by U+FFFD, the replacement character."""
    if b"\\u0000" not in line:
        return line
    clean_line, replacement_count = _NUL.subn(rb"\1" + _REPLACEMENT_CHARACTER, line)
    return clean_line if replacement_count else line


def find_filled(rows: Iterable[ResultRow]) -> set[str]:
    """Return the optional fields that any of the rows has."""
    names = {"response": False, "embedding": False}
    for row in rows:
        names["response"] = names["response"] or bool(row.response)
        names["embedding"] = names["embedding"] or bool(row.embedding)
    return {name for name, has_value in names.items() if has_value}


def read_properties(row: ResultRow) -> dict[str, msgspec.Raw]:
    """Return the top-level properties of a parsed answer, as JSON.

    Empty if the answer is not an object.
    """
    data = bytes(row.parsed)
    return _decode_properties(data) if data[:1] == b"{" else {}


def text_value(value: msgspec.Raw) -> str | None:
    """Return the value for a column that is not JSON: a bare string, or else JSON text."""
    data = bytes(value)
    if data == b"null":
        return None
    return msgspec.json.decode(data, type=str) if data[:1] == b'"' else data.decode()


def array_literal(numbers: str) -> str:
    """Return PostgreSQL's text of an array for a JSON list of numbers."""
    return f"{{{numbers[1:-1]}}}"


def array_value(value: msgspec.Raw) -> list[str | None] | str | None:
    """Return the value for an array column."""
    if bytes(value)[:1] != b"[":
        return text_value(value)
    return [text_value(item) for item in msgspec.json.decode(value, type=list[msgspec.Raw])]
