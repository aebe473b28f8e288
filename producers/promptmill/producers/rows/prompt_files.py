"""Reads prompts from a file, one line at a time."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import msgspec

from promptmill.config.errors import InvalidRequest, PromptmillError
from promptmill.producers.requests.encode import Prompt

STDIN = "-"
MAX_LINE_BYTES = 32 << 20
"""Maximum size of a line in bytes. Requests are smaller, so the file is a wrong one."""

_JSON_SUFFIXES = (".jsonl", ".ndjson")
_TEXT_SUFFIXES = (".txt",)
_UNTYPED_SUFFIXES = ("", ".fifo", ".pipe")
_ROW_FIELDS: tuple[str, ...] = ("key", "metadata")


def read_prompts(
    path: str | Path, open_object: Callable[[str], BinaryIO] | None = None
) -> Iterator[Prompt]:
    """Yield the prompts of a file, or of standard input for ``-``.

    ``open_object`` opens a ``gs://…`` object. ``.jsonl`` has one JSON object per line:
    ``{"key", "metadata", "request"}``, ``{"prompt": "…"}``, Google's ``{"contents": …}``,
    or ``{"content": …}`` of an embedding. ``.txt`` has one prompt per line. Otherwise the
    first line decides: JSON starts with a brace. Empty lines are skipped.

    Raises InvalidRequest with file and line for an invalid line. Raises PromptmillError
    for an unreadable file.
    """
    with ExitStack() as stack:
        _check_suffix(str(path))
        name, file = open_binary(str(path), stack, open_object)
        lines = read_numbered_lines(name, file)
        first = next(lines, None)
        if first is None:
            return
        parse_line = _parse_json_line if _is_json(path, first[1]) else _parse_text_line
        for row, (number, line) in enumerate(chain([first], lines), 1):
            yield parse_line(name, row, number, line)


def open_binary(
    path: str, stack: ExitStack, open_object: Callable[[str], BinaryIO] | None = None
) -> tuple[str, BinaryIO]:
    """Open a file, ``gs://`` object or ``-``; return its short name too. ``stack`` closes it."""
    if path == STDIN:
        return "standard input", sys.stdin.buffer
    if path.startswith("gs://") and open_object:
        return path, stack.enter_context(open_object(path))
    try:
        return Path(path).name, stack.enter_context(Path(path).open("rb"))
    except OSError as error:
        raise PromptmillError(f"{path} cannot be read: {error.strerror}") from None


def _check_suffix(path: str) -> None:
    """Refuse tables and archives: their lines would be useless prompts."""
    suffix = Path(path).suffix.lower()
    if suffix not in (*_JSON_SUFFIXES, *_TEXT_SUFFIXES, *_UNTYPED_SUFFIXES):
        rows = "; rows need a template" if suffix in (".csv", ".tsv", ".parquet") else ""
        raise PromptmillError(
            f"{path}: a file of prompts must be .jsonl (one JSON object per line) "
            f"or .txt (one prompt per line){rows}"
        )


def read_numbered_lines(name: str, file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not empty, with their numbers from 1."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES):
        number += 1
        if len(line) == MAX_LINE_BYTES:
            raise InvalidRequest(
                f"{name} line {number}: the line is longer than {MAX_LINE_BYTES >> 20} MiB"
            )
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if line := line.strip():
            yield number, line


def _is_json(path: str | Path, first_line: bytes) -> bool:
    suffix = Path(path).suffix.lower()
    return suffix in _JSON_SUFFIXES or (
        suffix not in _TEXT_SUFFIXES and first_line.startswith(b"{")
    )


def _parse_text_line(name: str, row: int, number: int, line: bytes) -> Prompt:
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise _line_error(name, number, row, "the line is not UTF-8 text") from None


def _parse_json_line(name: str, row: int, number: int, line: bytes) -> Prompt:
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _line_error(name, number, row, describe_json_error(error)) from None
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        problem = f"a line must be a JSON object, not {_json_type(value)}"
        raise _line_error(name, number, row, problem)
    is_request = "request" not in value and ("contents" in value or "content" in value)
    return _wrap_request(value) if is_request else value


def describe_json_error(error: Exception) -> str:
    """Return the problem of a line that cannot be decoded."""
    if isinstance(error, RecursionError):
        detail = "nested too deeply"
    elif isinstance(error, UnicodeDecodeError):
        detail = "not UTF-8 text"
    elif "truncated" in str(error):
        detail = "it ends too early"
    else:
        detail = str(error).removeprefix("JSON is malformed: ")
    return f"not valid JSON ({detail})"


def _line_error(name: str, number: int, row: int, problem: str) -> InvalidRequest:
    """Return the error of a line. Its text has the line alone, without the row."""
    error = InvalidRequest(f"{name} line {number}: {problem}")
    error.row = row
    return error


def _wrap_request(value: dict[str, object]) -> Prompt:
    """Return a prompt for a plain request, which can hold key and metadata too."""
    row_fields = {name: value.pop(name) for name in _ROW_FIELDS if name in value}
    return {**row_fields, "request": value}


def _json_type(value: object) -> str:
    return {list: "a list", type(None): "null", bool: "true or false"}.get(type(value), "a number")
