"""Reads prompts from a file, line by line, however long it is."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from promptmill.config.errors import InvalidRequest, PromptmillError
from promptmill.producers.requests.encode import Prompt

STDIN = "-"
MAX_LINE_BYTES = 32 << 20
"""Bytes; no request may be as long, so a longer line shows that the file is not what it should be."""

_JSON_SUFFIXES = (".jsonl", ".ndjson")
_TEXT_SUFFIXES = (".txt",)
_UNTYPED_SUFFIXES = ("", ".fifo", ".pipe")


def read_prompts(
    path: str | Path, open_object: Callable[[str], BinaryIO] | None = None
) -> Iterator[Prompt]:
    """Yield the prompts of a file, or of standard input for ``-``; nothing but the line at hand is held in memory.

    ``open_object`` opens what is in a bucket, ``gs://…``.

    ``.jsonl`` has one JSON object a line: ``{"key", "metadata", "request"}``, ``{"prompt": "…"}`` or Google's
    ``{"contents": …}`` alone; ``.txt`` has one prompt a line. Where the name says nothing, as for standard input, the
    first line tells: JSON starts with a brace. Empty lines are passed over.

    Raises InvalidRequest naming file and line where a line cannot be read, PromptmillError when the file cannot.
    """
    with ExitStack() as stack:
        _check_suffix(str(path))
        name, file = open_binary(str(path), stack, open_object)
        lines = read_numbered_lines(name, file)
        first = next(lines, None)
        if first is None:
            return
        parse_line = _parse_json_line if _is_json(path, first[1]) else _parse_text_line
        row = 1
        yield parse_line(name, row, *first)
        for row, (number, line) in enumerate(lines, 2):
            yield parse_line(name, row, number, line)


def open_binary(
    path: str, stack: ExitStack, open_object: Callable[[str], BinaryIO] | None = None
) -> tuple[str, BinaryIO]:
    """Open a file, ``gs://`` object or standard input (``-``) until ``stack`` ends; returns its short name, too."""
    if path == STDIN:
        return "standard input", sys.stdin.buffer
    if path.startswith("gs://") and open_object:
        return path, stack.enter_context(open_object(path))
    try:
        return Path(path).name, stack.enter_context(Path(path).open("rb"))
    except OSError as error:
        raise PromptmillError(f"{path} cannot be read: {error.strerror}") from None


def _check_suffix(path: str) -> None:
    """Prompts out of a table of rows or an archive would be paid for and be nonsense."""
    suffix = Path(path).suffix.lower()
    if suffix not in (*_JSON_SUFFIXES, *_TEXT_SUFFIXES, *_UNTYPED_SUFFIXES):
        rows = "; rows need a template" if suffix in (".csv", ".tsv", ".parquet") else ""
        raise PromptmillError(
            f"{path}: a file of prompts is .jsonl (one JSON object a line) or .txt (one prompt a line){rows}"
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
        raise InvalidRequest(f"{name} line {number}: this is not UTF-8 text", row=row) from None


def _parse_json_line(name: str, row: int, number: int, line: bytes) -> Prompt:
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"{name} line {number}: this is not JSON: {error}", row=row) from None
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        raise InvalidRequest(
            f"{name} line {number}: a line is a JSON object, not {_json_type(value)}", row=row
        )
    return _wrap_request(value) if "contents" in value and "request" not in value else value


def _wrap_request(value: dict[str, Any]) -> Prompt:
    """Make a row of a request that stands alone, or has key and metadata in its midst."""
    row_fields: dict[str, Any] = {
        name: value.pop(name) for name in ("key", "metadata") if name in value
    }
    return {**row_fields, "request": value}


def _json_type(value: object) -> str:
    return {list: "a list", type(None): "null", bool: "true or false"}.get(type(value), "a number")
